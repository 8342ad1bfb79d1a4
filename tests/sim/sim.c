/* sim - virtual time, faults, and the checks at the end */
#include "tests/sim/sim.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TURN_MS  10  /* how often a peer looks at its clock */
#define TICK_MS  7   /* how often the broker does when nothing comes */
#define FAULT_MS 150 /* mean time between two faults */

/* --- chance, time, reports
 * ------------------------------------------------------------------------ */

uint64_t sim_random(struct sim *self, uint64_t below)
{
    self->random += UINT64_C(0x9e3779b97f4a7c15); /* SplitMix64 */
    uint64_t z = self->random;
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return below ? (z ^ (z >> 31)) % below : 0;
}

bool sim_chance(struct sim *self, uint64_t in)
{
    return sim_random(self, in) == 0;
}

void sim_violate(struct sim *self, const char *format, ...)
{
    va_list args;
    if (self->violation[0])
        return;
    va_start(args, format);
    vsnprintf(self->violation, sizeof(self->violation), format, args);
    va_end(args);
}

void sim_note(struct sim *self, const char *format, ...)
{
    va_list args;
    char *line = self->trace[self->traced++ % ARRAY_LEN(self->trace)];
    int used = snprintf(line, sizeof(self->trace[0]), "%10.3f ms  ", (double)self->now_ns / 1e6);
    va_start(args, format);
    vsnprintf(line + used, sizeof(self->trace[0]) - (size_t)used, format, args);
    va_end(args);
}

void sim_print_trace(const struct sim *self)
{
    uint64_t len = MIN(self->traced, ARRAY_LEN(self->trace));
    for (uint64_t i = self->traced - len; i < self->traced; i++)
        fprintf(stderr, "%s\n", self->trace[i % ARRAY_LEN(self->trace)]);
}

static bool before(const struct event *a, const struct event *b)
{
    return a->when_ns != b->when_ns ? a->when_ns < b->when_ns : a->order < b->order;
}

void sim_at(struct sim *self, uint64_t when_ns, struct event event)
{
    if (self->heap_len == self->heap_room) {
        self->heap_room = MAX(self->heap_room * 2, 1024);
        self->heap = xrealloc(self->heap, self->heap_room * sizeof(struct event));
    }
    event.when_ns = when_ns;
    event.order = self->orders++;
    size_t at = self->heap_len++;
    for (; at > 0 && before(&event, &self->heap[(at - 1) / 2]); at = (at - 1) / 2)
        self->heap[at] = self->heap[(at - 1) / 2];
    self->heap[at] = event;
}

static struct event next_event(struct sim *self)
{
    struct event first = self->heap[0], last = self->heap[--self->heap_len];
    size_t at = 0;
    for (size_t child = 1; child < self->heap_len; child = 2 * at + 1) {
        if (child + 1 < self->heap_len && before(&self->heap[child + 1], &self->heap[child]))
            child++;
        if (!before(&self->heap[child], &last))
            break;
        self->heap[at] = self->heap[child];
        at = child;
    }
    self->heap[at] = last;
    return first;
}

/* --- life
 * ------------------------------------------------------------------------------------------ */

static void birth(struct sim *self, uint32_t index)
{
    sim_note(self, "peer %u starts", index);
    if (index < GATEWAYS)
        gateway_birth(self, &self->gateways[index]);
    else
        worker_birth(self, &self->workers[index - GATEWAYS]);
}

struct sim *sim_new(uint64_t seed, enum sim_mutation mutation)
{
    struct sim *self = xcalloc(1, sizeof(*self));
    self->seed = self->random = seed;
    self->mutation = mutation;
    self->now_ns = 1000 * MS;
    self->conns = xcalloc(CONNS_MAX, sizeof(struct conn_sim));
    self->conns_len = 1; /* 0 is no connection */
    broker_birth(self);
    for (uint32_t i = 0; i < PEERS; i++) {
        struct peer *peer = sim_peer(self, i);
        peer->index = i;
        for (size_t k = 0; k < sizeof(peer->uuid.bytes); k++)
            peer->uuid.bytes[k] = (uint8_t)sim_random(self, 256);
        birth(self, i);
        sim_at(self, self->now_ns + sim_random(self, TURN_MS * MS),
               (struct event){.kind = AT_PEER, .peer = i});
    }
    sim_at(self, self->now_ns, (struct event){.kind = AT_TICK});
    sim_at(self, self->now_ns + FAULT_MS * MS, (struct event){.kind = AT_FAULT});
    return self;
}

void sim_destroy(struct sim **self_p)
{
    struct sim *self = *self_p;
    if (!self)
        return;
    if (self->core)
        broker_death(self);
    for (size_t i = 0; i < self->heap_len; i++)
        if (self->heap[i].kind == AT_MESSAGE)
            net_free(self->heap[i].message);
    for (size_t i = 0; i < GATEWAYS; i++)
        free(self->gateways[i].ledger);
    free(self->heap);
    free(self->conns);
    free(self);
    *self_p = NULL;
}

/* --- faults
 * ---------------------------------------------------------------------------------------- */

static void kill_peer(struct sim *self, uint32_t index)
{
    struct peer *peer = sim_peer(self, index);
    if (!peer->alive)
        return;
    sim_note(self, "peer %u is killed", index);
    peer->alive = false;
    peer_down(self, peer);
    /* Sometimes it stays away longer than its tasks are kept. */
    uint64_t away_ms = sim_chance(self, 10) ? 5000 : sim_random(self, 600);
    sim_at(self, self->now_ns + away_ms * MS, (struct event){.kind = AT_REBIRTH, .peer = index});
}

static void kill_broker(struct sim *self)
{
    if (!self->core)
        return;
    sim_note(self, "the broker is killed");
    broker_death(self);
    for (uint32_t i = 0; i < PEERS; i++)
        if (sim_peer(self, i)->state != LINK_OFF && !sim_chance(self, 4))
            peer_dial(self, sim_peer(self, i), sim_random(self, 100));
    sim_at(self, self->now_ns + sim_random(self, 800) * MS, (struct event){.kind = AT_BROKER});
}

static void fault(struct sim *self)
{
    uint32_t any = (uint32_t)sim_random(self, PEERS);
    uint64_t roll = sim_random(self, 100);
    self->faults++;
    if (roll < 30) {
        kill_peer(self, GATEWAYS + (uint32_t)sim_random(self, WORKERS));
    } else if (roll < 40) {
        kill_peer(self, (uint32_t)sim_random(self, GATEWAYS));
    } else if (roll < 47) {
        kill_broker(self);
    } else if (roll < 70) {
        sim_note(self, "peer %u's connections break", any);
        if (sim_peer(self, any)->alive)
            peer_dial(self, sim_peer(self, any), sim_random(self, 50));
    } else if (roll < 90) {
        self->cut_ns[any] = self->now_ns + sim_random(self, 900) * MS;
        self->cut_ways[any] = 1 + (uint32_t)sim_random(self, 3);
        sim_note(self, "peer %u is cut off, ways %u", any, self->cut_ways[any]);
    } else {
        self->stalled_ns = self->now_ns + sim_random(self, 700) * MS;
        sim_note(self, "the broker stands still");
    }
}

/* --- a step
 * ---------------------------------------------------------------------------------------- */

static void to_broker(struct sim *self, struct message *message)
{
    struct conn_sim *conn = &self->conns[message->conn];
    /* The broker's machine resets what was sent to the one that died. */
    if (self->core && conn->known && message->conn >= self->broker_born)
        broker_hears(self, message);
    else if (self->core && conn->open)
        net_say(self, message->conn, false, net_message(SAY_ERROR));
    net_free(message);
}

static void to_peer(struct sim *self, struct message *message)
{
    const struct conn_sim *conn = &self->conns[message->conn];
    struct peer *peer = sim_peer(self, conn->peer);
    if (conn->open && peer->alive && !peer_hears(self, peer, message)) {
        if (peer->index < GATEWAYS)
            gateway_hears(self, &self->gateways[peer->index], message);
        else
            worker_hears(self, &self->workers[peer->index - GATEWAYS], message);
    }
    net_free(message);
}

static void turn(struct sim *self, uint32_t index)
{
    if (sim_peer(self, index)->alive) {
        if (index < GATEWAYS)
            gateway_turn(self, &self->gateways[index]);
        else
            worker_turn(self, &self->workers[index - GATEWAYS]);
    }
    sim_at(self, self->now_ns + TURN_MS * MS, (struct event){.kind = AT_PEER, .peer = index});
}

static void handle(struct sim *self, struct event *event)
{
    switch (event->kind) {
    case AT_MESSAGE:
        (event->message->to_broker ? to_broker : to_peer)(self, event->message);
        break;
    case AT_CLOSED:
        self->conns[event->conn].known = false;
        if (self->core && event->conn >= self->broker_born)
            broker_closed(self, event->conn);
        break;
    case AT_PEER:
        turn(self, event->peer);
        break;
    case AT_TICK:
        if (self->core)
            broker_tick(self);
        sim_at(self, self->now_ns + TICK_MS * MS, (struct event){.kind = AT_TICK});
        break;
    case AT_FAULT:
        if (!self->calm) {
            fault(self);
            sim_at(self, self->now_ns + sim_random(self, 2 * FAULT_MS * MS),
                   (struct event){.kind = AT_FAULT});
        }
        break;
    case AT_REBIRTH:
        self->restarts++;
        birth(self, event->peer);
        break;
    case AT_BROKER:
        sim_note(self, "the broker starts");
        self->restarts++;
        broker_birth(self);
        break;
    }
}

static bool is_brokers(const struct event *event)
{
    return event->kind == AT_TICK || event->kind == AT_CLOSED ||
           (event->kind == AT_MESSAGE && event->message->to_broker);
}

bool sim_step(struct sim *self)
{
    struct event event = next_event(self);
    self->now_ns = event.when_ns;
    if (is_brokers(&event) && self->now_ns < self->stalled_ns)
        sim_at(self, self->stalled_ns, event); /* in the same order as they came */
    else
        handle(self, &event);
    return self->violation[0] == '\0';
}

/* --- the end
 * --------------------------------------------------------------------------------------- */

static uint64_t open_tasks(const struct sim *self)
{
    uint64_t open = 0;
    for (size_t i = 0; i < GATEWAYS; i++)
        open += self->gateways[i].open;
    return open;
}

static uint64_t held_tasks(const struct sim *self)
{
    uint64_t held = 0;
    for (size_t i = 0; i < WORKERS; i++)
        held += self->workers[i].held_len;
    return held;
}

/* For the report: what is open, and who holds it. */
static void note_open(struct sim *self)
{
    for (uint32_t i = 0; i < GATEWAYS; i++)
        for (uint64_t n = self->gateways[i].first; n < self->gateways[i].next; n++) {
            const struct entry *entry = &self->gateways[i].ledger[n];
            if (entry->state == TASK_PROMISED)
                sim_note(self, "open: %u/%" PRIu64 " sent %d accepted %d attempt %u crashes %u", i,
                         n, entry->sent, entry->accepted, entry->attempt, entry->crashes);
        }
    for (uint32_t i = 0; i < WORKERS; i++)
        for (size_t k = 0; k < self->workers[i].held_len; k++)
            sim_note(self, "held by %u: %u/%" PRIu64 " state %d", i + GATEWAYS,
                     self->workers[i].held[k].item.gateway, self->workers[i].held[k].item.number,
                     (int)self->workers[i].held[k].state);
}

static void check_ledgers(struct sim *self)
{
    for (uint32_t i = 0; i < GATEWAYS; i++)
        for (uint64_t n = 1; n < self->gateways[i].next; n++) {
            const struct entry *entry = &self->gateways[i].ledger[n];
            uint32_t expected = entry->state == TASK_CANCELLED ? 0 : 1;
            if (entry->commits != expected)
                sim_violate(self, "task %u/%" PRIu64 " has %u results, expected %u", i, n,
                            entry->commits, expected);
        }
}

bool sim_settle(struct sim *self, uint64_t limit_ms)
{
    self->calm = true;
    for (uint32_t i = 0; i < PEERS; i++)
        self->cut_ns[i] = 0;
    uint64_t end_ns = self->now_ns + limit_ms * MS;
    while (self->now_ns < end_ns && sim_step(self))
        if (open_tasks(self) == 0 && held_tasks(self) == 0 && self->core && core_idle(self->core) &&
            core_done(self->core) == 0)
            break;
    note_open(self);
    if (open_tasks(self) > 0)
        sim_violate(self, "%" PRIu64 " promised tasks have no result", open_tasks(self));
    if (held_tasks(self) > 0)
        sim_violate(self, "workers still hold %" PRIu64 " tasks", held_tasks(self));
    if (!self->core || !core_idle(self->core) || core_done(self->core) > 0)
        sim_violate(self, "the broker still holds tasks");
    check_ledgers(self);
    if (self->core)
        broker_death(self);
    return self->violation[0] == '\0';
}

uint64_t sim_digest(const struct sim *self)
{
    uint64_t digest = self->random ^ self->events << 32 ^ self->committed;
    for (uint32_t i = 0; i < GATEWAYS; i++)
        for (uint64_t n = 1; n < self->gateways[i].next; n++)
            digest = digest * UINT64_C(0x100000001b3) ^ self->gateways[i].ledger[n].outcome ^
                     self->gateways[i].ledger[n].attempt << 8;
    return digest;
}
