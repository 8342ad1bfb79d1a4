/* events - what messages do to tasks */
#include "broker/core/state.h"

#include <string.h>

#define NS_PER_MS UINT64_C(1000000)

/* --- endings that are not a worker's result -----------------------------------------------------
 */

void task_cancel(struct core *self, struct task *task)
{
    if (task->state == TASK_LEASED)
        out_id(self, ACTION_REVOKE, self->sessions[task->holder].control,
               &self->gateways[task->gateway].uuid, task->number);
    self->counters.tasks_cancelled += task->state == TASK_DONE ? 0 : 1;
    task_do(self, task, MOVE_FORGET, NONE);
}

void task_answer(struct core *self, struct task *task, enum status status, const char *text)
{
    uint64_t conn = gateway_data(self, task->gateway);
    if (conn) {
        struct action *answer = out_action(self, ACTION_ANSWER, conn, status, text);
        answer->uuid = self->gateways[task->gateway].uuid;
        out_range(self, answer, task->number, 1);
    }
    task_do(self, task, MOVE_FORGET, NONE);
}

/* A task that may not be tried again is answered; `how` (may be NULL) tells of the last crash. */
static void answer_spent(struct core *self, struct task *task, const char *how)
{
    char text[512] = "computing it ended the runner each time, it is not tried again";
    size_t used = strlen(text);
    bool crashed = task->crashes >= self->limits.crashes_max;
    if (!crashed && task->attempt < self->limits.attempts_max)
        return;
    if (!crashed) {
        text_copy(text, sizeof(text),
                  "it was started too often and never finished, it is not tried again");
    } else if (how && how[0]) {
        text_copy(text + used, sizeof(text) - used, ": ");
        text_copy(text + used + 2, sizeof(text) - used - 2, how);
    }
    self->counters.tasks_given_up++;
    task_answer(self, task, STATUS_CRASHED, text);
}

static void requeue(struct core *self, struct task *task, bool lost, const char *how)
{
    self->counters.tasks_requeued++;
    if (lost)
        task->flags |= CORE_FLAG_AGAIN;
    if (task_do(self, task, MOVE_LOSE, NONE))
        answer_spent(self, task, how);
}

void task_requeue(struct core *self, struct task *task, bool lost)
{
    requeue(self, task, lost, NULL);
}

/* --- sets of ids --------------------------------------------------------------------------------
 */

typedef void each_fn(struct core *self, struct task *task, void *arg);

/* Call `each` for every known task of the sets, at most CORE_IDS_MAX ids of them. */
static void for_each(struct core *self, const struct core_set *sets, size_t len, each_fn *each,
                     void *arg)
{
    uint64_t left = CORE_IDS_MAX;
    for (size_t i = 0; i < len; i++) {
        const struct gateway *gateway = gateway_by(self, &sets[i].gateway);
        if (!gateway)
            continue;
        uint32_t slot = (uint32_t)(gateway - self->gateways);
        for (size_t j = 0; j < sets[i].len; j++)
            for (uint64_t k = 0; k < sets[i].ranges[j].count && left > 0; k++, left--) {
                struct task *task = task_find(self, slot, sets[i].ranges[j].first + k);
                if (task)
                    each(self, task, arg);
            }
    }
}

/* Tell each gateway what a worker said about its tasks, known here or not. */
static void pass_on(struct core *self, enum action_kind kind, const struct core_set *sets,
                    size_t len, const char *text)
{
    for (size_t i = 0; i < len; i++) {
        const struct gateway *gateway = gateway_by(self, &sets[i].gateway);
        if (gateway)
            out_set(self, kind, gateway_control(self, (uint32_t)(gateway - self->gateways)),
                    &sets[i], text);
    }
}

/* --- gateways ----------------------------------------------------------------------------------
 */

struct verdict {
    enum status status; /* OK: accepted */
    const char *text;   /* why not */
};

static struct verdict admit(struct core *self, struct session *session, const struct queue *queue,
                            const struct core_task *in)
{
    if (self->draining)
        return (struct verdict){STATUS_UNAVAILABLE, "this broker is about to end"};
    if (!queue)
        return (struct verdict){STATUS_BUSY, "as many models as queues_max are in use"};
    if (session->submitted_tasks > session->allowed_tasks ||
        session->submitted_bytes > session->allowed_bytes) {
        self->counters.peers_overdrawn++;
        return (struct verdict){STATUS_BUSY, "submitted without credit"};
    }
    uint64_t live =
        self->counts[TASK_PARKED] + self->counts[TASK_QUEUED] + self->counts[TASK_LEASED];
    if (live >= self->limits.tasks_max)
        return (struct verdict){STATUS_BUSY, "as many tasks as tasks_max are waiting"};
    if (self->bytes + in->bytes > self->limits.queue_bytes_max)
        return (struct verdict){STATUS_BUSY, "waiting tasks fill queue_bytes_max"};
    return (struct verdict){STATUS_OK, NULL};
}

static void start_task(struct core *self, uint64_t now_ns, struct task *task,
                       const struct core_task *in, uint32_t flow)
{
    task->flow = flow;
    task->queue = self->flows[flow].queue;
    task->body = in->body;
    task->bytes = in->bytes;
    task->rows = MAX(in->rows, 1);
    task->frames = in->frames;
    task->map_bytes = in->map_bytes;
    task->attempt = in->attempt;
    task->crashes = in->crashes;
    task->avoid = in->avoid;
    task->flags = (uint8_t)(in->flags & CORE_FLAG_ALONE);
    task->band = (uint8_t)MIN(in->band, CORE_BANDS - 1);
    task->deadline_ns = in->budget_ms ? now_ns + in->budget_ms * NS_PER_MS : 0;
    const struct uuid *gateway = &self->gateways[task->gateway].uuid;
    uint32_t worker = orphan_take(self, gateway, in->number);
    if (worker != NONE) {
        self->counters.tasks_adopted++;
        task_do(self, task, MOVE_LEASE, worker);
        task->listed_ns = now_ns;
        task->beat = self->sessions[worker].beats;
        return;
    }
    bool park = (in->flags & CORE_FLAG_RESENT) && (self->workers_len > 0 || now_ns < self->park_ns);
    task->listed_ns = now_ns;
    task_do(self, task, park ? MOVE_PARK : MOVE_QUEUE, NONE);
    answer_spent(self, task, NULL);
}

/* One task of a SUBMIT: `known` and new ones are accepted alike. */
static struct verdict submit_one(struct core *self, uint64_t now_ns, struct session *session,
                                 const struct queue *queue, const struct core_task *in)
{
    if (task_find(self, session->gateway, in->number)) {
        self->counters.tasks_known++;
        out_release(self, in->body);
        return (struct verdict){STATUS_OK, NULL};
    }
    struct verdict verdict = admit(self, session, queue, in);
    struct task *task = NULL;
    uint32_t flow = NONE;
    if (verdict.status == STATUS_OK) {
        flow = flow_for(self, (uint32_t)(queue - self->queues), in->tenant, in->share);
        task = flow == NONE ? NULL : task_new(self, session->gateway, in->number);
        if (!task)
            verdict = (struct verdict){STATUS_BUSY, "the table of tasks or of flows is full"};
    }
    if (!task) {
        self->counters.tasks_rejected++;
        out_release(self, in->body);
        return verdict;
    }
    self->counters.tasks_accepted++;
    start_task(self, now_ns, task, in, flow);
    return verdict;
}

static struct verdict refuse_kind(struct core *self, const struct core_task *in)
{
    self->counters.tasks_rejected++;
    out_release(self, in->body);
    return (struct verdict){STATUS_UNSUPPORTED, "this broker knows no tasks of this KIND: it is "
                                                "older than who sent them, replace it"};
}

/* One ACCEPTED for those that were, one REJECTED for each reason. */
static void answer_submit(struct core *self, const struct session *session,
                          const struct core_submit *submit, const struct verdict *verdicts)
{
    bool told[CORE_TASKS_MAX] = {false};
    for (size_t i = 0; i < submit->len; i++) {
        if (told[i])
            continue;
        bool ok = verdicts[i].status == STATUS_OK;
        struct action *action = out_action(self, ok ? ACTION_ACCEPTED : ACTION_REJECTED,
                                           session->control, verdicts[i].status, verdicts[i].text);
        action->uuid = session->uuid;
        action->retry_ms = self->limits.retry_ms;
        for (size_t j = i; j < submit->len; j++)
            if (verdicts[j].text == verdicts[i].text) {
                told[j] = true;
                out_range(self, action, submit->tasks[j].number, 1);
            }
    }
}

void core_submit(struct core *self, uint64_t now_ns, uint64_t conn,
                 const struct core_submit *submit)
{
    struct session *session = session_of(self, conn);
    assert(submit->len <= CORE_TASKS_MAX);
    if (!session || session->role != CORE_GATEWAY || !session->open) {
        for (size_t i = 0; i < submit->len; i++)
            out_release(self, submit->tasks[i].body);
        return;
    }
    const struct queue *queue = submit->unknown ? NULL
                                                : queue_for(self, &submit->model, submit->mode,
                                                            submit->kind, submit->minor);
    struct verdict verdicts[CORE_TASKS_MAX];
    for (size_t i = 0; i < submit->len; i++) {
        self->counters.tasks_submitted++;
        session->submitted_tasks++;
        session->submitted_bytes += submit->tasks[i].bytes;
        if (submit->unknown)
            verdicts[i] = refuse_kind(self, &submit->tasks[i]);
        else
            verdicts[i] = submit_one(self, now_ns, session, queue, &submit->tasks[i]);
    }
    answer_submit(self, session, submit, verdicts);
    session_allow(self, session, false);
}

static void cancel_one(struct core *self, struct task *task, void *arg)
{
    if (task->gateway == ((const struct session *)arg)->gateway)
        task_cancel(self, task);
}

/* Tasks that a worker lists and nobody submitted here can be unwanted as well. */
static void cancel_orphans(struct core *self, const struct core_set *set)
{
    uint64_t left = CORE_IDS_MAX;
    for (size_t j = 0; self->by_orphan.len > 0 && j < set->len; j++)
        for (uint64_t k = 0; k < set->ranges[j].count && left > 0; k++, left--) {
            uint64_t number = set->ranges[j].first + k;
            uint32_t worker = orphan_take(self, &set->gateway, number);
            if (worker != NONE)
                out_id(self, ACTION_REVOKE, self->sessions[worker].control, &set->gateway, number);
        }
}

void core_cancel(struct core *self, uint64_t conn, const struct core_set *sets, size_t len)
{
    struct session *session = session_of(self, conn);
    if (!session || session->role != CORE_GATEWAY)
        return;
    for_each(self, sets, len, cancel_one, session);
    for (size_t i = 0; i < len; i++)
        if (id_equal(&sets[i].gateway, &session->uuid))
            cancel_orphans(self, &sets[i]);
    session_allow(self, session, false);
}

void core_result_ack(struct core *self, uint64_t conn, const struct core_set *sets, size_t len,
                     const struct uuid *worker)
{
    struct session *session = session_of(self, conn);
    if (!session || session->role != CORE_GATEWAY)
        return;
    const struct session *holder = worker ? session_by(self, CORE_WORKER, worker) : NULL;
    for (size_t i = 0; holder && i < len; i++)
        if (id_equal(&sets[i].gateway, &session->uuid))
            out_set(self, ACTION_RESULT_ACK, holder->control, &sets[i], NULL);
    /* Whatever still runs elsewhere for these ids is not wanted any more. */
    for_each(self, sets, len, cancel_one, session);
    session_allow(self, session, false);
}

/* --- workers -----------------------------------------------------------------------------------
 */

struct told {
    struct session *worker;
    uint64_t now_ns;
    enum status status; /* NACK's */
    const char *text;   /* NACK's or CRASHED's */
};

static void start_one(struct core *self, struct task *task, void *arg)
{
    const struct told *told = arg;
    if (task->state != TASK_LEASED || task->holder != session_slot(self, told->worker) ||
        task->started)
        return;
    task->started = true;
    task->attempt++;
    self->counters.tasks_started++;
}

void core_started(struct core *self, uint64_t conn, const struct core_set *sets, size_t len)
{
    struct told told = {.worker = session_of(self, conn)};
    if (!told.worker || told.worker->role != CORE_WORKER)
        return;
    for_each(self, sets, len, start_one, &told);
    pass_on(self, ACTION_STARTED, sets, len, NULL);
}

static void nack_one(struct core *self, struct task *task, void *arg)
{
    const struct told *told = arg;
    uint32_t slot = session_slot(self, told->worker);
    if (task->state != TASK_LEASED || task->holder != slot)
        return;
    if (told->status == STATUS_BAD_MODEL || told->status == STATUS_NO_MODEL) {
        struct queue *queue = &self->queues[task->queue];
        queue->refusers += queue->workers[slot].refused_ns == 0 ? 1 : 0;
        queue->workers[slot].refused_ns = told->now_ns + self->limits.refuse_ms * NS_PER_MS;
        queue->workers[slot].loaded = false;
        queue->refusal = told->status;
        text_copy(queue->refusal_text, sizeof(queue->refusal_text), told->text);
    }
    self->counters.tasks_nacked++;
    task_requeue(self, task, false);
}

void core_nack(struct core *self, uint64_t now_ns, uint64_t conn, const struct core_set *sets,
               size_t len, enum status status, const char *text, uint32_t retry_ms)
{
    struct told told = {session_of(self, conn), now_ns, status, text};
    if (!told.worker || told.worker->role != CORE_WORKER)
        return;
    if (status != STATUS_BAD_MODEL && status != STATUS_NO_MODEL)
        told.worker->pause_ns = now_ns + (retry_ms ? retry_ms : self->limits.retry_ms) * NS_PER_MS;
    rank_touch(self, session_slot(self, told.worker));
    for_each(self, sets, len, nack_one, &told);
}

static void crash_one(struct core *self, struct task *task, void *arg)
{
    const struct told *told = arg;
    if (task->state != TASK_LEASED || task->holder != session_slot(self, told->worker))
        return;
    task->attempt += task->started ? 0 : 1;
    task->crashes++;
    task->avoid = told->worker->uuid;
    self->counters.tasks_crashed++;
    requeue(self, task, true, told->text);
}

void core_crashed(struct core *self, uint64_t conn, const struct core_set *sets, size_t len,
                  const char *text)
{
    struct told told = {.worker = session_of(self, conn), .text = text};
    if (!told.worker || told.worker->role != CORE_WORKER)
        return;
    pass_on(self, ACTION_CRASHED, sets, len, text);
    for_each(self, sets, len, crash_one, &told);
}

/* The first result of a task, whoever sends it: whoever else computes it may stop. */
static void finish(struct core *self, struct session *worker, struct task *task,
                   const struct core_result *result)
{
    uint32_t slot = session_slot(self, worker);
    uint64_t rows = result->rows ? result->rows : task->rows;
    if (result->status == STATUS_OK)
        queue_measure(self, &self->queues[task->queue], slot, rows, result->compute_ns);
    worker->rows += rows;
    if (task->state == TASK_LEASED && task->holder != slot)
        out_id(self, ACTION_REVOKE, self->sessions[task->holder].control,
               &self->gateways[task->gateway].uuid, task->number);
    if (self->counts[TASK_DONE] >= self->limits.done_max) {
        uint32_t oldest = worker->results.head;
        self->counters.results_forgotten++;
        task_do(self, oldest != NONE ? &self->tasks[oldest] : task, MOVE_FORGET, NONE);
        if (oldest == NONE)
            return;
    }
    task_do(self, task, MOVE_FINISH, slot);
    task->beat = worker->beats;
    self->counters.tasks_finished++;
}

uint64_t core_result(struct core *self, uint64_t conn, const struct uuid *gateway,
                     const struct core_result *results, size_t len)
{
    struct session *worker = session_of(self, conn);
    if (!worker || worker->role != CORE_WORKER)
        return 0;
    const struct gateway *owner = gateway_by(self, gateway);
    for (size_t i = 0; i < len; i++) {
        struct task *task =
            owner ? task_find(self, (uint32_t)(owner - self->gateways), results[i].number) : NULL;
        if (task && task->state != TASK_DONE)
            finish(self, worker, task, &results[i]);
        else
            self->counters.results_late++;
    }
    uint64_t to = owner ? gateway_data(self, (uint32_t)(owner - self->gateways)) : 0;
    if (to)
        self->counters.results_passed += len;
    else
        self->counters.results_unclaimed += len;
    if (to)
        session_allow(self, &self->sessions[owner->session], false);
    return to;
}

void core_credit(struct core *self, uint64_t conn, uint64_t tasks, uint64_t bytes)
{
    struct session *worker = session_of(self, conn);
    if (!worker || worker->role != CORE_WORKER)
        return;
    worker->credit_tasks = MAX(worker->credit_tasks, tasks);
    worker->credit_bytes = MAX(worker->credit_bytes, bytes);
    rank_touch(self, session_slot(self, worker));
}

void core_drain(struct core *self, uint64_t conn)
{
    struct session *worker = session_of(self, conn);
    if (!worker || worker->role != CORE_WORKER)
        return;
    worker->draining = true;
    rank_touch(self, session_slot(self, worker));
}
