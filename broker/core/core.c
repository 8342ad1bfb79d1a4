/* core - birth, death, time and views of the broker's decisions */
#include "broker/core/state.h"

#include <stdlib.h>
#include <string.h>

#define NS_PER_MS UINT64_C(1000000)

const struct core_limits core_limits_default = {
#define PARAM(name, type, value, min, max, unit, help) .name = (value),
#include "broker/core/limits.def"
#undef PARAM
};

bool task_same(const void *owner, uint32_t id, const void *key);
bool queue_same(const void *owner, uint32_t id, const void *key);
bool flow_same(const void *owner, uint32_t id, const void *key);
bool tenant_same(const void *owner, uint32_t id, const void *key);
bool peer_same(const void *owner, uint32_t id, const void *key);
bool conn_same(const void *owner, uint32_t id, const void *key);
bool gateway_same(const void *owner, uint32_t id, const void *key);
bool orphan_same(const void *owner, uint32_t id, const void *key);

struct core *core_new(const struct core_limits *limits, uint64_t seed, uint64_t now_ns)
{
    struct core *self = xcalloc(1, sizeof(*self));
    uint32_t sessions = limits->sessions_max;
    self->magic = CORE_MAGIC;
    self->limits = *limits;
    self->seed = map_mix(seed);
    self->start_ns = self->tick_ns = self->scan_ns = now_ns;
    self->park_ns = now_ns + 2 * limits->heartbeat_ms * NS_PER_MS;
    self->tasks_room = limits->tasks_max + limits->done_max;
    self->tasks = xcalloc(self->tasks_room, sizeof(struct task));
    self->heap = xcalloc(self->tasks_room, sizeof(uint32_t));
    self->free = self->parked = list_empty();
    map_open(&self->by_id, self->tasks_room, self, task_same);
    self->queues = xcalloc(limits->queues_max, sizeof(struct queue));
    map_open(&self->by_model, limits->queues_max, self, queue_same);
    self->flows = xcalloc(limits->flows_max, sizeof(struct flow));
    map_open(&self->by_flow, limits->flows_max, self, flow_same);
    self->active = xcalloc(limits->flows_max, sizeof(uint32_t));
    self->tenants = xcalloc(limits->flows_max, sizeof(struct tenant));
    map_open(&self->by_tenant, limits->flows_max, self, tenant_same);
    self->sessions = xcalloc(sessions, sizeof(struct session));
    self->workers = xcalloc(sessions, sizeof(uint32_t));
    self->touched = xcalloc(sessions, sizeof(uint32_t));
    self->served = xcalloc(sessions, sizeof(uint32_t));
    map_open(&self->by_conn, (size_t)sessions * 2, self, conn_same);
    map_open(&self->by_peer, sessions, self, peer_same);
    self->orphans = xcalloc(self->tasks_room, sizeof(struct orphan));
    self->orphans_free = NONE;
    map_open(&self->by_orphan, self->tasks_room, self, orphan_same);
    self->gateways_room = sessions * 2;
    self->gateways = xcalloc(self->gateways_room, sizeof(struct gateway));
    map_open(&self->by_gateway, self->gateways_room, self, gateway_same);
    return self;
}

static void free_session(struct session *session)
{
    taskset_free(&session->awaited);
    free(session->models);
    free(session->warm);
}

void core_destroy(struct core **self_p, void (*release)(void *body))
{
    struct core *self = *self_p;
    if (!self)
        return;
    assert(self->magic == CORE_MAGIC);
    for (uint32_t i = 0; release && i < self->tasks_high; i++)
        if (self->tasks[i].body)
            release(self->tasks[i].body);
    for (size_t i = 0; release && i < self->out.actions_len; i++)
        if (self->out.actions[i].kind == ACTION_RELEASE)
            release(self->out.actions[i].body);
    for (uint32_t i = 0; i < self->limits.sessions_max; i++)
        if (self->sessions[i].used)
            free_session(&self->sessions[i]);
    for (uint32_t i = 0; i < self->queues_high; i++)
        queue_free(&self->queues[i]);
    map_close(&self->by_id);
    map_close(&self->by_model);
    map_close(&self->by_flow);
    map_close(&self->by_tenant);
    map_close(&self->by_conn);
    map_close(&self->by_peer);
    map_close(&self->by_gateway);
    map_close(&self->by_orphan);
    free(self->tasks);
    free(self->heap);
    free(self->queues);
    free(self->flows);
    free(self->active);
    free(self->tenants);
    free(self->sessions);
    free(self->workers);
    free(self->touched);
    free(self->served);
    free(self->gateways);
    free(self->orphans);
    free(self->out.actions);
    free(self->out.ranges);
    free(self->out.rows);
    free(self->out.chars);
    self->magic = 0;
    free(self);
    *self_p = NULL;
}

uint32_t core_idle_ms(const struct core_limits *limits)
{
    return (uint32_t)MAX(limits->idle_ms, limits->heartbeat_ms);
}

const struct core_out *core_out(const struct core *self)
{
    return &self->out;
}

void core_taken(struct core *self)
{
    self->out.actions_len = self->out.ranges_len = self->out.rows_len = self->out.chars_len = 0;
}

/* --- time --------------------------------------------------------------------------------------
 */

void core_heartbeat(struct core *self, uint64_t now_ns, uint64_t conn, const struct core_beat *beat)
{
    struct session *session = session_of(self, conn);
    if (!session)
        return;
    session_pace(self, now_ns, session, beat->next_ms);
    if (session->role == CORE_GATEWAY) {
        reconcile_awaited(self, session, beat->lists, beat->lists_len);
        return;
    }
    session->running = beat->running;
    session->waiting = beat->waiting;
    if (beat->models &&
        (session_models(session, beat->models, beat->models_len) || session->unlisted))
        queues_meet(self, now_ns, session_slot(self, session));
    reconcile_held(self, now_ns, session, beat->lists, beat->lists_len);
    reconcile_sweep(self, now_ns, session, lists_cut(beat->lists, beat->lists_len));
}

/* A broker that stood still must not take its own silence for the peers': what they sent meanwhile
 * is still unread, so nobody expires for two rounds of heartbeats. */
static void note_stall(struct core *self, uint64_t now_ns)
{
    uint64_t beat_ns = self->limits.heartbeat_ms * NS_PER_MS;
    if (now_ns - self->tick_ns > beat_ns) {
        self->counters.stalls++;
        self->freeze_ns = now_ns + 2 * beat_ns;
    }
    self->tick_ns = now_ns;
}

void core_tick(struct core *self, uint64_t now_ns)
{
    note_stall(self, now_ns);
    deadlines_pass(self, now_ns);
    if (now_ns >= self->scan_ns) {
        self->scan_ns = now_ns + self->limits.heartbeat_ms * NS_PER_MS / SCAN_FRACTION;
        sessions_scan(self, now_ns);
        if (self->parked.len > 0 && now_ns >= self->park_ns)
            parked_release(self, now_ns);
        queues_cool(self);
        ranks_scan(self, now_ns);
        self->dirty = true; /* pauses and refusals end with time */
    }
    schedule(self, now_ns);
}

uint64_t core_next_ns(const struct core *self)
{
    return MIN(self->scan_ns, deadline_next(self));
}

static void tell_all(struct core *self, enum action_kind kind, const char *text)
{
    for (uint32_t slot = 0; slot < self->limits.sessions_max; slot++)
        if (self->sessions[slot].used)
            out_action(self, kind, self->sessions[slot].control, STATUS_OK, text);
}

void core_drain_all(struct core *self)
{
    if (!self->draining)
        tell_all(self, ACTION_DRAIN, "this broker is about to end");
    self->draining = true;
}

bool core_idle(const struct core *self)
{
    return core_waiting(self) == 0 && core_leased(self) == 0;
}

void core_welcome_all(struct core *self)
{
    for (uint32_t slot = 0; slot < self->limits.sessions_max; slot++)
        if (self->sessions[slot].open)
            session_welcome(self, &self->sessions[slot], self->sessions[slot].control);
}

void core_end(struct core *self)
{
    tell_all(self, ACTION_GOODBYE, "this broker ends");
}

/* --- views -------------------------------------------------------------------------------------
 */

uint64_t core_route(const struct core *self, enum core_role role, const struct uuid *uuid)
{
    const struct session *session = session_by(self, role, uuid);
    return session && session->open ? session->data : 0;
}

uint64_t core_control(const struct core *self, enum core_role role, const struct uuid *uuid)
{
    const struct session *session = session_by(self, role, uuid);
    return session ? session->control : 0;
}

bool core_peer(const struct core *self, uint32_t slot, struct core_peer *peer)
{
    if (slot >= self->limits.sessions_max || !self->sessions[slot].used)
        return false;
    const struct session *session = &self->sessions[slot];
    *peer = (struct core_peer){
        .role = session->role,
        .control = session->control,
        .uuid = session->uuid,
        .name = session->name,
        .mode = session->mode,
        .models = session->models,
        .models_len = session->models_len,
        .cores = session->cores,
        .slots = session->slots,
        .open = session->open,
        .draining = session->draining,
        .leases = session->leases.len,
        .running = session->running,
        .rows = session->rows,
        .credit_left = session->credit_tasks - MIN(session->sent_tasks, session->credit_tasks),
    };
    return true;
}

bool core_peer_of(const struct core *self, uint64_t conn, struct core_peer *peer)
{
    const struct session *session = session_of(self, conn);
    return session && core_peer(self, session_slot(self, session), peer);
}

const struct core_counters *core_counters(const struct core *self)
{
    return &self->counters;
}

uint32_t core_workers(const struct core *self)
{
    return self->workers_open;
}

uint64_t core_waiting(const struct core *self)
{
    return self->counts[TASK_PARKED] + self->counts[TASK_QUEUED];
}

uint64_t core_leased(const struct core *self)
{
    return self->counts[TASK_LEASED];
}

uint64_t core_done(const struct core *self)
{
    return self->counts[TASK_DONE];
}
