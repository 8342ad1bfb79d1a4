/* rnn_grad - LSTM, GRU and RNN that learn: forward, and back-propagation through time
 *
 * Formulas of the forward part are those of rnn.h. It keeps what the backward part reads: gates
 * behind their activations, states, and for each cell what its products were. With d the gradient
 * of a loss by what follows it, G the gates of a step before their activations and s(y) a
 * function's slope where its value is y, from the last step to the first:
 *
 *  LSTM  do = dh h(c) s(o), dc += dh o s(h(c)), di = dc n s(i), df = dc c' s(f), dn = dc i s(n),
 *        dc' = dc f, dh' = dG R
 *  GRU   dz = dh (h' - n) s(z), dn = dh (1 - z) s(n), dh' = dh z + dG R, where the row of n in G is
 *        r dn for R, linear_before_reset, and dr = dn (h' Rn + Rbn) s(r); otherwise
 *        dr = (dn Rn) h' s(r) and dh' gets r (dn Rn)
 *  RNN   dG = dh s(h), dh' = dG R
 *
 * with ' for the step before. After the last of them, as one product over all steps and rows each,
 * dW = dG^T x, dR = dG^T h', dx = dG W, and the bias's as sums. P. Werbos, Backpropagation Through
 * Time, 1990; S. Hochreiter, J. Schmidhuber, Long Short-Term Memory, 1997; K. Cho and others, 2014.
 *
 * Time first (layout 0), rows of one length, no peepholes, no coupled gates, no clip. The order of
 * each sum depends on sizes alone: bytes do not depend on the number of threads. Never allocates,
 * never fails. */
#ifndef CONVOY_WORKER_KERNELS_RNN_GRAD_H
#define CONVOY_WORKER_KERNELS_RNN_GRAD_H

#include "worker/kernels/rnn.h"

/* Whether a slope follows from the value: for every activation of rnn.h. */
bool rnn_grad_known(struct activation act);

/* Memory of one pass, aligned to TENSOR_ALIGN: `keep` stays from forward to backward. */
struct rnn_grad_bytes {
    size_t keep, forward, backward;
};
struct rnn_grad_bytes rnn_grad_bytes(const struct rnn_shape *shape, size_t steps, size_t batch);

/* args->batch_first is false, args->lens NULL. */
void rnn_grad_forward(const struct rnn_shape *shape, const struct rnn_weights *weights,
                      const struct rnn_args *args, void *keep, void *scratch);

/* Any may be NULL: nothing comes from there, or is wanted. */
struct rnn_grads {
    const float *dy, *dh, *dc;   /* as y, h and c of struct rnn_args */
    float *dx, *dw, *dr, *dbias; /* as x and struct rnn_weights */
    float *dh0, *dc0;
};
void rnn_grad_backward(const struct rnn_shape *shape, const struct rnn_weights *weights,
                       const struct rnn_args *args, const struct rnn_grads *grads, void *keep,
                       void *scratch);

#endif
