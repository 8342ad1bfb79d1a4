/* gemm_body - the gemm family, compiled once per instruction set as GEMM_KERNEL
 *
 * A tile of R rows and N registers of columns holds R * N accumulators; R and N must be constants
 * after inlining, or the compiler keeps the accumulators in memory. */
#include "worker/kernels/gemm_kernel.h"
#include "worker/kernels/simd.h"

#define ACCUMULATORS_MAX 12
#define LINE             2 /* registers per panel and k */

INLINE void tile_start(const struct gemm_tile *t, vf acc[], const size_t R, const size_t N)
{
    UNROLL
    for (size_t r = 0; r < R; r++) {
        UNROLL
        for (size_t j = 0; j < N; j++) {
            if (t->bias)
                acc[r * N + j] = vf_load(t->bias + j * VF);
            else if (t->accumulate)
                acc[r * N + j] = vf_load(t->c + r * t->c_step + j * VF);
            else
                acc[r * N + j] = vf_set(0.0f);
        }
    }
}

INLINE void tile_finish(const struct gemm_tile *t, const vf acc[], const size_t R, const size_t N)
{
    const vf low = vf_set(t->low), high = vf_set(t->high);
    const size_t c_step = t->c_step;
    float *c = t->c;
    UNROLL
    for (size_t r = 0; r < R; r++) {
        UNROLL
        for (size_t j = 0; j < N; j++) {
            vf value = vf_min(high, vf_max(low, acc[r * N + j]));
            vf_store(c + r * c_step + j * VF, value);
        }
    }
}

/* R rows by N registers: each of B's registers is loaded once and used R times. */
INLINE void tile_run(const struct gemm_tile *t, const size_t R, const size_t N)
{
    vf acc[ACCUMULATORS_MAX];
    const float *a = t->a.data, *b = t->b;
    const size_t a_row = t->a.row_step, a_col = t->a.col_step, b_panel = t->b_panel;
    tile_start(t, acc, R, N);
    for (size_t p = t->k; p > 0; p--) {
        vf line[LINE];
        UNROLL
        for (size_t half = 0; half < N; half += LINE) {
            line[0] = vf_load(b + half / LINE * b_panel);
            line[1] = vf_load(b + half / LINE * b_panel + VF);
            UNROLL
            for (size_t r = 0; r < R; r++) {
                const vf value = vf_set(a[r * a_row]);
                acc[r * N + half] = vf_fma(value, line[0], acc[r * N + half]);
                acc[r * N + half + 1] = vf_fma(value, line[1], acc[r * N + half + 1]);
            }
        }
        a += a_col;
        b += GEMM_WIDTH;
    }
    tile_finish(t, acc, R, N);
}

#define TILE(R, N)                                                                                 \
    static void tile_##R##x##N(const struct gemm_tile *t)                                          \
    {                                                                                              \
        tile_run(t, R, N);                                                                         \
    }
TILE(1, 2)
TILE(2, 2)
TILE(3, 2)
TILE(4, 2)
TILE(5, 2)
TILE(6, 2)
TILE(1, 8)
TILE(2, 4)
TILE(3, 4)

const struct gemm_kernel GEMM_KERNEL = {
    .tile = {tile_1x2, tile_2x2, tile_3x2, tile_4x2, tile_5x2, tile_6x2},
    .wide = {tile_1x8, tile_2x4, tile_3x4},
    .wide_panels = {4, 2, 2},
};
