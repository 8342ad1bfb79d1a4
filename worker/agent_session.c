/* agent_session - what brokers say and what they are told: messages in, HELLO, HEARTBEAT, credit */
#include "worker/agent_self.h"

#include "common/clock.h"

#include <inttypes.h>
#include <string.h>

#define MODELS_MAX   64  /* listed in one message */
#define GATEWAYS_MAX 200 /* sets in one message, of the 256 that wire.def allows */

/* --- what we say of ourselves ------------------------------------------------------------------
 */

/* Runs of one gateway's ids from *next on, at most *left; false when some did not fit. */
static bool put_ids(struct agent *self, struct wire_out *out, size_t index, size_t *next,
                    size_t end, size_t *left)
{
    struct uuid gateway;
    const struct taskset *ids = tasks_of(self->tasks, index, &gateway);
    size_t from = *next, to = MIN(end, ids->len);
    if (from >= to)
        return true;
    if (*left > 0)
        wire_put_set(out, &gateway, ids, next, MIN(*left, to - from));
    *left -= *next - from;
    return *next >= to;
}

/* The ids that we hold, whichever broker they came from: all of them or as many runs as a message
 * takes; then the next message goes on where this one ends. */
static void put_held(struct upstream *to, struct wire_out *out)
{
    struct agent *self = to->agent;
    size_t gateways = tasks_gateways(self->tasks), left = IDS_RANGES_MAX;
    size_t first = gateways > 0 ? to->held_from % gateways : 0;
    size_t start = to->held_next, next = start;
    bool all = true;
    wire_list_open(out, KEY_HELD);
    for (size_t i = 0; i < MIN(gateways, (size_t)GATEWAYS_MAX) && all; i++) {
        to->held_from = (first + i) % gateways;
        all = put_ids(self, out, to->held_from, &next, SIZE_MAX, &left);
        to->held_next = all ? 0 : next;
        next = 0;
    }
    if (all && gateways > 0) /* what stands before the place where this message began */
        put_ids(self, out, first, &next, start, &left);
    wire_list_close(out);
}

static void put_models(const struct agent *self, struct wire_out *out)
{
    wire_list_open(out, KEY_MODELS);
    for (size_t i = 0; i < self->models.len && i < MODELS_MAX; i++) {
        if (self->models.list[i]->state != MODEL_READY || !self->models.list[i]->resident)
            continue;
        wire_map_open(out);
        wire_put_digest(out, KEY_MODEL, &self->models.list[i]->version);
        wire_map_close(out);
    }
    wire_list_close(out);
}

void agent_session_hello(void *upstream, struct wire_out *out)
{
    struct upstream *to = upstream;
    const struct agent *self = to->agent;
    wire_put_u64(out, KEY_CORES, self->threads);
    wire_put_u64(out, KEY_MEMORY, self->params->model_bytes);
    wire_put_u64(out, KEY_SLOTS, 1);
    wire_list_open(out, KEY_MODES);
    wire_map_open(out);
    wire_put_text(out, KEY_MODE, self->mode);
    wire_map_close(out);
    wire_list_close(out);
    put_models(self, out);
    put_held(to, out);
}

void agent_session_heartbeat(void *upstream, struct wire_out *out)
{
    struct upstream *to = upstream;
    const struct agent *self = to->agent;
    put_held(to, out);
    put_models(self, out);
    wire_put_u64(out, KEY_RUNNING, tasks_count(self->tasks, TASK_RUNNING));
    wire_put_u64(out, KEY_WAITING,
                 tasks_count(self->tasks, TASK_WAITING) + tasks_count(self->tasks, TASK_FETCHING));
    wire_put_u64(out, KEY_TICKS, agent_runner_ticks(self));
    wire_put_u64(out, KEY_STALLED_MS, agent_runner_stalled_ms(self));
}

bool agent_session_idle(const void *upstream)
{
    const struct upstream *to = upstream;
    const struct tasks *tasks = to->agent->tasks;
    return tasks_count(tasks, TASK_RUNNING) == 0 && tasks_count(tasks, TASK_WAITING) == 0 &&
           tasks_count(tasks, TASK_FETCHING) == 0 && tasks_count(tasks, TASK_HELD) == 0;
}

/* --- credit ------------------------------------------------------------------------------------
 */

/* What weighs for a broker's part of the window: its backlog, and what it has here already. */
static uint64_t weight_of(const struct upstream *broker)
{
    return 1 + broker->backlog + tasks_share(broker->agent->tasks, broker->index).tasks;
}

/* Raise one broker's credit up to its part of the window where that is worth a message: a good part
 * of it, or the broker is about to run dry. */
static void raise_credit(struct upstream *to, uint64_t window, uint64_t window_bytes)
{
    struct agent *self = to->agent;
    struct tasks_share have = tasks_share(self->tasks, to->index);
    uint64_t room = window - MIN(have.tasks, window);
    uint64_t room_bytes = window_bytes - MIN(have.bytes, window_bytes);
    uint64_t tasks_now = MAX(to->credit_tasks, to->received_tasks + room);
    uint64_t bytes_now = MAX(to->credit_bytes, to->received_bytes + room_bytes);
    uint64_t step = window / 8, step_bytes = window_bytes / 8;
    bool more = tasks_now > to->credit_tasks &&
                (tasks_now - to->credit_tasks >= step ||
                 to->credit_tasks - MIN(to->credit_tasks, to->received_tasks) <= step);
    bool more_bytes =
        bytes_now > to->credit_bytes &&
        (bytes_now - to->credit_bytes >= step_bytes ||
         to->credit_bytes - MIN(to->credit_bytes, to->received_bytes) <= 4 * step_bytes);
    if (!more && !more_bytes)
        return;
    wire_begin(self->out, WIRE_CREDIT);
    wire_put_u64(self->out, KEY_CREDIT_TASKS, tasks_now);
    wire_put_u64(self->out, KEY_CREDIT_BYTES, bytes_now);
    if (link_send(to->link, self->out) != STATUS_OK)
        return;
    to->credit_tasks = tasks_now;
    to->credit_bytes = bytes_now;
}

/* Half of the window is shared out equally, so that no broker's first tasks wait, half by backlog.
 * One task of the largest size must fit each part. */
void agent_session_credit(struct agent *self)
{
    const struct worker_params *params = self->params;
    bool full = tasks_count(self->tasks, TASK_HELD) >= params->results_tasks ||
                tasks_held_bytes(self->tasks) >= params->results_bytes;
    uint64_t brokers = 0, weights = 0;
    for (size_t i = 0; i < self->upstreams_len; i++)
        if (upstream_up(self->upstreams[i])) {
            brokers++;
            weights += weight_of(self->upstreams[i]);
        }
    if (self->draining || full || brokers == 0)
        return;
    uint64_t adrift = tasks_share(self->tasks, NO_BROKER).tasks;
    uint64_t window = params->window_tasks - MIN(adrift, (uint64_t)params->window_tasks);
    uint64_t floor = window / (2 * brokers), rest = window - floor * brokers;
    for (size_t i = 0; i < self->upstreams_len; i++) {
        struct upstream *to = self->upstreams[i];
        if (!upstream_up(to))
            continue;
        uint64_t part = MAX(floor + rest * weight_of(to) / weights, UINT64_C(2));
        uint64_t bytes = params->window_bytes / params->window_tasks * part;
        raise_credit(to, part, brokers == 1 ? params->window_bytes : MAX(bytes, WIRE_MESSAGE_MAX));
    }
}

/* --- messages in -------------------------------------------------------------------------------
 */
typedef void handler(struct upstream *from, struct wire_in *in);

/* One task of a DISPATCH, with its body frames. */
static void take_task(struct upstream *from, struct wire_map message, struct wire_map map,
                      zmq_msg_t *frames, size_t frames_len)
{
    struct agent *self = from->agent;
    char name[256];
    struct uuid gateway = wire_uuid(map, KEY_GATEWAY);
    uint64_t number = wire_u64(map, KEY_TASK), budget_ms = wire_u64(map, KEY_BUDGET_MS);
    uint64_t kind = MAX(wire_u64(message, KEY_KIND), (uint64_t)WIRE_KIND_INFER);
    bool inspect = kind == WIRE_KIND_INSPECT;
    struct task_spec *spec = NULL;
    struct error why = {0};
    enum status status = STATUS_OK;
    if (!inspect) {
        size_t size;
        const void *packed = wire_bytes(map, KEY_SPEC, &size);
        status = task_spec_read(&spec, packed, size, self->last_spec, &why);
        if (status == STATUS_OK)
            status = task_spec_fits(spec, frames, frames_len, &why);
    }
    if (spec && spec != self->last_spec) {
        task_spec_unref(self->last_spec);
        self->last_spec = spec;
        spec->refs++;
    }
    struct task *task = tasks_add(self->tasks, &gateway, number, spec, frames, frames_len);
    task_spec_unref(spec);
    tasks_lease(self->tasks, task, from->index);
    task->kind = (enum wire_kind)kind;
    if (kind == WIRE_KIND_TRAIN)
        task->item.rows = 1; /* whatever its inputs' first axes are: it is charged as one */
    task->version = wire_digest(message, KEY_MODEL);
    task->item.arrived_ns = self->now_ns;
    task->item.alone =
        (wire_u64(map, KEY_FLAGS) & WIRE_FLAG_ALONE) != 0 || wire_u64(map, KEY_CRASHES) > 0;
    task->attempt = (uint32_t)wire_u64(map, KEY_ATTEMPT);
    task->crashes = (uint32_t)wire_u64(map, KEY_CRASHES);
    task->again = (wire_u64(map, KEY_FLAGS) & WIRE_FLAG_AGAIN) != 0;
    task->rows = wire_u64(map, KEY_ROWS);
    if (budget_ms > 0)
        task->deadline_ns = self->now_ns + budget_ms * NS_PER_MS;
    if (wire_kind_minor(kind) > WIRE_MINOR)
        status =
            fail(&why, STATUS_UNSUPPORTED, "this worker knows no tasks of KIND %" PRIu64, kind);
    if (status != STATUS_OK)
        agent_results_add(self, task, result_failed(status, why.text));
    else
        agent_fetch_take(self, task, wire_text(message, KEY_MODEL_NAME, name, sizeof name));
}

/* Another worker's numeric mode gives other bytes: such a job is not ours to run. */
static bool other_mode(const struct agent *self, struct wire_map message)
{
    char mode[33];
    wire_text(message, KEY_MODE, mode, sizeof mode);
    return mode[0] != '\0' && strcmp(mode, self->mode) != 0;
}

/* A task that is here already: the lease is this broker's now, nothing is run again. */
static void take_known(struct upstream *from, struct task *task)
{
    tasks_lease(from->agent->tasks, task, from->index);
    if (task->state == TASK_HELD)
        agent_results_again(from->agent, task);
    else
        LOG_DEBUG("duplicate", "task=%" PRIu64, task->number);
}

static void on_dispatch(struct upstream *from, struct wire_in *in)
{
    struct agent *self = from->agent;
    size_t at = 0;
    struct agent_ids foreign = {0};
    bool refused = other_mode(self, in->map);
    from->backlog = wire_u64(in->map, KEY_WAITING);
    for (size_t i = 0; i < wire_len(in->map, KEY_TASKS); i++) {
        struct wire_map map = wire_at(in->map, KEY_TASKS, i);
        size_t frames_len = (size_t)wire_u64(map, KEY_FRAMES);
        struct uuid gateway = wire_uuid(map, KEY_GATEWAY);
        uint64_t number = wire_u64(map, KEY_TASK);
        from->received_tasks++;
        if (frames_len > in->bodies_len - at || !wire_has(map, KEY_GATEWAY)) {
            LOG_WARN("dispatch_malformed", "task=%" PRIu64 " frames=%zu left=%zu", number,
                     frames_len, in->bodies_len - at);
            break;
        }
        struct task *known = tasks_find(self->tasks, &gateway, number);
        for (size_t f = at; f < at + frames_len; f++)
            from->received_bytes += zmq_msg_size(&in->bodies[f]);
        if (known)
            take_known(from, known);
        else if (refused)
            agent_ids_add(&foreign, &gateway, number);
        else if (self->draining)
            agent_ids_add(&from->busy, &gateway, number);
        else
            take_task(from, in->map, map, in->bodies + at, frames_len);
        at += frames_len;
    }
    agent_ids_send(&foreign, from->link, self->out, WIRE_NACK, STATUS_UNSUPPORTED,
                   "this worker computes in another numeric mode");
    agent_ids_free(&foreign);
}

static void each_id(struct upstream *from, struct wire_in *in,
                    void (*call)(void *owner, struct task *task))
{
    for (size_t i = 0; i < wire_len(in->map, KEY_IDS); i++) {
        struct wire_map set = wire_at(in->map, KEY_IDS, i);
        struct uuid gateway = wire_uuid(set, KEY_GATEWAY);
        for (size_t r = 0; r + 1 < wire_len(set, KEY_RANGES); r += 2)
            tasks_each(from->agent->tasks, &gateway, wire_number(set, KEY_RANGES, r),
                       wire_number(set, KEY_RANGES, r + 1), call, from);
    }
}

static void acknowledge(void *owner, struct task *task)
{
    if (task->state == TASK_HELD)
        agent_results_drop(((struct upstream *)owner)->agent, task);
}

static void on_result_ack(struct upstream *from, struct wire_in *in)
{
    each_id(from, in, acknowledge);
}

/* Another broker may have it revoked where it had it before; the lease of this one holds. */
static void revoke_task(void *owner, struct task *task)
{
    const struct upstream *from = owner;
    if (task->via == from->index || task->via == NO_BROKER)
        agent_results_drop(from->agent, task);
}

static void on_revoke(struct upstream *from, struct wire_in *in)
{
    each_id(from, in, revoke_task);
    from->agent->watch_ns = 0; /* what runs now may be wanted by nobody any more */
}

static void on_heartbeat(struct upstream *from, struct wire_in *in)
{
    if (wire_has(in->map, KEY_WAITING))
        from->backlog = wire_u64(in->map, KEY_WAITING);
}

static void on_blob_chunk(struct upstream *from, struct wire_in *in)
{
    struct agent *self = from->agent;
    char text[256];
    struct digest blob = wire_digest(in->map, KEY_BLOB);
    const void *bytes = in->bodies_len > 0 ? zmq_msg_data(&in->bodies[0]) : "";
    size_t size = in->bodies_len > 0 ? zmq_msg_size(&in->bodies[0]) : 0;
    uint64_t status = wire_u64(in->map, KEY_STATUS);
    if (status == STATUS_UNAVAILABLE && self->upstreams_len > 1)
        self->blobs_via = (from->index + 1) % (uint32_t)self->upstreams_len; /* it may know it */
    store_chunk(self->store, &blob, wire_u64(in->map, KEY_OFFSET), wire_u64(in->map, KEY_BYTES),
                status_known(status) ? (enum status)status : STATUS_INTERNAL,
                wire_text(in->map, KEY_TEXT, text, sizeof text), bytes, size, self->now_ns);
}

/* Of the broker, or, with our standing in it, of this node: then the process ends. */
static void on_drain(struct upstream *from, struct wire_in *in)
{
    char text[256];
    if (wire_u64(in->map, KEY_STANDING) == WIRE_DRAINING) {
        LOG_INFO("node_drained", "node=%s action=%s hint=%s", from->agent->name,
                 "finish what is here, then end", "`convoy nodes resume` lets it work again");
        daemon_drain(from->agent->run);
        return;
    }
    LOG_INFO("broker_drains", "broker=%s text=%s", from->address.endpoint,
             wire_text(in->map, KEY_TEXT, text, sizeof text));
}

static void on_rotate(struct upstream *from, struct wire_in *in)
{
    char enrol_at[NET_ADDRESS_MAX];
    link_enrol_address(from->link, enrol_at);
    agent_join_rotate(from->agent->join, in, enrol_at, &from->address);
}

static void on_error(struct upstream *from, struct wire_in *in)
{
    char text[ERROR_TEXT_MAX];
    LOG_WARN("broker_error", "broker=%s status=%s text=%s", from->address.endpoint,
             status_name((enum status)wire_u64(in->map, KEY_STATUS)),
             wire_text(in->map, KEY_TEXT, text, sizeof text));
}

static const struct {
    enum wire_type type;
    handler *call;
} handlers[] = {
    {WIRE_DISPATCH, on_dispatch},     {WIRE_RESULT_ACK, on_result_ack}, {WIRE_REVOKE, on_revoke},
    {WIRE_BLOB_CHUNK, on_blob_chunk}, {WIRE_HEARTBEAT, on_heartbeat},   {WIRE_DRAIN, on_drain},
    {WIRE_ERROR, on_error},           {WIRE_ROTATE, on_rotate},
};

void agent_session_take(struct upstream *from)
{
    struct wire_in *in = &from->agent->in;
    for (size_t i = 0; i < ARRAY_LEN(handlers); i++)
        if (handlers[i].type == in->type) {
            handlers[i].call(from, in);
            return;
        }
    LOG_DEBUG("ignored", "message=%s", wire_name(in->type));
}
