/* sim_zmq - libzmq's sockets, as far as the programs use them; messages are libzmq's own
 *
 * These definitions take the place of the library's. Calls never block: time passes between turns,
 * not inside them. */
#include "tests/sim/sim_net.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void *zmq_ctx_new(void)
{
    return sim_it->net;
}

int zmq_ctx_set(void *context, int option, int value)
{
    (void)context, (void)option, (void)value;
    return 0;
}

int zmq_ctx_term(void *context)
{
    (void)context;
    return 0;
}

void *zmq_socket(void *context, int type)
{
    struct net *net = context;
    struct socket *self = xcalloc(1, sizeof *self);
    self->net = net;
    self->process = net->sim->current;
    self->type = type;
    STAILQ_INIT(&self->inbox);
    STAILQ_INIT(&self->outbox);
    LIST_INSERT_HEAD(&net->sockets, self, link);
    return self;
}

int zmq_close(void *socket)
{
    struct socket *self = socket;
    net_close(self->net, self);
    return 0;
}

int zmq_setsockopt(void *socket, int option, const void *value, size_t size)
{
    (void)socket, (void)option, (void)value, (void)size;
    return 0;
}

int zmq_getsockopt(void *socket, int option, void *value, size_t *size)
{
    struct socket *self = socket;
    int *number = value;
    if (option == ZMQ_LAST_ENDPOINT) {
        snprintf(value, *size, "tcp://127.0.0.1:%u", self->port);
        return 0;
    }
    *number = 0; /* also ZMQ_MECHANISM: ZMQ_NULL, and ZMQ_RCVMORE of a monitor */
    if (option == ZMQ_TYPE)
        *number = self->type;
    else if (option == ZMQ_FD)
        *number = -1;
    else if (option == ZMQ_EVENTS)
        *number = self->reading || !STAILQ_EMPTY(&self->inbox) ? ZMQ_POLLIN : 0;
    return 0;
}

static uint32_t port_of(const char *address)
{
    const char *colon = strrchr(address, ':');
    return colon ? (uint32_t)strtoul(colon + 1, NULL, 10) : 0;
}

int zmq_bind(void *socket, const char *address)
{
    struct socket *self = socket, *other;
    uint32_t port = port_of(address);
    LIST_FOREACH(other, &self->net->sockets, link)
    if (other->port == port && other->type == ZMQ_ROUTER && !other->dead) {
        errno = EADDRINUSE;
        return -1;
    }
    self->port = port;
    return 0;
}

int zmq_unbind(void *socket, const char *address)
{
    (void)address;
    ((struct socket *)socket)->port = 0;
    return 0;
}

/* --- monitors -----------------------------------------------------------------------------------
 */

int zmq_socket_monitor(void *socket, const char *address, int events)
{
    struct socket *self = socket;
    (void)events;
    if (self->monitor)
        self->monitor->watched = NULL;
    self->monitor = NULL;
    snprintf(self->watch_at, sizeof self->watch_at, "%s", address ? address : "");
    return 0;
}

static void watch(struct socket *self, const char *address)
{
    struct socket *other;
    LIST_FOREACH(other, &self->net->sockets, link)
    if (strcmp(other->watch_at, address) == 0) {
        other->monitor = self;
        self->watched = other;
    }
}

int zmq_connect(void *socket, const char *address)
{
    struct socket *self = socket;
    if (self->type == ZMQ_PAIR) {
        watch(self, address);
        return 0;
    }
    self->port = port_of(address);
    net_dial(self->net, self);
    return 0;
}

/* Of a monitor: two octets of kind, four of a descriptor. */
int zmq_recv(void *socket, void *into, size_t size, int flags)
{
    struct socket *self = socket;
    (void)flags;
    if (self->notes_len == 0 || size < 6) {
        errno = EAGAIN;
        return -1;
    }
    struct note note = self->notes[0];
    memmove(self->notes, self->notes + 1, --self->notes_len * sizeof note);
    memcpy(into, &note.kind, sizeof note.kind);
    memcpy((uint8_t *)into + 2, &note.fd, sizeof note.fd);
    return 6;
}

int zmq_poll(zmq_pollitem_t *items, int len, long timeout_ms)
{
    (void)items, (void)len, (void)timeout_ms;
    return 0;
}

/* --- messages ----------------------------------------------------------------------------------
 */

static int add_frame(struct socket *self, zmq_msg_t *frame, int flags)
{
    struct net *net = self->net;
    assert(!net->building || net->building == self);
    assert(net->frames_len < FRAMES_MAX);
    zmq_msg_init(&net->frames[net->frames_len]);
    zmq_msg_move(&net->frames[net->frames_len++], frame);
    net->building = self;
    if (flags & ZMQ_SNDMORE)
        return 0;
    size_t len = net->frames_len;
    net->building = NULL;
    net->frames_len = 0;
    if (net_send(net, self, net->frames, len))
        return 0;
    errno = EHOSTUNREACH;
    return -1;
}

int zmq_msg_send(zmq_msg_t *frame, void *socket, int flags)
{
    int size = (int)zmq_msg_size(frame);
    return add_frame(socket, frame, flags) == 0 ? size : -1;
}

int zmq_send(void *socket, const void *bytes, size_t size, int flags)
{
    zmq_msg_t frame;
    zmq_msg_init_size(&frame, size);
    if (size > 0)
        memcpy(zmq_msg_data(&frame), bytes, size);
    return add_frame(socket, &frame, flags) == 0 ? (int)size : -1;
}

static bool next_parcel(struct socket *self)
{
    if (self->reading)
        return true;
    self->reading = STAILQ_FIRST(&self->inbox);
    if (!self->reading)
        return false;
    STAILQ_REMOVE_HEAD(&self->inbox, link);
    self->read_at = 0;
    if (self->type == ZMQ_DEALER)
        self->read_at = 1; /* the place of the route */
    return true;
}

int zmq_msg_recv(zmq_msg_t *frame, void *socket, int flags)
{
    struct socket *self = socket;
    (void)flags;
    if (!next_parcel(self)) {
        errno = EAGAIN;
        return -1;
    }
    struct parcel *parcel = self->reading;
    if (self->read_at == 0) {
        uint32_t route = parcel->conn->route;
        zmq_msg_close(frame);
        zmq_msg_init_size(frame, ROUTE_BYTES);
        uint8_t *at = zmq_msg_data(frame);
        at[0] = 0;
        memcpy(at + 1, &route, sizeof route);
    } else {
        zmq_msg_move(frame, &parcel->frames[self->read_at - 1]);
    }
    self->net->fd = parcel->conn->fd;
    self->net->more = ++self->read_at <= parcel->len;
    if (!self->net->more) {
        net_free(parcel);
        self->reading = NULL;
    }
    return (int)zmq_msg_size(frame);
}

int zmq_msg_more(const zmq_msg_t *frame)
{
    (void)frame; /* it is always the one received last that is asked about */
    return sim_it->net->more;
}

int zmq_msg_get(const zmq_msg_t *frame, int property)
{
    (void)frame;
    return property == ZMQ_SRCFD ? sim_it->net->fd : 0;
}

const char *zmq_msg_gets(const zmq_msg_t *frame, const char *property)
{
    (void)frame, (void)property;
    errno = EINVAL;
    return NULL;
}
