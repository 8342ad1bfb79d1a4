/* plan - one graph for one set of input shapes: every shape, layout and address is decided
 *
 * Making a plan runs what follows from shapes alone, inserts layout conversions, drops what nobody
 * reads and lays all values into one arena. Running it allocates nothing. Nodes whose shapes depend
 * on data (late and deferred steps, see op.h) are part of the same plan; their values live in the
 * run's slab, each until its last reader has run. */
#ifndef CONVOY_WORKER_GRAPH_PLAN_H
#define CONVOY_WORKER_GRAPH_PLAN_H

#include "worker/graph/graph.h"

#define PLAN_BYTES_MAX (8192 * MIB) /* arena of one plan */

struct plan;

/* `inputs` in the graph's order; only dtype and dims are read, and the data of small inputs that
 * decide shapes (NULL: what it holds is not known yet). INVALID when these shapes do not fit the
 * model. */
enum status plan_make(struct plan **out, struct graph *graph, const struct array *inputs,
                      struct error *why);

/* True when the plan was made for inputs of these dims, and these shape-deciding contents. */
bool plan_fits(const struct plan *self, const struct array *inputs);

size_t plan_arena_bytes(const struct plan *self);

/* Compute with inputs[i].data in `arena` (plan_arena_bytes of it, aligned). */
enum status plan_run(struct plan *self, void *arena, const struct array *inputs, struct run *run,
                     struct error *why);

/* Output `i` of the graph: dims from plan_make on unless it is late, data after plan_run. */
const struct array *plan_output(const struct plan *self, uint32_t i);

/* True when the dims of output `i` are known only after a run. */
bool plan_output_late(const struct plan *self, uint32_t i);

/* After plan_run, when its outputs are read: give back the slab's pieces that they hold. */
void plan_release(struct plan *self, struct run *run);

/* True when convolutions do nearly all of the work, and nothing is sized while running: then rows
 * of a batch may be run in pieces, by several threads with a plan each. */
bool plan_convolves(const struct plan *self);

/* The most that a step reads and writes of activations. */
size_t plan_step_bytes(const struct plan *self);

/* For analysis and tests: the array of a value, and the shaped steps of nodes in graph order
 * (including those that were run while planning). */
const struct array *plan_value(const struct plan *self, uint32_t number);
const struct step *plan_node_step(const struct plan *self, uint32_t node);

void plan_destroy(struct plan **self_p);

#endif
