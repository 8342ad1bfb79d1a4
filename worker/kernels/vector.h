/* vector - elementwise functions on fp32
 *
 * Largest relative errors in every instruction set, tested: exp, sigmoid 5e-7; tanh 2e-6; log, pow
 * as libm. Outputs may be the input itself, but must not overlap it otherwise. Any length
 * including 0; no alignment needed. Never allocates, never fails; any one thread at a time. */
#ifndef CONVOY_WORKER_KERNELS_VECTOR_H
#define CONVOY_WORKER_KERNELS_VECTOR_H

#include "worker/kernels/activation.h"

/* y[i] = act(x[i]), i < n. */
void vec_unary(struct activation act, size_t n, const float *x, float *y);

enum binary {
#define BINARY(NAME, name, formula) BINARY_##NAME,
#include "worker/kernels/binary.def"
#undef BINARY
    BINARY_COUNT
};

/* An operand of vec_binary: element (r, c) is at data[r * row_step + c * col_step]. */
struct operand {
    const float *data;
    size_t row_step; /* elements from row to row; 0 repeats one row */
    size_t col_step; /* 1, or 0 to repeat one value along the row */
};

/* out[r * cols + c] = x(r, c) op y(r, c). Two arrays of n: rows 1, cols n, col_step 1. A scalar:
 * col_step 0. out may be x or y where that one has exactly out's layout. */
void vec_binary(enum binary op, size_t rows, size_t cols, struct operand x, struct operand y,
                float *out);

/* y[i] = scale * x[i], i < n. */
void vec_from_u8(size_t n, float scale, const uint8_t *x, float *y);

#endif
