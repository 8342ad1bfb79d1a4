/* fleet_take - what a broker says: one handler per message
 *
 * Everything here may come late, twice or for a task that ended: what does not fit the task's state
 * is ignored, a result that nobody awaits is acknowledged so that its worker can forget it. */
#include "gateway/fleet_private.h"

#include "common/clock.h"
#include "common/log.h"
#include "gateway/counters.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define RETRY_DEFAULT_MS 250  /* a broker that says BUSY and not for how long */
#define ATTEMPTS_MAX     1000 /* bound of ATTEMPT and CRASHES in wire.def */

/* --- sets of ids --------------------------------------------------------------------------------
 */

struct found {
    uint64_t *ids; /* tasks of ours that a message names */
    size_t len;    /* how many */
};

static void find_range(const struct fleet *self, uint64_t first, uint64_t count, struct found *out)
{
    const struct pending *pending = &self->pending;
    const struct task *task;
    if (count <= 2 * pending->len) {
        for (uint64_t i = 0; i < count && out->len < pending->len; i++)
            if (pending_find(pending, first + i))
                out->ids[out->len++] = first + i;
        return;
    }
    TAILQ_FOREACH(task, &pending->all, all)
    if (task->id - first < count && out->len < pending->len)
        out->ids[out->len++] = task->id;
}

/* Our own tasks among the ids of a list of SET. A handler may end tasks, so numbers are collected
 * first; free .ids. */
static struct found find_ids(const struct fleet *self, struct wire_map map, enum wire_key key)
{
    struct found out = {xmalloc((self->pending.len + 1) * sizeof *out.ids), 0};
    for (size_t s = 0; s < wire_len(map, key); s++) {
        struct wire_map set = wire_at(map, key, s);
        struct uuid gateway = wire_uuid(set, KEY_GATEWAY);
        if (!id_equal(&gateway, &self->config.uuid))
            continue;
        for (size_t r = 0; r + 1 < wire_len(set, KEY_RANGES); r += 2)
            find_range(self, wire_number(set, KEY_RANGES, r), wire_number(set, KEY_RANGES, r + 1),
                       &out);
    }
    return out;
}

static void for_each(struct upstream *from, const struct wire_in *in, enum wire_key key,
                     void (*handle)(struct upstream *from, struct task *task,
                                    const struct wire_in *in))
{
    const struct fleet *self = from->fleet;
    struct found found = find_ids(self, in->map, key);
    for (size_t i = 0; i < found.len; i++) {
        struct task *task = pending_find(&self->pending, found.ids[i]);
        if (task)
            handle(from, task, in);
    }
    free(found.ids);
}

/* --- a task's way -------------------------------------------------------------------------------
 */

static void accepted(struct upstream *from, struct task *task, const struct wire_in *in)
{
    (void)in;
    if (task->state == TASK_SENT && task->broker == from->index)
        pending_move(&from->fleet->pending, task, TASK_ACCEPTED);
}

static void try_again(void *arg)
{
    struct task *task = arg;
    if (task->state == TASK_SENT)
        pending_line_up(&task->fleet->pending, task, false);
}

/* Another broker than the one that is about to end. */
static bool elsewhere(const struct upstream *from)
{
    const struct fleet *self = from->fleet;
    for (size_t i = 0; i < self->upstreams_len; i++)
        if (self->upstreams[i] != from && upstream_usable(self->upstreams[i]))
            return true;
    return false;
}

void fleet_turn_back(struct fleet *self, struct task *task, enum status status, uint64_t pause_ms,
                     const char *text)
{
    bool later = status == STATUS_BUSY || status == STATUS_UNAVAILABLE;
    if (!task->what.patient || !later) {
        fleet_end(self, task, status, text);
        return;
    }
    pause_ms = pause_ms ? MIN(pause_ms, UINT64_C(10000)) : RETRY_DEFAULT_MS;
    front_timer_set(self->config.front, &task->deadline, self->now_ns + pause_ms * NS_PER_MS,
                    try_again, task);
}

static void rejected(struct upstream *from, struct task *task, const struct wire_in *in)
{
    struct fleet *self = from->fleet;
    char text[ERROR_TEXT_MAX];
    enum status status = (enum status)wire_u64(in->map, KEY_STATUS);
    if (task->state != TASK_SENT || task->broker != from->index)
        return;
    count(COUNT_tasks_rejected_total, 1);
    fleet_place(self, task, NULL);
    if (status == STATUS_UNAVAILABLE && elsewhere(from)) {
        from->draining = true;
        pending_line_up(&self->pending, task, true);
        return;
    }
    wire_text(in->map, KEY_TEXT, text, sizeof text);
    if (status == STATUS_OK || !status_known(status))
        status = STATUS_UNAVAILABLE;
    fleet_turn_back(self, task, status, wire_u64(in->map, KEY_RETRY_MS),
                    text[0] ? text : status_advice(status));
}

static void started(struct upstream *from, struct task *task, const struct wire_in *in)
{
    (void)from, (void)in;
    if (task->state == TASK_DONE)
        return;
    task->what.attempt = MIN(task->what.attempt + 1, (uint32_t)ATTEMPTS_MAX);
    if (task->what.calls->started)
        task->what.calls->started(task->what.arg, task->id);
}

static void crashed(struct upstream *from, struct task *task, const struct wire_in *in)
{
    char text[ERROR_TEXT_MAX];
    (void)from;
    if (task->state == TASK_DONE)
        return;
    task->what.crashes = MIN(task->what.crashes + 1, (uint32_t)ATTEMPTS_MAX);
    count(COUNT_runner_crashes_total, 1);
    wire_text(in->map, KEY_TEXT, text, sizeof text);
    if (task->what.calls->crashed)
        task->what.calls->crashed(task->what.arg, task->id, text);
}

/* No broker knows an expected task, and no worker: its owner is asked for the data, once. */
static void unexpected(struct upstream *from, struct task *task)
{
    task->strangers |= 1u << from->index;
    if (task->asked || !fleet_all_strangers(from->fleet, task))
        return;
    task->asked = true;
    if (task->what.calls->unknown)
        task->what.calls->unknown(task->what.arg, task->id);
}

/* The broker never heard of it, or forgot it in a restart, or was asked about a task of one that
 * was lost. Its word may be older than our last SUBMIT: then it is asked again by the next
 * heartbeat. */
static void unknown(struct upstream *from, struct task *task, const struct wire_in *in)
{
    struct fleet *self = from->fleet;
    uint64_t fresh_ns = link_terms(from->link)->heartbeat_ms * NS_PER_MS * 3 / 2;
    (void)in;
    if (task->state == TASK_EXPECTED) {
        unexpected(from, task);
        return;
    }
    if ((task->state != TASK_SENT && task->state != TASK_ACCEPTED) || task->broker != from->index)
        return;
    if (task->deadline.slot && task->deadline.call == try_again)
        return; /* it was rejected, and will be sent again then */
    if (task->sent_session == from->session && self->now_ns - task->sent_ns < fresh_ns)
        return;
    task->resend = true;
    fleet_place(self, task, NULL);
    pending_line_up(&self->pending, task, true);
}

/* --- results ------------------------------------------------------------------------------------
 */

static void result_of(struct upstream *from, const struct wire_in *in, struct wire_map map,
                      zmq_msg_t *frames, size_t frames_len)
{
    struct fleet *self = from->fleet;
    struct task *task = pending_find(&self->pending, wire_u64(map, KEY_TASK));
    struct uuid worker = wire_uuid(in->map, KEY_WORKER);
    if (!task || task->state == TASK_DONE) {
        count(COUNT_results_duplicate_total, 1);
        if (!task)
            fleet_ack(from, &worker, wire_u64(map, KEY_TASK));
        return; /* a second result of a task that is not committed yet: its worker asks again */
    }
    count(COUNT_results_total, 1);
    if (!self->workers && !id_is_zero(&worker))
        fleet_presence(from, 1); /* the broker's heartbeat will say how many there are */
    struct fleet_result *result = fleet_result_read(in, map, frames, frames_len, task);
    result->total_ns = self->now_ns - task->submitted_ns;
    front_timer_clear(self->config.front, &task->deadline);
    pending_move(&self->pending, task, TASK_DONE);
    pending_drop_inputs(&self->pending, task);
    task->worker = worker;
    task->via = from->index;
    task->what.calls->result(task->what.arg, result);
}

static void take_result(struct upstream *from, const struct wire_in *in)
{
    const struct fleet *self = from->fleet;
    struct uuid gateway = wire_uuid(in->map, KEY_GATEWAY);
    size_t at = 0;
    if (!id_equal(&gateway, &self->config.uuid)) {
        LOG_WARN("result_astray", "tasks=%zu", wire_len(in->map, KEY_TASKS));
        return;
    }
    for (size_t i = 0; i < wire_len(in->map, KEY_TASKS); i++) {
        struct wire_map map = wire_at(in->map, KEY_TASKS, i);
        size_t frames = (size_t)wire_u64(map, KEY_FRAMES);
        if (frames > in->bodies_len - at) {
            LOG_WARN("result_short", "task=%" PRIu64 " frames=%zu there=%zu",
                     wire_u64(map, KEY_TASK), frames, in->bodies_len - at);
            return;
        }
        result_of(from, in, map, in->bodies + at, frames);
        at += frames;
    }
}

/* --- the rest -----------------------------------------------------------------------------------
 */

static void take_accepted(struct upstream *from, const struct wire_in *in)
{
    for_each(from, in, KEY_IDS, accepted);
}

static void take_rejected(struct upstream *from, const struct wire_in *in)
{
    for_each(from, in, KEY_IDS, rejected);
}

static void take_started(struct upstream *from, const struct wire_in *in)
{
    for_each(from, in, KEY_IDS, started);
}

static void take_crashed(struct upstream *from, const struct wire_in *in)
{
    for_each(from, in, KEY_IDS, crashed);
}

static void take_heartbeat(struct upstream *from, const struct wire_in *in)
{
    if (wire_has(in->map, KEY_WORKERS))
        fleet_presence(from, (uint32_t)MIN(wire_u64(in->map, KEY_WORKERS), UINT32_MAX));
    if (wire_has(in->map, KEY_UNKNOWN))
        for_each(from, in, KEY_UNKNOWN, unknown);
}

static void take_credit(struct upstream *from, const struct wire_in *in)
{
    from->credit_tasks = MAX(from->credit_tasks, wire_u64(in->map, KEY_CREDIT_TASKS));
    from->credit_bytes = MAX(from->credit_bytes, wire_u64(in->map, KEY_CREDIT_BYTES));
}

static void take_blob_get(struct upstream *from, const struct wire_in *in)
{
    struct fleet *self = from->fleet;
    const struct fleet_blob want = {
        .blob = wire_digest(in->map, KEY_BLOB),
        .worker = wire_uuid(in->map, KEY_WORKER),
        .via = from->index,
        .offset = wire_u64(in->map, KEY_OFFSET),
        .length = (uint32_t)wire_u64(in->map, KEY_LENGTH),
    };
    if (self->blob_get)
        self->blob_get(self->blob_arg, &want);
}

static void take_drain(struct upstream *from, const struct wire_in *in)
{
    (void)in;
    LOG_INFO("broker_drains", "broker=%s action=%s", from->address.endpoint,
             "nothing is sent to it until its next start");
    from->draining = true;
}

/* Of a task that has not ended; the text is the first frame. */
static void take_progress(struct upstream *from, const struct wire_in *in)
{
    const struct fleet *self = from->fleet;
    struct uuid gateway = wire_uuid(in->map, KEY_GATEWAY);
    struct task *task = pending_find(&self->pending, wire_u64(in->map, KEY_TASK));
    if (!task || task->state == TASK_DONE || !id_equal(&gateway, &self->config.uuid) ||
        !task->what.calls->progress || in->bodies_len == 0)
        return;
    task->what.calls->progress(task->what.arg, task->id, zmq_msg_data(&in->bodies[0]),
                               zmq_msg_size(&in->bodies[0]));
}

void fleet_take(struct upstream *from, const struct wire_in *in)
{
    static const struct {
        enum wire_type type;
        void (*take)(struct upstream *from, const struct wire_in *in);
    } handlers[] = {
        {WIRE_RESULT, take_result},       {WIRE_ACCEPTED, take_accepted},
        {WIRE_STARTED, take_started},     {WIRE_CREDIT, take_credit},
        {WIRE_HEARTBEAT, take_heartbeat}, {WIRE_BLOB_GET, take_blob_get},
        {WIRE_REJECTED, take_rejected},   {WIRE_CRASHED, take_crashed},
        {WIRE_STATE, fleet_answer},       {WIRE_DRAIN, take_drain},
        {WIRE_ENROL, fleet_take_enrol},   {WIRE_NODES_ACK, fleet_take_nodes_ack},
        {WIRE_PROGRESS, take_progress},
    };
    for (size_t i = 0; i < ARRAY_LEN(handlers); i++) {
        if (handlers[i].type == in->type) {
            handlers[i].take(from, in);
            return;
        }
    }
    LOG_WARN("message_ignored", "type=%s", wire_name(in->type));
}

/* --- what we await ------------------------------------------------------------------------------
 */

static void put_awaited(struct upstream *to, struct wire_out *out, uint64_t before_ns)
{
    struct fleet *self = to->fleet;
    pending_awaited(&self->pending, to->index, before_ns, &self->awaited);
    size_t next = to->awaited_from < self->awaited.len ? to->awaited_from : 0;
    wire_list_open(out, KEY_AWAITED);
    wire_put_set(out, &self->config.uuid, &self->awaited, &next, RANGES_MAX);
    wire_list_close(out);
    to->awaited_from = next < self->awaited.len ? next : 0;
}

void fleet_fill_hello(void *upstream, struct wire_out *out)
{
    put_awaited(upstream, out, UINT64_MAX);
}

bool fleet_awaits_nothing(const void *upstream)
{
    const struct upstream *to = upstream;
    return to->fleet->pending.len == 0;
}

/* A task sent just now may still be on its way: only those that had a heartbeat's time are named.
 */
void fleet_fill_awaited(void *upstream, struct wire_out *out)
{
    const struct upstream *to = upstream;
    uint64_t now_ns = to->fleet->now_ns, beat_ns = link_terms(to->link)->heartbeat_ms * NS_PER_MS;
    put_awaited(upstream, out, now_ns > beat_ns ? now_ns - beat_ns : 0);
}
