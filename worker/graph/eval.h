/* eval - one node on data that is known before any run */
#ifndef CONVOY_WORKER_GRAPH_EVAL_H
#define CONVOY_WORKER_GRAPH_EVAL_H

#include "worker/graph/graph.h"

/* Run a shaped step when all that it reads is known: its outputs get data in `region` and become
 * known. *done tells; nothing happens where they would take more than `bytes_max`. */
enum status eval_step(struct step *step, struct region *region, size_t bytes_max, bool *done,
                      struct error *why);

/* Run every node whose inputs are constant; its outputs become constants of the graph. Nodes that
 * cannot be run (an error in their data) stay and report it when they run. */
void graph_fold(struct graph *self);

/* Describe a constant as an array, with aligned data. */
struct array eval_const(struct graph *graph, uint32_t number);

#endif
