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

/* A worker that may take tasks of the queue that is served: what the choice needs, side by side,
 * since all of them are looked at for each task. */
struct candidate {
    uint32_t slot;       /* session */
    uint32_t slots;      /* of the worker */
    uint32_t leases;     /* that it has */
    bool warm;           /* has the model, or is about to */
    uint64_t work_ns;    /* estimate of what it has */
    uint64_t row_ns;     /* estimate of a row of this queue there */
    uint64_t tasks_left; /* credit */
    uint64_t bytes_left; /* credit */
    uint64_t picked;     /* turn in which it was chosen last */
};

/* What does not change while one queue is served, and the candidates, which do. */
struct placing {
    struct core *core;
    struct queue *queue;
    uint64_t now_ns;
    struct candidate *candidates; /* the core's scratch */
    uint32_t len;                 /* of candidates */
    uint32_t willing;             /* open workers that do not refuse the model */
    uint32_t refusing;            /* workers that do */
    bool warm;                    /* some willing worker has the model */
};

static void add_candidate(struct placing *p, uint32_t slot)
{
    const struct session *worker = &p->core->sessions[slot];
    const struct pairing *pairing = &p->queue->workers[slot];
    if (worker->pause_ns > p->now_ns || worker->sent_tasks >= worker->credit_tasks)
        return;
    uint64_t row_ns = pairing->row_ns ? pairing->row_ns : p->queue->row_ns;
    p->candidates[p->len++] = (struct candidate){
        .slot = slot,
        .slots = worker->slots,
        .leases = worker->leases.len,
        .warm = pairing->loaded || pairing->leases > 0,
        .work_ns = worker->work_ns,
        .row_ns = row_ns ? row_ns : COST_DEFAULT,
        .tasks_left = worker->credit_tasks - worker->sent_tasks,
        .bytes_left = worker->credit_bytes - MIN(worker->sent_bytes, worker->credit_bytes),
        .picked = worker->picked,
    };
}

static struct placing placing_of(struct core *self, struct queue *queue, uint64_t now_ns)
{
    struct placing p = {
        .core = self, .queue = queue, .now_ns = now_ns, .candidates = self->candidates};
    for (uint32_t i = 0; i < self->workers_len; i++) {
        uint32_t slot = self->workers[i];
        const struct session *worker = &self->sessions[slot];
        const struct pairing *pairing = &queue->workers[slot];
        if (pairing->refused_ns > now_ns) {
            p.refusing++;
            continue;
        }
        if (!worker->open || worker->draining)
            continue;
        p.willing++;
        p.warm = p.warm || pairing->loaded || pairing->leases > 0;
        add_candidate(&p, slot);
    }
    return p;
}

/* Whether the model may be loaded on one more worker: nobody has it, nothing is known about its
 * speed, or tasks have lately waited for the warm ones longer than loading it takes. */
static bool may_spread(const struct placing *p)
{
    return !p->warm || p->queue->row_ns == 0 ||
           p->queue->regret_ns >= p->core->limits.cold_ms * NS_PER_MS;
}

/* Deeper than one task a slot and one in hand only with work whose length is known: a deep window
 * of long tasks is hoarding. */
static bool has_room(const struct placing *p, const struct candidate *c, uint64_t cost)
{
    return c->leases < c->slots + 1 ||
           (p->queue->row_ns > 0 &&
            c->work_ns + cost <= p->core->limits.horizon_ms * NS_PER_MS * c->slots);
}

static bool can_take(const struct placing *p, const struct candidate *c, const struct task *task,
                     uint64_t cost)
{
    if (c->tasks_left == 0 || c->bytes_left < task->bytes || !has_room(p, c, cost))
        return false;
    if (task->crashes == 0)
        return c->warm || may_spread(p);
    /* A task that must go elsewhere may not wait for the one warm worker that it must avoid. */
    return p->willing == 1 || !id_equal(&task->avoid, &p->core->sessions[c->slot].uuid);
}

/* Where a cold model goes when all else is equal: the same worker each time (rendezvous hashing).
 */
static uint64_t affinity(const struct placing *p, const struct candidate *c)
{
    const struct session *worker = &p->core->sessions[c->slot];
    uint64_t model, peer;
    memcpy(&model, p->queue->model.bytes, sizeof(model));
    memcpy(&peer, worker->uuid.bytes + sizeof(worker->uuid.bytes) - sizeof(peer), sizeof(peer));
    return map_mix(map_mix(model) ^ peer);
}

static struct candidate *choose(const struct placing *p, const struct task *task)
{
    struct candidate *best = NULL;
    uint64_t best_ns = UINT64_MAX;
    for (uint32_t i = 0; i < p->len; i++) {
        struct candidate *c = &p->candidates[i];
        uint64_t cost = cost_of(c->row_ns, task->rows);
        if (!can_take(p, c, task, cost))
            continue;
        uint64_t finish_ns = (c->slots == 1 ? c->work_ns : c->work_ns / c->slots) + cost;
        bool wins = finish_ns < best_ns;
        if (best && finish_ns == best_ns)
            wins = c->warm != best->warm ? c->warm
                   : c->warm             ? c->picked < best->picked
                                         : affinity(p, c) > affinity(p, best);
        if (wins) {
            best = c;
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

static void lease(const struct placing *p, struct task *task, struct candidate *c)
{
    struct core *self = p->core;
    struct session *worker = &self->sessions[c->slot];
    task_do(self, task, MOVE_LEASE, c->slot);
    task->listed_ns = p->now_ns;
    task->beat = worker->beats - 1;
    worker->sent_tasks++;
    worker->sent_bytes += task->bytes;
    worker->picked = ++self->turn;
    worker->fresh++;
    p->queue->regret_ns = c->warm ? p->queue->regret_ns + c->work_ns / c->slots : 0;
    c->tasks_left--;
    c->bytes_left -= task->bytes;
    c->leases++;
    c->work_ns += task->cost_ns;
    c->picked = worker->picked;
    c->warm = true;
    self->counters.tasks_dispatched++;
}

/* Nothing more for it in this round: shorten the list that each task walks. */
static void retire(struct placing *p, struct candidate *c)
{
    if (c->tasks_left > 0 && has_room(p, c, cost_of(c->row_ns, 1)))
        return;
    send_fresh(p->core, p->now_ns, &p->core->sessions[c->slot]);
    *c = p->candidates[--p->len];
}

/* Place waiting tasks of one band of one queue; returns the estimate of what was placed. */
static uint64_t serve(struct placing *p, uint32_t band)
{
    struct core *self = p->core;
    struct queue *queue = p->queue;
    uint64_t cost = 0;
    uint32_t placed = 0, passed = 0;
    for (uint32_t at = queue->bands[band].head, next; at != NONE && placed < CHUNK; at = next) {
        struct task *task = &self->tasks[at];
        next = task->next;
        struct candidate *best = choose(p, task);
        if (best) {
            lease(p, task, best);
            retire(p, best);
            cost += task->cost_ns;
            placed++;
        } else if (task->crashes == 0 || ++passed == PASS_OVER) {
            break;
        }
    }
    for (uint32_t i = 0; placed > 0 && i < p->len; i++)
        send_fresh(self, p->now_ns, &self->sessions[p->candidates[i].slot]);
    if (placed == 0)
        queue->blocked[band] = self->round;
    return cost;
}

/* Every worker that there is refuses the model: say so instead of waiting for ever. */
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

struct candidate *schedule_scratch(uint32_t sessions)
{
    return xcalloc(sessions, sizeof(struct candidate));
}

void schedule(struct core *self, uint64_t now_ns)
{
    if (!self->dirty)
        return;
    self->dirty = false;
    self->round++;
    uint32_t band = 0;
    for (struct queue *queue; (queue = next_queue(self, &band)) != NULL;) {
        struct placing p = placing_of(self, queue, now_ns);
        if (p.refusing > 0 && p.refusing == self->workers_len) {
            give_up(self, queue);
            continue;
        }
        self->band_floor = self->band_served[band];
        self->queue_floor[band] = queue->served[band];
        uint64_t cost = serve(&p, band);
        self->band_served[band] += cost / weights[band] + (cost > 0 ? 1 : 0);
        queue->served[band] += cost;
    }
}
