/* batch - which waiting tasks of a model are computed together, and when
 *
 * One queue per model. Tasks whose rows look the same (input names, types and shapes without axis
 * 0) are gathered, oldest first, up to rows_max rows; a task with more rows goes by itself and is
 * cut by the runner. A model whose rows are not independent runs one task at a time. While the
 * runner is idle a batch is due at once; while it is busy tasks gather until the batch is full or
 * the oldest has waited delay_ns.
 *
 * Pure: no I/O, no clock. A queue owns nothing: items live inside tasks. One thread. */
#ifndef CONVOY_WORKER_BATCH_H
#define CONVOY_WORKER_BATCH_H

#include "common/status.h"
#include "common/tensor.h"

#include <sys/queue.h>

/* What a task looks like to the batcher; embedded in it. */
struct batch_item {
    TAILQ_ENTRY(batch_item) link; /* in its queue, oldest first */
    const struct tensor *inputs;  /* shapes; the data is not looked at */
    uint32_t inputs_len;
    bool alone;          /* never with others: it may have ended a runner */
    uint64_t rows;       /* on axis 0 of every input; 0: not made of rows */
    uint64_t bytes;      /* of all inputs */
    uint64_t arrived_ns; /* monotonic */
};

TAILQ_HEAD(batch_list, batch_item);

struct batch_policy {
    bool batchable;     /* rows are independent */
    uint32_t rows_max;  /* rows in a batch, >= 1 */
    uint32_t tasks_max; /* tasks in a batch, >= 1 */
    uint64_t bytes_max; /* input octets in a batch of several tasks */
    uint64_t delay_ns;  /* how long to gather while the runner is busy */
};

struct batch_queue {
    struct batch_list items; /* waiting, oldest first */
    uint64_t len;            /* how many */
    uint64_t rows;           /* theirs, counting at least one a task */
};

void batch_queue_init(struct batch_queue *self);

/* Rows of a task with these inputs: their common first dim, 0 when they have none in common, when
 * there are no inputs, or when an element's size is not fixed. */
uint64_t batch_rows(const struct tensor *inputs, uint32_t inputs_len);

/* At the end; or at the front: given back after a runner's death, in front of its juniors. */
void batch_push(struct batch_queue *self, struct batch_item *item);
void batch_push_front(struct batch_queue *self, struct batch_item *item);
void batch_remove(struct batch_queue *self, struct batch_item *item);

/* Is there a batch to be computed now? */
bool batch_due(const struct batch_queue *self, const struct batch_policy *policy, uint64_t now_ns,
               bool runner_idle);
/* When the oldest item will have waited long enough; UINT64_MAX when empty. */
uint64_t batch_due_ns(const struct batch_queue *self, const struct batch_policy *policy);

/* Take the next batch out of the queue, oldest first, into items[tasks_max]; how many. 0 when the
 * queue is empty. With more than one, all are made of rows of the same look. */
size_t batch_pick(struct batch_queue *self, const struct batch_policy *policy,
                  struct batch_item **items);

#endif
