/* fleet_send - what goes to brokers: tasks within credit, acknowledgements, cancels, blobs */
#include "gateway/fleet_private.h"

#include "common/clock.h"
#include "common/log.h"
#include "gateway/counters.h"

#include <stdio.h>
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
    if (what->kind != WIRE_KIND_INSPECT)
        wire_put_spec(out, what->inputs, what->inputs_len);
    wire_put_u64(out, KEY_BAND, what->band);
    if (what->tenant)
        wire_put_text(out, KEY_TENANT, what->tenant);
    if (task->tenant->share > 1)
        wire_put_u64(out, KEY_SHARE, task->tenant->share);
    if (what->traceparent)
        wire_put_text(out, KEY_TRACEPARENT, what->traceparent);
    if (!id_is_zero(&what->avoid))
        wire_put_uuid(out, KEY_AVOID, &what->avoid);
    wire_put_u64(out, KEY_FLAGS, what->flags | (task->resend ? WIRE_FLAG_RESENT : 0));
    wire_map_close(out);
}

static bool within_credit(const struct upstream *to, uint64_t bytes)
{
    return to->used_tasks < to->credit_tasks && to->used_bytes + bytes <= to->credit_bytes;
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
static size_t gather(struct upstream *to, struct task *bundle[static WIRE_TASKS_MAX],
                     size_t tasks_max)
{
    struct fleet *self = to->fleet;
    size_t len = 0;
    uint64_t bytes = 0, frames = 0, map = 256;
    struct task *task;
    while (len < tasks_max && (task = pending_first(&self->pending))) {
        bytes += task->bytes;
        frames += task->frames;
        map += task->map_bytes;
        if (!within_credit(to, task->bytes))
            break;
        if (len && (!alike(bundle[0], task) || bytes > BUNDLE_BYTES || frames > WIRE_FRAMES_MAX ||
                    map > BUNDLE_MAP))
            break;
        pending_move(&self->pending, task, TASK_SENT);
        fleet_place(self, task, to);
        to->used_tasks++;
        to->used_bytes += task->bytes;
        bundle[len++] = task;
    }
    return len;
}

static void send_bundle(struct upstream *to, struct task **bundle, size_t len)
{
    struct fleet *self = to->fleet;
    const struct fleet_task *first = &bundle[0]->what;
    wire_begin(self->out, first->kind == WIRE_KIND_INSPECT ? WIRE_INSPECT : WIRE_SUBMIT);
    wire_put_digest(self->out, KEY_MODEL, &first->model);
    if (first->model_name)
        wire_put_text(self->out, KEY_MODEL_NAME, first->model_name);
    if (first->mode)
        wire_put_text(self->out, KEY_MODE, first->mode);
    if (first->kind != WIRE_KIND_INSPECT)
        wire_put_u64(self->out, KEY_KIND, first->kind);
    wire_list_open(self->out, KEY_TASKS);
    for (size_t i = 0; i < len; i++)
        put_task(self, bundle[i]);
    wire_list_close(self->out);
    for (size_t i = 0; i < len; i++) {
        put_bodies(self, bundle[i]);
        bundle[i]->sent_ns = self->now_ns;
        bundle[i]->sent_session = to->session;
        count(COUNT_tasks_resent_total, bundle[i]->resend);
    }
    count(COUNT_tasks_sent_total, len);
    enum status s = link_send(to->link, self->out);
    if (s != STATUS_OK) /* what is lost comes back as UNKNOWN */
        LOG_WARN("submit_lost", "broker=%s status=%s tasks=%zu", to->address.endpoint,
                 status_name(s), len);
}

/* No broker knows tasks of this kind: it leaves the line, which goes on without it. */
static void turn_back(struct fleet *self, struct task *task)
{
    char text[160];
    snprintf(text, sizeof text,
             "no broker here speaks wire %d.%u, which this kind of task needs: upgrade the brokers",
             WIRE_MAJOR, wire_kind_minor(task->what.kind));
    pending_move(&self->pending, task, TASK_SENT);
    fleet_turn_back(self, task, STATUS_UNAVAILABLE, 0, text);
}

/* The line goes out in equal parts to all brokers that take something. */
static void send_tasks(struct fleet *self)
{
    struct task *bundle[WIRE_TASKS_MAX], *first;
    size_t usable = 0;
    uint32_t newest = 0;
    for (size_t i = 0; i < self->upstreams_len; i++) {
        const struct upstream *one = self->upstreams[i];
        if (!upstream_usable(one))
            continue;
        usable++;
        newest = MAX(newest, link_terms(one->link)->minor);
    }
    size_t share = usable ? (self->pending.waiting + usable - 1) / usable : 0;
    while (usable && (first = pending_first(&self->pending))) {
        uint32_t minor = wire_kind_minor(first->what.kind);
        if (minor > newest) {
            turn_back(self, first);
            continue;
        }
        struct upstream *to = fleet_pick(self, minor, first->bytes);
        if (!to)
            return;
        size_t len = gather(to, bundle, MIN(share, (size_t)WIRE_TASKS_MAX));
        send_bundle(to, bundle, len);
    }
}

/* --- acknowledgements and cancels ---------------------------------------------------------------
 */

void fleet_ack(struct upstream *through, const struct uuid *worker, uint64_t id)
{
    if (!through)
        return;
    struct acker *acker = through->ackers, *end = acker + through->ackers_len;
    while (acker < end && !id_equal(&acker->worker, worker))
        acker++;
    if (acker == end) {
        if (through->ackers_len == ACKERS_MAX)
            return; /* the worker will send the result again, and get its answer then */
        *acker = (struct acker){*worker, taskset_make(RANGES_MAX)};
        through->ackers_len++;
    }
    taskset_add(&acker->ids, id);
}

static void send_set(struct upstream *to, enum wire_type type, const struct uuid *worker,
                     const struct taskset *set)
{
    struct fleet *self = to->fleet;
    size_t next = 0;
    while (next < set->len) {
        wire_begin(self->out, type);
        wire_list_open(self->out, KEY_IDS);
        wire_put_set(self->out, &self->config.uuid, set, &next, RANGES_MAX);
        wire_list_close(self->out);
        if (worker && !id_is_zero(worker))
            wire_put_uuid(self->out, KEY_WORKER, worker);
        link_send(to->link, self->out);
    }
}

static void flush_broker(struct upstream *to)
{
    bool up = upstream_up(to);
    for (size_t i = 0; i < to->ackers_len; i++) {
        if (up)
            send_set(to, WIRE_RESULT_ACK, &to->ackers[i].worker, &to->ackers[i].ids);
        taskset_free(&to->ackers[i].ids);
    }
    to->ackers_len = 0;
    if (up && to->cancels.len)
        send_set(to, WIRE_CANCEL, NULL, &to->cancels);
    taskset_clear(&to->cancels);
}

void fleet_flush(struct fleet *self, uint64_t now_ns)
{
    self->now_ns = now_ns;
    for (size_t i = 0; i < self->upstreams_len; i++)
        flush_broker(self->upstreams[i]);
    if (self->pending.waiting)
        send_tasks(self);
}

/* --- blobs --------------------------------------------------------------------------------------
 */

void fleet_blob_chunk(struct fleet *self, const struct fleet_blob *want, uint64_t total,
                      struct bytes *bytes, const struct error *why)
{
    struct upstream *to = self->upstreams[want->via];
    if (!upstream_up(to)) {
        bytes_drop(&bytes);
        return; /* the worker asks again, through another broker */
    }
    wire_begin(self->out, WIRE_BLOB_CHUNK);
    wire_put_digest(self->out, KEY_BLOB, &want->blob);
    wire_put_uuid(self->out, KEY_WORKER, &want->worker);
    wire_put_u64(self->out, KEY_OFFSET, want->offset);
    wire_put_u64(self->out, KEY_BYTES, total);
    wire_put_u64(self->out, KEY_STATUS, bytes ? STATUS_OK : why->status);
    if (bytes)
        wire_body_borrow(self->out, bytes->data, bytes->size, bytes_drop_hint, bytes);
    else
        wire_put_text(self->out, KEY_TEXT, why->text);
    count(COUNT_blob_chunks_total, 1);
    link_send(to->link, self->out);
}
