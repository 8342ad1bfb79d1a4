/* run_batches - one model run over any number of rows, in pieces that stay in the cache
 *
 * Where rows are independent, a large batch runs as several small ones: the bytes are the same, the
 * memory is bounded by the piece. Anything else runs whole. */
#ifndef CONVOY_WORKER_RUN_BATCHES_H
#define CONVOY_WORKER_RUN_BATCHES_H

#include "worker/engine.h"

#define RUN_BATCH_DEFAULT 32 /* rows; activations of small CNNs then fit a 1 MiB L2 cache */

struct batches;

/* `inputs` in the order of the model's signature, their data aligned; `rows_max` per piece, 0: all
 * at once. Buffers are made by the first run and kept. The model must outlive the batches. */
struct batches *batches_new(struct model *model, const struct tensor *inputs, uint32_t rows_max);

/* Compute all rows once. Outputs then stay valid until the next run or destroy. */
enum status batches_run(struct batches *self, struct error *why);

/* Output `i`, whole. */
const struct tensor *batches_output(const struct batches *self, uint32_t i);

void batches_destroy(struct batches **self_p);

#endif
