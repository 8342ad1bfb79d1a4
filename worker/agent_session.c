/* agent_session - what the broker says and what it is told: messages in, HELLO, HEARTBEAT, credit
 */
#include "worker/agent_self.h"

#include "common/clock.h"

#include <inttypes.h>
#include <string.h>

#define BURST_MAX    64  /* messages taken in one turn */
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

/* The ids that we hold, all of them or as many runs as a message takes; then the next message goes
 * on where this one ends. */
static void put_held(struct agent *self, struct wire_out *out)
{
    size_t gateways = tasks_gateways(self->tasks), left = IDS_RANGES_MAX;
    size_t first = gateways > 0 ? self->held_from % gateways : 0;
    size_t start = self->held_next, next = start;
    bool all = true;
    wire_list_open(out, KEY_HELD);
    for (size_t i = 0; i < MIN(gateways, (size_t)GATEWAYS_MAX) && all; i++) {
        self->held_from = (first + i) % gateways;
        all = put_ids(self, out, self->held_from, &next, SIZE_MAX, &left);
        self->held_next = all ? 0 : next;
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
        if (self->models.list[i]->state != MODEL_READY)
            continue;
        wire_map_open(out);
        wire_put_digest(out, KEY_MODEL, &self->models.list[i]->version);
        wire_map_close(out);
    }
    wire_list_close(out);
}

static void fill_hello(void *owner, struct wire_out *out)
{
    struct agent *self = owner;
    wire_put_u64(out, KEY_CORES, self->threads);
    wire_put_u64(out, KEY_MEMORY, self->params->model_bytes);
    wire_put_u64(out, KEY_SLOTS, 1);
    wire_list_open(out, KEY_MODES);
    wire_map_open(out);
    wire_put_text(out, KEY_MODE, self->mode);
    wire_map_close(out);
    wire_list_close(out);
    put_models(self, out);
    put_held(self, out);
}

static void fill_heartbeat(void *owner, struct wire_out *out)
{
    struct agent *self = owner;
    put_held(self, out);
    put_models(self, out);
    wire_put_u64(out, KEY_RUNNING, tasks_count(self->tasks, TASK_RUNNING));
    wire_put_u64(out, KEY_WAITING,
                 tasks_count(self->tasks, TASK_WAITING) + tasks_count(self->tasks, TASK_FETCHING));
    wire_put_u64(out, KEY_TICKS, agent_runner_ticks(self));
    wire_put_u64(out, KEY_STALLED_MS, agent_runner_stalled_ms(self));
}

struct link *agent_session_open(struct agent *self)
{
    const struct link_config config = {
        .endpoint = self->params->broker,
        .role = WIRE_WORKER,
        .uuid = self->uuid,
        .incarnation = (uint64_t)clock_wall_ms(),
        .name = self->name,
        .owner = self,
        .fill_hello = fill_hello,
        .fill_heartbeat = fill_heartbeat,
    };
    return link_new(self->zmq, &config);
}

/* --- credit ------------------------------------------------------------------------------------
 */
void agent_session_credit(struct agent *self)
{
    const struct worker_params *params = self->params;
    uint64_t unfinished = tasks_count(self->tasks, TASK_FETCHING) +
                          tasks_count(self->tasks, TASK_WAITING) +
                          tasks_count(self->tasks, TASK_RUNNING);
    uint64_t bytes = tasks_unfinished_bytes(self->tasks);
    bool full = tasks_count(self->tasks, TASK_HELD) >= params->results_tasks ||
                tasks_held_bytes(self->tasks) >= params->results_bytes;
    if (self->draining || full || !link_up(self->link))
        return;
    uint64_t room = params->window_tasks - MIN(unfinished, (uint64_t)params->window_tasks);
    uint64_t room_bytes = params->window_bytes - MIN(bytes, params->window_bytes);
    uint64_t tasks_now = MAX(self->credit_tasks, self->received_tasks + room);
    uint64_t bytes_now = MAX(self->credit_bytes, self->received_bytes + room_bytes);
    uint64_t step = params->window_tasks / 8, step_bytes = params->window_bytes / 8;
    /* Worth a message: a good part of the window, or the broker is about to run dry. */
    bool more = tasks_now > self->credit_tasks &&
                (tasks_now - self->credit_tasks >= step ||
                 self->credit_tasks - MIN(self->credit_tasks, self->received_tasks) <= step);
    bool more_bytes =
        bytes_now > self->credit_bytes &&
        (bytes_now - self->credit_bytes >= step_bytes ||
         self->credit_bytes - MIN(self->credit_bytes, self->received_bytes) <= 4 * step_bytes);
    if (!more && !more_bytes)
        return;
    wire_begin(self->out, WIRE_CREDIT);
    wire_put_u64(self->out, KEY_CREDIT_TASKS, tasks_now);
    wire_put_u64(self->out, KEY_CREDIT_BYTES, bytes_now);
    if (link_send(self->link, self->out) != STATUS_OK)
        return;
    self->credit_tasks = tasks_now;
    self->credit_bytes = bytes_now;
}

/* --- messages in -------------------------------------------------------------------------------
 */
typedef void handler(struct agent *self, struct wire_in *in);

/* One task of a DISPATCH, with its body frames. */
static void take_task(struct agent *self, struct wire_map message, struct wire_map map,
                      zmq_msg_t *frames, size_t frames_len)
{
    char name[256];
    struct uuid gateway = wire_uuid(map, KEY_GATEWAY);
    uint64_t number = wire_u64(map, KEY_TASK), budget_ms = wire_u64(map, KEY_BUDGET_MS);
    bool inspect = wire_u64(message, KEY_KIND) == WIRE_KIND_INSPECT;
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
    task->kind = inspect ? WIRE_KIND_INSPECT : WIRE_KIND_INFER;
    task->version = wire_digest(message, KEY_MODEL);
    task->item.arrived_ns = self->now_ns;
    task->item.alone =
        (wire_u64(map, KEY_FLAGS) & WIRE_FLAG_ALONE) != 0 || wire_u64(map, KEY_CRASHES) > 0;
    task->attempt = (uint32_t)wire_u64(map, KEY_ATTEMPT);
    task->again = (wire_u64(map, KEY_FLAGS) & WIRE_FLAG_AGAIN) != 0;
    task->rows = wire_u64(map, KEY_ROWS);
    if (budget_ms > 0)
        task->deadline_ns = self->now_ns + budget_ms * NS_PER_MS;
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

static void on_dispatch(struct agent *self, struct wire_in *in)
{
    size_t at = 0;
    struct agent_ids foreign = {0};
    bool refused = other_mode(self, in->map);
    for (size_t i = 0; i < wire_len(in->map, KEY_TASKS); i++) {
        struct wire_map map = wire_at(in->map, KEY_TASKS, i);
        size_t frames_len = (size_t)wire_u64(map, KEY_FRAMES);
        struct uuid gateway = wire_uuid(map, KEY_GATEWAY);
        uint64_t number = wire_u64(map, KEY_TASK);
        self->received_tasks++;
        if (frames_len > in->bodies_len - at || !wire_has(map, KEY_GATEWAY)) {
            LOG_WARN("dispatch_malformed", "task=%" PRIu64 " frames=%zu left=%zu", number,
                     frames_len, in->bodies_len - at);
            break;
        }
        struct task *known = tasks_find(self->tasks, &gateway, number);
        for (size_t f = at; f < at + frames_len; f++)
            self->received_bytes += zmq_msg_size(&in->bodies[f]);
        if (known && known->state == TASK_HELD)
            agent_results_again(self, known);
        else if (known)
            LOG_DEBUG("duplicate", "task=%" PRIu64, number);
        else if (refused)
            agent_ids_add(&foreign, &gateway, number);
        else if (self->draining)
            agent_ids_add(&self->busy, &gateway, number);
        else
            take_task(self, in->map, map, in->bodies + at, frames_len);
        at += frames_len;
    }
    agent_ids_send(&foreign, self->link, self->out, WIRE_NACK, STATUS_UNSUPPORTED,
                   "this worker computes in another numeric mode");
    agent_ids_free(&foreign);
}

static void each_id(struct agent *self, struct wire_in *in,
                    void (*call)(void *owner, struct task *task))
{
    for (size_t i = 0; i < wire_len(in->map, KEY_IDS); i++) {
        struct wire_map set = wire_at(in->map, KEY_IDS, i);
        struct uuid gateway = wire_uuid(set, KEY_GATEWAY);
        for (size_t r = 0; r + 1 < wire_len(set, KEY_RANGES); r += 2)
            tasks_each(self->tasks, &gateway, wire_number(set, KEY_RANGES, r),
                       wire_number(set, KEY_RANGES, r + 1), call, self);
    }
}

static void acknowledge(void *owner, struct task *task)
{
    if (task->state == TASK_HELD)
        agent_results_drop(owner, task);
}

static void on_result_ack(struct agent *self, struct wire_in *in)
{
    each_id(self, in, acknowledge);
}

static void revoke_task(void *owner, struct task *task)
{
    agent_results_drop(owner, task);
}

static void on_revoke(struct agent *self, struct wire_in *in)
{
    each_id(self, in, revoke_task);
    self->watch_ns = 0; /* what runs now may be wanted by nobody any more */
}

static void on_blob_chunk(struct agent *self, struct wire_in *in)
{
    char text[256];
    struct digest blob = wire_digest(in->map, KEY_BLOB);
    const void *bytes = in->bodies_len > 0 ? zmq_msg_data(&in->bodies[0]) : "";
    size_t size = in->bodies_len > 0 ? zmq_msg_size(&in->bodies[0]) : 0;
    uint64_t status = wire_u64(in->map, KEY_STATUS);
    store_chunk(self->store, &blob, wire_u64(in->map, KEY_OFFSET), wire_u64(in->map, KEY_BYTES),
                status_known(status) ? (enum status)status : STATUS_INTERNAL,
                wire_text(in->map, KEY_TEXT, text, sizeof text), bytes, size, self->now_ns);
}

static void on_drain(struct agent *self, struct wire_in *in)
{
    char text[256];
    (void)self;
    LOG_INFO("broker_drains", "text=%s", wire_text(in->map, KEY_TEXT, text, sizeof text));
}

static void on_error(struct agent *self, struct wire_in *in)
{
    char text[ERROR_TEXT_MAX];
    (void)self;
    LOG_WARN("broker_error", "status=%s text=%s",
             status_name((enum status)wire_u64(in->map, KEY_STATUS)),
             wire_text(in->map, KEY_TEXT, text, sizeof text));
}

static const struct {
    enum wire_type type;
    handler *call;
} handlers[] = {
    {WIRE_DISPATCH, on_dispatch},     {WIRE_RESULT_ACK, on_result_ack}, {WIRE_REVOKE, on_revoke},
    {WIRE_BLOB_CHUNK, on_blob_chunk}, {WIRE_DRAIN, on_drain},           {WIRE_ERROR, on_error},
};

static void handle(struct agent *self, struct wire_in *in)
{
    for (size_t i = 0; i < ARRAY_LEN(handlers); i++)
        if (handlers[i].type == in->type) {
            handlers[i].call(self, in);
            return;
        }
    LOG_DEBUG("ignored", "message=%s", wire_name(in->type));
}

static void session_up(struct agent *self)
{
    self->received_tasks = self->received_bytes = 0;
    self->credit_tasks = self->credit_bytes = 0;
    agent_results_all_again(self);
    LOG_INFO("joined", "broker=%s name=%s threads=%u mode=%s held=%" PRIu64,
             link_endpoint(self->link), self->name, self->threads, self->mode,
             tasks_count(self->tasks, TASK_HELD));
    if (!self->draining)
        return;
    wire_begin(self->out, WIRE_DRAIN);
    link_send(self->link, self->out);
}

bool agent_session_step(struct agent *self)
{
    for (int i = 0; i < BURST_MAX; i++) {
        enum link_event event = link_step(self->link, self->now_ns, &self->in);
        if (event == LINK_NONE)
            return false;
        if (event == LINK_UP)
            session_up(self);
        if (event == LINK_DOWN)
            store_link_lost(self->store, self->now_ns);
        if (event == LINK_MESSAGE)
            handle(self, &self->in);
    }
    return true;
}
