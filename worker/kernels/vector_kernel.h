/* vector_kernel - what an implementation of the vector family provides; see vector.h
 *
 * All run on the caller's thread; other kernels call them inside their parallel region. */
#ifndef CONVOY_WORKER_KERNELS_VECTOR_KERNEL_H
#define CONVOY_WORKER_KERNELS_VECTOR_KERNEL_H

#include "worker/kernels/vector.h"

/* y[i] = f(x[i]) with parameters a and b; y may be x. */
typedef void vector_unary_fn(size_t n, float a, float b, const float *x, float *y);

/* out[i] = x[i * x_step] op y[i * y_step], steps 0 or 1; out may be x or y. */
typedef void vector_binary_fn(size_t n, const float *x, size_t x_step, const float *y,
                              size_t y_step, float *out);

struct vector_kernel {
    vector_unary_fn *unary[UNARY_COUNT];
    vector_binary_fn *binary[BINARY_COUNT];
    /* y = scale x */
    void (*from_u8)(size_t n, float scale, const uint8_t *x, float *y);
};

#define KERNEL(function, needs) extern const struct vector_kernel function;
#include "worker/kernels/vector.def"
#undef KERNEL

/* The implementation now chosen. */
const struct vector_kernel *vector_now(void);

/* act on the caller's thread; does nothing for ACT_NONE in place. */
void vector_apply(struct activation act, size_t n, const float *x, float *y);

#endif
