/* schedule - which worker gets which waiting task
 *
 * Bands share by weight, queues inside a band by estimated cost, tasks inside a queue by age. A
 * task goes to the worker that is expected to finish it first; SCHEDULING.md has the rules and
 * reasons. */
#include "broker/core/state.h"

#include <string.h>

#define NS_PER_MS UINT64_C(1000000)
#define CHUNK     256 /* tasks placed before the bands are compared again */
#define PASS_OVER 16  /* tasks that wait for another worker and do not stop those behind them */

/* Shares of interactive, high, normal and batch while all of them wait. */
static const uint64_t weights[CORE_BANDS] = {64, 16, 4, 1};

/* What does not change while one queue is served. */
struct placing {
    struct core *core;
    struct queue *queue;
    uint64_t now_ns;
    bool spread;      /* cold workers may be used */
    uint32_t willing; /* open workers that do not refuse the model */
};

static bool willing(const struct placing *p, uint32_t slot)
{
    const struct session *worker = &p->core->sessions[slot];
    return worker->open && !worker->draining && p->queue->workers[slot].refused_ns <= p->now_ns;
}

static bool warm(const struct pairing *pairing)
{
    return pairing->loaded || pairing->leases > 0;
}

static struct placing placing_of(struct core *self, struct queue *queue, uint64_t now_ns)
{
    struct placing p = {.core = self, .queue = queue, .now_ns = now_ns};
    uint64_t slots = 0;
    for (uint32_t i = 0; i < self->workers_len; i++) {
        uint32_t slot = self->workers[i];
        if (!willing(&p, slot))
            continue;
        p.willing++;
        if (warm(&queue->workers[slot]))
            slots += self->sessions[slot].slots;
    }
    /* Load the model elsewhere only when the wait for the warm ones is longer than that takes. */
    uint64_t wait_ns = slots ? queue->rows_waiting * queue->row_ns / slots : 0;
    p.spread = slots == 0 || queue->row_ns == 0 || wait_ns > p.core->limits.cold_ms * NS_PER_MS;
    return p;
}

static bool can_take(const struct placing *p, uint32_t slot, const struct task *task, uint64_t cost)
{
    const struct session *worker = &p->core->sessions[slot];
    const struct pairing *pairing = &p->queue->workers[slot];
    if (!willing(p, slot) || worker->pause_ns > p->now_ns ||
        worker->sent_tasks >= worker->credit_tasks ||
        worker->credit_bytes - MIN(worker->sent_bytes, worker->credit_bytes) < task->bytes)
        return false;
    /* A task that must go elsewhere may not wait for the one warm worker that it must avoid. */
    if (!warm(pairing) && !p->spread && task->crashes == 0)
        return false;
    if (p->willing > 1 && task->crashes > 0 && id_equal(&task->avoid, &worker->uuid))
        return false;
    if (worker->leases.len < worker->slots + 1)
        return true;
    /* Deeper only with work whose length is known: a deep window of long tasks is hoarding. */
    uint64_t horizon_ns = p->core->limits.horizon_ms * NS_PER_MS * worker->slots;
    return p->queue->row_ns > 0 && worker->work_ns + cost <= horizon_ns;
}

/* Where a cold model goes when all else is equal: the same worker each time (rendezvous hashing).
 */
static uint64_t affinity(const struct placing *p, const struct session *worker)
{
    uint64_t model, peer;
    memcpy(&model, p->queue->model.bytes, sizeof(model));
    memcpy(&peer, worker->uuid.bytes + sizeof(worker->uuid.bytes) - sizeof(peer), sizeof(peer));
    return map_mix(map_mix(model) ^ peer);
}

static uint32_t choose(const struct placing *p, const struct task *task)
{
    const struct core *self = p->core;
    uint32_t best = NONE;
    uint64_t best_ns = UINT64_MAX;
    for (uint32_t i = 0; i < self->workers_len; i++) {
        uint32_t slot = self->workers[i];
        const struct session *worker = &self->sessions[slot];
        uint64_t cost = queue_cost(p->queue, slot, task);
        if (!can_take(p, slot, task, cost))
            continue;
        bool is_warm = warm(&p->queue->workers[slot]);
        uint64_t finish_ns = worker->work_ns / worker->slots + cost;
        finish_ns += is_warm ? 0 : self->limits.cold_ms * NS_PER_MS;
        bool tie = finish_ns == best_ns && best != NONE;
        bool wins = finish_ns < best_ns;
        if (tie && is_warm)
            wins = worker->picked < self->sessions[best].picked;
        else if (tie)
            wins = affinity(p, worker) > affinity(p, &self->sessions[best]);
        if (wins) {
            best = slot;
            best_ns = finish_ns;
        }
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
    uint64_t bytes = 0, map_bytes = 0, frames = 0;
    for (; worker->fresh > 0; worker->fresh--) {
        const struct task *task = &self->tasks[slot];
        bytes += task->bytes;
        map_bytes += task->map_bytes;
        frames += task->frames;
        if (!bundle || bundle->len == CORE_TASKS_MAX || bytes > CORE_BYTES_MAX ||
            map_bytes > CORE_MAP_MAX || frames > CORE_FRAMES_MAX) {
            bundle = out_action(self, ACTION_DISPATCH, worker->data, STATUS_OK, NULL);
            bytes = task->bytes;
            map_bytes = task->map_bytes;
            frames = task->frames;
            self->counters.bundles_dispatched++;
        }
        put_row(self, bundle, task, now_ns);
        slot = task->next;
    }
}

static void lease(const struct placing *p, struct task *task, uint32_t slot)
{
    struct core *self = p->core;
    struct session *worker = &self->sessions[slot];
    task_do(self, task, MOVE_LEASE, slot);
    task->listed_ns = p->now_ns;
    task->beat = worker->beats - 1;
    worker->sent_tasks++;
    worker->sent_bytes += task->bytes;
    worker->picked = ++self->turn;
    worker->fresh++;
    self->counters.tasks_dispatched++;
}

/* Place waiting tasks of one band of one queue; returns the estimate of what was placed. */
static uint64_t serve(struct core *self, uint64_t now_ns, struct queue *queue, uint32_t band)
{
    struct placing p = placing_of(self, queue, now_ns);
    uint64_t cost = 0;
    uint32_t placed = 0, passed = 0;
    for (uint32_t at = queue->bands[band].head, next; at != NONE && placed < CHUNK; at = next) {
        struct task *task = &self->tasks[at];
        next = task->next;
        uint32_t worker = choose(&p, task);
        if (worker != NONE) {
            lease(&p, task, worker);
            cost += task->cost_ns;
            placed++;
        } else if (task->crashes == 0 || ++passed == PASS_OVER) {
            break;
        }
    }
    for (uint32_t i = 0; placed > 0 && i < self->workers_len; i++)
        send_fresh(self, now_ns, &self->sessions[self->workers[i]]);
    if (placed == 0)
        queue->blocked[band] = self->round;
    return cost;
}

/* Every worker that there is refuses the model: say so instead of waiting for ever. */
static bool hopeless(struct core *self, const struct queue *queue, uint64_t now_ns)
{
    uint32_t refusing = 0;
    for (uint32_t i = 0; i < self->workers_len; i++) {
        if (queue->workers[self->workers[i]].refused_ns <= now_ns)
            return false;
        refusing++;
    }
    return refusing > 0;
}

static void give_up(struct core *self, struct queue *queue)
{
    for (size_t band = 0; band < CORE_BANDS; band++)
        while (queue->bands[band].head != NONE) {
            self->counters.tasks_given_up++;
            task_answer(self, &self->tasks[queue->bands[band].head], queue->refusal,
                        queue->refusal_text);
        }
}

/* The queue to serve next: the band with the smallest share so far, then the queue in it. */
static struct queue *next_queue(struct core *self, uint32_t *band)
{
    struct queue *best = NULL;
    for (uint32_t slot = 0; slot < self->queues_high; slot++) {
        struct queue *queue = &self->queues[slot];
        for (uint32_t b = 0; queue->rows_waiting > 0 && b < CORE_BANDS; b++) {
            if (queue->bands[b].len == 0 || queue->blocked[b] == self->round)
                continue;
            if (best && (self->band_served[b] > self->band_served[*band] ||
                         (self->band_served[b] == self->band_served[*band] && b > *band) ||
                         (b == *band && queue->served[b] >= best->served[b])))
                continue;
            best = queue;
            *band = b;
        }
    }
    return best;
}

void schedule(struct core *self, uint64_t now_ns)
{
    if (!self->dirty)
        return;
    self->dirty = false;
    self->round++;
    uint32_t band = 0;
    for (struct queue *queue; (queue = next_queue(self, &band)) != NULL;) {
        if (hopeless(self, queue, now_ns)) {
            give_up(self, queue);
            continue;
        }
        self->band_floor = self->band_served[band];
        self->queue_floor[band] = queue->served[band];
        uint64_t cost = serve(self, now_ns, queue, band);
        self->band_served[band] += cost / weights[band] + (cost > 0 ? 1 : 0);
        queue->served[band] += cost;
    }
}
