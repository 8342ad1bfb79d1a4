/* eval - one node on data that is known before any run */
#ifndef CONVOY_WORKER_GRAPH_EVAL_H
#define CONVOY_WORKER_GRAPH_EVAL_H

#include "worker/graph/graph.h"

/* What is computed ahead of any run, by folding a graph or while a plan is made, is bounded: a
 * model must not make its loader slow. In units of step_work. */
#ifndef EVAL_WORK_MAX
#define EVAL_WORK_MAX ((uint64_t)2 << 30)
#endif

/* Run a shaped step when all that it reads is known: its outputs get data in `region` and become
 * known. *done tells; nothing happens where they would take more than `bytes_max`, or the step more
 * than *work, from which it is taken. */
enum status eval_step(struct step *step, struct region *region, size_t bytes_max, uint64_t *work,
                      bool *done, struct error *why);

/* Run every node whose inputs are constant; its outputs become constants of the graph. Nodes that
 * cannot be run (an error in their data) stay and report it when they run, and so do those of the
 * operator `except` (NULL: none). */
void graph_fold(struct graph *self, const char *except);

/* Describe a constant as an array, with aligned data. */
struct array eval_const(struct graph *graph, uint32_t number);

#endif
