/* broker - birth, turn and death of the shell; see broker.h */
#include "broker/broker.h"

#include "broker/body.h"
#include "common/clock.h"
#include "common/limits.h"
#include "common/log.h"

#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#define FAREWELL_MS    300        /* time for the last messages to leave */
#define PROTOCOL_ERROR 0x10000000 /* ZMQ_PROTOCOL_ERROR_*: from here on; below are errnos */
#define ZERO_COPY_RECV 10 /* ZMQ_ZERO_COPY_RECV: zmq.h 4.3.4 hides it with the draft options */

/* --- start -------------------------------------------------------------------------------------
 */

/* Two connections a session, with as many again for those that come and go. */
static enum status size_up(struct broker *self, struct error *why)
{
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) != 0)
        return fail(why, STATUS_INTERNAL, "the limit of open files cannot be read");
    uint64_t room = MIN(files.rlim_cur, (rlim_t)BROKER_FDS_MAX);
    if (room < BROKER_SPARE_FDS + 8)
        return fail(why, STATUS_UNAVAILABLE,
                    "only %" PRIu64
                    " open files are allowed, at least %d are needed: raise ulimit -n",
                    room, BROKER_SPARE_FDS + 8);
    uint64_t fit = (room - BROKER_SPARE_FDS) / 2;
    if (self->limits.sessions_max > fit) {
        LOG_WARN("sessions_cut", "sessions_max=%u fit=%" PRIu64 " hint=%s",
                 self->limits.sessions_max, fit, "raise ulimit -n");
        self->limits.sessions_max = (uint32_t)fit;
    }
    self->conns_max =
        (uint32_t)MIN(room - BROKER_SPARE_FDS, (uint64_t)self->limits.sessions_max * 4);
    conns_open(&self->conns, self->conns_max * 2, (int)room);
    endless_open(&self->endless, (int)room);
    return STATUS_OK;
}

enum status broker_start(void **role, const void *params, struct daemon_run *run, struct error *why)
{
    struct broker *self = xcalloc(1, sizeof(*self));
    *role = self;
    self->params = params;
    self->run = run;
    self->uuid = id_new();
    self->limits = (struct core_limits){
#define PARAM(name, type, value, min, max, unit, help) .name = self->params->name,
#include "broker/core/limits.def"
#undef PARAM
    };
    self->out = wire_out_new();
    self->ids = taskset_make(CORE_RANGES_MAX);
    self->zmq = zmq_ctx_new();
    zmq_ctx_set(self->zmq, ZMQ_MAX_SOCKETS, 64); /* our own few; peers are not sockets */
    /* A task may wait long: its small frames must not pin the 8 KiB buffers that they came in. */
    zmq_ctx_set(self->zmq, ZERO_COPY_RECV, 0);
    enum status s = fleet_open(&self->fleet, self->params->brokers, why);
    if (s != STATUS_OK)
        return fail_in(why, "--brokers");
    s = size_up(self, why);
    if (s != STATUS_OK)
        return s;
    self->core = core_new(&self->limits, random_u64(), clock_mono_ns());
    self->watch_again = true;
    return listen_open(self, why);
}

/* --- a turn ------------------------------------------------------------------------------------
 */

static void on_accepted(struct broker *self, const struct port *port, int fd, uint64_t now_ns)
{
    self->conns.accepted++;
    conns_untie(&self->conns, fd);
    endless_came(&self->endless, fd,
                 port->kind == PORT_DATA ? ENDLESS_DATA_MAX : ENDLESS_CONTROL_MAX);
    if (self->callers && fd >= 0 && fd < self->conns.fds_max)
        net_peer_address(fd, self->callers[fd]);
    if (self->conns.accepted > self->conns_max) {
        self->counters.peers_kicked++;
        LOG_WARN("connection_refused", "max=%u", self->conns_max);
        net_kick(fd);
    } else if (port->kind == PORT_ENROL) {
        enrol_came(self, fd, now_ns);
    }
}

static void on_disconnected(struct broker *self, struct port *port, int fd, uint64_t now_ns)
{
    self->conns.accepted -= self->conns.accepted > 0 ? 1 : 0;
    endless_went(&self->endless, fd);
    if (port->kind == PORT_ENROL)
        enrol_went(self, fd);
    if (port->failed_handshake && self->callers && fd >= 0 && fd < self->conns.fds_max) {
        char *colon = strrchr(self->callers[fd], ':'); /* ports differ: one line for one host */
        self->counters.peers_refused++;
        LOG_WARN("peer_refused", "socket=%s address=%.*s reason=%s", listen_name(port->kind),
                 colon ? (int)(colon - self->callers[fd]) : 0, self->callers[fd],
                 "no CURVE key, or another server's key");
    }
    port->failed_handshake = false;
    uint64_t conn = conns_untie(&self->conns, fd);
    if (conn) {
        core_closed(self->core, now_ns, conn);
        conns_forget(&self->conns, conn);
    }
}

static void on_event(struct broker *self, struct port *port, const struct net_event *event,
                     uint64_t now_ns)
{
    switch (event->kind) {
    case NET_ACCEPTED:
        on_accepted(self, port, event->fd, now_ns);
        break;
    case NET_DISCONNECTED:
        on_disconnected(self, port, event->fd, now_ns);
        break;
    case NET_ACCEPT_FAILED:
        self->counters.accepts_failed++;
        LOG_WARN("accept_failed", "errno=%d", event->fd);
        break;
    case NET_NO_HANDSHAKE: /* its end is told next; one that only went away is no news */
        port->failed_handshake = event->fd >= PROTOCOL_ERROR;
        break;
    default: /* the ZAP handler tells of those that it refuses */
        break;
    }
}

/* Before any message is read: a HELLO that is read later came later than these events. Reading to
 * the end also arms the monitors' descriptors, which tell of a change only once. */
static void watch(struct broker *self, uint64_t now_ns)
{
    struct net_event event;
    int left = BROKER_EVENTS_MAX;
    for (size_t i = 0; i < self->ports_len; i++)
        while (left > 0 && net_monitor_next(self->ports[i].monitor, &event)) {
            on_event(self, &self->ports[i], &event, now_ns);
            left--;
        }
    self->watch_again = left == 0;
}

/* At most BROKER_BURST_MAX messages of one socket; false when the context ends. */
static bool read_burst(struct broker *self, size_t port)
{
    for (int i = 0; i < BROKER_BURST_MAX; i++) {
        enum status s = wire_recv(self->ports[port].socket, &self->in);
        if (s == STATUS_BUSY)
            return true;
        if (s == STATUS_UNAVAILABLE)
            return false;
        uint64_t now_ns = clock_mono_ns();
        if (s == STATUS_MALFORMED || self->in.type == WIRE_HELLO)
            watch(self, now_ns);
        if (s == STATUS_MALFORMED)
            broker_malformed(self, port, now_ns);
        else
            broker_take(self, port, now_ns);
    }
    return true;
}

static long wait_ms(const struct broker *self, int timeout_ms)
{
    uint64_t now_ns = clock_mono_ns();
    uint64_t next_ns = MIN(core_next_ns(self->core), endless_next_ns(&self->endless));
    if (next_ns <= now_ns)
        return 0;
    return (long)MIN((next_ns - now_ns) / NS_PER_MS + 1, (uint64_t)timeout_ms);
}

static void kick(struct broker *self, uint64_t now_ns)
{
    for (int fd; (fd = conns_next_kick(&self->conns, now_ns)) >= 0;) {
        self->counters.peers_kicked++;
        net_kick(fd);
    }
}

/* A socket's descriptor tells only that its state may have changed, once: so the state is asked for
 * before each wait, which costs less than zmq_poll's asking all of them twice. */
static bool readable(void *socket)
{
    int events = 0;
    size_t size = sizeof(events);
    return zmq_getsockopt(socket, ZMQ_EVENTS, &events, &size) == 0 && (events & ZMQ_POLLIN);
}

static int descriptor(void *socket)
{
    int fd = -1;
    size_t size = sizeof(fd);
    zmq_getsockopt(socket, ZMQ_FD, &fd, &size);
    return fd;
}

/* What a turn waits for: sockets and their monitors in the order of ports, then the two others. */
struct waiting {
    bool ready[PORTS_MAX]; /* messages are there already */
    struct pollfd fds[2 * PORTS_MAX + 2];
    bool monitors; /* events are there */
};

static void wait_for_events(struct broker *self, int timeout_ms, struct waiting *out)
{
    size_t len = self->ports_len;
    bool idle = !self->watch_again;
    *out = (struct waiting){.monitors = self->watch_again};
    for (size_t i = 0; i < len; i++) {
        out->ready[i] = readable(self->ports[i].socket);
        idle = idle && !out->ready[i];
        out->fds[2 * i] = (struct pollfd){descriptor(self->ports[i].socket), POLLIN, 0};
        out->fds[2 * i + 1] =
            (struct pollfd){descriptor(net_monitor_socket(self->ports[i].monitor)), POLLIN, 0};
    }
    out->fds[2 * len] = (struct pollfd){daemon_signal_fd(self->run), POLLIN, 0};
    out->fds[2 * len + 1] = (struct pollfd){self->zap ? zap_ended_fd(self->zap) : -1, POLLIN, 0};
    poll(out->fds, 2 * len + 2, (int)(idle ? wait_ms(self, timeout_ms) : 0));
    for (size_t i = 0; i < len; i++) {
        out->ready[i] = out->ready[i] || out->fds[2 * i].revents;
        out->monitors = out->monitors || out->fds[2 * i + 1].revents;
    }
}

enum status broker_step(void *role, int timeout_ms, struct error *why)
{
    struct broker *self = role;
    struct waiting waiting;
    wait_for_events(self, timeout_ms, &waiting);
    if (self->zap && zap_dead(self->zap, clock_mono_ns()))
        return fail(why, STATUS_INTERNAL,
                    "the ZAP handler, which decides on every CURVE handshake, has stopped: no peer "
                    "can come in any more, so this broker ends; start it again");
    if (waiting.monitors)
        watch(self, clock_mono_ns());
    for (size_t i = 0; i < self->ports_len; i++)
        if (waiting.ready[i] && !read_burst(self, i))
            return fail(why, STATUS_INTERNAL, "the sockets ended under the broker");
    uint64_t now_ns = clock_mono_ns();
    self->counters.peers_kicked += endless_look(&self->endless, &self->conns, now_ns);
    enrol_tick(self, now_ns);
    access_save(self, now_ns);
    if (fleet_changed(&self->fleet, now_ns))
        core_welcome_all(self->core);
    core_tick(self->core, now_ns);
    broker_flush(self, now_ns);
    kick(self, now_ns);
    return STATUS_OK;
}

/* --- end ---------------------------------------------------------------------------------------
 */

bool broker_drain(void *role)
{
    struct broker *self = role;
    core_drain_all(self->core);
    broker_flush(self, clock_mono_ns());
    return core_idle(self->core);
}

static void farewell(struct broker *self)
{
    const int linger_ms = FAREWELL_MS;
    core_end(self->core);
    broker_flush(self, clock_mono_ns());
    for (size_t i = 0; i < self->ports_len; i++)
        zmq_setsockopt(self->ports[i].socket, ZMQ_LINGER, &linger_ms, sizeof(linger_ms));
}

void broker_stop(void **role)
{
    struct broker *self = *role;
    if (!self)
        return;
    if (self->core && self->ports_len > 1)
        farewell(self);
    access_save(self, UINT64_MAX);
    core_destroy(&self->core, body_free);
    wire_in_clear(&self->in);
    wire_out_destroy(&self->out);
    listen_close(self);
    if (self->zmq)
        zmq_ctx_term(self->zmq);
    conns_close(&self->conns);
    endless_close(&self->endless);
    sets_free(&self->sets);
    taskset_free(&self->ids);
    free(self->gone);
    free(self);
    *role = NULL;
}
