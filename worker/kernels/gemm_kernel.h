/* gemm_kernel - what an implementation of the gemm family provides; see gemm.h
 *
 * B is packed in panels of kernel->width columns, two registers: [ceil(n / width)][k][width], zeros
 * past column n. */
#ifndef CONVOY_WORKER_KERNELS_GEMM_KERNEL_H
#define CONVOY_WORKER_KERNELS_GEMM_KERNEL_H

#include "worker/kernels/gemm.h"

#define GEMM_WIDTH_MAX 32
#define GEMM_ROWS_MAX  14
#define GEMM_FEW       3                 /* rows of tiles that take several panels side by side */
#define GEMM_SLICE     512               /* k at once: 32 or 64 KiB of a panel */
#define GEMM_STEP      (GEMM_SLICE + 16) /* from row to row of a slice of A: no power of two */

/* C[rows][width panels] gets A[rows][k] times the panels, one after the other in k. */
struct gemm_tile {
    size_t k;
    struct matrix a;   /* fastest with a.row_step GEMM_STEP and a.col_step 1 */
    const float *b;    /* first panel, at the first k */
    size_t b_panel;    /* elements from panel to panel */
    const float *bias; /* width per panel: start from it; NULL: start from C if accumulate, or 0 */
    bool accumulate;
    float low, high; /* clamp, once the sum is complete; infinities else */
    float *c;
    size_t c_step;
};

struct gemm_kernel {
    size_t width; /* columns of a panel */
    size_t rows;  /* of the largest tile */
    /* most panels that a tile of 1, 2, 3 rows takes at once, so that additions overlap; a power of
     * two; of more rows: one */
    size_t wide_panels[GEMM_FEW];
    /* `panels` is a power of two: the same sums however many */
    void (*tile)(const struct gemm_tile *t, size_t rows, size_t panels);
};

#define KERNEL(function, needs) extern const struct gemm_kernel function;
#include "worker/kernels/gemm.def"
#undef KERNEL

/* The implementation now chosen. */
const struct gemm_kernel *gemm_now(void);

#endif
