/* sessions - peers with their two connections, from HELLO to the end */
#include "broker/core/state.h"

#include <stdlib.h>
#include <string.h>

#define NS_PER_MS   UINT64_C(1000000)
#define IDLE_PACE   3 /* our HEARTBEATs to an idle worker come so much less often than its own */
#define NEXT_MAX_MS 60000 /* of NEXT_MS on the wire */

/* --- finding -----------------------------------------------------------------------------------
 */

uint32_t session_slot(const struct core *self, const struct session *session)
{
    return (uint32_t)(session - self->sessions);
}

struct session *session_of(const struct core *self, uint64_t conn)
{
    uint32_t id = map_find(&self->by_conn, map_mix(self->seed ^ conn), &conn);
    return id == NONE ? NULL : &self->sessions[id / 2];
}

struct peer_key {
    enum core_role role;
    const struct uuid *uuid;
};

bool peer_same(const void *owner, uint32_t id, const void *key);
bool conn_same(const void *owner, uint32_t id, const void *key);

bool peer_same(const void *owner, uint32_t id, const void *key)
{
    const struct session *session = &((const struct core *)owner)->sessions[id];
    const struct peer_key *want = key;
    return session->role == want->role && id_equal(&session->uuid, want->uuid);
}

bool conn_same(const void *owner, uint32_t id, const void *key)
{
    const struct session *session = &((const struct core *)owner)->sessions[id / 2];
    return (id % 2 ? session->data : session->control) == *(const uint64_t *)key;
}

static uint64_t peer_hash(const struct core *self, enum core_role role, const struct uuid *uuid)
{
    uint64_t words[2];
    memcpy(words, uuid->bytes, sizeof(words));
    return map_mix(map_mix(self->seed ^ words[0] ^ role) ^ words[1]);
}

struct session *session_by(const struct core *self, enum core_role role, const struct uuid *uuid)
{
    struct peer_key key = {role, uuid};
    uint32_t id = map_find(&self->by_peer, peer_hash(self, role, uuid), &key);
    return id == NONE ? NULL : &self->sessions[id];
}

bool gateway_same(const void *owner, uint32_t id, const void *key);

bool gateway_same(const void *owner, uint32_t id, const void *key)
{
    return id_equal(&((const struct core *)owner)->gateways[id].uuid, key);
}

struct gateway *gateway_by(const struct core *self, const struct uuid *uuid)
{
    uint32_t id = map_find(&self->by_gateway, peer_hash(self, CORE_GATEWAY, uuid), uuid);
    return id == NONE ? NULL : &self->gateways[id];
}

static const struct session *gateway_session(const struct core *self, uint32_t gateway)
{
    uint32_t slot = self->gateways[gateway].session;
    return slot == NONE ? NULL : &self->sessions[slot];
}

uint64_t gateway_control(const struct core *self, uint32_t gateway)
{
    const struct session *session = gateway_session(self, gateway);
    return session && session->open ? session->control : 0;
}

uint64_t gateway_data(const struct core *self, uint32_t gateway)
{
    const struct session *session = gateway_session(self, gateway);
    return session && session->open ? session->data : 0;
}

/* --- gateways as owners ------------------------------------------------------------------------
 */

static struct gateway *gateway_meet(struct core *self, const struct uuid *uuid)
{
    struct gateway *gateway = gateway_by(self, uuid);
    assert(self->gateways);
    for (uint32_t slot = 0; !gateway && slot < self->gateways_room; slot++)
        if (!self->gateways[slot].used) {
            gateway = &self->gateways[slot];
            *gateway = (struct gateway){.used = true, .uuid = *uuid, .session = NONE};
            map_put(&self->by_gateway, peer_hash(self, CORE_GATEWAY, uuid), slot);
        }
    return gateway;
}

static void gateway_forget(struct core *self, uint32_t slot)
{
    struct gateway *gateway = &self->gateways[slot];
    for (uint32_t i = 0; gateway->tasks > 0 && i < self->tasks_high; i++) {
        struct task *task = &self->tasks[i];
        if (task->state != TASK_FREE && task->gateway == slot)
            task_cancel(self, task);
    }
    assert(gateway->tasks == 0);
    map_remove(&self->by_gateway, peer_hash(self, CORE_GATEWAY, &gateway->uuid), slot);
    *gateway = (struct gateway){0};
}

/* --- opening -----------------------------------------------------------------------------------
 */

static void put_conn(struct core *self, uint32_t slot, bool data, uint64_t conn)
{
    struct session *session = &self->sessions[slot];
    *(data ? &session->data : &session->control) = conn;
    map_put(&self->by_conn, map_mix(self->seed ^ conn), slot * 2 + (data ? 1 : 0));
}

static void drop_conn(struct core *self, uint32_t slot, bool data, uint64_t conn)
{
    if (conn)
        map_remove(&self->by_conn, map_mix(self->seed ^ conn), slot * 2 + (data ? 1 : 0));
}

bool session_models(struct session *session, const struct digest *models, size_t len)
{
    len = MIN(len, CORE_MODELS_MAX);
    if (len == session->models_len &&
        (len == 0 || memcmp(models, session->models, len * sizeof(*models)) == 0))
        return false;
    session->models = xrealloc(session->models, MAX(len, 1) * sizeof(*models));
    session->models_len = len;
    if (len > 0)
        memcpy(session->models, models, len * sizeof(*models));
    return true;
}

void session_welcome(struct core *self, const struct session *session, uint64_t conn)
{
    struct action *welcome = out_action(self, ACTION_WELCOME, conn, STATUS_OK, NULL);
    welcome->token = session->token;
    welcome->credit_tasks = session->allowed_tasks;
    welcome->credit_bytes = session->allowed_bytes;
}

static void open_worker(struct core *self, uint64_t now_ns, struct session *session,
                        const struct core_hello *hello)
{
    uint32_t slot = session_slot(self, session);
    text_copy(session->mode, sizeof(session->mode), hello->mode);
    session->minor = hello->minor;
    session->cores = hello->cores;
    session->slots = MAX(hello->slots, 1);
    session_models(session, hello->models, hello->models_len);
    rank_meet(self, slot);
    queues_meet(self, now_ns, slot);
    reconcile_held(self, now_ns, session, hello->lists, hello->lists_len);
}

static void open_gateway(struct core *self, struct session *session, struct gateway *gateway,
                         const struct core_hello *hello)
{
    session->gateway = (uint32_t)(gateway - self->gateways);
    gateway->session = session_slot(self, session);
    if (gateway->incarnation && hello->incarnation > gateway->incarnation)
        reconcile_restart(self, gateway, hello->lists, hello->lists_len);
    gateway->incarnation = MAX(gateway->incarnation, hello->incarnation);
    session->awaited = taskset_make(CORE_RANGES_MAX);
    for (size_t i = 0; i < hello->lists_len; i++)
        for (size_t j = 0;
             j < hello->lists[i].len && id_equal(&hello->lists[i].gateway, &gateway->uuid); j++)
            taskset_add_range(&session->awaited, hello->lists[i].ranges[j].first,
                              hello->lists[i].ranges[j].count);
}

static struct session *find_room(struct core *self)
{
    assert(self->sessions);
    for (uint32_t slot = 0; slot < self->limits.sessions_max; slot++)
        if (!self->sessions[slot].used)
            return &self->sessions[slot];
    return NULL;
}

void core_hello(struct core *self, uint64_t now_ns, uint64_t conn, const struct core_hello *hello)
{
    struct session *older = session_of(self, conn);
    if (older)
        session_end(self, now_ns, older, STATUS_CONFLICT);
    older = session_by(self, hello->role, &hello->uuid);
    if (older)
        session_end(self, now_ns, older, STATUS_CONFLICT);
    struct session *session = find_room(self);
    struct gateway *gateway = NULL;
    if (session && hello->role == CORE_GATEWAY)
        gateway = gateway_meet(self, &hello->uuid);
    if (!session || (hello->role == CORE_GATEWAY && !gateway)) {
        self->counters.sessions_refused++;
        out_action(self, ACTION_ERROR, conn, STATUS_BUSY,
                   "this broker has as many sessions as it may; raise sessions_max or try again");
        return;
    }
    uint32_t slot = session_slot(self, session);
    *session = (struct session){.used = true,
                                .role = hello->role,
                                .uuid = hello->uuid,
                                .incarnation = hello->incarnation,
                                .token = map_mix(self->seed ^ map_mix(++self->tokens)) | 1,
                                .seen_ns = now_ns,
                                .pace_ns = self->limits.heartbeat_ms * NS_PER_MS,
                                .beat_ns = now_ns + self->limits.heartbeat_ms * NS_PER_MS,
                                .leases = list_empty(),
                                .results = list_empty(),
                                .orphans = NONE,
                                .gateway = NONE};
    text_copy(session->name, sizeof(session->name), hello->name);
    put_conn(self, slot, false, conn);
    map_put(&self->by_peer, peer_hash(self, hello->role, &hello->uuid), slot);
    if (gateway)
        open_gateway(self, session, gateway, hello);
    else
        open_worker(self, now_ns, session, hello);
    session_allow(self, session, false);
    session_welcome(self, session, conn);
    self->counters.sessions_opened++;
}

void core_attach(struct core *self, uint64_t now_ns, uint64_t conn, const struct uuid *uuid,
                 uint64_t incarnation, uint64_t token)
{
    struct session *session = session_by(self, CORE_WORKER, uuid);
    if (!session || session->token != token)
        session = session_by(self, CORE_GATEWAY, uuid);
    if (!session || session->token != token || session->incarnation != incarnation ||
        (session->open && session->data != conn) || (!session->open && session_of(self, conn))) {
        self->counters.peers_unknown++;
        out_action(self, ACTION_ERROR, conn, STATUS_HELLO_NEEDED,
                   "this data connection names no session of this broker: say HELLO on control");
        return;
    }
    session->seen_ns = now_ns;
    session_welcome(self, session, conn);
    if (session->open)
        return;
    uint32_t slot = session_slot(self, session);
    put_conn(self, slot, true, conn);
    session->open = true;
    out_action(self, ACTION_OPENED, 0, STATUS_OK, NULL)->slot = slot;
    if (self->draining)
        out_action(self, ACTION_DRAIN, session->control, STATUS_OK, NULL);
    if (session->role == CORE_WORKER) {
        self->workers_open++;
        rank_touch(self, slot);
        return;
    }
    struct core_set awaited = {*uuid, session->awaited.ranges, session->awaited.len};
    reconcile_awaited(self, session, &awaited, 1);
    taskset_free(&session->awaited);
}

/* --- ending ------------------------------------------------------------------------------------
 */

/* Everything that it ran waits again, in the old order; what it only kept is not known any more. */
static uint64_t end_worker(struct core *self, struct session *session)
{
    uint32_t slot = session_slot(self, session);
    uint64_t requeued = session->leases.len;
    while (session->leases.tail != NONE)
        task_requeue(self, &self->tasks[session->leases.tail], true);
    while (session->results.head != NONE)
        task_do(self, &self->tasks[session->results.head], MOVE_FORGET, NONE);
    orphans_clear(self, session);
    free(session->models);
    queues_part(self, slot);
    rank_part(self, slot);
    self->workers_open -= session->open ? 1 : 0;
    return requeued;
}

void session_end(struct core *self, uint64_t now_ns, struct session *session, enum status why)
{
    uint32_t slot = session_slot(self, session);
    uint64_t requeued = 0;
    if (session->role == CORE_WORKER) {
        requeued = end_worker(self, session);
    } else {
        self->gateways[session->gateway].session = NONE;
        self->gateways[session->gateway].left_ns = now_ns;
        taskset_free(&session->awaited);
    }
    struct action *lost = out_action(self, ACTION_LOST, session->control, why, session->name);
    lost->uuid = session->uuid;
    lost->role = session->role;
    lost->count = requeued;
    lost->data = session->data;
    map_remove(&self->by_peer, peer_hash(self, session->role, &session->uuid), slot);
    drop_conn(self, slot, false, session->control);
    drop_conn(self, slot, true, session->data);
    *session = (struct session){0};
    self->counters.sessions_lost += why == STATUS_OK ? 0 : 1;
}

void core_closed(struct core *self, uint64_t now_ns, uint64_t conn)
{
    struct session *session = session_of(self, conn);
    if (session)
        session_end(self, now_ns, session, STATUS_UNAVAILABLE);
}

void core_expel(struct core *self, uint64_t now_ns, uint64_t conn, enum status status,
                const char *text)
{
    struct session *session = session_of(self, conn);
    out_action(self, ACTION_GOODBYE, session ? session->control : conn, status, text);
    if (session)
        session_end(self, now_ns, session, status);
}

void core_goodbye(struct core *self, uint64_t now_ns, uint64_t conn)
{
    struct session *session = session_of(self, conn);
    if (session)
        session_end(self, now_ns, session, STATUS_OK);
}

uint32_t core_heard(struct core *self, uint64_t now_ns, uint64_t conn)
{
    struct session *session = session_of(self, conn);
    if (session) {
        session->seen_ns = now_ns;
        return session->role;
    }
    self->counters.peers_unknown++;
    out_action(self, ACTION_ERROR, conn, STATUS_HELLO_NEEDED,
               "this connection has no session here: say HELLO on new connections");
    return 0;
}

/* --- time --------------------------------------------------------------------------------------
 */

static void put_credit(struct core *self, const struct session *session)
{
    struct action *credit = out_action(self, ACTION_CREDIT, session->control, STATUS_OK, NULL);
    credit->credit_tasks = session->allowed_tasks;
    credit->credit_bytes = session->allowed_bytes;
}

void session_allow(struct core *self, struct session *session, bool always)
{
    if (session->role != CORE_GATEWAY)
        return;
    const struct gateway *gateway = &self->gateways[session->gateway];
    uint64_t window = self->limits.gateway_tasks, bytes = self->limits.gateway_bytes;
    uint64_t tasks_now = session->submitted_tasks + (window - MIN(window, gateway->live));
    uint64_t bytes_now = session->submitted_bytes + (bytes - MIN(bytes, gateway->live_bytes));
    tasks_now = MAX(tasks_now, session->allowed_tasks);
    bytes_now = MAX(bytes_now, session->allowed_bytes);
    uint64_t more = tasks_now - session->allowed_tasks;
    uint64_t more_bytes = bytes_now - session->allowed_bytes;
    if (more == 0 && more_bytes == 0)
        return;
    /* A message for each eighth of the window, but none to a gateway that has plenty. */
    if (session->open && !always && more < window / 8 && more_bytes < bytes / 8)
        return;
    session->allowed_tasks = tasks_now;
    session->allowed_bytes = bytes_now;
    if (session->open) /* WELCOME tells it before */
        put_credit(self, session);
}

static void scan_gateways(struct core *self, uint64_t now_ns)
{
    uint64_t keep_ns = self->limits.gateway_keep_ms * NS_PER_MS;
    for (uint32_t slot = 0; slot < self->gateways_room; slot++) {
        const struct gateway *gateway = &self->gateways[slot];
        if (gateway->used && gateway->session == NONE && now_ns - gateway->left_ns >= keep_ns)
            gateway_forget(self, slot);
    }
}

/* As often as the peer beats; to an idle worker less: thousands of them wait for nothing from us.
 */
static uint64_t our_pace_ns(const struct core *self, const struct session *session)
{
    uint64_t heartbeat_ns = self->limits.heartbeat_ms * NS_PER_MS;
    if (session->role != CORE_WORKER || session->pace_ns <= heartbeat_ns)
        return session->pace_ns;
    return MIN(IDLE_PACE * session->pace_ns, NEXT_MAX_MS * NS_PER_MS);
}

struct action *session_beat(struct core *self, const struct session *session)
{
    struct action *action = out_action(self, ACTION_HEARTBEAT, session->control, STATUS_OK, NULL);
    action->uuid = session->uuid;
    action->workers = self->workers_open;
    action->waiting = core_waiting(self);
    action->next_ms = (uint32_t)(our_pace_ns(self, session) / NS_PER_MS);
    return action;
}

void session_pace(struct core *self, uint64_t now_ns, struct session *session, uint32_t next_ms)
{
    uint64_t next = MIN(MAX(next_ms, self->limits.heartbeat_ms), core_idle_ms(&self->limits));
    if (session->leases.len > 0) /* it does not know of them yet, or not any more */
        next = self->limits.heartbeat_ms;
    if (next * NS_PER_MS < session->pace_ns)
        session->beat_ns = now_ns;
    session->pace_ns = next * NS_PER_MS;
}

void session_wake(struct core *self, uint64_t now_ns, struct session *session)
{
    if (session->pace_ns <= self->limits.heartbeat_ms * NS_PER_MS)
        return;
    session->seen_ns = now_ns;
    session_pace(self, now_ns, session, 0);
}

void sessions_scan(struct core *self, uint64_t now_ns)
{
    bool news = self->workers_told != self->workers_open; /* gateways hear it now */
    self->workers_told = self->workers_open;
    for (uint32_t slot = 0; slot < self->limits.sessions_max; slot++) {
        struct session *session = &self->sessions[slot];
        if (!session->used)
            continue;
        if (now_ns - session->seen_ns > MISSED_BEATS * session->pace_ns &&
            now_ns >= self->freeze_ns) {
            out_action(self, ACTION_GOODBYE, session->control, STATUS_UNAVAILABLE,
                       "three heartbeats were missed: open a new session");
            session_end(self, now_ns, session, STATUS_UNAVAILABLE);
            continue;
        }
        session_allow(self, session, true);
        bool due = session->beat_ns <= now_ns || (news && session->role == CORE_GATEWAY);
        if (!due || !session->open)
            continue;
        session->beat_ns = now_ns + our_pace_ns(self, session);
        session_beat(self, session);
        if (session->role == CORE_GATEWAY)
            put_credit(self, session); /* a total: repeating it mends a lost one */
    }
    scan_gateways(self, now_ns);
}
