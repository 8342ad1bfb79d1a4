/* server - the daemon inside the front thread's loop; see server.h */
#include "gateway/http/private.h"

#include "common/clock.h"
#include "common/ids.h"
#include "common/limits.h"
#include "common/log.h"
#include "common/netopts.h"

#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define EVENTS_MAX 64 /* hang-ups taken in a turn */

#define TLS_PRIORITIES "NORMAL:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2"

/* --- listening ----------------------------------------------------------------------------------
 */

static enum status listen_on(struct http_server *self, const char *address, struct error *why)
{
    struct endpoint at;
    struct addrinfo *found = NULL;
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE};
    char port[8];
    const int on = 1;
    enum status s = endpoint_parse_hostport(&at, address, why);
    if (s != STATUS_OK)
        return s;
    snprintf(port, sizeof port, "%u", at.port);
    const char *host = strcmp(at.host, "localhost") == 0 ? "127.0.0.1"
                       : strcmp(at.host, "*") == 0       ? "0.0.0.0"
                                                         : at.host;
    if (getaddrinfo(host, port, &hints, &found) != 0)
        return fail(why, STATUS_INVALID, "%s is no address to listen on", address);
    self->listen_fd = socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (self->listen_fd >= 0)
        setsockopt(self->listen_fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (self->listen_fd < 0 || bind(self->listen_fd, found->ai_addr, found->ai_addrlen) != 0 ||
        listen(self->listen_fd, 511) != 0)
        s = fail(why, STATUS_UNAVAILABLE,
                 "cannot listen on %s: %s; choose another --http HOST:PORT, or port 0", address,
                 strerror(errno));
    freeaddrinfo(found);
    struct sockaddr_storage bound;
    socklen_t size = sizeof bound;
    if (s == STATUS_OK && getsockname(self->listen_fd, (struct sockaddr *)&bound, &size) == 0 &&
        getnameinfo((struct sockaddr *)&bound, size, NULL, 0, port, sizeof port, NI_NUMERICSERV) ==
            0)
        snprintf(self->address, sizeof self->address, at.ipv6 ? "[%s]:%s" : "%s:%s", host, port);
    return s;
}

static void log_line(void *arg, const char *format, va_list args)
{
    char text[512];
    (void)arg;
    vsnprintf(text, sizeof text, format, args);
    text[strcspn(text, "\n")] = '\0';
    LOG_DEBUG("http", "text=%s", text);
}

static int hex_digit(char c)
{
    static const char digits[] = "0123456789abcdef";
    const char *at = c ? strchr(digits, c | 0x20) : NULL;
    return at ? (int)(at - digits) : -1;
}

/* %XX in paths and queries, in place. %00 stays as it is: decoded, it would end the text, and the
 * path would be taken for a shorter one. */
static size_t unescape(void *server, struct MHD_Connection *mhd, char *text)
{
    char *to = text;
    (void)server, (void)mhd;
    for (const char *at = text; *at; at++) {
        int high = *at == '%' ? hex_digit(at[1]) : -1;
        int low = high >= 0 ? hex_digit(at[2]) : -1;
        *to++ = *at;
        if (low < 0 || high + low == 0)
            continue;
        to[-1] = (char)(high << 4 | low);
        at += 2;
    }
    *to = '\0';
    return (size_t)(to - text);
}

/* --- TLS ----------------------------------------------------------------------------------------
 */

/* libmicrohttpd's callback gets no argument of ours; handshakes happen inside of MHD_run() only. */
static _Thread_local const struct tls_pair *offered;

static int offer(gnutls_session_t session, const gnutls_datum_t *authorities, int authorities_len,
                 const gnutls_pk_algorithm_t *algorithms, int algorithms_len,
                 gnutls_pcert_st **chain, unsigned *chain_len, gnutls_privkey_t *key)
{
    (void)session, (void)authorities, (void)authorities_len, (void)algorithms;
    (void)algorithms_len;
    *chain = (gnutls_pcert_st *)offered->chain; /* GnuTLS does not change it */
    *chain_len = offered->chain_len;
    *key = offered->key;
    return 0;
}

static void run(struct http_server *self)
{
    offered = self->config.tls;
    MHD_run(self->mhd);
}

/* Whoever began a handshake with a pair is done, or cut, an idle_timeout later. */
static void free_retired(struct http_server *self, uint64_t now_ns)
{
    uint64_t grace_ns = 2 * self->config.idle_timeout_ms * NS_PER_MS;
    for (struct tls_pair **at = &self->retired; *at;) {
        struct tls_pair *pair = *at;
        if (now_ns < pair->retired_ns + grace_ns) {
            at = &pair->next;
            continue;
        }
        *at = pair->next;
        tls_pair_free(&pair);
    }
}

void http_server_use(struct http_server *self, struct tls_pair *tls)
{
    uint64_t now_ns = clock_mono_ns();
    assert(self->config.tls && tls);
    free_retired(self, now_ns);
    self->config.tls->retired_ns = now_ns;
    self->config.tls->next = self->retired;
    self->retired = self->config.tls;
    self->config.tls = tls;
}

static enum status start(struct http_server *self, struct error *why)
{
    unsigned flags = MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ERROR_LOG;
    const struct http_config *config = &self->config;
    /* libmicrohttpd reads no further than to the first END. */
    enum MHD_OPTION more = config->tls ? MHD_OPTION_HTTPS_CERT_CALLBACK : MHD_OPTION_END;
    if (config->tls)
        flags |= MHD_USE_TLS;
    self->mhd = MHD_start_daemon(
        flags, 0, NULL, NULL, http_on_request, self, MHD_OPTION_EXTERNAL_LOGGER, log_line, NULL,
        MHD_OPTION_LISTEN_SOCKET, self->listen_fd, MHD_OPTION_STRICT_FOR_CLIENT, 1,
        MHD_OPTION_CONNECTION_LIMIT, config->connections_max, MHD_OPTION_CONNECTION_MEMORY_LIMIT,
        HTTP_CONNECTION_BYTES, MHD_OPTION_CONNECTION_TIMEOUT,
        MAX(1u, config->idle_timeout_ms / 1000), MHD_OPTION_UNESCAPE_CALLBACK, unescape, self,
        MHD_OPTION_NOTIFY_COMPLETED, http_on_completed, self, MHD_OPTION_NOTIFY_CONNECTION,
        http_on_connection, self, more, offer, MHD_OPTION_HTTPS_PRIORITIES, TLS_PRIORITIES,
        MHD_OPTION_END);
    if (!self->mhd)
        return fail(why, STATUS_INTERNAL, "libmicrohttpd does not start on %s", self->address);
    self->listen_fd = -1; /* libmicrohttpd closes it */
    return STATUS_OK;
}

enum status http_server_open(struct http_server **out, const struct http_config *config,
                             struct error *why)
{
    struct http_server *self = xcalloc(1, sizeof *self);
    self->config = *config;
    self->config.address = NULL;
    self->id_seed = random_u64();
    self->listen_fd = -1;
    self->watch_fd = epoll_create1(EPOLL_CLOEXEC);
    enum status s = listen_on(self, config->address, why);
    if (s == STATUS_OK && self->watch_fd < 0)
        s = fail(why, STATUS_IO, "no epoll descriptor: %s", strerror(errno));
    if (s == STATUS_OK)
        s = start(self, why);
    if (s != STATUS_OK)
        http_server_close(&self);
    *out = self;
    return s;
}

void http_server_routes(struct http_server *self, const struct http_route *routes, size_t len,
                        void *owner)
{
    assert(self->tables_len < HTTP_TABLES_MAX);
    for (size_t i = 0; i < len; i++)
        assert(routes[i].scope > 0 && routes[i].scope < SCOPES_END);
    self->tables[self->tables_len++] = (struct http_table){routes, len, owner};
}

const char *http_server_address(const struct http_server *self)
{
    return self->address;
}

/* --- the loop -----------------------------------------------------------------------------------
 */

static int daemon_fd(const struct http_server *self)
{
    return MHD_get_daemon_info(self->mhd, MHD_DAEMON_INFO_EPOLL_FD)->epoll_fd;
}

size_t http_server_fds(const struct http_server *self, int fds[2])
{
    fds[0] = daemon_fd(self);
    fds[1] = self->watch_fd;
    return 2;
}

uint64_t http_server_next_ns(const struct http_server *self, uint64_t now_ns)
{
    MHD_UNSIGNED_LONG_LONG ms;
    if (MHD_get_timeout(self->mhd, &ms) != MHD_YES)
        return UINT64_MAX;
    return now_ns + ms * NS_PER_MS;
}

static void hung_up(struct http_conn *conn)
{
    conn->armed = false;
    if (!conn->suspended)
        return;
    if (conn->stream)
        http_stream_cut(conn->stream);
    if (conn->request)
        http_request_gone(conn->request);
    http_conn_resume(conn);
}

void http_server_cut(struct http_server *self, const struct uuid *key)
{
    struct http_conn *conn, *next;
    for (conn = LIST_FIRST(&self->conns); conn; conn = next) {
        next = LIST_NEXT(conn, link);
        if (conn->stream && conn->request && id_equal(&conn->request->caller.key, key))
            http_stream_cut(conn->stream);
    }
}

void http_server_step(struct http_server *self)
{
    struct epoll_event events[EVENTS_MAX];
    int n = epoll_wait(self->watch_fd, events, EVENTS_MAX, 0);
    for (int i = 0; i < n; i++) {
        struct http_conn *conn = events[i].data.ptr;
        if (!conn->suspended)
            http_conn_nudge(conn);
        hung_up(conn);
    }
    run(self);
}

/* --- the end ------------------------------------------------------------------------------------
 */

bool http_server_drain(struct http_server *self)
{
    if (!self->quiet) {
        self->quiet = true;
        MHD_socket fd = MHD_quiesce_daemon(self->mhd);
        if (fd != MHD_INVALID_SOCKET)
            close(fd);
    }
    return self->active == 0;
}

void http_server_close(struct http_server **self_p)
{
    struct http_server *self = *self_p;
    struct http_conn *conn;
    struct http_request *request;
    *self_p = NULL;
    if (!self)
        return;
    self->closing = true;
    LIST_FOREACH(conn, &self->conns, link)
    hung_up(conn);
    if (self->mhd) {
        run(self); /* lets go of what was suspended: stopping would panic otherwise */
        MHD_stop_daemon(self->mhd);
    }
    while ((request = LIST_FIRST(&self->requests))) {
        LIST_REMOVE(request, link);
        request->server = NULL;
    }
    if (self->listen_fd >= 0)
        close(self->listen_fd);
    if (self->watch_fd >= 0)
        close(self->watch_fd);
    free_retired(self, UINT64_MAX);
    tls_pair_free(&self->config.tls);
    free(self);
}
