/* rows_kernel - what an implementation of the rows family provides; see rows.h */
#ifndef CONVOY_WORKER_KERNELS_ROWS_KERNEL_H
#define CONVOY_WORKER_KERNELS_ROWS_KERNEL_H

#include "worker/kernels/rows.h"

struct rows_kernel {
    float (*sum)(size_t n, const float *x);
    float (*max)(size_t n, const float *x); /* -infinity when n is 0 */
    float (*min)(size_t n, const float *x); /* infinity when n is 0 */
    /* sum of (x - mean)^2 */
    float (*squares)(size_t n, float mean, const float *x);
    /* y = exp(x - shift); returns the sum of y */
    float (*exp_sum)(size_t n, float shift, const float *x, float *y);
    /* y = (x - mean) factor gain[i] + bias[i]; bias may be NULL */
    void (*normalise)(size_t n, float mean, float factor, const float *gain, const float *bias,
                      const float *x, float *y);
    /* y[i][k] = scale[k] x[i][k] + shift[k], k < 8 */
    void (*scale_shift)(size_t n, const float *scale, const float *shift, const float *x, float *y);
};

#define KERNEL(function, needs) extern const struct rows_kernel function;
#include "worker/kernels/rows.def"
#undef KERNEL

/* The implementation now chosen. */
const struct rows_kernel *rows_now(void);

#endif
