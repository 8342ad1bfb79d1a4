/* bytes_kernel - what an implementation of the bytes family provides; see bytes.h */
#ifndef CONVOY_WORKER_KERNELS_BYTES_KERNEL_H
#define CONVOY_WORKER_KERNELS_BYTES_KERNEL_H

#include "worker/kernels/bytes.h"

struct bytes_kernel {
    void (*dots)(size_t rows, size_t cols, size_t k, const int16_t *a, const int16_t *b, int32_t *c,
                 size_t c_step);
    void (*from_fp32)(struct bytes_scale s, size_t n, const float *x, void *q);
    void (*to_fp32)(struct bytes_scale s, size_t n, const void *q, float *y);
};

#define KERNEL(function, needs) extern const struct bytes_kernel function;
#include "worker/kernels/bytes.def"
#undef KERNEL

/* The implementation now chosen. */
const struct bytes_kernel *bytes_now(void);

#endif
