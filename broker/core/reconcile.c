/* reconcile - what peers list against what the table says
 *
 * A worker lists what it runs, waits to run or holds results of; a gateway lists what it awaits.
 * Both lists are the truth about their sender and heal whatever was lost on the way. */
#include "broker/core/state.h"

#define NS_PER_MS UINT64_C(1000000)

bool lists_cut(const struct core_set *lists, size_t len)
{
    size_t ranges = 0;
    uint64_t ids = 0;
    for (size_t i = 0; i < len; i++) {
        ranges += lists[i].len;
        for (size_t j = 0; j < lists[i].len && ids < CORE_IDS_MAX; j++)
            ids += MIN(lists[i].ranges[j].count, CORE_IDS_MAX);
    }
    return ranges >= CORE_RANGES_MAX || ids >= CORE_IDS_MAX;
}

/* --- workers -----------------------------------------------------------------------------------
 */

static void held_one(struct core *self, uint64_t now_ns, struct session *worker,
                     const struct uuid *gateway, uint64_t number)
{
    struct task *task = task_find_uuid(self, gateway, number);
    uint32_t slot = session_slot(self, worker);
    if (!task) {
        orphan_note(self, worker, gateway, number);
        return;
    }
    if (task->state == TASK_PARKED || task->state == TASK_QUEUED) {
        self->counters.tasks_adopted++;
        task_do(self, task, MOVE_LEASE, slot);
    }
    if (task->holder != slot) {
        self->counters.leases_doubled += task->state == TASK_LEASED ? 1 : 0;
        return;
    }
    task->unlisted = 0;
    task->beat = worker->beats;
    task->listed_ns = now_ns;
}

void reconcile_held(struct core *self, uint64_t now_ns, struct session *worker,
                    const struct core_set *lists, size_t len)
{
    uint64_t left = CORE_IDS_MAX;
    orphans_clear(self, worker);
    worker->beats++;
    worker->listed_ns = now_ns;
    for (size_t i = 0; i < len; i++)
        for (size_t j = 0; j < lists[i].len; j++) {
            const struct task_range *range = &lists[i].ranges[j];
            for (uint64_t k = 0; k < range->count && left > 0; k++, left--)
                held_one(self, now_ns, worker, &lists[i].gateway, range->first + k);
        }
}

void reconcile_sweep(struct core *self, uint64_t now_ns, struct session *worker, bool cut)
{
    uint64_t beat_ns = self->limits.heartbeat_ms * NS_PER_MS;
    uint64_t lease_ns = self->limits.lease_ms * NS_PER_MS;
    /* From the end, since each goes to the front of its queue: the old order stays. */
    for (uint32_t slot = worker->leases.tail, before; slot != NONE; slot = before) {
        struct task *task = &self->tasks[slot];
        before = task->prev;
        if (task->beat == worker->beats)
            continue;
        uint64_t silent_ns = now_ns - task->listed_ns;
        /* An extra heartbeat may cross the DISPATCH too: count them no faster than they are due. */
        if (!cut && task->unlisted < UNLISTED_MAX && silent_ns >= task->unlisted * beat_ns / 2)
            task->unlisted++;
        bool missing = !cut && task->unlisted >= UNLISTED_MAX && silent_ns >= beat_ns;
        if (!missing && (silent_ns < lease_ns || now_ns < self->freeze_ns))
            continue;
        self->counters.tasks_unlisted++;
        task_requeue(self, task, true);
    }
    for (uint32_t slot = worker->results.head, next; slot != NONE && !cut; slot = next) {
        struct task *task = &self->tasks[slot];
        next = task->next;
        if (task->beat == worker->beats || ++task->unlisted < UNLISTED_MAX)
            continue;
        self->counters.results_forgotten++;
        task_do(self, task, MOVE_FORGET, NONE);
    }
}

/* A worker may have a task that was sent again, from a broker that was lost, and not have said so
 * yet: so it waits until each has sent a list, or has been silent for two heartbeats. Idle ones
 * would be silent for longer: they are asked. */
void parked_release(struct core *self, uint64_t now_ns)
{
    uint64_t heard_ns = UINT64_MAX, beat_ns = self->limits.heartbeat_ms * NS_PER_MS;
    uint64_t since_ns = self->tasks[self->parked.head].listed_ns;
    for (uint32_t i = 0; i < self->workers_len; i++) {
        struct session *worker = &self->sessions[self->workers[i]];
        heard_ns = MIN(heard_ns, worker->listed_ns);
        if (worker->listed_ns <= since_ns)
            session_wake(self, now_ns, worker);
    }
    while (self->parked.head != NONE) {
        struct task *task = &self->tasks[self->parked.head];
        if (task->listed_ns >= heard_ns && now_ns < task->listed_ns + 2 * beat_ns)
            return;
        task_do(self, task, MOVE_QUEUE, NONE);
    }
}

/* --- gateways ----------------------------------------------------------------------------------
 */

void reconcile_awaited(struct core *self, struct session *session, const struct core_set *lists,
                       size_t len)
{
    uint64_t left = CORE_IDS_MAX;
    struct action *action = NULL;
    for (size_t i = 0; i < len; i++) {
        if (!id_equal(&lists[i].gateway, &session->uuid))
            continue;
        for (size_t j = 0; j < lists[i].len; j++) {
            const struct task_range *range = &lists[i].ranges[j];
            for (uint64_t k = 0; k < range->count && left > 0; k++, left--) {
                uint64_t number = range->first + k;
                if (task_find(self, session->gateway, number) ||
                    orphan_known(self, &session->uuid, number))
                    continue; /* here, or with a worker that says so */
                self->counters.tasks_unknown++;
                if (!action)
                    action = session_beat(self, session);
                out_range(self, action, number, 1);
                if (action->len == CORE_RANGES_MAX)
                    return;
            }
        }
    }
}

static bool listed(const struct core_set *lists, size_t len, const struct uuid *gateway,
                   uint64_t number)
{
    for (size_t i = 0; i < len; i++) {
        if (!id_equal(&lists[i].gateway, gateway))
            continue;
        size_t low = 0, high = lists[i].len;
        while (low < high) {
            size_t mid = (low + high) / 2;
            const struct task_range *range = &lists[i].ranges[mid];
            if (number < range->first)
                high = mid;
            else if (number - range->first < range->count)
                return true;
            else
                low = mid + 1;
        }
    }
    return false;
}

void reconcile_restart(struct core *self, struct gateway *gateway, const struct core_set *lists,
                       size_t len)
{
    uint32_t slot = (uint32_t)(gateway - self->gateways);
    if (lists_cut(lists, len))
        return;
    for (uint32_t i = 0; i < self->tasks_high; i++) {
        struct task *task = &self->tasks[i];
        if (task->state != TASK_FREE && task->gateway == slot &&
            !listed(lists, len, &gateway->uuid, task->number))
            task_cancel(self, task);
    }
}
