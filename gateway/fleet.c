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
#define PART            4              /* of what is left, for each share, one tenant may have */

struct fleet *fleet_new(const struct fleet_config *config)
{
    struct fleet *self = xcalloc(1, sizeof *self);
    assert(config->incarnation > 0 && config->incarnation < UINT64_C(1) << (63 - ID_BLOCK_BITS));
    self->config = *config;
    self->config.name = xstrdup(config->name ? config->name : "");
    self->next_id = (config->incarnation << ID_BLOCK_BITS) + 1;
    self->now_ns = self->absent_ns = clock_mono_ns();
    self->out = wire_out_new();
    self->awaited = taskset_make(AWAITED_MAX);
    pending_init(&self->pending, config->shares);
    for (size_t i = 0; i < config->brokers.len; i++)
        fleet_add_broker(self, &config->brokers.list[i]);
    return self;
}

void fleet_start(struct fleet *self)
{
    size_t configured = self->upstreams_len;
    self->start_ns = clock_mono_ns();
    for (size_t i = 0; i < configured; i++)
        fleet_dial(self->upstreams[i]);
}

/* --- the end of a task --------------------------------------------------------------------------
 */

static void forget(struct fleet *self, struct task *task)
{
    front_timer_clear(self->config.front, &task->deadline);
    fleet_place(self, task, NULL);
    pending_remove(&self->pending, task);
}

void fleet_end(struct fleet *self, struct task *task, enum status status, const char *text)
{
    struct fleet_result *result = fleet_result_made(task, status, text);
    const struct fleet_calls *calls = task->what.calls;
    void *arg = task->what.arg;
    result->total_ns = self->now_ns - task->submitted_ns;
    forget(self, task);
    calls->result(arg, result);
}

/* Whoever has it may stop: one broker, or any that an expected task may have come to. */
static void cancel_there(struct fleet *self, const struct task *task)
{
    for (size_t i = 0; i < self->upstreams_len; i++)
        if (task->broker == i || task->state == TASK_EXPECTED)
            taskset_add(&self->upstreams[i]->cancels, task->id);
}

/* To the worker through the broker that brought the result, and to the broker that was given the
 * task, if that is another one: it may have it yet. */
static void acknowledge(struct fleet *self, const struct task *task)
{
    struct upstream *via = fleet_reach(self, task->via);
    fleet_ack(via, &task->worker, task->id);
    if (task->broker != NO_BROKER && via && task->broker != via->index)
        fleet_ack(fleet_reach(self, task->broker), &task->worker, task->id);
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
    cancel_there(self, task);
    self->now_ns = front_now_ns(self->config.front);
    fleet_end(self, task, STATUS_DEADLINE, text);
}

void fleet_cancel(struct fleet *self, uint64_t id)
{
    struct task *task = pending_find(&self->pending, id);
    if (!task)
        return;
    if (task->state == TASK_DONE)
        acknowledge(self, task);
    else
        cancel_there(self, task);
    forget(self, task);
}

void fleet_commit(struct fleet *self, uint64_t id)
{
    struct task *task = pending_find(&self->pending, id);
    if (!task)
        return;
    assert(task->state == TASK_DONE);
    acknowledge(self, task);
    forget(self, task);
}

/* --- the beginning of a task --------------------------------------------------------------------
 */

/* Why nobody can be given a task now; NULL: somebody can. */
static const char *nobody(const struct fleet *self)
{
    bool up = false, usable = false;
    for (size_t i = 0; i < self->upstreams_len; i++) {
        up = up || upstream_up(self->upstreams[i]);
        usable = usable || upstream_usable(self->upstreams[i]);
    }
    if (up && !usable)
        return "the broker is shutting down";
    if (self->absent_ns == 0 || self->now_ns - self->absent_ns <= ABSENT_GRACE_NS)
        return NULL;
    return up ? "no worker has joined the fleet" : "no broker answers";
}

/* Whoever comes first may have much, and leaves room for others to begin: no more than PART times
 * what is left for each share (dynamic thresholds; Choudhury and Hahne 1998). Who is alone may have
 * all. */
static bool has_its_part(struct fleet *self, const struct tenant *tenant, uint64_t bytes)
{
    const struct pending *pending = &self->pending;
    uint64_t online = pending->len - pending->patient, part = (uint64_t)PART * tenant->share;
    bool alone = !pending->tenants->next;
    return !alone && (tenant->online >= part * (self->config.online_max - online) ||
                      tenant->online_bytes + bytes >
                          part * (self->config.online_bytes_max - pending->online_bytes));
}

static enum status admit(struct fleet *self, const struct fleet_task *task, uint64_t bytes,
                         uint64_t frames, struct error *why)
{
    const struct pending *pending = &self->pending;
    if (bytes > WIRE_MESSAGE_MAX || frames > WIRE_FRAMES_MAX)
        return fail(why, STATUS_TOO_LARGE,
                    "the inputs take %" PRIu64 " bytes in %" PRIu64
                    " frames, more than the %d bytes and %d frames of one task: send "
                    "fewer rows at once",
                    bytes, frames, WIRE_MESSAGE_MAX, WIRE_FRAMES_MAX);
    if (task->patient)
        return STATUS_OK;
    const char *absent = nobody(self);
    if (absent)
        return fail(why, STATUS_UNAVAILABLE, "%s: retry in a moment", absent);
    size_t online = pending->len - pending->patient;
    if (online >= self->config.online_max)
        return fail(why, STATUS_BUSY,
                    "the fleet is full: %zu requests are under way, as many as online_tasks_max "
                    "and http_connections_max allow; retry in a moment",
                    online);
    if (pending->online_bytes + bytes > self->config.online_bytes_max)
        return fail(why, STATUS_BUSY,
                    "the fleet is full: %zu requests with %" PRIu64
                    " input bytes are under way, and online_bytes_max is %" PRIu64
                    "; retry in a moment",
                    online, pending->online_bytes, self->config.online_bytes_max);
    const struct tenant *tenant = pending_tenant(&self->pending, task->tenant);
    if (has_its_part(self, tenant, bytes))
        return fail(why, STATUS_BUSY,
                    "tenant \"%s\" has %zu requests with %" PRIu64
                    " input bytes under way, its part of what the fleet takes; retry in a moment",
                    tenant->name, tenant->online, tenant->online_bytes);
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
    assert(!self->start_ns && id < self->next_id);
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

void fleet_listen(struct fleet *self, void (*changed)(void *arg), void *arg)
{
    assert(self->listeners_len < LISTENERS_MAX);
    self->listeners[self->listeners_len++] = (struct listener){changed, arg};
}

struct fleet_view fleet_view(const struct fleet *self)
{
    struct fleet_view view = {
        .brokers = (uint32_t)self->upstreams_len,
        .tasks = self->pending.len,
        .patient = self->pending.patient,
        .unsent = self->pending.waiting,
        .online_bytes = self->pending.online_bytes,
    };
    for (size_t i = 0; i < self->upstreams_len; i++) {
        const struct upstream *broker = self->upstreams[i];
        if (upstream_up(broker)) {
            view.brokers_up++;
            view.minor = MAX(view.minor, link_terms(broker->link)->minor);
        }
        if (broker->session > 0)
            view.heartbeat_ms = MAX(view.heartbeat_ms, link_terms(broker->link)->heartbeat_ms);
    }
    view.up = view.brokers_up > 0;
    view.workers = view.up ? self->workers : 0;
    return view;
}

/* --- the loop -----------------------------------------------------------------------------------
 */

/* Messages of one broker, at most `events_max`. */
static void step_broker(struct upstream *broker, uint64_t now_ns, int events_max)
{
    struct fleet *self = broker->fleet;
    for (int i = 0; broker->link && i < events_max; i++) {
        enum link_event event = link_step(broker->link, now_ns, &self->in);
        if (event == LINK_NONE)
            break;
        if (event == LINK_UP)
            fleet_upstream_up(broker);
        else if (event == LINK_DOWN)
            fleet_upstream_down(broker);
        else if (event == LINK_NEWS)
            fleet_upstream_news(broker);
        else
            fleet_take(broker, &self->in);
    }
}

void fleet_step(struct fleet *self, uint64_t now_ns)
{
    size_t len = self->upstreams_len;
    self->now_ns = now_ns;
    self->turn++;
    for (size_t i = 0; i < len; i++)
        step_broker(self->upstreams[(self->turn + i) % len], now_ns, EVENTS_MAX);
}

size_t fleet_poll_items(const struct fleet *self, zmq_pollitem_t *items)
{
    size_t len = 0;
    for (size_t i = 0; i < self->upstreams_len; i++)
        if (self->upstreams[i]->link)
            len += link_poll_items(self->upstreams[i]->link, items + len);
    return len;
}

uint64_t fleet_next_ns(const struct fleet *self)
{
    uint64_t next_ns = UINT64_MAX;
    for (size_t i = 0; i < self->upstreams_len; i++)
        if (self->upstreams[i]->link)
            next_ns = MIN(next_ns, link_next_ns(self->upstreams[i]->link));
    return next_ns;
}

void fleet_serve_blobs(struct fleet *self, void (*get)(void *arg, const struct fleet_blob *want),
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
    fleet_queries_end(self, NO_BROKER, "the gateway is shutting down");
    while ((task = TAILQ_FIRST(&self->pending.all))) {
        if (task->what.patient || task->state == TASK_DONE)
            forget(self, task);
        else
            fleet_end(self, task, STATUS_CANCELLED, "the gateway is shutting down: ask again");
    }
    fleet_flush(self, self->now_ns);
    for (size_t i = 0; i < self->upstreams_len; i++)
        fleet_free_broker(self->upstreams[i]);
    pending_free(&self->pending);
    taskset_free(&self->awaited);
    wire_in_clear(&self->in);
    wire_out_destroy(&self->out);
    free((char *)self->config.name);
    free(self);
    *self_p = NULL;
}
