/* tasks - the table of tasks and the only place where a task changes state
 *
 *   (free) -> PARKED -> QUEUED <-> LEASED -> DONE -> (free)
 *
 * A state says which list the task is in and who is charged for it; task_do() keeps both true. */
#include "broker/core/state.h"

#define NO TASK_STATES

/*                       QUEUE        PARK         LEASE        LOSE         FINISH     FORGET */
static const uint8_t table[TASK_STATES][MOVES] = {
    [TASK_FREE] = {TASK_QUEUED, TASK_PARKED, TASK_LEASED, NO, NO, TASK_FREE},
    [TASK_PARKED] = {TASK_QUEUED, NO, TASK_LEASED, NO, TASK_DONE,
                     TASK_FREE},                                     /* a worker lists it */
    [TASK_QUEUED] = {NO, NO, TASK_LEASED, NO, TASK_DONE, TASK_FREE}, /* a late result: take it */
    [TASK_LEASED] = {NO, NO, NO, TASK_QUEUED, TASK_DONE, TASK_FREE},
    [TASK_DONE] = {NO, NO, NO, NO, NO, TASK_FREE},
};

struct list list_empty(void)
{
    return (struct list){NONE, NONE, 0};
}

void list_add(struct core *self, struct list *list, uint32_t slot, bool front)
{
    struct task *task = &self->tasks[slot];
    task->prev = front ? NONE : list->tail;
    task->next = front ? list->head : NONE;
    if (task->prev != NONE)
        self->tasks[task->prev].next = slot;
    else
        list->head = slot;
    if (task->next != NONE)
        self->tasks[task->next].prev = slot;
    else
        list->tail = slot;
    list->len++;
}

void list_remove(struct core *self, struct list *list, uint32_t slot)
{
    struct task *task = &self->tasks[slot];
    if (task->prev != NONE)
        self->tasks[task->prev].next = task->next;
    else
        list->head = task->next;
    if (task->next != NONE)
        self->tasks[task->next].prev = task->prev;
    else
        list->tail = task->prev;
    task->prev = task->next = NONE;
    list->len--;
}

uint32_t task_slot(const struct core *self, const struct task *task)
{
    return (uint32_t)(task - self->tasks);
}

struct task_key {
    uint32_t gateway;
    uint64_t number;
};

static uint64_t task_hash(const struct core *self, uint32_t gateway, uint64_t number)
{
    /* Neighbours share cache lines: blocks of 16 numbers are spread, not the numbers. */
    uint64_t hash = map_mix(map_mix(self->seed + gateway) ^ number >> 4);
    return (hash & ~(UINT64_C(15) << 32)) | (number & 15) << 32;
}

bool task_same(const void *owner, uint32_t id, const void *key);

bool task_same(const void *owner, uint32_t id, const void *key)
{
    const struct task *task = &((const struct core *)owner)->tasks[id];
    const struct task_key *want = key;
    return task->number == want->number && task->gateway == want->gateway;
}

struct task *task_find(const struct core *self, uint32_t gateway, uint64_t number)
{
    struct task_key key = {gateway, number};
    uint32_t slot = map_find(&self->by_id, task_hash(self, gateway, number), &key);
    return slot == NONE ? NULL : &self->tasks[slot];
}

struct task *task_find_uuid(const struct core *self, const struct uuid *gateway, uint64_t number)
{
    const struct gateway *owner = gateway_by(self, gateway);
    return owner ? task_find(self, (uint32_t)(owner - self->gateways), number) : NULL;
}

struct task *task_new(struct core *self, uint32_t gateway, uint64_t number)
{
    uint32_t slot = self->free.head;
    if (slot != NONE)
        list_remove(self, &self->free, slot);
    else if (self->tasks_high < self->tasks_room)
        slot = self->tasks_high++;
    else
        return NULL;
    struct task *task = &self->tasks[slot];
    *task = (struct task){.number = number,
                          .gateway = gateway,
                          .queue = NONE,
                          .flow = NONE,
                          .holder = NONE,
                          .prev = NONE,
                          .next = NONE,
                          .heap = NONE,
                          .state = TASK_FREE};
    map_put(&self->by_id, task_hash(self, gateway, number), slot);
    self->gateways[gateway].tasks++;
    return task;
}

static bool live(enum task_state state)
{
    return state == TASK_PARKED || state == TASK_QUEUED || state == TASK_LEASED;
}

/* Out of the list and off the accounts that its present state put it into. */
static void leave(struct core *self, struct task *task)
{
    uint32_t slot = task_slot(self, task);
    if (task->state == TASK_PARKED)
        list_remove(self, &self->parked, slot);
    if (task->state == TASK_QUEUED)
        flow_take(self, task);
    if (task->state == TASK_LEASED) {
        struct session *worker = &self->sessions[task->holder];
        assert(worker->fresh == 0);
        list_remove(self, &worker->leases, slot);
        worker->work_ns -= task->cost_ns;
        self->queues[task->queue].workers[task->holder].leases--;
        rank_touch(self, task->holder);
    }
    if (task->state == TASK_DONE)
        list_remove(self, &self->sessions[task->holder].results, slot);
    if (task->state != TASK_FREE)
        self->counts[task->state]--;
    task->holder = NONE;
}

static void become_leased(struct core *self, struct task *task, uint32_t holder)
{
    struct session *worker = &self->sessions[holder];
    struct queue *queue = &self->queues[task->queue];
    assert(worker->used && worker->role == CORE_WORKER);
    task->holder = holder;
    task->started = false;
    task->unlisted = 0;
    task->cost_ns = queue_cost(queue, holder, task);
    worker->work_ns += task->cost_ns;
    queue->workers[holder].leases++;
    rank_note(self, queue, holder);
    list_add(self, &worker->leases, task_slot(self, task), false);
}

/* A live task ends here: its gateway gets the credit back, its body goes. */
static void retire(struct core *self, struct task *task)
{
    struct gateway *gateway = &self->gateways[task->gateway];
    gateway->live--;
    gateway->live_bytes -= task->bytes;
    self->bytes -= task->bytes;
    self->queues[task->queue].refs--;
    self->flows[task->flow].refs--;
    task->queue = task->flow = NONE;
    deadline_remove(self, task);
    out_release(self, task->body);
    task->body = NULL;
}

static void begin(struct core *self, struct task *task)
{
    struct gateway *gateway = &self->gateways[task->gateway];
    gateway->live++;
    gateway->live_bytes += task->bytes;
    self->bytes += task->bytes;
    self->queues[task->queue].refs++;
    self->flows[task->flow].refs++;
    deadline_add(self, task);
}

static void enter(struct core *self, struct task *task, enum task_move move, uint32_t holder)
{
    uint32_t slot = task_slot(self, task);
    switch ((enum task_state)task->state) {
    case TASK_PARKED:
        list_add(self, &self->parked, slot, false);
        break;
    case TASK_QUEUED:
        flow_add(self, task, move == MOVE_LOSE);
        deadline_add(self, task);
        self->dirty = true;
        break;
    case TASK_LEASED:
        become_leased(self, task, holder);
        break;
    case TASK_DONE:
        task->holder = holder;
        task->unlisted = 0;
        list_add(self, &self->sessions[holder].results, slot, false);
        break;
    default:
        map_remove(&self->by_id, task_hash(self, task->gateway, task->number), slot);
        self->gateways[task->gateway].tasks--;
        list_add(self, &self->free, slot, true);
        break;
    }
    if (task->state != TASK_FREE)
        self->counts[task->state]++;
}

bool task_do(struct core *self, struct task *task, enum task_move move, uint32_t holder)
{
    enum task_state from = (enum task_state)task->state;
    enum task_state to = (enum task_state)table[from][move];
    if (to == NO) {
        self->counters.moves_refused++;
        return false;
    }
    leave(self, task);
    if (live(from) && !live(to))
        retire(self, task);
    task->state = (uint8_t)to;
    if (!live(from) && live(to))
        begin(self, task);
    enter(self, task, move, holder);
    return true;
}
