/* trainer_parts - what trainer.c (parameters, steps) and trainer_plan.c (passes and memory for one
 * batch size) share; nobody else includes it */
#ifndef CONVOY_WORKER_TRAIN_TRAINER_PARTS_H
#define CONVOY_WORKER_TRAIN_TRAINER_PARTS_H

#include "worker/train/pass.h"
#include "worker/train/trainer.h"

/* A value, in one layout, and its gradient. */
struct slot {
    struct array array; /* first, so that an array's address is its slot's */
    struct array grad;
    struct slot *other; /* the same value in the other layout, if some pass wanted it */
    struct pass *maker; /* NULL: an input, a parameter or a constant */
    bool param;
    bool needs;       /* leads back to a parameter that learns */
    bool graded;      /* some pass has written the gradient */
    uint32_t readers; /* in the graph, and conversions */
    size_t born;      /* when the gradient is first written, see plan_clock */
    size_t last;      /* when the value is last read */
};

/* Memory that will be needed from `first` to `last`; *where is set. */
struct piece {
    void **where;
    size_t bytes, first, last;
};

struct train_plan {
    struct train_plan *next;
    struct region *region;
    struct slot **by_value;
    struct array *inputs; /* dims that it was made for */
    struct pass **passes;
    size_t passes_len;
    struct slot *output;
    struct piece *pieces;
    size_t pieces_len, pieces_room;
    void *arena;
    size_t arena_bytes;
};

struct param {
    struct trainer_param shown; /* first */
    uint32_t value;
    bool frozen;    /* by name; of a running statistic: it does not move */
    size_t columns; /* of the last axis that learn; 0: all */
    float *grad;
};

struct trainer {
    uint32_t magic;
    struct graph *graph;
    struct trainer_options options;
    struct param *params;
    struct trainer_param *shown; /* the same, for callers */
    size_t params_len;
    const struct param **by_value; /* NULL where a value is none */
    int64_t output_axis;           /* of the Softmax that the loss took; INT64_MAX: none */
    size_t all, learning;          /* floats of all parameters, of those in front that learn */
    float *state;                  /* [all] parameters, [learning] m, [learning] v */
    float *grads;                  /* [learning] */
    struct train_plan *plans;
    struct pass_run run;
    struct run op_run;
};

#define TRAINER_MAGIC 0x74726e72u
#define TRAIN_PLANS   4 /* batch sizes whose memory is kept */

/* The plan for these inputs' dims, made when there is none. */
enum status train_plan_for(struct trainer *self, const struct tensor *inputs,
                           struct train_plan **out, struct error *why);
void train_plan_destroy(struct train_plan **self_p);

#endif
