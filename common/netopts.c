/* netopts - tables of options, a strict reader of addresses, the monitor's frames; see netopts.h */
#include "common/netopts.h"

#include "common/ids.h"
#include "common/limits.h"

#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <linux/tcp.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

/* --- options --- */
enum { BIND = 1, CONNECT = 2, BOTH = 3 };

static const struct {
    int sides;
    int option;
    int value;
    const char *name;
} options[] = {
    /* Send queues are a tripwire: credits keep them short, so EAGAIN is a bug or a dead peer. */
    {BIND, ZMQ_SNDHWM, NET_ROUTER_UNSENT_MAX, "SNDHWM"},
    {CONNECT, ZMQ_SNDHWM, NET_DEALER_UNSENT_MAX, "SNDHWM"},
    {BIND, ZMQ_RCVHWM, NET_ROUTER_UNREAD_MAX, "RCVHWM"},
    {CONNECT, ZMQ_RCVHWM, 0, "RCVHWM"}, /* no limit: a full pipe stops the engine's reading */
    {BIND, ZMQ_ROUTER_MANDATORY, 1, "ROUTER_MANDATORY"}, /* tell an unknown peer from a sent one */
    {BIND, ZMQ_ROUTER_HANDOVER, 0, "ROUTER_HANDOVER"},   /* nobody may take another one's id */
    {BIND, ZMQ_LINGER, 0, "LINGER"},                     /* leases cover what is lost at close */
    /* Closed without, libzmq 4.3 aborts when the connection breaks amid a message in that moment
     * (zeromq/libzmq#3442), as it does when a broken one is why we close. Below RECONNECT_IVL:
     * nothing reaches the next connection. */
    {CONNECT, ZMQ_LINGER, 50, "LINGER"},
    {BOTH, ZMQ_IMMEDIATE, 0, "IMMEDIATE"}, /* 1 drops what is queued at reconnect */
    {BOTH, ZMQ_HANDSHAKE_IVL, NET_HANDSHAKE_MS, "HANDSHAKE_IVL"},
    {BOTH, ZMQ_BACKLOG, NET_BACKLOG_MAX, "BACKLOG"},
    {BOTH, ZMQ_CONNECT_TIMEOUT, 3000, "CONNECT_TIMEOUT"},
    {BOTH, ZMQ_RECONNECT_IVL, 200, "RECONNECT_IVL"},
    {BOTH, ZMQ_RECONNECT_IVL_MAX, 10000, "RECONNECT_IVL_MAX"}, /* doubles up to it */
    {BOTH, ZMQ_TCP_KEEPALIVE, 1, "TCP_KEEPALIVE"},
    {BOTH, ZMQ_TCP_KEEPALIVE_IDLE, 15, "TCP_KEEPALIVE_IDLE"}, /* seconds */
    {BOTH, ZMQ_TCP_KEEPALIVE_INTVL, 5, "TCP_KEEPALIVE_INTVL"},
    {BOTH, ZMQ_TCP_KEEPALIVE_CNT, 3, "TCP_KEEPALIVE_CNT"},
    {BOTH, ZMQ_TCP_MAXRT, 20000, "TCP_MAXRT"}, /* ms */
    /* HEARTBEAT_* stay unset: beside a full receive pipe they abort us (zeromq/libzmq#3937). */
};

enum status net_options(void *socket, enum net_side side, size_t frame_max, struct error *why)
{
    int sides = side == NET_BIND ? BIND : CONNECT;
    int64_t bytes = (int64_t)frame_max;
    for (size_t i = 0; i < ARRAY_LEN(options); i++)
        if ((options[i].sides & sides) &&
            zmq_setsockopt(socket, options[i].option, &options[i].value, sizeof(int)) != 0)
            return fail(why, STATUS_INTERNAL, "libzmq refuses %s=%d: %s", options[i].name,
                        options[i].value, zmq_strerror(errno));
    if (zmq_setsockopt(socket, ZMQ_MAXMSGSIZE, &bytes, sizeof bytes) != 0)
        return fail(why, STATUS_INTERNAL, "libzmq refuses MAXMSGSIZE=%zu: %s", frame_max,
                    zmq_strerror(errno));
    return STATUS_OK;
}

/* --- addresses --- */
static bool is_loopback(const struct endpoint *endpoint)
{
    struct in_addr four;
    struct in6_addr six;
    if (endpoint->ipv6)
        return inet_pton(AF_INET6, endpoint->host, &six) == 1 && IN6_IS_ADDR_LOOPBACK(&six);
    if (strcmp(endpoint->host, "localhost") == 0)
        return true;
    return inet_pton(AF_INET, endpoint->host, &four) == 1 && ntohl(four.s_addr) >> 24 == 127;
}

static bool read_port(const char *text, uint16_t *port)
{
    size_t digits = strspn(text, "0123456789");
    if (strcmp(text, "*") == 0) {
        *port = 0;
        return true;
    }
    if (digits == 0 || digits > 5 || text[digits])
        return false;
    unsigned long number = strtoul(text, NULL, 10);
    *port = (uint16_t)number;
    return number <= UINT16_MAX;
}

/* A name or an address, and nothing that libzmq would read as more than that. */
static bool is_host(const struct endpoint *endpoint)
{
    static const char letters[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_";
    struct in6_addr six;
    if (endpoint->ipv6)
        return inet_pton(AF_INET6, endpoint->host, &six) == 1;
    return strcmp(endpoint->host, "*") == 0 ||
           (endpoint->host[0] && endpoint->host[strspn(endpoint->host, letters)] == '\0');
}

/* Cut "HOST:PORT" or "[HOST]:PORT" into its parts. */
static bool cut(struct endpoint *out, const char *text, const char **port)
{
    const char *end;
    *out = (struct endpoint){.ipv6 = text[0] == '['};
    if (out->ipv6) {
        end = strchr(++text, ']');
        *port = end && end[1] == ':' ? end + 2 : NULL;
    } else {
        end = strrchr(text, ':');
        *port = end ? end + 1 : NULL;
    }
    size_t length = end ? (size_t)(end - text) : 0;
    if (!*port || length == 0 || length >= sizeof out->host)
        return false;
    memcpy(out->host, text, length);
    return true;
}

enum status endpoint_parse_hostport(struct endpoint *out, const char *text, struct error *why)
{
    const char *port;
    if (!cut(out, text, &port))
        return fail(why, STATUS_INVALID,
                    "address '%.200s': expected HOST:PORT, such as 127.0.0.1:5701", text);
    if (!read_port(port, &out->port))
        return fail(why, STATUS_INVALID, "address '%.200s': expected a port of 0 to 65535", text);
    if (!is_host(out))
        return fail(why, STATUS_INVALID,
                    "address '%.200s': expected a name, an IPv4 address, or an IPv6 address in "
                    "brackets before the port",
                    text);
    out->loopback = is_loopback(out);
    return STATUS_OK;
}

enum status endpoint_parse(struct endpoint *out, const char *text, struct error *why)
{
    static const char scheme[] = "tcp://";
    if (strncmp(text, scheme, sizeof scheme - 1) != 0)
        return fail(why, STATUS_INVALID,
                    "address '%.200s': expected tcp://HOST:PORT, such as tcp://127.0.0.1:5701",
                    text);
    enum status status = endpoint_parse_hostport(out, text + sizeof scheme - 1, why);
    return status == STATUS_OK ? status : fail_in(why, "%.200s", text);
}

static enum status allow(const struct endpoint *endpoint, const char *text, bool curve,
                         struct error *why)
{
    if (endpoint->loopback || curve)
        return STATUS_OK;
    return fail(why, STATUS_INVALID,
                "address '%.200s' is not on this machine: a link there needs CURVE keys on both "
                "sides. For a worker run convoy-worker --join TOKEN, where convoy token create "
                "prints the token; for a gateway write --brokers ENDPOINT=KEY, where KEY is the "
                "broker's public key. Only loopback needs none: 127.0.0.1, ::1 or localhost",
                text);
}

enum status endpoint_check(const char *text, bool curve, struct error *why)
{
    struct endpoint endpoint;
    enum status status = endpoint_parse(&endpoint, text, why);
    return status == STATUS_OK ? allow(&endpoint, text, curve, why) : status;
}

/* "tcp://HOST:PORT" as libzmq takes it. localhost means 127.0.0.1: sockets here speak IPv4 unless
 * the address is an IPv6 one. */
static void spell(char into[NET_ADDRESS_MAX], const struct endpoint *endpoint)
{
    const char *host = strcmp(endpoint->host, "localhost") == 0 ? "127.0.0.1" : endpoint->host;
    int length =
        snprintf(into, NET_ADDRESS_MAX, endpoint->ipv6 ? "tcp://[%.200s]:" : "tcp://%.200s:", host);
    char *at = into + length;
    size_t room = NET_ADDRESS_MAX - (size_t)length;
    if (endpoint->port)
        snprintf(at, room, "%" PRIu16, endpoint->port);
    else
        text_copy(at, room, "*");
}

static enum status get_ready(void *socket, const char *address, struct endpoint *endpoint,
                             char spelled[NET_ADDRESS_MAX], struct error *why)
{
    int on = 1, mechanism = ZMQ_NULL;
    size_t size = sizeof mechanism;
    enum status status = endpoint_parse(endpoint, address, why);
    if (status == STATUS_OK && zmq_getsockopt(socket, ZMQ_MECHANISM, &mechanism, &size) != 0)
        status =
            fail(why, STATUS_INTERNAL, "libzmq does not tell a socket's security mechanism: %s",
                 zmq_strerror(errno));
    if (status == STATUS_OK)
        status = allow(endpoint, address, mechanism == ZMQ_CURVE, why);
    if (status != STATUS_OK)
        return status;
    if (endpoint->ipv6 && zmq_setsockopt(socket, ZMQ_IPV6, &on, sizeof on) != 0)
        return fail(why, STATUS_INTERNAL, "libzmq refuses IPV6: %s", zmq_strerror(errno));
    spell(spelled, endpoint);
    return STATUS_OK;
}

enum status net_bind(void *socket, const char *address, char bound[NET_ADDRESS_MAX],
                     struct error *why)
{
    char spelled[NET_ADDRESS_MAX];
    struct endpoint endpoint = {.port = 0};
    size_t size = NET_ADDRESS_MAX;
    enum status status = get_ready(socket, address, &endpoint, spelled, why);
    if (status != STATUS_OK)
        return status;
    if (zmq_bind(socket, spelled) != 0)
        return fail(
            why, STATUS_UNAVAILABLE, "cannot listen on %s: %s%s", address, zmq_strerror(errno),
            errno == EADDRINUSE ? "; end the program that uses it or choose another port" : "");
    if (bound && zmq_getsockopt(socket, ZMQ_LAST_ENDPOINT, bound, &size) != 0)
        return fail(why, STATUS_INTERNAL, "libzmq does not tell the address it bound: %s",
                    zmq_strerror(errno));
    return STATUS_OK;
}

enum status net_connect(void *socket, const char *address, struct error *why)
{
    char spelled[NET_ADDRESS_MAX];
    struct endpoint endpoint = {.port = 0};
    enum status status = get_ready(socket, address, &endpoint, spelled, why);
    if (status != STATUS_OK)
        return status;
    if (endpoint.port == 0)
        return fail(why, STATUS_INVALID, "address '%s': expected the port to connect to", address);
    if (zmq_connect(socket, spelled) != 0)
        return fail(why, STATUS_INTERNAL, "cannot connect to %s: %s", address, zmq_strerror(errno));
    return STATUS_OK;
}

/* --- peers --- */
int net_peer_fd(zmq_msg_t *frame)
{
    return zmq_msg_get(frame, ZMQ_SRCFD);
}

static struct tcp_info tcp_info(int fd)
{
    struct tcp_info info = {0};
    socklen_t size = sizeof info;
    if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &size) != 0)
        return (struct tcp_info){0};
    return info;
}

uint64_t net_received(int fd)
{
    return tcp_info(fd).tcpi_bytes_received;
}

uint64_t net_delivered(int fd)
{
    return tcp_info(fd).tcpi_bytes_acked;
}

char *net_peer_address(int fd, char into[static NET_PEER_SIZE])
{
    struct sockaddr_storage peer;
    socklen_t size = sizeof peer;
    char host[INET6_ADDRSTRLEN], port[8];
    into[0] = '\0';
    if (fd >= 0 && getpeername(fd, (struct sockaddr *)&peer, &size) == 0 &&
        getnameinfo((struct sockaddr *)&peer, size, host, sizeof host, port, sizeof port,
                    NI_NUMERICHOST | NI_NUMERICSERV) == 0)
        snprintf(into, NET_PEER_SIZE, strchr(host, ':') ? "[%s]:%s" : "%s:%s", host, port);
    return into;
}

void net_kick(int fd)
{
    if (fd >= 0 && shutdown(fd, SHUT_RDWR) != 0)
        return; /* gone already: what we wanted */
}

struct net_monitor {
    void *watched; /* the socket whose events come; not ours */
    void *pair;    /* where they come */
};

static const struct {
    uint16_t zmq;
    enum net_event_kind kind;
} kinds[] = {
    {ZMQ_EVENT_ACCEPTED, NET_ACCEPTED},
    {ZMQ_EVENT_CONNECTED, NET_CONNECTED},
    {ZMQ_EVENT_DISCONNECTED, NET_DISCONNECTED},
    {ZMQ_EVENT_ACCEPT_FAILED, NET_ACCEPT_FAILED},
    {ZMQ_EVENT_CONNECT_RETRIED, NET_RETRYING},
    {ZMQ_EVENT_HANDSHAKE_FAILED_AUTH, NET_REFUSED},
    {ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL, NET_NO_HANDSHAKE},
    {ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL, NET_NO_HANDSHAKE},
};

enum status net_monitor_open(struct net_monitor **out, void *context, void *socket,
                             struct error *why)
{
    struct net_monitor *self = xcalloc(1, sizeof *self);
    char *address = xasprintf("inproc://monitor-%016" PRIx64, random_u64());
    int events = 0, none = 0;
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++)
        events |= kinds[i].zmq;
    self->watched = socket;
    bool made = zmq_socket_monitor(socket, address, events) == 0 &&
                (self->pair = zmq_socket(context, ZMQ_PAIR)) != NULL &&
                zmq_setsockopt(self->pair, ZMQ_LINGER, &none, sizeof none) == 0 &&
                /* Unlimited: libzmq's thread would wait for us with a lock that closing needs. */
                zmq_setsockopt(self->pair, ZMQ_RCVHWM, &none, sizeof none) == 0 &&
                zmq_connect(self->pair, address) == 0;
    free(address);
    *out = self;
    if (made)
        return STATUS_OK;
    fail(why, STATUS_INTERNAL, "connections cannot be watched: %s", zmq_strerror(errno));
    net_monitor_close(out);
    return STATUS_INTERNAL;
}

void net_monitor_close(struct net_monitor **self)
{
    if (!*self)
        return;
    zmq_socket_monitor((*self)->watched, NULL, 0);
    if ((*self)->pair)
        zmq_close((*self)->pair);
    free(*self);
    *self = NULL;
}

void *net_monitor_socket(const struct net_monitor *self)
{
    return self->pair;
}

/* An event is two frames: u16 kind and u32 value (a descriptor or errno), then the address. */
bool net_monitor_next(struct net_monitor *self, struct net_event *event)
{
    uint8_t frame[6];
    uint8_t rest[NET_ADDRESS_MAX];
    uint16_t kind;
    uint32_t value;
    for (;;) {
        int got = zmq_recv(self->pair, frame, sizeof frame, ZMQ_DONTWAIT);
        if (got < 0)
            return false;
        int more = 0;
        size_t size = sizeof more;
        while (zmq_getsockopt(self->pair, ZMQ_RCVMORE, &more, &size) == 0 && more)
            if (zmq_recv(self->pair, rest, sizeof rest, ZMQ_DONTWAIT) < 0)
                return false;
        if (got != (int)sizeof frame)
            continue;
        memcpy(&kind, frame, sizeof kind);
        memcpy(&value, frame + 2, sizeof value);
        for (size_t i = 0; i < ARRAY_LEN(kinds); i++)
            if (kinds[i].zmq == kind) {
                *event = (struct net_event){.kind = kinds[i].kind, .fd = (int)value};
                return true;
            }
    }
}
