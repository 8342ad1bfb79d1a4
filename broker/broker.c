/* broker - birth, turn and death of the shell; see broker.h */
#include "broker/broker.h"

#include "broker/body.h"
#include "common/clock.h"
#include "common/log.h"

#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>

#define BURST_MAX      256   /* messages taken from one socket in one turn */
#define EVENTS_MAX     1024  /* connections' events taken in one turn: failing accepts may flood */
#define SPARE_FDS      64    /* for everything that is not a connection */
#define FDS_MAX        65536 /* descriptors that are remembered */
#define FAREWELL_MS    300   /* time for the last messages to leave */
#define ZERO_COPY_RECV 10    /* ZMQ_ZERO_COPY_RECV: zmq.h 4.3.4 hides it with the draft options */

/* --- start -------------------------------------------------------------------------------------
 */

/* Two connections a session, with as many again for those that come and go. */
static enum status size_up(struct broker *self, struct error *why)
{
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) != 0)
        return fail(why, STATUS_INTERNAL, "the limit of open files cannot be read");
    uint64_t room = MIN(files.rlim_cur, (rlim_t)FDS_MAX);
    if (room < SPARE_FDS + 8)
        return fail(why, STATUS_UNAVAILABLE,
                    "only %" PRIu64
                    " open files are allowed, at least %d are needed: raise ulimit -n",
                    room, SPARE_FDS + 8);
    uint64_t fit = (room - SPARE_FDS) / 2;
    if (self->limits.sessions_max > fit) {
        LOG_WARN("sessions_cut", "sessions_max=%u fit=%" PRIu64 " hint=%s",
                 self->limits.sessions_max, fit, "raise ulimit -n");
        self->limits.sessions_max = (uint32_t)fit;
    }
    self->conns_max = (uint32_t)MIN(room - SPARE_FDS, (uint64_t)self->limits.sessions_max * 4);
    conns_open(&self->conns, self->conns_max * 2, (int)room);
    return STATUS_OK;
}

static enum status bind_one(struct broker *self, enum wire_plane plane, const char *name,
                            const char *address, char bound[NET_ADDRESS_MAX], struct error *why)
{
    size_t frame_max = plane == WIRE_CONTROL ? NET_FRAME_MAX_CONTROL : NET_FRAME_MAX_DATA;
    self->sockets[plane] = zmq_socket(self->zmq, ZMQ_ROUTER);
    if (!self->sockets[plane])
        return fail(why, STATUS_INTERNAL, "no socket: %s", zmq_strerror(zmq_errno()));
    enum status s = net_options(self->sockets[plane], NET_BIND, frame_max, why);
    if (s == STATUS_OK)
        s = net_monitor_open(&self->monitors[plane], self->zmq, self->sockets[plane], why);
    if (s == STATUS_OK)
        s = net_bind(self->sockets[plane], address, bound, why);
    if (s == STATUS_OK)
        daemon_endpoint(self->run, name, bound);
    return s;
}

static enum status bind_both(struct broker *self, struct error *why)
{
    char address[NET_ADDRESS_MAX + 16], bound[NET_ADDRESS_MAX];
    struct endpoint endpoint;
    enum status s = endpoint_parse(&endpoint, self->params->listen, why);
    if (s == STATUS_OK)
        s = bind_one(self, WIRE_CONTROL, "control", self->params->listen, bound, why);
    if (s != STATUS_OK)
        return s;
    snprintf(address, sizeof(address), endpoint.ipv6 ? "tcp://[%s]:%u" : "tcp://%s:%u",
             endpoint.host, self->params->data_port);
    s = bind_one(self, WIRE_DATA, "data", address, bound, why);
    if (s == STATUS_OK)
        s = endpoint_parse(&endpoint, bound, why);
    self->data_port = endpoint.port;
    return s;
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
    enum status s = size_up(self, why);
    if (s != STATUS_OK)
        return s;
    self->core = core_new(&self->limits, random_u64(), clock_mono_ns());
    self->watch_again = true;
    return bind_both(self, why);
}

/* --- a turn ------------------------------------------------------------------------------------
 */

static void on_event(struct broker *self, const struct net_event *event, uint64_t now_ns)
{
    uint64_t conn = 0;
    switch (event->kind) {
    case NET_ACCEPTED:
        self->conns.accepted++;
        conns_untie(&self->conns, event->fd);
        if (self->conns.accepted > self->conns_max) {
            self->counters.peers_kicked++;
            LOG_WARN("connection_refused", "max=%u", self->conns_max);
            net_kick(event->fd);
        }
        break;
    case NET_DISCONNECTED:
        self->conns.accepted -= self->conns.accepted > 0 ? 1 : 0;
        conn = conns_untie(&self->conns, event->fd);
        if (conn) {
            core_closed(self->core, now_ns, conn);
            conns_forget(&self->conns, conn);
        }
        break;
    case NET_ACCEPT_FAILED:
        self->counters.accepts_failed++;
        LOG_WARN("accept_failed", "errno=%d", event->fd);
        break;
    default: /* events of a connecting side */
        break;
    }
}

/* Before any message is read: a HELLO that is read later came later than these events. Reading to
 * the end also arms the monitors' descriptors, which tell of a change only once. */
static void watch(struct broker *self, uint64_t now_ns)
{
    struct net_event event;
    int left = EVENTS_MAX;
    for (int plane = 0; plane < 2; plane++)
        while (left > 0 && net_monitor_next(self->monitors[plane], &event)) {
            on_event(self, &event, now_ns);
            left--;
        }
    self->watch_again = left == 0;
}

/* At most BURST_MAX messages of one socket; false when the context ends. */
static bool read_burst(struct broker *self, enum wire_plane plane)
{
    for (int i = 0; i < BURST_MAX; i++) {
        enum status s = wire_recv(self->sockets[plane], &self->in);
        if (s == STATUS_BUSY)
            return true;
        if (s == STATUS_UNAVAILABLE)
            return false;
        uint64_t now_ns = clock_mono_ns();
        if (s == STATUS_MALFORMED || self->in.type == WIRE_HELLO)
            watch(self, now_ns);
        if (s == STATUS_MALFORMED)
            broker_malformed(self, plane, now_ns);
        else
            broker_take(self, plane, now_ns);
    }
    return true;
}

static long wait_ms(const struct broker *self, int timeout_ms)
{
    uint64_t now_ns = clock_mono_ns(), next_ns = core_next_ns(self->core);
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

enum status broker_step(void *role, int timeout_ms, struct error *why)
{
    struct broker *self = role;
    bool ready[2] = {readable(self->sockets[WIRE_CONTROL]), readable(self->sockets[WIRE_DATA])};
    bool idle = !ready[WIRE_CONTROL] && !ready[WIRE_DATA] && !self->watch_again;
    long wait = idle ? wait_ms(self, timeout_ms) : 0;
    struct pollfd fds[5] = {
        {descriptor(self->sockets[WIRE_CONTROL]), POLLIN, 0},
        {descriptor(self->sockets[WIRE_DATA]), POLLIN, 0},
        {descriptor(net_monitor_socket(self->monitors[WIRE_CONTROL])), POLLIN, 0},
        {descriptor(net_monitor_socket(self->monitors[WIRE_DATA])), POLLIN, 0},
        {daemon_signal_fd(self->run), POLLIN, 0},
    };
    poll(fds, ARRAY_LEN(fds), (int)wait);
    if (fds[2].revents || fds[3].revents || self->watch_again)
        watch(self, clock_mono_ns());
    for (int plane = 0; plane < 2; plane++)
        if ((ready[plane] || fds[plane].revents) && !read_burst(self, (enum wire_plane)plane))
            return fail(why, STATUS_INTERNAL, "the sockets ended under the broker");
    uint64_t now_ns = clock_mono_ns();
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
    for (int plane = 0; plane < 2; plane++)
        if (self->sockets[plane])
            zmq_setsockopt(self->sockets[plane], ZMQ_LINGER, &linger_ms, sizeof(linger_ms));
}

void broker_stop(void **role)
{
    struct broker *self = *role;
    if (!self)
        return;
    if (self->core && self->sockets[WIRE_DATA])
        farewell(self);
    core_destroy(&self->core, body_free);
    wire_in_clear(&self->in);
    wire_out_destroy(&self->out);
    for (int plane = 0; plane < 2; plane++) {
        net_monitor_close(&self->monitors[plane]);
        if (self->sockets[plane])
            zmq_close(self->sockets[plane]);
    }
    if (self->zmq)
        zmq_ctx_term(self->zmq);
    conns_close(&self->conns);
    sets_free(&self->sets);
    taskset_free(&self->ids);
    free(self->gone);
    free(self);
    *role = NULL;
}
