/* runner_train - a batch of the ring that is a segment of a training
 *
 * In: `segment`, JSON {"budget_ms"}, and but for the first `checkpoint`. Out: `report`, JSON,
 * `checkpoint`, and `model` when training is over; see "Training" in common/PROTOCOL.md. The
 * program stays in memory, so that the next segment goes on without reading anything again if it
 * begins where this one ended. One thread. */
#ifndef CONVOY_WORKER_RUNNER_TRAIN_H
#define CONVOY_WORKER_RUNNER_TRAIN_H

#include "worker/program/program.h"
#include "worker/ring.h"

struct runner_train;

struct runner_train *runner_train_new(struct ring *ring);

/* TOO_LARGE: checkpoint, model and the largest report are more than one answer carries. */
enum status runner_train_fits(const struct program_sizes *sizes, struct error *why);

/* Fill status, text, outputs, digest and time of the batch's only task. Never fails itself. */
void runner_train(struct runner_train *self, struct ring_batch *batch);

#endif
