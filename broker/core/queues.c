/* queues - one for each model version, mode and kind: how long its rows take, and where */
#include "broker/core/state.h"

#include <stdlib.h>
#include <string.h>

#define NS_PER_MS UINT64_C(1000000)

struct queue_key {
    const struct digest *model;
    const char *mode;
    uint32_t kind;
};

bool queue_same(const void *owner, uint32_t id, const void *key);

bool queue_same(const void *owner, uint32_t id, const void *key)
{
    const struct queue *queue = &((const struct core *)owner)->queues[id];
    const struct queue_key *want = key;
    return queue->kind == want->kind && digest_equal(&queue->model, want->model) &&
           strcmp(queue->mode, want->mode) == 0;
}

static uint64_t queue_hash(const struct core *self, const struct queue_key *key)
{
    uint64_t hash = self->seed ^ key->kind;
    for (size_t i = 0; i < sizeof(key->model->bytes); i += sizeof(uint64_t)) {
        uint64_t word;
        memcpy(&word, key->model->bytes + i, sizeof(word));
        hash = map_mix(hash ^ word);
    }
    for (const char *c = key->mode; *c; c++)
        hash = map_mix(hash ^ (uint8_t)*c);
    return hash;
}

/* A slot never used, or one whose queue has no task any more; its estimates are forgotten. */
static uint32_t take_slot(struct core *self)
{
    if (self->queues_high < self->limits.queues_max)
        return self->queues_high++;
    for (uint32_t slot = 0; slot < self->limits.queues_max; slot++) {
        struct queue *queue = &self->queues[slot];
        if (queue->refs > 0)
            continue;
        struct queue_key key = {&queue->model, queue->mode, queue->kind};
        map_remove(&self->by_model, queue_hash(self, &key), slot);
        for (uint32_t i = 0; i < self->workers_len; i++)
            rank_forget(self, queue, self->workers[i]);
        queue_free(queue);
        return slot;
    }
    return NONE;
}

void queue_free(struct queue *queue)
{
    free(queue->workers);
    free(queue->shelf);
}

static bool has_model(const struct session *worker, const struct digest *model)
{
    for (size_t i = 0; i < worker->models_len; i++)
        if (digest_equal(&worker->models[i], model))
            return true;
    return false;
}

struct queue *queue_for(struct core *self, const struct digest *model, const char *mode,
                        uint32_t kind, uint32_t minor)
{
    struct queue_key key = {model, mode, kind};
    uint64_t hash = queue_hash(self, &key);
    uint32_t slot = map_find(&self->by_model, hash, &key);
    if (slot != NONE)
        return &self->queues[slot];
    slot = take_slot(self);
    if (slot == NONE)
        return NULL;
    struct queue *queue = &self->queues[slot];
    *queue = (struct queue){.model = *model, .kind = kind, .minor = minor, .used = true};
    text_copy(queue->mode, sizeof(queue->mode), mode);
    queue->workers = xcalloc(self->limits.sessions_max, sizeof(struct pairing));
    queue->shelf = xcalloc(1, sizeof(struct shelf));
    for (uint32_t i = 0; i < self->workers_len; i++)
        if (has_model(&self->sessions[self->workers[i]], model)) {
            queue->workers[self->workers[i]].loaded = true;
            queue->workers[self->workers[i]].told = true;
            rank_note(self, queue, self->workers[i]);
        }
    map_put(&self->by_model, hash, slot);
    return queue;
}

uint64_t queue_cost(const struct queue *queue, uint32_t worker, const struct task *task)
{
    uint64_t row_ns = worker == NONE ? 0 : queue->workers[worker].row_ns;
    if (row_ns == 0)
        row_ns = queue->row_ns ? queue->row_ns : COST_DEFAULT;
    return cost_of(row_ns, task->rows);
}

/* An eighth of the news at a time: one odd batch does not turn the estimate. */
static uint64_t smooth(uint64_t old, uint64_t news)
{
    return old == 0 ? MAX(news, 1) : MAX(old - old / 8 + news / 8, 1);
}

void queue_measure(struct core *self, struct queue *queue, uint32_t worker, uint64_t rows,
                   uint64_t compute_ns)
{
    uint64_t row_ns = MIN(compute_ns / MAX(rows, 1), COST_MAX);
    struct pairing *pairing = &queue->workers[worker];
    pairing->row_ns = smooth(pairing->row_ns, row_ns);
    pairing->loaded = true;
    self->sessions[worker].unlisted |= !pairing->told;
    bool first = queue->row_ns == 0;
    queue->row_ns = smooth(queue->row_ns, row_ns);
    rank_note(self, queue, worker);
    /* Deeper windows are allowed from now on, everywhere. */
    for (uint32_t i = 0; first && i < self->workers_len; i++)
        if (queue->workers[self->workers[i]].listed > 0)
            rank_touch(self, self->workers[i]);
}

void queues_cool(struct core *self)
{
    for (uint32_t slot = 0; slot < self->queues_high; slot++)
        self->queues[slot].regret_ns -= self->queues[slot].regret_ns / SCAN_FRACTION;
}

void queues_meet(struct core *self, uint64_t now_ns, uint32_t worker)
{
    struct session *session = &self->sessions[worker];
    uint64_t crowded_ns = self->limits.crowded_ms * NS_PER_MS;
    session->unlisted = false;
    for (uint32_t slot = 0; slot < self->queues_high; slot++)
        if (self->queues[slot].used) {
            struct pairing *pairing = &self->queues[slot].workers[worker];
            bool has = has_model(session, &self->queues[slot].model);
            if (pairing->told && !has && pairing->leased_ns > 0 &&
                pairing->leased_ns + crowded_ns > now_ns)
                session->crowded_ns = now_ns + crowded_ns;
            pairing->told = pairing->loaded = has;
            rank_note(self, &self->queues[slot], worker);
        }
}

void queues_part(struct core *self, uint32_t worker)
{
    for (uint32_t slot = 0; slot < self->queues_high; slot++)
        if (self->queues[slot].used) {
            assert(self->queues[slot].workers[worker].leases == 0);
            rank_forget(self, &self->queues[slot], worker);
        }
}
