/* rnn_grad_kernel - what an implementation of the rnn_grad family provides: passes over one row of
 * `n` units, gates side by side as in W; see rnn_grad.h for the formulas */
#ifndef CONVOY_WORKER_KERNELS_RNN_GRAD_KERNEL_H
#define CONVOY_WORKER_KERNELS_RNN_GRAD_KERNEL_H

#include "worker/kernels/rnn_grad.h"

struct rnn_grad_kernel {
    /* d *= f'(x), where y = f(x) */
    void (*slope)(struct activation act, size_t n, const float *y, float *d);
    /* sum += a b */
    void (*add_product)(size_t n, const float *a, const float *b, float *sum);
    /* c = f old + i g, of gates i o f g */
    void (*lstm_cell)(size_t n, const float *gates, const float *old, float *c);
    /* With *dc the gradient by c of this step, `out` what h adds to it: those by i, f and g before
     * their slopes into d, and into dc the one by old. */
    void (*lstm_back)(size_t n, const float *gates, const float *old, const float *out, float *dc,
                      float *d);
    /* h = (1 - z) new + z old */
    void (*gru_mix)(size_t n, const float *z, const float *new, const float *old, float *h);
    /* Gradients by z and new before their slopes, from dh, which becomes what of it reaches old. */
    void (*gru_back)(size_t n, const float *z, const float *new, const float *old, float *dh,
                     float *dz, float *dnew);
};

#define KERNEL(function, needs) extern const struct rnn_grad_kernel function;
#include "worker/kernels/rnn_grad.def"
#undef KERNEL

/* The implementation now chosen. */
const struct rnn_grad_kernel *rnn_grad_now(void);

/* f'(x) from y = f(x), for the functions that rnn_grad_known() lists. */
float rnn_slope(struct activation act, float y);

#endif
