/* halves - FP16 and BF16 as storage: operators that compute do so in FP32
 *
 * Between a value of such a type and an operator that is not OP_ANY_TYPE goes a step that widens
 * it, and behind the operator one that rounds what it has computed to the type of its first input.
 * So every operator rounds once, and sums are FP32. Types are known only when a plan is made: where
 * a value turns out to be of another type, both steps are views. A graph without these types stays
 * as it is. */
#ifndef CONVOY_WORKER_GRAPH_HALVES_H
#define CONVOY_WORKER_GRAPH_HALVES_H

#include "worker/graph/graph.h"

/* After import, before optimising. BAD_MODEL when the graph would become too large. */
enum status graph_widen_halves(struct graph *self, struct error *why);

#endif
