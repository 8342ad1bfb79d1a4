/* gemm_kernel - what an implementation of the gemm family provides; see gemm.h
 *
 * B is packed in panels of GEMM_WIDTH columns: [ceil(n / 16)][k][16], zeros past column n. */
#ifndef CONVOY_WORKER_KERNELS_GEMM_KERNEL_H
#define CONVOY_WORKER_KERNELS_GEMM_KERNEL_H

#include "worker/kernels/gemm.h"

#define GEMM_WIDTH    16 /* columns of a panel: two registers of eight */
#define GEMM_ROWS     6  /* rows of the largest tile: 12 accumulators of 16 registers */
#define GEMM_WIDE_MAX 4  /* panels side by side for few rows, so that additions overlap */

/* C[rows][16 panels] gets A[rows][k] times the panels, one after the other in k. */
struct gemm_tile {
    size_t k;
    struct matrix a;
    const float *b;    /* first panel, at the first k */
    size_t b_panel;    /* elements from panel to panel */
    const float *bias; /* 16 per panel: start from it; NULL: start from C if accumulate, or 0 */
    bool accumulate;
    float low, high; /* clamp, once the sum is complete; infinities else */
    float *c;
    size_t c_step;
};

typedef void gemm_tile_fn(const struct gemm_tile *t);

struct gemm_kernel {
    /* tile[rows - 1]: one panel, rows 1..6 */
    gemm_tile_fn *tile[GEMM_ROWS];
    /* wide[rows - 1]: wide_panels[rows - 1] panels at once, for rows 1..3; same sums */
    gemm_tile_fn *wide[3];
    size_t wide_panels[3];
};

#define KERNEL(function, needs) extern const struct gemm_kernel function;
#include "worker/kernels/gemm.def"
#undef KERNEL

/* The implementation now chosen. */
const struct gemm_kernel *gemm_now(void);

#endif
