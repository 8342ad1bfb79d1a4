/* fleet - tasks come in, wait, end; see fleet.h */
#include "gateway/fleet_private.h"

#include "common/clock.h"
#include "common/log.h"
#include "gateway/counters.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ABSENT_GRACE_NS (2 * NS_PER_S) /* a broker that restarts is back within this */
#define ID_BLOCK_BITS   40             /* 10^12 tasks in one life of the process */
#define EVENTS_MAX      512            /* messages taken in a turn */

struct fleet *fleet_new(const struct fleet_config *config)
{
    struct fleet *self = xcalloc(1, sizeof *self);
    assert(config->incarnation > 0 && config->incarnation < UINT64_C(1) << (63 - ID_BLOCK_BITS));
    self->config = *config;
    self->config.broker = xstrdup(config->broker);
    self->config.name = xstrdup(config->name ? config->name : "");
    self->next_id = (config->incarnation << ID_BLOCK_BITS) + 1;
    self->now_ns = self->absent_ns = clock_mono_ns();
    self->out = wire_out_new();
    self->awaited = taskset_make(AWAITED_MAX);
    self->cancels = taskset_make(AWAITED_MAX);
    pending_init(&self->pending);
    return self;
}

void fleet_start(struct fleet *self)
{
    const struct link_config config = {
        .endpoint = self->config.broker,
        .role = WIRE_GATEWAY,
        .uuid = self->config.uuid,
        .incarnation = self->config.incarnation,
        .name = self->config.name,
        .owner = self,
        .fill_hello = fleet_fill_hello,
        .fill_heartbeat = fleet_fill_awaited,
    };
    self->link = link_new(self->config.zmq, &config);
}

/* --- the end of a task --------------------------------------------------------------------------
 */

void fleet_end(struct fleet *self, struct task *task, enum status status, const char *text)
{
    struct fleet_result *result = fleet_result_made(task, status, text);
    const struct fleet_calls *calls = task->what.calls;
    void *arg = task->what.arg;
    result->total_ns = self->now_ns - task->submitted_ns;
    front_timer_clear(self->config.front, &task->deadline);
    pending_remove(&self->pending, task);
    calls->result(arg, result);
}

static void forget(struct fleet *self, struct task *task)
{
    front_timer_clear(self->config.front, &task->deadline);
    pending_remove(&self->pending, task);
}

/* Past its budget: whatever comes later is acknowledged and thrown away. */
static void past_deadline(void *arg)
{
    struct task *task = arg;
    struct fleet *self = task->fleet;
    char text[160];
    snprintf(text, sizeof text,
             "no answer within %" PRIu64 " ms (%s): allow more time, or retry when the fleet is "
             "less busy",
             task->what.budget_ms,
             task->state == TASK_WAITING ? "it was not sent: no broker or no credit"
                                         : "it waited or was being computed");
    if (task->state != TASK_WAITING)
        taskset_add(&self->cancels, task->id);
    self->now_ns = front_now_ns(self->config.front);
    fleet_end(self, task, STATUS_DEADLINE, text);
}

void fleet_cancel(struct fleet *self, uint64_t id)
{
    struct task *task = pending_find(&self->pending, id);
    if (!task)
        return;
    if (task->state == TASK_DONE)
        fleet_ack(self, &task->worker, id);
    else if (task->state != TASK_WAITING)
        taskset_add(&self->cancels, id);
    forget(self, task);
}

void fleet_commit(struct fleet *self, uint64_t id)
{
    struct task *task = pending_find(&self->pending, id);
    if (!task)
        return;
    assert(task->state == TASK_DONE);
    fleet_ack(self, &task->worker, id);
    forget(self, task);
}

/* --- the beginning of a task --------------------------------------------------------------------
 */

static enum status admit(const struct fleet *self, const struct fleet_task *task, uint64_t bytes,
                         uint64_t frames, struct error *why)
{
    const struct pending *pending = &self->pending;
    if (bytes > WIRE_MESSAGE_MAX || frames > WIRE_FRAMES_MAX)
        return fail(why, STATUS_TOO_LARGE,
                    "the inputs take %" PRIu64 " bytes in %" PRIu64
                    " frames, more than the %" PRIu64 " bytes and %d frames of one task: send "
                    "fewer rows at once",
                    bytes, frames, WIRE_MESSAGE_MAX, WIRE_FRAMES_MAX);
    if (task->patient)
        return STATUS_OK;
    if (self->draining || (self->absent_ns && self->now_ns - self->absent_ns > ABSENT_GRACE_NS))
        return fail(why, STATUS_UNAVAILABLE, "%s: retry in a moment",
                    !self->link || !link_up(self->link) ? "no broker answers"
                    : self->draining                    ? "the broker is shutting down"
                                                        : "no worker has joined the fleet");
    if (pending->len - pending->patient >= self->config.online_max ||
        pending->online_bytes + bytes > self->config.online_bytes_max)
        return fail(why, STATUS_BUSY,
                    "the fleet is full: %zu requests with %" PRIu64
                    " input bytes are under way; retry in a moment",
                    pending->len - pending->patient, pending->online_bytes);
    return STATUS_OK;
}

enum status fleet_submit(struct fleet *self, const struct fleet_task *what, uint64_t *id,
                         struct error *why)
{
    struct fleet_task numbered = *what;
    struct bytes *owner = what->owner;
    struct task *task = what->id ? pending_find(&self->pending, what->id) : NULL;
    uint64_t bytes = 0, frames = 0;
    for (size_t i = 0; i < what->inputs_len; i++) {
        bytes += what->inputs[i].bytes;
        frames += wire_frames_of(what->inputs[i].bytes);
    }
    enum status s = admit(self, what, bytes, frames, why);
    if (s != STATUS_OK || (task && task->state != TASK_EXPECTED)) {
        bytes_drop(&owner); /* refused, or its result came meanwhile */
        return s;
    }
    if (!numbered.id)
        numbered.id = fleet_next_ids(self, 1);
    if (task)
        pending_supply(&self->pending, task, &numbered);
    else
        task = pending_add(&self->pending, &numbered);
    task->fleet = self;
    task->resend = task->asked;
    task->submitted_ns = front_now_ns(self->config.front);
    if (what->budget_ms)
        front_timer_set(self->config.front, &task->deadline,
                        task->submitted_ns + what->budget_ms * NS_PER_MS, past_deadline, task);
    pending_line_up(&self->pending, task, false);
    if (id)
        *id = numbered.id;
    return STATUS_OK;
}

void fleet_expect(struct fleet *self, uint64_t id, const struct fleet_calls *calls, void *arg)
{
    const struct fleet_task what = {
        .id = id, .kind = WIRE_KIND_INFER, .patient = true, .calls = calls, .arg = arg};
    assert(!self->link && id < self->next_id);
    struct task *task = pending_add(&self->pending, &what);
    task->fleet = self;
    task->submitted_ns = self->now_ns;
}

uint64_t fleet_next_ids(struct fleet *self, uint32_t count)
{
    uint64_t first = self->next_id;
    self->next_id += count;
    return first;
}

/* --- who is there -------------------------------------------------------------------------------
 */

void fleet_changed(struct fleet *self)
{
    for (size_t i = 0; i < self->listeners_len; i++)
        self->listeners[i].changed(self->listeners[i].arg);
}

void fleet_presence(struct fleet *self, uint32_t workers)
{
    bool there = self->link && link_up(self->link) && workers > 0;
    bool news = workers != self->workers || there == (self->absent_ns != 0);
    if (workers != self->workers)
        LOG_INFO("workers", "count=%u before=%u", workers, self->workers);
    self->workers = workers;
    if (there)
        self->absent_ns = 0;
    else if (!self->absent_ns)
        self->absent_ns = self->now_ns;
    if (news)
        fleet_changed(self);
}

void fleet_listen(struct fleet *self, void (*changed)(void *arg), void *arg)
{
    assert(self->listeners_len < LISTENERS_MAX);
    self->listeners[self->listeners_len++] = (struct listener){changed, arg};
}

struct fleet_view fleet_view(const struct fleet *self)
{
    bool up = self->link && link_up(self->link);
    return (struct fleet_view){
        .up = up,
        .workers = up ? self->workers : 0,
        .heartbeat_ms = self->session ? link_terms(self->link)->heartbeat_ms : 0,
        .tasks = self->pending.len,
        .patient = self->pending.patient,
        .unsent = self->pending.waiting,
        .online_bytes = self->pending.online_bytes,
    };
}

/* --- the loop -----------------------------------------------------------------------------------
 */

static void came_up(struct fleet *self)
{
    const struct link_terms *terms = link_terms(self->link);
    count(COUNT_broker_sessions_total, 1);
    self->session++;
    self->draining = false;
    self->credit_tasks = terms->credit_tasks;
    self->credit_bytes = terms->credit_bytes;
    self->used_tasks = self->used_bytes = 0;
    fleet_changed(self);
}

static void went_down(struct fleet *self)
{
    fleet_queries_end(self, "the broker went away: retry in a moment");
    fleet_presence(self, 0);
}

void fleet_step(struct fleet *self, uint64_t now_ns)
{
    self->now_ns = now_ns;
    for (int i = 0; self->link && i < EVENTS_MAX; i++) {
        enum link_event event = link_step(self->link, now_ns, &self->in);
        if (event == LINK_NONE)
            break;
        if (event == LINK_UP)
            came_up(self);
        else if (event == LINK_DOWN)
            went_down(self);
        else
            fleet_take(self, &self->in);
    }
}

size_t fleet_poll_items(const struct fleet *self, zmq_pollitem_t *items)
{
    return self->link ? link_poll_items(self->link, items) : 0;
}

uint64_t fleet_next_ns(const struct fleet *self)
{
    return self->link ? link_next_ns(self->link) : UINT64_MAX;
}

void fleet_serve_blobs(struct fleet *self,
                       void (*get)(void *arg, const struct digest *blob, const struct uuid *worker,
                                   uint64_t offset, uint32_t length),
                       void *arg)
{
    self->blob_get = get;
    self->blob_arg = arg;
}

void fleet_destroy(struct fleet **self_p)
{
    struct fleet *self = *self_p;
    struct task *task;
    if (!self)
        return;
    fleet_queries_end(self, "the gateway is shutting down");
    while ((task = TAILQ_FIRST(&self->pending.all))) {
        if (task->what.patient || task->state == TASK_DONE)
            forget(self, task);
        else
            fleet_end(self, task, STATUS_CANCELLED, "the gateway is shutting down: ask again");
    }
    fleet_flush(self, self->now_ns);
    link_destroy(&self->link);
    pending_free(&self->pending);
    for (size_t i = 0; i < self->ackers_len; i++)
        taskset_free(&self->ackers[i].ids);
    taskset_free(&self->awaited);
    taskset_free(&self->cancels);
    wire_in_clear(&self->in);
    wire_out_destroy(&self->out);
    free((char *)self->config.broker);
    free((char *)self->config.name);
    free(self);
    *self_p = NULL;
}
