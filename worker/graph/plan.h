/* plan - one graph for one set of input shapes: every shape, layout and address is decided
 *
 * Making a plan runs what follows from shapes alone, inserts layout conversions, drops what nobody
 * reads and lays all values into one arena. Running it allocates nothing. */
#ifndef CONVOY_WORKER_GRAPH_PLAN_H
#define CONVOY_WORKER_GRAPH_PLAN_H

#include "worker/graph/graph.h"

#define PLAN_BYTES_MAX (8192 * MIB) /* arena of one plan */

struct plan;

/* What a run reports to and obeys; all may be NULL. */
struct plan_watch {
    const uint32_t *stop; /* not 0: return CANCELLED at the next node; read with relaxed atomics */
    uint64_t *ticks;      /* counts nodes started; written with relaxed atomics */
    bool profile;         /* add to node->calls and node->ns */
};

/* `inputs` in the graph's order; only dtype and dims are read, and the data of inputs that decide
 * shapes (NULL: what it holds is not known yet). INVALID when these shapes do not fit the model. */
enum status plan_make(struct plan **out, struct graph *graph, const struct tensor *inputs,
                      struct error *why);

/* True when the plan was made for inputs of these dims, and these shape-deciding contents. */
bool plan_fits(const struct plan *self, const struct tensor *inputs);

size_t plan_arena_bytes(const struct plan *self);

/* Compute with inputs[i].data in `arena` (plan_arena_bytes of it, aligned). */
enum status plan_run(struct plan *self, void *arena, const struct tensor *inputs,
                     const struct plan_watch *watch, struct error *why);

/* Output `i` of the graph: dims from plan_make on, data after plan_run. */
const struct array *plan_output(const struct plan *self, uint32_t i);

/* For analysis and tests: the array of a value, and the shaped steps of nodes in graph order
 * (including those that were run while planning). */
const struct array *plan_value(const struct plan *self, uint32_t number);
const struct step *plan_node_step(const struct plan *self, uint32_t node);

void plan_destroy(struct plan **self_p);

#endif
