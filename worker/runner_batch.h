/* runner_batch - compute one batch of the ring: cut it into runs, scatter outputs to its tasks
 *
 * A batch holds the rows of its tasks one after the other on axis 0 of each input. It is run
 * rows_max rows at a time, so that activations stay in the processor's cache, whoever's rows they
 * are. Output i has its rows on axis axes[i]; each task gets its own rows, as if it had been alone.
 * When a run of several tasks fails, each task's part is run again by itself: only the one at fault
 * fails. Knows the model only through the table below, so tests can be one. One thread. */
#ifndef CONVOY_WORKER_RUNNER_BATCH_H
#define CONVOY_WORKER_RUNNER_BATCH_H

#include "worker/ring.h"

/* Octets of one task's outputs: what one RESULT message can carry. */
#define RUNNER_OUTPUT_MAX ((uint64_t)64 * MIB)

struct runner_model {
    void *model; /* passed to run */
    /* As model_run of worker/engine.h: outputs stay valid until the next run. */
    enum status (*run)(void *model, const struct tensor *inputs, uint32_t inputs_len,
                       struct tensor *outputs, struct error *why);
    uint32_t outputs_len; /* at most RING_VALUES_MAX */
    const uint32_t *axes; /* [outputs_len], for batchable batches */
};

/* Inputs whose rows start off a TENSOR_ALIGN boundary are moved here first; kept between batches.
 * Zero it before first use. */
struct runner_scratch {
    void *bytes[RING_VALUES_MAX]; /* aligned */
    size_t room[RING_VALUES_MAX]; /* their sizes */
};

void runner_scratch_free(struct runner_scratch *self);

/* Fill status, text, outputs, digest and times of every task of the batch. Never fails itself. */
void runner_batch(struct ring_batch *batch, const struct runner_model *model,
                  struct runner_scratch *scratch);

/* The digest of the task's outputs, into it. */
void runner_batch_digest(struct ring_batch *batch, struct ring_task *task);

/* Answer every task of the batch that has no outcome yet with this one. */
void runner_batch_fail(struct ring_batch *batch, enum status status, const char *text);

#endif
