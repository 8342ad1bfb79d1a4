/* rnn_step - what a step of LSTM, GRU or RNN computes, for who runs it in another way */
#ifndef CONVOY_WORKER_OPS_RNN_STEP_H
#define CONVOY_WORKER_OPS_RNN_STEP_H

#include "worker/kernels/rnn.h"
#include "worker/ops/op.h"

/* Inputs by number; the last two are LSTM's. */
enum rnn_input { RNN_X, RNN_W, RNN_R, RNN_B, RNN_LENS, RNN_H0, RNN_C0, RNN_PEEPHOLE };

/* Of a step whose shapes are known. All inputs but lens, which is not looked at, and all outputs.
 */
struct rnn_step {
    const struct rnn_shape *shape;
    struct rnn_weights weights;
    struct rnn_args args;
};
void rnn_step_get(const struct step *step, struct rnn_step *out);

#endif
