/* trainer - a network that learns: forward, loss, backward, optimiser, over an imported graph
 *
 *   graph (onnx_import) --trainer_new--> parameters in one block, and for each batch size a list of
 *   passes: the graph's nodes in order, each with its operator's forward and gradient (grads.def)
 *
 * A step runs the passes forward and keeps what gradients read, takes the loss, runs them backward
 * and lets the optimiser move all parameters at once, in one parallel region. Maps stay in blocked
 * layout between convolutions and pooling. Memory is laid out once for each batch size; a step
 * takes none (but with CTC). The same bytes come out for the same seed, numeric mode, batch sizes
 * and number of threads, whatever ran before.
 *
 * What learns: the FP32 constants that operators read where grads.def says weights stand, without
 * those that are frozen. Running statistics of BatchNormalization are kept beside them. One thread
 * at a time uses a trainer. */
#ifndef CONVOY_WORKER_TRAIN_TRAINER_H
#define CONVOY_WORKER_TRAIN_TRAINER_H

#include "worker/graph/graph.h"
#include "worker/kernels/update.h"
#include "worker/train/loss.h"

struct trainer;

/* A constant of which only the first `columns` of its last axis learn. */
struct trainer_columns {
    const char *name;
    size_t columns;
};

struct trainer_options {
    enum loss_kind loss;
    struct update optimiser;   /* its t, rate and scale are set for each step */
    float clip_norm;           /* gradients are scaled to at most this norm; 0: not */
    uint64_t seed;             /* of Dropout */
    const char *const *frozen; /* names of constants that do not learn; of running statistics: that
                                * BatchNormalization uses and does not move, as in inference */
    size_t frozen_len;
    const struct trainer_columns *columns; /* such as a bias that a layer has once and ONNX twice */
    size_t columns_len;
};

/* One of the network's parameters. */
struct trainer_param {
    const char *name; /* the constant's, as in the file */
    uint32_t rank;
    int64_t dims[TENSOR_RANK_MAX];
    size_t count;
    float *data;       /* what it is now; may be set between steps */
    const float *grad; /* of the last step, before clipping; NULL where it does not learn */
    bool learns;       /* false: frozen, or a running statistic */
};

/* Takes the graph, whose file must stay mapped; *graph_p becomes NULL in any case. BAD_MODEL or
 * UNSUPPORTED names the node and what is in the way: an operator that has no gradient, an output
 * that does not fit the loss. Sizes are checked by the first step. */
enum status trainer_new(struct trainer **out, struct graph **graph_p,
                        const struct trainer_options *options, struct error *why);
void trainer_destroy(struct trainer **self_p);

/* What one step says of its rows. */
struct trainer_result {
    double loss;      /* mean */
    size_t rows;      /* that the loss counted: of a sequence, each step; CTC: sequences */
    size_t correct;   /* rows whose largest output is the target's; sigmoid: that side of 1/2 */
    double grad_norm; /* 0 unless clip_norm */
};

/* One step. `inputs` in the graph's order, data aligned to TENSOR_ALIGN; dim 0 of each is the
 * batch. `number` counts steps from 1 and keys Dropout with the seed and the row, as it does Adam's
 * corrections; `rate` is the learning rate. INVALID says what did not fit, by row for a label out
 * of range; a loss, or the norm of a gradient, that is not finite is INVALID and moves no
 * parameter.
 */
enum status trainer_step(struct trainer *self, const struct tensor *inputs, uint32_t inputs_len,
                         const struct tensor *target, uint64_t number, double rate,
                         struct trainer_result *result, struct error *why);

/* Forward and loss as in inference: no Dropout, running statistics. */
enum status trainer_evaluate(struct trainer *self, const struct tensor *inputs, uint32_t inputs_len,
                             const struct tensor *target, struct trainer_result *result,
                             struct error *why);

/* In the order of the graph. */
const struct trainer_param *trainer_params(const struct trainer *self, size_t *len);

/* The block of `floats` values that, with the step's number, is the whole state: parameters and
 * statistics, then the optimiser's moments. To be kept in checkpoints and put back. */
float *trainer_state(struct trainer *self, size_t *floats);

/* Bytes that the largest plan takes for what lies between forward and backward. */
size_t trainer_arena_bytes(const struct trainer *self);

#endif
