/* batch - see batch.h */
#include "worker/batch.h"

#include <string.h>

/* Items of another look that a pick walks past: a bound on its time, not on correctness. */
#define LOOKAHEAD_MAX 1024

void batch_queue_init(struct batch_queue *self)
{
    *self = (struct batch_queue){0};
    TAILQ_INIT(&self->items);
}

uint64_t batch_rows(const struct tensor *inputs, uint32_t inputs_len)
{
    for (uint32_t i = 0; i < inputs_len; i++)
        if (inputs[i].rank == 0 || inputs[i].dims[0] != inputs[0].dims[0] ||
            dtype_bytes(inputs[i].dtype) == 0)
            return 0;
    return inputs_len > 0 && inputs[0].dims[0] > 0 ? (uint64_t)inputs[0].dims[0] : 0;
}

static void count(struct batch_queue *self, const struct batch_item *item)
{
    self->len++;
    self->rows += MAX(item->rows, (uint64_t)1);
}

void batch_push(struct batch_queue *self, struct batch_item *item)
{
    TAILQ_INSERT_TAIL(&self->items, item, link);
    count(self, item);
}

void batch_push_front(struct batch_queue *self, struct batch_item *item)
{
    TAILQ_INSERT_HEAD(&self->items, item, link);
    count(self, item);
}

void batch_remove(struct batch_queue *self, struct batch_item *item)
{
    assert(self->len > 0);
    TAILQ_REMOVE(&self->items, item, link);
    self->len--;
    self->rows -= MAX(item->rows, (uint64_t)1);
}

static bool same_look(const struct batch_item *a, const struct batch_item *b)
{
    if (a->inputs == b->inputs)
        return true;
    if (a->inputs_len != b->inputs_len)
        return false;
    for (uint32_t i = 0; i < a->inputs_len; i++) {
        const struct tensor *x = &a->inputs[i], *y = &b->inputs[i];
        if (x->dtype != y->dtype || x->rank != y->rank || strcmp(x->name, y->name) != 0)
            return false;
        for (uint32_t d = 1; d < x->rank; d++)
            if (x->dims[d] != y->dims[d])
                return false;
    }
    return true;
}

static bool gathers(const struct batch_item *item, const struct batch_policy *policy)
{
    return policy->batchable && !item->alone && item->rows > 0;
}

bool batch_due(const struct batch_queue *self, const struct batch_policy *policy, uint64_t now_ns,
               bool runner_idle)
{
    const struct batch_item *oldest = TAILQ_FIRST(&self->items);
    if (!oldest)
        return false;
    if (runner_idle || !gathers(oldest, policy))
        return true;
    return self->rows >= policy->rows_max || self->len >= policy->tasks_max ||
           now_ns >= batch_due_ns(self, policy);
}

uint64_t batch_due_ns(const struct batch_queue *self, const struct batch_policy *policy)
{
    const struct batch_item *oldest = TAILQ_FIRST(&self->items);
    return oldest ? oldest->arrived_ns + policy->delay_ns : UINT64_MAX;
}

size_t batch_pick(struct batch_queue *self, const struct batch_policy *policy,
                  struct batch_item **items)
{
    struct batch_item *first = TAILQ_FIRST(&self->items);
    if (!first)
        return 0;
    uint64_t rows = first->rows, bytes = first->bytes;
    size_t len = 0, passed = 0;
    struct batch_item *next = TAILQ_NEXT(first, link);
    batch_remove(self, first);
    items[len++] = first;
    if (!gathers(first, policy))
        return len;
    for (struct batch_item *item = next; item && len < policy->tasks_max; item = next) {
        next = TAILQ_NEXT(item, link);
        bool room =
            rows + item->rows <= policy->rows_max && bytes + item->bytes <= policy->bytes_max;
        if (room && gathers(item, policy) && same_look(first, item)) {
            rows += item->rows;
            bytes += item->bytes;
            batch_remove(self, item);
            items[len++] = item;
        } else if (rows >= policy->rows_max || ++passed > LOOKAHEAD_MAX) {
            break;
        }
    }
    return len;
}
