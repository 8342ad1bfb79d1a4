/* schedule - which worker gets which waiting task
 *
 * flows.c says whose turn it is; inside a flow the oldest task is next. A task goes to the worker
 * that is expected to finish it first; SCHEDULING.md has the rules and reasons. */
#include "broker/core/state.h"

#include <string.h>

#define NS_PER_MS UINT64_C(1000000)
#define CHUNK     256              /* tasks placed before the flows are compared again */
#define CHUNK_NS  (10 * NS_PER_MS) /* ... or their estimated time */
#define PASS_OVER 16 /* tasks that wait for another worker and do not stop those behind them */
#define LOOK      8  /* workers of a shelf that are compared */
#define LOOK_MAX  64 /* ... when none of the first has room */
#define RING_MAX  16 /* workers that a cold model's place leads to */

/* What does not change while one flow is served. */
struct placing {
    struct core *core;
    struct queue *queue;
    uint64_t now_ns;
    bool warm;       /* some worker had the model when this began */
    bool roomy;      /* only workers that have memory for one more model come into question */
    uint32_t served; /* workers with fresh leases */
};

/* A worker that a task may go to. */
struct choice {
    uint32_t slot;      /* NONE: nobody yet */
    bool warm;          /* has the model, or is about to */
    uint64_t load_ns;   /* until it comes to this task */
    uint64_t finish_ns; /* when the task is expected to be done */
};

/* Whether the model may be loaded on one more worker: nobody has it, nothing is known about its
 * speed, or tasks have lately waited for the warm ones longer than loading it takes. */
static bool may_spread(const struct placing *p)
{
    return !p->warm || p->queue->row_ns == 0 ||
           p->queue->regret_ns >= p->core->limits.cold_ms * NS_PER_MS;
}

/* Whether the worker can compute what this queue asks for, whatever it has loaded. */
static bool able(const struct queue *queue, const struct session *worker)
{
    bool mode = !queue->mode[0] || !worker->mode[0] || strcmp(queue->mode, worker->mode) == 0;
    return mode && worker->minor >= queue->minor;
}

/* Take the worker for the best choice so far, if it is better and can take the task. */
static void consider(const struct placing *p, const struct task *task, uint32_t slot,
                     struct choice *best)
{
    const struct session *worker = &p->core->sessions[slot];
    const struct pairing *pairing = &p->queue->workers[slot];
    uint64_t row_ns = pairing->row_ns ? pairing->row_ns : p->queue->row_ns;
    uint64_t cost = cost_of(row_ns ? row_ns : COST_DEFAULT, task->rows);
    if (pairing->refused_ns > 0 || !able(p->queue, worker) ||
        worker->sent_bytes + task->bytes > worker->credit_bytes ||
        !rank_has_room(p->core, p->queue, worker, cost))
        return;
    struct choice one = {slot, pairing->loaded || pairing->leases > 0, rank_load(worker), 0};
    if (p->roomy && !one.warm && worker->crowded_ns > p->now_ns)
        return;
    one.finish_ns = one.load_ns + cost;
    bool better = one.finish_ns < best->finish_ns;
    if (best->slot != NONE && one.finish_ns == best->finish_ns)
        better = one.warm != best->warm
                     ? one.warm
                     : one.warm && worker->picked < p->core->sessions[best->slot].picked;
    if (better || best->slot == NONE)
        *best = one;
}

/* The least loaded of a shelf. Loads there are known to an eighth: so the first few are looked at
 * closely, and some more where none of them has room for this task. */
static void look_along(const struct placing *p, const struct task *task, const struct shelf *shelf,
                       struct perches perches, struct choice *best)
{
    uint32_t looked = 0;
    for (uint32_t slot = shelf_first(shelf); slot != NONE;
         slot = shelf_next(shelf, perches, slot)) {
        if (!able(p->queue, &p->core->sessions[slot]))
            continue; /* no candidate at all: however many there are, one behind them counts */
        if (looked >= (best->slot != NONE ? LOOK : LOOK_MAX))
            return;
        if (shelf_floor(shelf_perch(perches, slot)->place) > best->finish_ns)
            return;
        if (task->crashes == 0 || !id_equal(&task->avoid, &p->core->sessions[slot].uuid))
            consider(p, task, slot, best);
        looked++;
    }
}

/* Where a cold model goes: the first idle one on the ring of workers from the model's own place on,
 * which is the same each time; else the least loaded of the first few there and of all. */
static void look_around(const struct placing *p, const struct task *task, struct choice *best)
{
    const struct core *self = p->core;
    uint64_t point;
    memcpy(&point, p->queue->model.bytes, sizeof(point));
    uint32_t from = rank_ring(self, map_mix(point));
    for (uint32_t i = 0; i < self->workers_len && i < RING_MAX; i++) {
        uint32_t slot = self->workers[(from + i) % self->workers_len];
        if (self->sessions[slot].perch.place == 0 ||
            (task->crashes > 0 && id_equal(&task->avoid, &self->sessions[slot].uuid)))
            continue;
        consider(p, task, slot, best);
    }
    if (best->slot == NONE || best->load_ns > 0)
        look_along(p, task, &self->pool, rank_pool(self), best);
}

/* Workers that could compute it if they had the model. */
static uint32_t able_len(const struct core *self, const struct queue *queue)
{
    uint32_t len = 0;
    for (uint32_t i = 0; i < self->workers_len; i++)
        len += able(queue, &self->sessions[self->workers[i]]) ? 1 : 0;
    return len;
}

/* Open workers that do not refuse the model: one that must be avoided is better than none. */
static uint32_t willing(const struct placing *p)
{
    uint32_t len = 0;
    for (uint32_t i = 0; i < p->core->workers_len; i++) {
        const struct session *worker = &p->core->sessions[p->core->workers[i]];
        len += worker->open && !worker->draining && able(p->queue, worker) &&
                       p->queue->workers[p->core->workers[i]].refused_ns == 0
                   ? 1
                   : 0;
    }
    return len;
}

static struct choice choose(struct placing *p, struct task *task)
{
    struct choice best = {.slot = NONE, .finish_ns = UINT64_MAX};
    if (task->crashes > 0 && willing(p) == 1)
        task->avoid = (struct uuid){{0}};
    look_along(p, task, p->queue->shelf, rank_shelf(p->queue), &best);
    /* A task that must go elsewhere may not wait for the one warm worker that it must avoid. */
    for (int crowd = 0; crowd < 2 && (task->crashes > 0 || may_spread(p)); crowd++) {
        p->roomy = crowd == 0;
        if (best.slot == NONE || crowd == 0)
            look_around(p, task, &best);
    }
    return best;
}

/* --- DISPATCH ----------------------------------------------------------------------------------
 */

static uint32_t budget_left(const struct task *task, uint64_t now_ns)
{
    if (task->deadline_ns == 0)
        return 0;
    uint64_t left_ns = task->deadline_ns > now_ns ? task->deadline_ns - now_ns : 0;
    return (uint32_t)MAX(left_ns / NS_PER_MS, 1);
}

static void put_row(struct core *self, struct action *bundle, const struct task *task,
                    uint64_t now_ns)
{
    struct dispatch_row *row = out_row(self, bundle);
    *row = (struct dispatch_row){.gateway = self->gateways[task->gateway].uuid,
                                 .number = task->number,
                                 .bytes = task->bytes,
                                 .body = task->body,
                                 .attempt = task->attempt,
                                 .crashes = task->crashes,
                                 .budget_ms = budget_left(task, now_ns),
                                 .rows = task->rows,
                                 .band = task->band,
                                 .flags = task->flags};
    /* Once burnt, computed by itself: its neighbours are not to blame. */
    if (task->crashes > 0)
        row->flags |= CORE_FLAG_ALONE;
}

/* The fresh leases of one worker, all of one queue, in as few messages as the bounds allow. */
static void send_fresh(struct core *self, uint64_t now_ns, struct session *worker)
{
    uint32_t slot = worker->leases.tail;
    for (uint32_t i = 1; i < worker->fresh; i++)
        slot = self->tasks[slot].prev;
    struct action *bundle = NULL;
    session_wake(self, now_ns, worker);
    uint64_t bytes = 0, map_bytes = 0, frames = 0;
    for (; worker->fresh > 0; worker->fresh--) {
        const struct task *task = &self->tasks[slot];
        bytes += task->bytes;
        map_bytes += task->map_bytes;
        frames += task->frames;
        if (!bundle || bundle->len == CORE_TASKS_MAX || bytes > CORE_BYTES_MAX ||
            map_bytes > CORE_MAP_MAX || frames > CORE_FRAMES_MAX) {
            bundle = out_action(self, ACTION_DISPATCH, worker->data, STATUS_OK, NULL);
            bundle->waiting = core_waiting(self);
            bytes = task->bytes;
            map_bytes = task->map_bytes;
            frames = task->frames;
            self->counters.bundles_dispatched++;
        }
        put_row(self, bundle, task, now_ns);
        slot = task->next;
    }
}

static void lease(struct placing *p, struct task *task, const struct choice *choice)
{
    struct core *self = p->core;
    struct session *worker = &self->sessions[choice->slot];
    task_do(self, task, MOVE_LEASE, choice->slot);
    task->listed_ns = p->now_ns;
    task->beat = worker->beats - 1;
    worker->sent_tasks++;
    worker->sent_bytes += task->bytes;
    worker->picked = ++self->turn;
    if (worker->fresh++ == 0)
        self->served[p->served++] = choice->slot;
    p->queue->workers[choice->slot].leased_ns = p->now_ns;
    p->queue->regret_ns = choice->warm ? p->queue->regret_ns + choice->load_ns : 0;
    rank_leased(self, p->queue, choice->slot);
    self->counters.tasks_dispatched++;
}

/* Place waiting tasks of one band of a flow; returns the estimate of what was placed. */
static uint64_t serve(struct placing *p, struct flow *flow, uint32_t band)
{
    struct core *self = p->core;
    uint64_t cost = 0;
    uint32_t placed = 0, passed = 0;
    for (uint32_t at = flow->tasks[band].head, next;
         at != NONE && placed < CHUNK && cost < CHUNK_NS; at = next) {
        struct task *task = &self->tasks[at];
        next = task->next;
        struct choice best = choose(p, task);
        if (best.slot != NONE) {
            lease(p, task, &best);
            cost += task->cost_ns;
            placed++;
        } else if (task->crashes == 0 || ++passed == PASS_OVER) {
            break;
        }
    }
    while (p->served > 0)
        send_fresh(self, p->now_ns, &self->sessions[self->served[--p->served]]);
    if (placed == 0)
        flow->blocked[band] = self->round;
    return cost;
}

/* Every worker that there is refuses the model: say so instead of waiting for ever. Where that is
 * the workers' own trouble (NO_MODEL: a transfer that broke, a full disk), what has no deadline
 * waits until they try again. */
static void give_up(struct core *self, const struct queue *queue, struct flow *flow)
{
    bool passing = queue->refusal == STATUS_NO_MODEL;
    for (size_t band = 0; band < CORE_BANDS; band++) {
        for (uint32_t at = flow->tasks[band].head, next; at != NONE; at = next) {
            struct task *task = &self->tasks[at];
            next = task->next;
            if (passing && task->deadline_ns == 0)
                continue;
            self->counters.tasks_given_up++;
            task_answer(self, task, queue->refusal, queue->refusal_text);
        }
        flow->blocked[band] = self->round;
    }
}

void schedule(struct core *self, uint64_t now_ns)
{
    if (!self->dirty)
        return;
    self->dirty = false;
    self->round++;
    uint32_t band = 0;
    for (struct flow *flow; (flow = flow_next(self, &band)) != NULL;) {
        struct queue *queue = &self->queues[flow->queue];
        if (queue->refusers > 0 && queue->refusers >= able_len(self, queue)) {
            give_up(self, queue, flow);
            continue;
        }
        ranks_settle(self);
        struct placing p = {
            .core = self, .queue = queue, .now_ns = now_ns, .warm = queue->warm_ready > 0};
        flow_charge(self, flow, band, serve(&p, flow, band));
    }
}
