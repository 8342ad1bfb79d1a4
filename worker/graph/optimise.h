/* optimise - what a graph can do less of, decided once at load
 *
 * Constants are folded, dead nodes removed, and chains fused: scaling, bias and activation go into
 * the Conv, Gemm or MatMul in front of them. Outputs of the graph keep their names and meaning. */
#ifndef CONVOY_WORKER_GRAPH_OPTIMISE_H
#define CONVOY_WORKER_GRAPH_OPTIMISE_H

#include "worker/graph/graph.h"

void graph_optimise(struct graph *self);

#endif
