/* ranks - which workers may be given something, by load: kept as it changes
 *
 * Each queue has a shelf of the warm workers that have room for one more of its tasks; the pool is
 * a shelf of all that have room at all. What changes a worker marks it; its marks are settled
 * before the next choice, so that a burst of results costs one move. */
#include "broker/core/state.h"

#include <stdlib.h>
#include <string.h>

#define NS_PER_MS UINT64_C(1000000)

void rank_touch(struct core *self, uint32_t slot)
{
    struct session *worker = &self->sessions[slot];
    self->dirty = true;
    if (worker->touched > 0)
        return;
    self->touched[self->touched_len++] = slot;
    worker->touched = self->touched_len;
}

struct perches rank_pool(const struct core *self)
{
    return (struct perches){&self->sessions[0].perch, sizeof(struct session)};
}

struct perches rank_shelf(const struct queue *queue)
{
    return (struct perches){&queue->workers[0].perch, sizeof(struct pairing)};
}

uint64_t rank_load(const struct session *worker)
{
    return worker->slots == 1 ? worker->work_ns : worker->work_ns / worker->slots;
}

static bool warm(const struct pairing *pairing)
{
    return pairing->loaded || pairing->leases > 0;
}

static bool ready(const struct session *worker)
{
    return worker->open && !worker->draining;
}

static bool in_credit(const struct session *worker)
{
    return ready(worker) && worker->pause_ns == 0 && worker->sent_tasks < worker->credit_tasks;
}

bool rank_has_room(const struct core *self, const struct queue *queue, const struct session *worker,
                   uint64_t cost)
{
    return worker->leases.len < worker->slots + 1 ||
           (queue->row_ns > 0 &&
            worker->work_ns + cost <= self->limits.horizon_ms * NS_PER_MS * worker->slots);
}

/* --- a worker and a queue -----------------------------------------------------------------------
 */

void rank_note(struct core *self, struct queue *queue, uint32_t slot)
{
    struct pairing *pairing = &queue->workers[slot];
    struct session *worker = &self->sessions[slot];
    rank_touch(self, slot);
    if (pairing->listed > 0 || !warm(pairing))
        return;
    if (worker->warm_len == worker->warm_room) {
        worker->warm_room = MAX(worker->warm_room * 2, 4);
        worker->warm = xrealloc(worker->warm, worker->warm_room * sizeof(uint32_t));
    }
    worker->warm[worker->warm_len++] = (uint32_t)(queue - self->queues);
    pairing->listed = worker->warm_len;
}

static void unlist(struct core *self, struct session *worker, struct pairing *pairing)
{
    uint32_t at = pairing->listed - 1, slot = session_slot(self, worker);
    uint32_t last = worker->warm[--worker->warm_len];
    worker->warm[at] = last;
    self->queues[last].workers[slot].listed = at + 1;
    pairing->listed = 0;
}

/* Where it stands on the queue's shelf. `again`: it was just given a task, others come first. */
static void settle_pair(struct core *self, struct queue *queue, uint32_t slot, bool again)
{
    struct session *worker = &self->sessions[slot];
    struct pairing *pairing = &queue->workers[slot];
    bool counts = warm(pairing) && ready(worker) && pairing->refused_ns == 0;
    if (counts != pairing->counted)
        queue->warm_ready += counts ? 1 : UINT32_MAX;
    pairing->counted = counts;
    uint64_t row_ns = pairing->row_ns ? pairing->row_ns : queue->row_ns;
    uint64_t cost = cost_of(row_ns ? row_ns : COST_DEFAULT, 1);
    if (counts && in_credit(worker) && rank_has_room(self, queue, worker, cost))
        shelf_put(queue->shelf, rank_shelf(queue), slot, rank_load(worker), again);
    else
        shelf_take(queue->shelf, rank_shelf(queue), slot);
    if (pairing->listed > 0 && !warm(pairing))
        unlist(self, worker, pairing);
}

/* Work that is short has room up to the horizon, work that is long or unknown for one task more
 * than slots: whoever has neither is no choice for anybody. */
static void settle_pool(struct core *self, uint32_t slot, bool again)
{
    const struct session *worker = &self->sessions[slot];
    bool room = worker->leases.len < worker->slots + 1 ||
                worker->work_ns <= self->limits.horizon_ms * NS_PER_MS * worker->slots;
    if (in_credit(worker) && room)
        shelf_put(&self->pool, rank_pool(self), slot, rank_load(worker), again);
    else
        shelf_take(&self->pool, rank_pool(self), slot);
}

void rank_leased(struct core *self, struct queue *queue, uint32_t slot)
{
    settle_pair(self, queue, slot, true);
    settle_pool(self, slot, true);
}

void ranks_settle(struct core *self)
{
    for (uint32_t i = 0; i < self->touched_len; i++) {
        uint32_t slot = self->touched[i];
        struct session *worker = &self->sessions[slot];
        worker->touched = 0;
        settle_pool(self, slot, false);
        for (uint32_t k = worker->warm_len; k-- > 0;)
            settle_pair(self, &self->queues[worker->warm[k]], slot, false);
    }
    self->touched_len = 0;
}

/* --- coming and going ---------------------------------------------------------------------------
 */

static uint64_t point_of(const struct session *worker)
{
    uint64_t word;
    memcpy(&word, worker->uuid.bytes + sizeof(worker->uuid.bytes) - sizeof(word), sizeof(word));
    return map_mix(word);
}

uint32_t rank_ring(const struct core *self, uint64_t point)
{
    uint32_t low = 0, high = self->workers_len;
    while (low < high) {
        uint32_t middle = (low + high) / 2;
        if (point_of(&self->sessions[self->workers[middle]]) < point)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

void rank_meet(struct core *self, uint32_t slot)
{
    uint32_t at = rank_ring(self, point_of(&self->sessions[slot]));
    memmove(&self->workers[at + 1], &self->workers[at],
            (self->workers_len - at) * sizeof(uint32_t));
    self->workers[at] = slot;
    self->workers_len++;
    rank_touch(self, slot);
}

void rank_part(struct core *self, uint32_t slot)
{
    struct session *worker = &self->sessions[slot];
    uint32_t at = rank_ring(self, point_of(worker));
    while (self->workers[at] != slot)
        at++;
    self->workers_len--;
    memmove(&self->workers[at], &self->workers[at + 1],
            (self->workers_len - at) * sizeof(uint32_t));
    shelf_take(&self->pool, rank_pool(self), slot);
    if (worker->touched > 0) {
        uint32_t last = self->touched[--self->touched_len];
        self->touched[worker->touched - 1] = last;
        self->sessions[last].touched = worker->touched;
        worker->touched = 0;
    }
    free(worker->warm);
    worker->warm = NULL;
    worker->warm_len = worker->warm_room = 0;
    self->dirty = true;
}

/* The pairing is about to be cleared: nothing may remember it. */
void rank_forget(struct core *self, struct queue *queue, uint32_t slot)
{
    struct pairing *pairing = &queue->workers[slot];
    shelf_take(queue->shelf, rank_shelf(queue), slot);
    queue->warm_ready -= pairing->counted ? 1 : 0;
    queue->refusers -= pairing->refused_ns > 0 ? 1 : 0;
    if (pairing->listed > 0)
        unlist(self, &self->sessions[slot], pairing);
    *pairing = (struct pairing){0};
}

/* Pauses and refusals that are over. */
void ranks_scan(struct core *self, uint64_t now_ns)
{
    for (uint32_t i = 0; i < self->workers_len; i++) {
        struct session *worker = &self->sessions[self->workers[i]];
        if (worker->pause_ns > 0 && worker->pause_ns <= now_ns) {
            worker->pause_ns = 0;
            rank_touch(self, self->workers[i]);
        }
    }
    for (uint32_t q = 0; q < self->queues_high; q++) {
        struct queue *queue = &self->queues[q];
        for (uint32_t i = 0; queue->refusers > 0 && i < self->workers_len; i++) {
            struct pairing *pairing = &queue->workers[self->workers[i]];
            if (pairing->refused_ns == 0 || pairing->refused_ns > now_ns)
                continue;
            pairing->refused_ns = 0;
            queue->refusers--;
            rank_touch(self, self->workers[i]);
        }
    }
}
