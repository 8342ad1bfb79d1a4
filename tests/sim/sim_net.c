/* sim_net - connections that keep order, mostly, lose all at a break, and promise no more */
#include "tests/sim/sim_net.h"

#include "common/wire.h"

#include <stdlib.h>
#include <string.h>

#define FD_FIRST     100
#define LOSES        400  /* one message in so many vanishes, */
#define REPEATS      300  /* comes twice, */
#define OVERTAKES    2000 /* comes before those that left first, */
#define DELAYS       50   /* or is slow */
#define DELAY_US     2000
#define SLOW_US      60000
#define SILENT_ENDS  8 /* one end in so many is told to nobody: a machine that went away */
#define REDIAL_MS    200
#define KEEPALIVE_MS 30000
#define REDIALS_MAX  5
#define HEADER_BYTES 16

enum { DEALER_END, ROUTER_END };

struct net *net_new(struct sim *sim)
{
    struct net *self = xcalloc(1, sizeof *self);
    self->sim = sim;
    LIST_INIT(&self->sockets);
    return self;
}

void net_destroy(struct net **self_p)
{
    struct net *self = *self_p;
    assert(LIST_EMPTY(&self->sockets));
    free(self);
    *self_p = NULL;
}

size_t net_conns(const struct net *self)
{
    return self->conns;
}

static void drop_ref(struct conn *conn)
{
    if (conn && --conn->refs == 0)
        free(conn);
}

void net_free(struct parcel *parcel)
{
    for (size_t i = 0; i < parcel->len; i++)
        zmq_msg_close(&parcel->frames[i]);
    drop_ref(parcel->conn);
    free(parcel);
}

/* It will not arrive. */
static void lose(struct net *self, struct parcel *parcel)
{
    self->sim->totals.lost += parcel->type == WIRE_CRASHED || parcel->type == WIRE_RESULT ? 1 : 0;
    net_free(parcel);
}

static void drop_parcels(struct net *self, struct parcels *parcels)
{
    struct parcel *parcel;
    while ((parcel = STAILQ_FIRST(parcels))) {
        STAILQ_REMOVE_HEAD(parcels, link);
        lose(self, parcel);
    }
}

static void tell(struct socket *watched, uint16_t kind, int fd)
{
    struct socket *pair = watched->monitor;
    if (pair) {
        if (pair->notes_len == pair->notes_room) {
            pair->notes_room = MAX(2 * pair->notes_room, (size_t)8);
            pair->notes = xrealloc(pair->notes, pair->notes_room * sizeof *pair->notes);
        }
        pair->notes[pair->notes_len++] = (struct note){kind, fd};
    }
    sim_wake(watched->process, watched->net->sim->now_ns);
}

/* --- the ends of connections --------------------------------------------------------------------
 */

static void forget_conn(struct socket *router, const struct conn *conn)
{
    for (size_t i = 0; i < router->conns_len; i++)
        if (router->conns[i] == conn)
            router->conns[i] = router->conns[--router->conns_len];
}

/* This end has no socket any more. */
static void let_go(struct conn *conn, int end)
{
    struct socket *socket = conn->ends[end];
    if (!socket)
        return;
    if (end == ROUTER_END)
        forget_conn(socket, conn);
    else
        socket->conn = NULL;
    socket->net->conns -= conn->ends[1 - end] ? 0 : 1;
    conn->ends[end] = NULL;
    drop_ref(conn);
}

/* The end hears of it after all that was sent to it; or, when a machine is gone, by TCP's
 * keepalive.
 */
static void break_end(struct net *self, struct conn *conn, int end, bool always)
{
    struct sim *sim = self->sim;
    if (!always && sim_rough(sim) && sim_chance(sim, SILENT_ENDS))
        conn->silent = true;
    if (!conn->ends[end])
        return;
    uint64_t when_ns = MAX(conn->last_ns[end], sim->now_ns) + sim_random(sim, 5 * MS);
    if (conn->silent)
        when_ns += KEEPALIVE_MS * MS;
    conn->refs++;
    sim_at(sim, when_ns, (struct event){.kind = AT_BREAK, .thing = conn, .life = (uint64_t)end});
}

static void broken(struct conn *conn, int end)
{
    struct socket *socket = conn->ends[end];
    if (socket && !conn->told[end]) {
        conn->told[end] = true;
        tell(socket, ZMQ_EVENT_DISCONNECTED, conn->fd);
        let_go(conn, end);
        if (end == DEALER_END) {
            socket->tries = 1; /* libzmq waits before it tries again */
            net_dial(socket->net, socket);
        }
    }
    drop_ref(conn);
}

static void sever(struct net *self, struct conn *conn, int end)
{
    break_end(self, conn, 1 - end, false);
    let_go(conn, end);
}

/* --- dialing -----------------------------------------------------------------------------------
 */

static bool is_cut(const struct process *process, uint64_t now_ns, uint32_t way)
{
    return now_ns < process->cut_ns && (process->cut_ways & way);
}

static bool blocked(const struct process *from, const struct process *to, uint64_t now_ns)
{
    return is_cut(from, now_ns, 2) || is_cut(to, now_ns, 1);
}

void net_dial(struct net *self, struct socket *dealer)
{
    struct sim *sim = self->sim;
    uint64_t pause_ns = dealer->tries ? (REDIAL_MS * MS) << MIN(dealer->tries - 1, REDIALS_MAX) : 0;
    dealer->serial = ++self->serials;
    dealer->tries++;
    sim_at(sim, sim->now_ns + pause_ns + sim_random(sim, MS),
           (struct event){.kind = AT_DIAL, .life = dealer->serial});
}

static int free_fd(const struct net *self, const struct process *process)
{
    const struct socket *socket;
    for (int fd = FD_FIRST;; fd++) {
        bool used = false;
        LIST_FOREACH(socket, &self->sockets, link)
        for (size_t i = 0; socket->process == process && i < socket->conns_len; i++)
            used = used || socket->conns[i]->fd == fd;
        if (!used)
            return fd;
    }
}

static void post(struct net *self, struct conn *conn, bool to_router, struct parcel *parcel);

static void connect_to(struct net *self, struct socket *dealer, struct socket *router)
{
    struct conn *conn = xcalloc(1, sizeof *conn);
    struct parcel *parcel;
    *conn = (struct conn){.ends = {dealer, router},
                          .processes = {dealer->process, router->process},
                          .route = ++self->routes,
                          .fd = free_fd(self, router->process),
                          .refs = 2};
    dealer->conn = conn;
    dealer->tries = 0;
    router->conns[router->conns_len++] = conn;
    self->conns++;
    tell(router, ZMQ_EVENT_ACCEPTED, conn->fd);
    while ((parcel = STAILQ_FIRST(&dealer->outbox))) {
        STAILQ_REMOVE_HEAD(&dealer->outbox, link);
        post(self, conn, true, parcel);
    }
}

static void dial(struct net *self, uint64_t serial)
{
    struct socket *dealer, *router;
    uint64_t now_ns = self->sim->now_ns;
    LIST_FOREACH(dealer, &self->sockets, link)
    if (dealer->serial == serial)
        break;
    if (!dealer || dealer->dead)
        return;
    LIST_FOREACH(router, &self->sockets, link)
    if (router->type == ZMQ_ROUTER && router->port == dealer->port && !router->dead &&
        router->conns_len < ROUTER_CONNS)
        break;
    if (router && !blocked(dealer->process, router->process, now_ns) &&
        !blocked(router->process, dealer->process, now_ns))
        connect_to(self, dealer, router);
    else
        net_dial(self, dealer);
}

/* --- messages ----------------------------------------------------------------------------------
 */

static struct parcel *parcel_new(zmq_msg_t *frames, size_t len)
{
    struct parcel *self = xcalloc(1, sizeof *self + len * sizeof(zmq_msg_t));
    self->len = len;
    for (size_t i = 0; i < len; i++) {
        zmq_msg_init(&self->frames[i]);
        zmq_msg_move(&self->frames[i], &frames[i]);
    }
    if (len > 0 && zmq_msg_size(&self->frames[0]) == HEADER_BYTES)
        self->type = ((const uint8_t *)zmq_msg_data(&self->frames[0]))[5];
    return self;
}

static struct parcel *copy_of(struct parcel *parcel)
{
    struct parcel *copy = xcalloc(1, sizeof *copy + parcel->len * sizeof(zmq_msg_t));
    copy->len = parcel->len;
    copy->type = parcel->type;
    for (size_t i = 0; i < parcel->len; i++) {
        zmq_msg_init(&copy->frames[i]);
        zmq_msg_copy(&copy->frames[i], &parcel->frames[i]);
    }
    return copy;
}

static void deliver(struct net *self, struct conn *conn, bool to_router, struct parcel *parcel,
                    uint64_t not_before_ns)
{
    struct sim *sim = self->sim;
    uint64_t delay_us = sim_chance(sim, DELAYS) ? SLOW_US : DELAY_US;
    uint64_t *last_ns = &conn->last_ns[to_router ? ROUTER_END : DEALER_END];
    uint64_t when_ns = MAX(sim->now_ns, not_before_ns) + 50000 + sim_random(sim, delay_us) * 1000;
    if (when_ns > *last_ns || !sim_rough(sim) || !sim_chance(sim, OVERTAKES))
        when_ns = *last_ns = MAX(*last_ns + 1, when_ns);
    parcel->conn = conn;
    parcel->to_router = to_router;
    conn->refs++;
    sim_at(sim, when_ns, (struct event){.kind = AT_MESSAGE, .thing = parcel});
}

/* TCP repeats nothing, but what is resent or replayed must be harmless. A repeated HELLO would be
 * another session, a repeated SUBMIT or DISPATCH another use of credit. */
static bool may_repeat(const struct parcel *parcel)
{
    return parcel->type != WIRE_HELLO && parcel->type != WIRE_SUBMIT &&
           parcel->type != WIRE_INSPECT && parcel->type != WIRE_DISPATCH;
}

static void post(struct net *self, struct conn *conn, bool to_router, struct parcel *parcel)
{
    struct sim *sim = self->sim;
    int end = to_router ? ROUTER_END : DEALER_END;
    const struct process *from = conn->processes[1 - end], *to = conn->processes[end];
    bool cut = blocked(from, to, sim->now_ns);
    bool holds = from->cut_holds || to->cut_holds;
    if (!conn->ends[end] && !cut && !conn->silent)
        break_end(self, conn, 1 - end, true); /* the machine at the other end resets it */
    if (!conn->ends[end] || (cut && !holds) || (sim_rough(sim) && sim_chance(sim, LOSES))) {
        lose(self, parcel);
        return;
    }
    bool again = sim_rough(sim) && may_repeat(parcel) && sim_chance(sim, REPEATS);
    struct parcel *copy = again ? copy_of(parcel) : NULL;
    uint64_t not_before_ns = cut ? MAX(from->cut_ns, to->cut_ns) : 0;
    deliver(self, conn, to_router, parcel, not_before_ns);
    if (copy)
        deliver(self, conn, to_router, copy, not_before_ns);
}

bool net_send(struct net *self, struct socket *from, zmq_msg_t *frames, size_t len)
{
    size_t skip = from->type == ZMQ_ROUTER ? 1 : 0;
    struct conn *conn = from->conn;
    uint32_t route = 0;
    if (skip) {
        memcpy(&route, (const uint8_t *)zmq_msg_data(&frames[0]) + 1, sizeof route);
        zmq_msg_close(&frames[0]);
        for (size_t i = 0; i < from->conns_len; i++)
            if (from->conns[i]->route == route)
                conn = from->conns[i];
    }
    struct parcel *parcel = parcel_new(frames + skip, len - skip);
    if (conn && !from->dead) {
        post(self, conn, from->type == ZMQ_DEALER, parcel);
    } else if (from->type == ZMQ_DEALER && !from->dead) {
        STAILQ_INSERT_TAIL(&from->outbox, parcel, link);
    } else {
        lose(self, parcel);
        return from->dead;
    }
    return true;
}

static void arrive(struct net *self, struct parcel *parcel)
{
    struct conn *conn = parcel->conn;
    struct socket *socket = conn->ends[parcel->to_router ? ROUTER_END : DEALER_END];
    if (!socket || socket->dead) {
        lose(self, parcel);
        return;
    }
    STAILQ_INSERT_TAIL(&socket->inbox, parcel, link);
    sim_wake(socket->process, socket->net->sim->now_ns + sim_random(socket->net->sim, 200) * 1000);
}

/* --- sockets -----------------------------------------------------------------------------------
 */

static void sever_all(struct net *self, struct socket *socket)
{
    if (socket->conn)
        sever(self, socket->conn, DEALER_END);
    while (socket->conns_len > 0)
        sever(self, socket->conns[socket->conns_len - 1], ROUTER_END);
    drop_parcels(self, &socket->inbox);
    drop_parcels(self, &socket->outbox);
}

void net_close(struct net *self, struct socket *socket)
{
    sever_all(self, socket);
    if (socket->reading)
        net_free(socket->reading);
    if (socket->monitor)
        socket->monitor->watched = NULL;
    if (socket->watched)
        socket->watched->monitor = NULL;
    LIST_REMOVE(socket, link);
    free(socket->notes);
    free(socket);
}

void net_kill(struct net *self, struct process *process)
{
    struct socket *socket;
    LIST_FOREACH(socket, &self->sockets, link)
    if (socket->process == process && !socket->dead) {
        sever_all(self, socket);
        socket->dead = true;
        socket->port = 0;
    }
}

bool net_waiting(const struct net *self, const struct process *process)
{
    const struct socket *socket;
    LIST_FOREACH(socket, &self->sockets, link)
    if (socket->process == process && (!STAILQ_EMPTY(&socket->inbox) || socket->notes_len > 0))
        return true;
    return false;
}

void net_break(struct net *self, struct process *process)
{
    struct conn *chosen = NULL;
    struct socket *socket;
    uint64_t seen = 0;
    LIST_FOREACH(socket, &self->sockets, link)
    {
        if (socket->process != process)
            continue;
        if (socket->conn && sim_chance(self->sim, ++seen))
            chosen = socket->conn;
        for (size_t i = 0; i < socket->conns_len; i++)
            if (sim_chance(self->sim, ++seen))
                chosen = socket->conns[i];
    }
    if (!chosen)
        return;
    break_end(self, chosen, DEALER_END, false);
    break_end(self, chosen, ROUTER_END, false);
}

void net_shut(struct net *self, int fd)
{
    struct socket *socket;
    LIST_FOREACH(socket, &self->sockets, link)
    for (size_t i = 0; socket->process == self->sim->current && i < socket->conns_len; i++)
        if (socket->conns[i]->fd == fd) {
            break_end(self, socket->conns[i], DEALER_END, true);
            break_end(self, socket->conns[i], ROUTER_END, true);
            return;
        }
}

void net_event(struct net *self, const struct event *event)
{
    switch (event->kind) {
    case AT_MESSAGE:
        arrive(self, event->thing);
        break;
    case AT_BREAK:
        broken(event->thing, (int)event->life);
        break;
    default:
        dial(self, event->life);
        break;
    }
}

void net_discard(const struct event *event)
{
    if (event->kind == AT_MESSAGE)
        net_free(event->thing);
    else if (event->kind == AT_BREAK)
        drop_ref(event->thing);
}
