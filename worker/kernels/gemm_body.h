/* gemm_body - the gemm family, compiled once per instruction set as GEMM_KERNEL
 *
 * A tile of R rows and N registers of columns holds R * N accumulators; R and N must be constants
 * after inlining, or the compiler keeps the accumulators in memory. */
#include "worker/kernels/gemm_kernel.h"
#include "worker/kernels/simd.h"

#if VF == 16
#define ROWS 14 /* by two registers: 28 accumulators of 32 registers, 2 of B, 1 of A */
#else
#define ROWS 6 /* 12 of 16 */
#endif
#define ACCUMULATORS_MAX (2 * ROWS)
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
INLINE void tile_run(const struct gemm_tile *t, const size_t R, const size_t N, const size_t a_row,
                     const size_t a_col)
{
    vf acc[ACCUMULATORS_MAX];
    const float *a = t->a.data, *b = t->b;
    const size_t b_panel = t->b_panel;
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
        b += LINE * VF;
    }
    tile_finish(t, acc, R, N);
}

typedef void tile_fn(const struct gemm_tile *t);

#define TILE(R, N)                                                                                 \
    static void tile_##R##x##N(const struct gemm_tile *t)                                          \
    {                                                                                              \
        if (N == LINE && t->a.row_step == GEMM_STEP && t->a.col_step == 1)                         \
            tile_run(t, R, N, GEMM_STEP, 1);                                                       \
        else                                                                                       \
            tile_run(t, R, N, t->a.row_step, t->a.col_step);                                       \
    }
#define TILES(OF) OF(1, 2) OF(2, 2) OF(3, 2) OF(4, 2) OF(5, 2) OF(6, 2)
#if VF == 16
#define MORE_TILES(OF) OF(7, 2) OF(8, 2) OF(9, 2) OF(10, 2) OF(11, 2) OF(12, 2) OF(13, 2) OF(14, 2)
#define WIDE(OF)       OF(1, 4) OF(1, 8) OF(1, 16) OF(2, 4) OF(2, 8) OF(3, 4) OF(3, 8)
#define WIDE_TABLE                                                                                 \
    {                                                                                              \
        {NAME(1, 2) NAME(1, 4) NAME(1, 8) NAME(1, 16)}, {NAME(2, 2) NAME(2, 4) NAME(2, 8)},        \
        {                                                                                          \
            NAME(3, 2) NAME(3, 4) NAME(3, 8)                                                       \
        }                                                                                          \
    }
#define WIDE_PANELS                                                                                \
    {                                                                                              \
        8, 4, 4                                                                                    \
    }
#else
#define MORE_TILES(OF)
#define WIDE(OF) OF(1, 4) OF(1, 8) OF(2, 4) OF(3, 4)
#define WIDE_TABLE                                                                                 \
    {                                                                                              \
        {NAME(1, 2) NAME(1, 4) NAME(1, 8)}, {NAME(2, 2) NAME(2, 4)},                               \
        {                                                                                          \
            NAME(3, 2) NAME(3, 4)                                                                  \
        }                                                                                          \
    }
#define WIDE_PANELS                                                                                \
    {                                                                                              \
        4, 2, 2                                                                                    \
    }
#endif
TILES(TILE)
MORE_TILES(TILE)
WIDE(TILE)

static void tile(const struct gemm_tile *t, size_t rows, size_t panels)
{
#define NAME(R, N) tile_##R##x##N,
    static tile_fn *const one[ROWS] = {TILES(NAME) MORE_TILES(NAME)};
    static tile_fn *const some[GEMM_FEW][4] = WIDE_TABLE; /* [rows - 1][log2 panels] */
    if (panels == 1)
        one[rows - 1](t);
    else
        some[rows - 1][__builtin_ctzl(panels)](t);
}

const struct gemm_kernel GEMM_KERNEL = {
    .width = LINE * VF,
    .rows = ROWS,
    .wide_panels = WIDE_PANELS,
    .tile = tile,
};
