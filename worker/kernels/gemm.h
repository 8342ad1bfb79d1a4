/* gemm - C = act(A B + bias) with B packed beforehand
 *
 * A is m x k, B is k x n, C is m x n. C(i, j) = act(start + sum over p = 0..k-1, in this order, of
 * A(i, p) B(p, j)), start = bias[j], or the old C(i, j), or 0. The order of the sum depends on
 * nothing else, so that a row's bytes are the same in any batch. Any m, n, k including 0. Never
 * allocates, never fails. Buffers do not overlap; `packed` is aligned to TENSOR_ALIGN. */
#ifndef CONVOY_WORKER_KERNELS_GEMM_H
#define CONVOY_WORKER_KERNELS_GEMM_H

#include "worker/kernels/activation.h"

/* A matrix: element (r, c) at data[r * row_step + c * col_step]; a transposed one swaps steps. */
struct matrix {
    const float *data;
    size_t row_step;
    size_t col_step;
};

/* Bytes of a packed k x n matrix: for the chosen instruction set. */
size_t gemm_packed_bytes(size_t k, size_t n);

/* Pack alpha * B. */
void gemm_pack(size_t k, size_t n, struct matrix b, float alpha, float *packed);

struct gemm {
    size_t m, n, k;
    struct matrix a;
    const float *packed;   /* B, by gemm_pack */
    const float *bias;     /* n values, or NULL: none */
    bool accumulate;       /* start from what C holds; bias is NULL then */
    struct activation act; /* applied last */
    float *c;
    size_t c_step; /* elements from row to row of C; columns are adjacent */
};

void gemm_run(const struct gemm *g);

/* The same on the caller's thread only: for use inside a parallel region. */
void gemm_run_serial(const struct gemm *g);

/* `batch` products of activations: A, B and C of product i start at a_at[i], b_at[i] and
 * i * m * n elements; C is tightly packed. */
struct matmul {
    size_t batch;
    size_t m, n, k;
    struct matrix a;
    struct matrix b;
    const size_t *a_at; /* element offsets, batch of them */
    const size_t *b_at;
    float alpha; /* C = alpha A B */
    float *c;
};

/* Scratch that matmul_run needs with the threads now set. */
size_t matmul_scratch_bytes(const struct matmul *mm);
void matmul_run(const struct matmul *mm, void *scratch);

#endif
