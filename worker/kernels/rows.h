/* rows - softmax, reductions and normalisations
 *
 * An array is seen as [outer][axis][inner]; a function works along axis. inner = 1: contiguous
 * rows. Sums run in an order fixed by `axis` and `inner` alone. Outputs may be the input itself
 * where they have its shape. Never allocates, never fails; an empty axis sums to 0, has mean NaN
 * and max -inf. */
#ifndef CONVOY_WORKER_KERNELS_ROWS_H
#define CONVOY_WORKER_KERNELS_ROWS_H

#include "worker/kernels/layout.h"

/* y = exp(x - max) / sum exp(x - max) along axis. */
void rows_softmax(size_t outer, size_t axis, size_t inner, const float *x, float *y);

/* y = x - max - ln(sum exp(x - max)) along axis. */
void rows_log_softmax(size_t outer, size_t axis, size_t inner, const float *x, float *y);

enum reduce {
    REDUCE_SUM,
    REDUCE_MEAN,
    REDUCE_MAX,
    REDUCE_MIN,
    REDUCE_KERNELS, /* rows_reduce() has those above, the operators do the others */
    REDUCE_PROD,
    REDUCE_L1,
    REDUCE_L2,
    REDUCE_SUM_SQUARE,
    REDUCE_LOG_SUM,
    REDUCE_LOG_SUM_EXP,
};

/* y[outer][inner] = sum, mean, max or min of x along axis. */
void rows_reduce(enum reduce kind, size_t outer, size_t axis, size_t inner, const float *x,
                 float *y);

/* y = scale[c] x + shift[c] for each channel of maps in either layout: batch normalisation with
 * scale = gamma / sqrt(var + eps), shift = beta - mean scale. */
void rows_scale_shift(enum layout layout, struct maps m, const float *scale, const float *shift,
                      const float *x, float *y);

/* y = gain (x - mean) / sqrt(variance + eps) + bias over each row of `cols`; bias may be NULL. */
void rows_layer_norm(size_t rows, size_t cols, const float *gain, const float *bias, float eps,
                     const float *x, float *y);

#endif
