/* fusions - patterns of nodes that become one; the list is fusions.def */
#ifndef CONVOY_WORKER_GRAPH_FUSIONS_H
#define CONVOY_WORKER_GRAPH_FUSIONS_H

#include "worker/graph/graph.h"

/* Each turns node `n`, the last of its pattern, into the operator that the pattern is; what nobody
 * reads any more is left to graph_drop_dead(). False: no such pattern, and nothing changed. */
#define FUSION(function, what) bool function(struct graph *g, struct node *n);
#include "worker/graph/fusions.def"
#undef FUSION

/* DequantizeLinear, Conv or MatMul, QuantizeLinear (node `n`) become the product of the bytes; as
 * above, but tried first, while constants are bytes still. */
bool fuse_quantised(struct graph *g, struct node *n);

/* Whether `n` is a function of one value that kernels apply to what they have just computed. */
bool fusion_activation(const struct graph *g, const struct node *n, struct activation *act);

#endif
