/* deadlines - a binary heap of task slots, earliest deadline first
 *
 * Each task knows its place in the heap, so that a task that ends leaves it at once: deadlines lie
 * seconds ahead while tasks end in milliseconds, and a heap of ended tasks would have no bound. */
#include "broker/core/state.h"

static uint64_t due(const struct core *self, uint32_t at)
{
    return self->tasks[self->heap[at]].deadline_ns;
}

static void place(struct core *self, uint32_t at, uint32_t slot)
{
    self->heap[at] = slot;
    self->tasks[slot].heap = at;
}

static void rise(struct core *self, uint32_t at)
{
    uint32_t slot = self->heap[at];
    uint64_t when = self->tasks[slot].deadline_ns;
    while (at > 0 && due(self, (at - 1) / 2) > when) {
        place(self, at, self->heap[(at - 1) / 2]);
        at = (at - 1) / 2;
    }
    place(self, at, slot);
}

static void sink(struct core *self, uint32_t at)
{
    uint32_t slot = self->heap[at];
    uint64_t when = self->tasks[slot].deadline_ns;
    for (;;) {
        uint32_t child = 2 * at + 1;
        if (child >= self->heap_len)
            break;
        if (child + 1 < self->heap_len && due(self, child + 1) < due(self, child))
            child++;
        if (due(self, child) >= when)
            break;
        place(self, at, self->heap[child]);
        at = child;
    }
    place(self, at, slot);
}

void deadline_add(struct core *self, struct task *task)
{
    if (task->deadline_ns == 0 || task->heap != NONE)
        return;
    assert(self->heap_len < self->tasks_room);
    self->heap[self->heap_len] = task_slot(self, task);
    rise(self, self->heap_len++);
}

void deadline_remove(struct core *self, struct task *task)
{
    uint32_t at = task->heap;
    if (at == NONE)
        return;
    task->heap = NONE;
    uint32_t last = self->heap[--self->heap_len];
    if (at == self->heap_len)
        return;
    place(self, at, last);
    sink(self, at);
    rise(self, self->tasks[last].heap);
}

uint64_t deadline_next(const struct core *self)
{
    return self->heap_len ? due(self, 0) : UINT64_MAX;
}

void deadlines_pass(struct core *self, uint64_t now_ns)
{
    while (self->heap_len && due(self, 0) <= now_ns) {
        struct task *task = &self->tasks[self->heap[0]];
        deadline_remove(self, task);
        /* A leased one is the worker's to end: it was told the budget. */
        if (task->state != TASK_QUEUED && task->state != TASK_PARKED)
            continue;
        self->counters.tasks_expired++;
        task_answer(self, task, STATUS_DEADLINE, "the task's time ran out while it waited");
    }
}
