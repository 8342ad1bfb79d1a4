/* merge - common sub-expressions: nodes that compute the same are one */
#ifndef CONVOY_WORKER_GRAPH_MERGE_H
#define CONVOY_WORKER_GRAPH_MERGE_H

#include "worker/graph/graph.h"

/* Readers of a node's outputs read those of an earlier node with the same operator, attributes and
 * inputs; small constants with the same contents count as the same input. Nodes with sub-graphs
 * are left alone; one that makes an output of the graph stays, but has no other reader. */
void graph_merge_equal(struct graph *self);

#endif
