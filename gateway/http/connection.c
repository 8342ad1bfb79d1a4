/* connection - libmicrohttpd's callbacks: one request from its headers to its reply
 *
 *            headers            whole body             reply
 *   (none) ---------> [READING] ---------> [HANDLED] --------> [REPLIED] -> queued
 *                        |                     suspended until then
 *                        `---- refused: reply first, the rest of the body is read or cut
 */
#include "gateway/http/private.h"

#include "common/log.h"
#include "gateway/counters.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#define NUDGE_NS UINT64_C(100000000)

/* --- suspending ---------------------------------------------------------------------------------
 */

/* libmicrohttpd does not look at a suspended connection, and may miss that one ends together with
 * its last octets, so we watch for its end. */
static void watch(struct http_conn *self)
{
    struct epoll_event event = {.events = EPOLLRDHUP | EPOLLONESHOT, .data.ptr = self};
    if (self->armed)
        return;
    int how = self->watched ? EPOLL_CTL_MOD : EPOLL_CTL_ADD;
    if (epoll_ctl(self->server->watch_fd, how, self->fd, &event) != 0) {
        LOG_WARN("watch_failed", "fd=%d why=%s", self->fd, strerror(errno));
        return;
    }
    self->watched = self->armed = true;
}

void http_conn_suspend(struct http_conn *self)
{
    if (self->suspended)
        return;
    self->suspended = true;
    watch(self);
    MHD_suspend_connection(self->mhd);
}

void http_conn_resume(struct http_conn *self)
{
    if (!self->suspended)
        return;
    self->suspended = false;
    MHD_resume_connection(self->mhd);
}

static void nudge(void *arg)
{
    struct http_conn *self = arg;
    struct front *front = self->server->config.front;
    shutdown(self->fd, SHUT_RD); /* nothing comes any more; this tells libmicrohttpd's epoll */
    front_timer_set(front, &self->nudge, front_now_ns(front) + NUDGE_NS, nudge, self);
}

/* libmicrohttpd 0.9.75 waits for the next event after a read that did not fill its buffer; when the
 * end had come with those octets already there is none. Again and again: what it has not read yet
 * may be read like that, too. */
void http_conn_nudge(struct http_conn *self)
{
    struct front *front = self->server->config.front;
    front_timer_set(front, &self->nudge, front_now_ns(front) + NUDGE_NS, nudge, self);
}

static void idle_too_long(void *arg)
{
    struct http_conn *self = arg;
    shutdown(self->fd, SHUT_RDWR);
}

/* libmicrohttpd's own timeout starts again with every octet: a client that sends its headers slowly
 * would stay for ever. */
static void expect_headers(struct http_conn *self)
{
    const struct http_config *config = &self->server->config;
    front_timer_set(config->front, &self->timer,
                    front_now_ns(config->front) + config->idle_timeout_ms * UINT64_C(1000000),
                    idle_too_long, self);
}

void http_on_connection(void *server, struct MHD_Connection *mhd, void **conn,
                        enum MHD_ConnectionNotificationCode what)
{
    struct http_server *owner = server;
    struct http_conn *self = *conn;
    if (what == MHD_CONNECTION_NOTIFY_STARTED) {
        const union MHD_ConnectionInfo *info =
            MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CONNECTION_FD);
        self = xcalloc(1, sizeof *self);
        self->server = owner;
        self->mhd = mhd;
        self->fd = info->connect_fd;
        LIST_INSERT_HEAD(&owner->conns, self, link);
        *conn = self;
        watch(self);
        expect_headers(self);
        return;
    }
    front_timer_clear(owner->config.front, &self->timer);
    front_timer_clear(owner->config.front, &self->nudge);
    if (self->watched)
        epoll_ctl(owner->watch_fd, EPOLL_CTL_DEL, self->fd, NULL);
    LIST_REMOVE(self, link);
    free(self);
    *conn = NULL;
}

void http_on_completed(void *server, struct MHD_Connection *mhd, void **request_p,
                       enum MHD_RequestTerminationCode how)
{
    struct http_server *owner = server;
    struct http_request *request = *request_p;
    (void)mhd;
    (void)how;
    *request_p = NULL;
    if (!request)
        return;
    owner->active--;
    front_timer_clear(owner->config.front, &request->timer);
    request->conn->request = NULL;
    expect_headers(request->conn);
    request->conn = NULL;
    /* Nobody but us knows a request whose handler was not called yet. */
    if (request->phase == REQUEST_READING && !request->opened)
        request->phase = REQUEST_REPLIED;
    http_request_gone(request);
    request->in_mhd = false;
    http_request_release(request);
}

/* --- headers ------------------------------------------------------------------------------------
 */

static void refuse(struct http_request *self, int code, const char *text)
{
    count(COUNT_http_refused_total, 1);
    http_reply_json(self, code, json_pack("{s:s}", "error", text));
}

static void refuse_method(struct http_request *self, const char *method, enum status found,
                          const char *allow)
{
    char text[256];
    if (found == STATUS_NOT_FOUND) {
        count(COUNT_http_refused_total, 1);
        http_reply_fail(self, STATUS_NOT_FOUND,
                        "no such path: %.200s; gateway/API.md lists what there is", self->path);
        return;
    }
    http_reply_header(self, "Allow", allow);
    snprintf(text, sizeof text, "%.32s is not for this path: use %s", method, allow);
    refuse(self, MHD_HTTP_METHOD_NOT_ALLOWED, text);
}

static bool known_method(const char *method)
{
    static const char *const others[] = {"OPTIONS", "PATCH", "TRACE", "CONNECT"};
    for (size_t i = 0; i < ARRAY_LEN(others); i++)
        if (strcmp(method, others[i]) == 0)
            return true;
    return http_method_by_name(method) != HTTP_METHODS;
}

/* True: the caller may do this. Else it has been told what is missing. */
static bool admitted(struct http_request *self)
{
    const struct http_config *config = &self->server->config;
    enum http_scope scope = self->route->scope;
    struct error why;
    self->caller = (struct http_caller){.admin = true};
    if (!config->admit || scope == SCOPE_OPEN)
        return true;
    self->caller.admin = false;
    enum status s = config->admit(config->admit_arg, http_header(self, "Authorization"), scope,
                                  &self->caller, &why);
    if (s == STATUS_OK)
        return true;
    char challenge[96];
    snprintf(challenge, sizeof challenge, "Bearer realm=\"convoy\"%s%s%s",
             s == STATUS_FORBIDDEN ? ", error=\"insufficient_scope\", scope=\"" : "",
             s == STATUS_FORBIDDEN ? scope_name(scope) : "", s == STATUS_FORBIDDEN ? "\"" : "");
    count(COUNT_http_denied_total, 1);
    LOG_WARN("http_denied", "path=%s status=%s why=%s", self->route->pattern, status_name(s),
             why.text);
    http_reply_header(self, "WWW-Authenticate", challenge);
    http_reply_error(self, &why, NULL);
    return false;
}

static void late(void *arg)
{
    struct http_request *self = arg;
    LOG_INFO("body_late", "request=%s path=%s received=%llu action=%s", self->id, self->path,
             (unsigned long long)self->received, "closed");
    count(COUNT_http_refused_total, 1);
    if (self->conn)
        shutdown(self->conn->fd, SHUT_RDWR);
}

static void refuse_size(struct http_request *self, uint64_t limit)
{
    count(COUNT_http_refused_total, 1);
    http_reply_fail(self, STATUS_TOO_LARGE,
                    "the request's body is larger than %llu bytes: send fewer rows at once, or use "
                    "a dataset job (/v1/batches)",
                    (unsigned long long)limit);
}

static uint64_t body_limit(const struct http_request *self)
{
    if (self->route->body == HTTP_BODY_STREAM)
        return UINT64_MAX - 1;
    return self->route->body == HTTP_BODY_MEMORY ? self->server->config.body_max : HTTP_IGNORED_MAX;
}

static void limit_body_time(struct http_request *self)
{
    uint64_t due = front_now_ns(self->server->config.front) +
                   self->server->config.body_timeout_ms * UINT64_C(1000000);
    front_timer_set(self->server->config.front, &self->timer, due, late, self);
}

static void prepare_body(struct http_request *self)
{
    if (self->content_length != UINT64_MAX && self->content_length > body_limit(self)) {
        refuse_size(self, body_limit(self));
        return;
    }
    if (self->route->body == HTTP_BODY_STREAM) {
        self->opened = true;
        self->route->open(self, self->owner);
        return;
    }
    if (!self->content_length)
        return;
    limit_body_time(self);
    if (self->route->body == HTTP_BODY_MEMORY) {
        self->body_room =
            self->content_length == UINT64_MAX ? 64 * KIB : (size_t)self->content_length;
        self->body = xmalloc(self->body_room + 1);
        self->body[0] = '\0';
    }
}

/* The body of a refused request is read all the same, since many clients look for a reply only when
 * they have sent all of it; but not from one who waits for us, nor without end. */
static bool reply_first(struct http_request *self, const struct http_framing *framing)
{
    if (self->phase != REQUEST_REPLIED || !self->content_length)
        return false;
    if (framing->waits || (!framing->encodings && self->content_length > HTTP_DISCARD_MAX))
        return true;
    limit_body_time(self);
    return false;
}

/* Everything that can be known before the body. True: the reply must go out now, since the framing
 * or the size of what follows is not to be trusted. */
static bool begin(struct http_request *self, const char *method, const char *version)
{
    char allow[64];
    struct error why;
    struct http_framing framing = http_framing_of(self->conn->mhd);
    if (framing.request_id)
        text_copy(self->id, sizeof self->id, framing.request_id);
    if (http_guard(&framing, version, &why) != STATUS_OK) {
        count(COUNT_http_refused_total, 1);
        http_reply_header(self, "Connection", "close");
        http_reply_error(self, &why, NULL);
        return true;
    }
    self->content_length = framing.encodings ? UINT64_MAX : framing.length;
    if (!known_method(method)) {
        refuse(self, MHD_HTTP_NOT_IMPLEMENTED, "this method is not known here");
    } else {
        enum status s = http_route_find(self->server, self, method, allow, sizeof allow);
        if (s != STATUS_OK)
            refuse_method(self, method, s, allow);
        else if (admitted(self))
            prepare_body(self);
    }
    return reply_first(self, &framing);
}

/* --- body ---------------------------------------------------------------------------------------
 */

static size_t collect(struct http_request *self, const char *data, size_t size)
{
    uint64_t limit = body_limit(self);
    if (self->received + size > limit) {
        refuse_size(self, limit);
        return size;
    }
    if (!self->body)
        return size;
    if (self->received + size > self->body_room) {
        self->body_room = MAX(2 * self->body_room, (size_t)self->received + size);
        self->body_room = MIN(self->body_room, (size_t)limit);
        self->body = xrealloc(self->body, self->body_room + 1);
    }
    memcpy(self->body + self->received, data, size);
    self->body[self->received + size] = '\0';
    return size;
}

static size_t hand_over(struct http_request *self, const char *data, size_t size)
{
    size_t taken = 0;
    while (taken < size && self->phase == REQUEST_READING) {
        size_t n = self->route->data(self, data + taken, size - taken, self->owner);
        assert(n <= size - taken);
        taken += n;
        if (!n)
            break;
    }
    if (self->phase == REQUEST_REPLIED)
        return size;
    if (taken < size)
        http_conn_suspend(self->conn);
    return taken;
}

static enum MHD_Result take_body(struct http_request *self, const char *data, size_t *size)
{
    size_t taken = *size;
    if (self->gone || (self->discard && self->received > HTTP_DISCARD_MAX))
        return MHD_NO;
    if (self->phase == REQUEST_READING)
        taken = self->route->body == HTTP_BODY_STREAM ? hand_over(self, data, *size)
                                                      : collect(self, data, *size);
    self->received += taken;
    *size -= taken;
    return MHD_YES;
}

static enum MHD_Result finish(struct http_request *self)
{
    if (self->phase == REQUEST_READING) {
        front_timer_clear(self->server->config.front, &self->timer);
        self->phase = REQUEST_HANDLED;
        self->route->handle(self, self->owner);
    }
    if (self->response)
        return MHD_queue_response(self->conn->mhd, self->code, self->response);
    if (self->gone)
        return MHD_NO;
    http_conn_suspend(self->conn);
    return MHD_YES;
}

enum MHD_Result http_on_request(void *server, struct MHD_Connection *mhd, const char *url,
                                const char *method, const char *version, const char *data,
                                size_t *data_size, void **request_p)
{
    struct http_request *request = *request_p;
    if (((struct http_server *)server)->closing)
        return MHD_NO;
    if (request)
        return *data_size ? take_body(request, data, data_size) : finish(request);
    struct http_conn *conn =
        MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_SOCKET_CONTEXT)->socket_context;
    *request_p = request = http_request_new(conn, url);
    front_timer_clear(conn->server->config.front, &conn->timer);
    if (begin(request, method, version))
        return MHD_queue_response(mhd, request->code, request->response);
    return MHD_YES;
}
