/* fleet_send - what goes to the broker: tasks within credit, acknowledgements, cancels, blobs */
#include "gateway/fleet_private.h"

#include "common/clock.h"
#include "common/log.h"
#include "gateway/counters.h"

#include <stdlib.h>
#include <string.h>

#define BORROW_MIN   (8 * KIB)   /* smaller inputs are copied into their frame */
#define BUNDLE_BYTES (4 * MIB)   /* several tasks in one message: as long as they are small */
#define BUNDLE_MAP   (192 * KIB) /* of a message's map, which may have 256 KiB */

/* --- tasks --------------------------------------------------------------------------------------
 */

static void put_bodies(struct fleet *self, const struct task *task)
{
    for (size_t i = 0; i < task->what.inputs_len; i++) {
        const struct tensor *input = &task->what.inputs[i];
        if (input->bytes < BORROW_MIN)
            wire_body_bytes(self->out, input->data, input->bytes);
        else
            wire_body_borrow(self->out, input->data, input->bytes, bytes_drop_hint,
                             bytes_ref(task->what.owner));
    }
}

/* Time that is left of its budget, at least 1 ms: the broker counts it from arrival. */
static uint64_t budget_left_ms(const struct fleet *self, const struct task *task)
{
    if (!task->what.budget_ms)
        return 0;
    uint64_t end_ns = task->submitted_ns + task->what.budget_ms * NS_PER_MS;
    return end_ns > self->now_ns + NS_PER_MS ? (end_ns - self->now_ns) / NS_PER_MS : 1;
}

static void put_task(struct fleet *self, const struct task *task)
{
    const struct fleet_task *what = &task->what;
    struct wire_out *out = self->out;
    wire_map_open(out);
    wire_put_u64(out, KEY_TASK, task->id);
    wire_put_u64(out, KEY_ATTEMPT, MIN(what->attempt, 1000u));
    wire_put_u64(out, KEY_CRASHES, MIN(what->crashes, 1000u));
    wire_put_u64(out, KEY_BUDGET_MS, budget_left_ms(self, task));
    wire_put_u64(out, KEY_ROWS, what->rows);
    wire_put_u64(out, KEY_FRAMES, task->frames);
    wire_put_u64(out, KEY_BYTES, task->bytes);
    if (what->kind == WIRE_KIND_INFER)
        wire_put_spec(out, what->inputs, what->inputs_len);
    wire_put_u64(out, KEY_BAND, what->band);
    if (what->tenant)
        wire_put_text(out, KEY_TENANT, what->tenant);
    if (what->traceparent)
        wire_put_text(out, KEY_TRACEPARENT, what->traceparent);
    wire_put_u64(out, KEY_FLAGS, what->flags | (task->resend ? WIRE_FLAG_RESENT : 0));
    wire_map_close(out);
}

static bool within_credit(const struct fleet *self, uint64_t tasks, uint64_t bytes)
{
    return self->used_tasks + tasks <= self->credit_tasks &&
           self->used_bytes + bytes <= self->credit_bytes;
}

/* May `task` travel in the message that `first` began? */
static bool alike(const struct task *first, const struct task *task)
{
    const char *a = first->what.mode, *b = task->what.mode;
    return first->what.kind == WIRE_KIND_INFER && task->what.kind == WIRE_KIND_INFER &&
           digest_equal(&first->what.model, &task->what.model) && !a == !b &&
           (!a || strcmp(a, b) == 0);
}

/* Take tasks from the front of the line as long as they fit into one message. */
static size_t gather(struct fleet *self, struct task *bundle[static WIRE_TASKS_MAX])
{
    size_t len = 0;
    uint64_t bytes = 0, frames = 0, map = 256;
    struct task *task;
    while (len < WIRE_TASKS_MAX && (task = pending_first(&self->pending))) {
        bytes += task->bytes;
        frames += task->frames;
        map += task->map_bytes;
        if (!within_credit(self, 1, task->bytes))
            break;
        if (len && (!alike(bundle[0], task) || bytes > BUNDLE_BYTES || frames > WIRE_FRAMES_MAX ||
                    map > BUNDLE_MAP))
            break;
        pending_move(&self->pending, task, TASK_SENT);
        self->used_tasks++;
        self->used_bytes += task->bytes;
        bundle[len++] = task;
    }
    return len;
}

static void send_bundle(struct fleet *self, struct task **bundle, size_t len)
{
    const struct fleet_task *first = &bundle[0]->what;
    wire_begin(self->out, first->kind == WIRE_KIND_INSPECT ? WIRE_INSPECT : WIRE_SUBMIT);
    wire_put_digest(self->out, KEY_MODEL, &first->model);
    if (first->model_name)
        wire_put_text(self->out, KEY_MODEL_NAME, first->model_name);
    if (first->mode)
        wire_put_text(self->out, KEY_MODE, first->mode);
    if (first->kind == WIRE_KIND_INFER)
        wire_put_u64(self->out, KEY_KIND, first->kind);
    wire_list_open(self->out, KEY_TASKS);
    for (size_t i = 0; i < len; i++)
        put_task(self, bundle[i]);
    wire_list_close(self->out);
    for (size_t i = 0; i < len; i++) {
        put_bodies(self, bundle[i]);
        bundle[i]->sent_ns = self->now_ns;
        bundle[i]->sent_session = self->session;
        count(COUNT_tasks_resent_total, bundle[i]->resend);
    }
    count(COUNT_tasks_sent_total, len);
    enum status s = link_send(self->link, self->out);
    if (s != STATUS_OK) /* what is lost comes back as UNKNOWN */
        LOG_WARN("submit_lost", "status=%s tasks=%zu", status_name(s), len);
}

static void send_tasks(struct fleet *self)
{
    struct task *bundle[WIRE_TASKS_MAX];
    size_t len;
    while (!self->draining && (len = gather(self, bundle)) > 0)
        send_bundle(self, bundle, len);
}

/* --- acknowledgements and cancels ---------------------------------------------------------------
 */

void fleet_ack(struct fleet *self, const struct uuid *worker, uint64_t id)
{
    struct acker *acker = self->ackers, *end = acker + self->ackers_len;
    while (acker < end && !id_equal(&acker->worker, worker))
        acker++;
    if (acker == end) {
        if (self->ackers_len == ACKERS_MAX)
            return; /* the worker will send the result again, and get its answer then */
        *acker = (struct acker){*worker, taskset_make(RANGES_MAX)};
        self->ackers_len++;
    }
    taskset_add(&acker->ids, id);
}

static void send_set(struct fleet *self, enum wire_type type, const struct uuid *worker,
                     const struct taskset *set)
{
    size_t next = 0;
    while (next < set->len) {
        wire_begin(self->out, type);
        wire_list_open(self->out, KEY_IDS);
        wire_put_set(self->out, &self->config.uuid, set, &next, RANGES_MAX);
        wire_list_close(self->out);
        if (worker && !id_is_zero(worker))
            wire_put_uuid(self->out, KEY_WORKER, worker);
        link_send(self->link, self->out);
    }
}

static void send_acks(struct fleet *self, bool up)
{
    for (size_t i = 0; i < self->ackers_len; i++) {
        if (up)
            send_set(self, WIRE_RESULT_ACK, &self->ackers[i].worker, &self->ackers[i].ids);
        taskset_free(&self->ackers[i].ids);
    }
    self->ackers_len = 0;
}

void fleet_flush(struct fleet *self, uint64_t now_ns)
{
    bool up = self->link && link_up(self->link);
    self->now_ns = now_ns;
    if (self->ackers_len)
        send_acks(self, up);
    if (self->cancels.len) {
        if (up)
            send_set(self, WIRE_CANCEL, NULL, &self->cancels);
        taskset_clear(&self->cancels);
    }
    if (up && self->pending.waiting)
        send_tasks(self);
}

/* --- blobs --------------------------------------------------------------------------------------
 */

void fleet_blob_chunk(struct fleet *self, const struct digest *blob, const struct uuid *worker,
                      uint64_t offset, uint64_t total, struct bytes *bytes, const struct error *why)
{
    if (!self->link || !link_up(self->link)) {
        bytes_drop(&bytes);
        return;
    }
    wire_begin(self->out, WIRE_BLOB_CHUNK);
    wire_put_digest(self->out, KEY_BLOB, blob);
    wire_put_uuid(self->out, KEY_WORKER, worker);
    wire_put_u64(self->out, KEY_OFFSET, offset);
    wire_put_u64(self->out, KEY_BYTES, total);
    wire_put_u64(self->out, KEY_STATUS, bytes ? STATUS_OK : why->status);
    if (bytes)
        wire_body_borrow(self->out, bytes->data, bytes->size, bytes_drop_hint, bytes);
    else
        wire_put_text(self->out, KEY_TEXT, why->text);
    count(COUNT_blob_chunks_total, 1);
    link_send(self->link, self->out);
}
