/* layout_kernel - what an implementation of the layout family provides; see layout.h */
#ifndef CONVOY_WORKER_KERNELS_LAYOUT_KERNEL_H
#define CONVOY_WORKER_KERNELS_LAYOUT_KERNEL_H

#include "worker/kernels/layout.h"

struct layout_kernel {
    /* blocked[i][k] = plain[k * plane + i] for i < n, k < lanes, and 0 for lanes <= k < 8 */
    void (*interleave)(size_t n, size_t lanes, size_t plane, const float *plain, float *blocked);
    /* plain[k * plane + i] = blocked[i][k] for i < n, k < lanes */
    void (*separate)(size_t n, size_t lanes, size_t plane, const float *blocked, float *plain);
};

#define KERNEL(function, needs) extern const struct layout_kernel function;
#include "worker/kernels/layout.def"
#undef KERNEL

/* The implementation now chosen. */
const struct layout_kernel *layout_now(void);

#endif
