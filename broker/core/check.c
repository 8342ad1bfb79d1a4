/* check - what must hold between any two events, walked in full; for tests */
#include "broker/core/state.h"

#include <stdlib.h>

/* Every task of the list is in `state` and linked both ways; marks it in `seen`. */
static void check_list(const struct core *self, const struct list *list, enum task_state state,
                       uint8_t *seen)
{
    uint32_t before = NONE, len = 0;
    for (uint32_t slot = list->head; slot != NONE; slot = self->tasks[slot].next, len++) {
        assert(self->tasks[slot].state == state);
        assert(self->tasks[slot].prev == before);
        assert(!seen[slot]);
        seen[slot] = 1;
        before = slot;
    }
    assert(list->tail == before);
    assert(list->len == len);
}

static void check_worker(const struct core *self, const struct session *worker, uint8_t *seen)
{
    uint64_t work_ns = 0;
    uint32_t slot = session_slot(self, worker);
    check_list(self, &worker->leases, TASK_LEASED, seen);
    check_list(self, &worker->results, TASK_DONE, seen);
    for (uint32_t i = worker->leases.head; i != NONE; i = self->tasks[i].next) {
        assert(self->tasks[i].holder == slot);
        work_ns += self->tasks[i].cost_ns;
    }
    for (uint32_t i = worker->results.head; i != NONE; i = self->tasks[i].next)
        assert(self->tasks[i].holder == slot);
    assert(worker->work_ns == work_ns);
    assert(worker->fresh == 0);
    assert(worker->sent_tasks <= worker->credit_tasks);
    assert(worker->sent_bytes <= worker->credit_bytes);
}

static void check_sessions(const struct core *self, uint8_t *seen)
{
    uint32_t workers = 0, open = 0;
    for (uint32_t slot = 0; slot < self->limits.sessions_max; slot++) {
        const struct session *session = &self->sessions[slot];
        if (!session->used)
            continue;
        assert(session_of(self, session->control) == session);
        assert(session_by(self, session->role, &session->uuid) == session);
        assert(session->open == (session->data != 0));
        if (session->role == CORE_GATEWAY) {
            assert(self->gateways[session->gateway].session == slot);
            continue;
        }
        check_worker(self, session, seen);
        workers++;
        open += session->open ? 1 : 0;
    }
    assert(workers == self->workers_len);
    assert(open == self->workers_open);
}

/* Each chain holds its worker's orphans and those taken since; the map holds the others. */
static void check_orphans(const struct core *self)
{
    size_t known = 0;
    for (uint32_t i = 0; i < self->workers_len; i++)
        for (uint32_t slot = self->sessions[self->workers[i]].orphans; slot != NONE;
             slot = self->orphans[slot].next) {
            const struct orphan *orphan = &self->orphans[slot];
            assert(orphan->worker == NONE || orphan->worker == self->workers[i]);
            assert(orphan->worker == NONE || orphan_known(self, &orphan->gateway, orphan->number));
            known += orphan->worker != NONE ? 1 : 0;
        }
    assert(known == self->by_orphan.len);
}

static void check_flow(const struct core *self, uint32_t slot, uint8_t *seen,
                       uint64_t waiting[static CORE_BANDS])
{
    const struct flow *flow = &self->flows[slot];
    uint64_t len = 0;
    for (size_t band = 0; band < CORE_BANDS; band++) {
        check_list(self, &flow->tasks[band], TASK_QUEUED, seen);
        for (uint32_t i = flow->tasks[band].head; i != NONE; i = self->tasks[i].next)
            assert(self->tasks[i].flow == slot && self->tasks[i].band == band);
        assert(flow->bands[band].waiting == flow->tasks[band].len);
        len += flow->tasks[band].len;
        waiting[band] += flow->tasks[band].len;
    }
    assert(flow->waiting == len && flow->waiting <= flow->refs);
    assert((flow->active == 0) == (len == 0));
    assert(flow->active == 0 || self->active[flow->active - 1] == slot);
}

static void check_flows(const struct core *self, uint8_t *seen)
{
    uint64_t waiting[CORE_BANDS] = {0}, of_tenants[CORE_BANDS] = {0};
    uint32_t flows = 0, active = 0;
    for (uint32_t slot = 0; slot < self->flows_high; slot++) {
        check_flow(self, slot, seen, waiting);
        active += self->flows[slot].active > 0 ? 1 : 0;
    }
    for (uint32_t slot = 0; slot < self->tenants_high; slot++) {
        flows += self->tenants[slot].flows;
        for (size_t band = 0; band < CORE_BANDS; band++)
            of_tenants[band] += self->tenants[slot].bands[band].waiting;
    }
    assert(active == self->active_len && flows == self->flows_high);
    for (size_t band = 0; band < CORE_BANDS; band++)
        assert(waiting[band] == self->bands[band].waiting && waiting[band] == of_tenants[band]);
}

static void check_task(const struct core *self, uint32_t slot, uint64_t *counts)
{
    const struct task *task = &self->tasks[slot];
    counts[task->state]++;
    if (task->state == TASK_FREE)
        return;
    assert(task_find(self, task->gateway, task->number) == task);
    assert(self->gateways[task->gateway].used);
    assert((task->state == TASK_DONE) == (task->queue == NONE));
    assert(task->state == TASK_DONE || self->flows[task->flow].queue == task->queue);
    if (task->state == TASK_LEASED || task->state == TASK_DONE) {
        assert(self->sessions[task->holder].used);
        assert(self->sessions[task->holder].role == CORE_WORKER);
    } else {
        assert(task->holder == NONE);
        assert(task->crashes < self->limits.crashes_max);
        assert(task->body);
    }
    assert(task->heap == NONE || self->heap[task->heap] == slot);
}

static void check_totals(const struct core *self, const uint64_t *counts)
{
    uint64_t live = 0, bytes = 0, tasks = 0;
    for (uint32_t slot = 0; slot < self->gateways_room; slot++) {
        live += self->gateways[slot].live;
        bytes += self->gateways[slot].live_bytes;
        tasks += self->gateways[slot].tasks;
    }
    assert(live == counts[TASK_PARKED] + counts[TASK_QUEUED] + counts[TASK_LEASED]);
    assert(tasks == live + counts[TASK_DONE]);
    assert(bytes == self->bytes);
    assert(live <= self->limits.tasks_max);
    assert(self->bytes <= self->limits.queue_bytes_max);
    assert(counts[TASK_DONE] <= self->limits.done_max);
    for (size_t state = TASK_PARKED; state < TASK_STATES; state++)
        assert(counts[state] == self->counts[state]);
    assert(tasks == self->by_id.len);
    for (uint32_t at = 1; at < self->heap_len; at++)
        assert(self->tasks[self->heap[(at - 1) / 2]].deadline_ns <=
               self->tasks[self->heap[at]].deadline_ns);
}

void core_check(const struct core *self)
{
    uint64_t counts[TASK_STATES] = {0};
    uint8_t *seen = xcalloc(MAX(self->tasks_high, 1), 1);
    assert(self->magic == CORE_MAGIC);
    check_sessions(self, seen);
    check_orphans(self);
    check_flows(self, seen);
    check_list(self, &self->parked, TASK_PARKED, seen);
    check_list(self, &self->free, TASK_FREE, seen);
    for (uint32_t slot = 0; slot < self->tasks_high; slot++) {
        assert(seen[slot]);
        check_task(self, slot, counts);
    }
    check_totals(self, counts);
    free(seen);
}
