/* rowflow - are the rows of a model independent, and where do they lie in each output?
 *
 * The graph is planned for two and for three rows. Which sizes follow the number of rows is read
 * off the difference; that rows never mix is proven node by node with each operator's rule. What no
 * rule knows counts as mixing. */
#ifndef CONVOY_WORKER_GRAPH_ROWFLOW_H
#define CONVOY_WORKER_GRAPH_ROWFLOW_H

#include "worker/graph/graph.h"

/* True: rows lie on axis 0 of every input and on axis[i] of output i (outputs_len of them). When
 * false, `reason` (may be NULL) says what stands against it. */
bool graph_rows(struct graph *graph, uint32_t *axis, struct error *reason);

#endif
