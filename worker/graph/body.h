/* body - a sub-graph that a node runs: a branch of If, the body of Loop or Scan
 *
 * A body's inputs are its formal ones and then what it reads from around it, in the order in which
 * the node has these as its own last inputs (node->captures of them). Its plans are cached by
 * shape; its arena is a piece of the run's slab, so that repeated runs ask the heap for nothing. */
#ifndef CONVOY_WORKER_GRAPH_BODY_H
#define CONVOY_WORKER_GRAPH_BODY_H

#include "worker/graph/plan_cache.h"

struct body {
    struct plan_cache plans; /* plans.graph: the sub-graph, which the node's graph owns */
    struct plan *plan;       /* of the run that is under way */
    void *arena;             /* its piece */
};

/* In check(): the sub-graph of attribute `name`, which must have `formal` inputs (ANY_COUNT: any
 * number) and at least `outputs` outputs. */
enum status body_find(struct body *self, struct node *node, const char *name, uint32_t formal,
                      uint32_t outputs, struct error *why);

/* Input `i` of the step that is not a capture; NULL when left out. */
const struct array *body_input(const struct step *step, uint32_t i);

uint32_t body_formal(const struct body *self, const struct node *node);
uint32_t body_outputs(const struct body *self);

/* Write what the body reads from around it behind its `formal` inputs in `inputs`. */
void body_captures(const struct step *step, struct array *inputs, uint32_t formal);

/* In shape(): the plan for such inputs (data NULL where not known yet). */
enum status body_plan(struct body *self, const struct array *inputs, struct plan **plan,
                      struct error *why);

/* In run(): compute. Outputs are valid until body_done(). */
enum status body_run(struct body *self, const struct step *step, const struct array *inputs,
                     struct error *why);
const struct array *body_output(const struct body *self, uint32_t i);
void body_done(struct body *self, const struct step *step);

/* Give output `i` of the step the value of `from`: what shape() has promised, or, when late,
 * whatever it is. */
enum status body_give(const struct step *step, uint32_t i, const struct array *from,
                      struct error *why);

/* The one BOOL or INT64 in `a`. */
enum status body_condition(const struct step *step, const struct array *a, bool *value,
                           struct error *why);
enum status body_count(const struct step *step, const struct array *a, int64_t *value,
                       struct error *why);

/* Free the plans; the sub-graph is the node's graph's. */
void body_clear(struct body *self);

#endif
