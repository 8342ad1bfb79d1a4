/* conv_body - the conv family, compiled once per instruction set as CONV_KERNEL, CONV_NAME
 *
 * In every function below the capital letters are constants after inlining: N panels of VF output
 * channels, P pixels, INNER channels per plane, PS elements from pixel to pixel (0: t says). Else
 * the compiler would keep the accumulators in memory, three times slower. AVX2 has 16 registers:
 * 2 panels x 6 pixels use 12 accumulators, 2 weights, 1 broadcast; 4 panels x 3 pixels 12
 * accumulators, 1 weight, 3 broadcasts. AVX-512 has 32: 2 x 14 use 28, 2 and 1; 4 x 6 use 24, 4 and
 * 1. HALF, 0 or 1: of the last of N panels only the first half is there, and the sums of its 8
 * channels lie in half registers, of which the FMA units take two in the time of a whole one. */
#include "worker/kernels/conv_kernel.h"
#include "worker/kernels/simd.h"

#if VF == 16
#define PIXELS      14
#define PIXELS_OF_4 6
#else
#define PIXELS      6
#define PIXELS_OF_4 3
#endif
#define ACCUMULATORS_MAX (2 * PIXELS)
#define HALVES           (VF / LANES) /* blocks of the output that a register covers */
#define PER              HALVES       /* pixels of 8 channels that it covers otherwise */
#define LINE_FLOATS      16           /* of a line of the cache */

/* What out, or what is added, holds of the pixels of panel g; without the half that is not there.
 */
INLINE void out_load(const struct conv_tile *t, const float *first, size_t g, const size_t P,
                     vf value[])
{
    const float *from = first + g * HALVES * t->out_step;
#if VF == 16
    const float *second = g * HALVES + 1 < t->out_blocks ? from + t->out_step : from;
    UNROLL
    for (size_t p = 0; p < P; p++)
        value[p] = vf_join(from + p * LANES, second + p * LANES);
#else
    UNROLL
    for (size_t p = 0; p < P; p++)
        value[p] = vf_load(from + p * LANES);
#endif
}

/* Stores may change what t points at, for all the compiler knows: ask it nothing between them. */
INLINE void out_store(float *to, size_t step, bool both, const size_t P, const vf value[])
{
#if VF == 16
    UNROLL
    for (size_t p = 0; p < P; p++)
        vf_store_low(to + p * LANES, value[p]);
    if (!both)
        return;
    UNROLL
    for (size_t p = 0; p < P; p++)
        vf_store_high(to + step + p * LANES, value[p]);
#else
    (void)step;
    (void)both;
    UNROLL
    for (size_t p = 0; p < P; p++)
        vf_store(to + p * LANES, value[p]);
#endif
}

/* The panels that are whole. */
INLINE void tile_start(const struct conv_tile *t, vf acc[], const size_t N, const size_t P)
{
    if (t->accumulate) {
        UNROLL
        for (size_t g = 0; g < N; g++)
            out_load(t, t->out, g, P, acc + g * P);
        return;
    }
    UNROLL
    for (size_t g = 0; g < N; g++) {
        const vf bias = vf_load(t->bias + g * VF);
        UNROLL
        for (size_t p = 0; p < P; p++)
            acc[g * P + p] = bias;
    }
}

INLINE void tile_finish(const struct conv_tile *t, vf acc[], const size_t N, const size_t P)
{
    const vf low = vf_set(t->low), high = vf_set(t->high);
    const size_t step = t->out_step, blocks = t->out_blocks;
    float *const out = t->out;
    if (t->add) {
        UNROLL
        for (size_t g = 0; g < N; g++) {
            vf more[PIXELS];
            out_load(t, t->add, g, P, more);
            UNROLL
            for (size_t p = 0; p < P; p++)
                acc[g * P + p] = vf_add(acc[g * P + p], more[p]);
        }
    }
    UNROLL
    for (size_t g = 0; g < N; g++) {
        UNROLL
        for (size_t p = 0; p < P; p++)
            acc[g * P + p] = vf_min(high, vf_max(low, acc[g * P + p]));
        out_store(out + g * HALVES * step, step, g * HALVES + 1 < blocks, P, acc + g * P);
    }
}

/* Panel g of which there is half, if HALF. */
INLINE void half_start(const struct conv_tile *t, vl half[], size_t g, const size_t P,
                       const size_t HALF)
{
    const float *out = t->out + g * HALVES * t->out_step;
    UNROLL
    for (size_t p = 0; p < HALF * P; p++)
        half[p] = vl_load(t->accumulate ? out + p * LANES : t->bias + g * VF);
}

INLINE void half_finish(const struct conv_tile *t, vl half[], size_t g, const size_t P,
                        const size_t HALF)
{
    const vl low = vl_set(t->low), high = vl_set(t->high);
    const size_t at = g * HALVES * t->out_step;
    const float *const add = t->add ? t->add + at : NULL;
    float *const out = t->out + at;
    if (add) {
        UNROLL
        for (size_t p = 0; p < HALF * P; p++)
            half[p] = vl_add(half[p], vl_load(add + p * LANES));
    }
    UNROLL
    for (size_t p = 0; p < HALF * P; p++)
        vl_store(out + p * LANES, vl_min(high, vl_max(low, half[p])));
}

/* One input channel of one tap; few panels: hold the weights and pass the pixels. */
INLINE void tap_by_pixel(const float *in, const float *w, size_t w_step, size_t step, vf acc[],
                         vl half[], const size_t N, const size_t P, const size_t HALF)
{
    vf weight[4];
    const vl last = HALF ? vl_load(w + N * w_step) : vl_set(0.0f);
    UNROLL
    for (size_t g = 0; g < N; g++)
        weight[g] = vf_load(w + g * w_step);
    UNROLL
    for (size_t p = 0; p < P; p++) {
        const vf value = vf_set(in[p * step]);
        UNROLL
        for (size_t g = 0; g < N; g++)
            acc[g * P + p] = vf_fma(weight[g], value, acc[g * P + p]);
        if (HALF)
            half[p] = vl_fma(last, vf_low(value), half[p]);
    }
}

/* Many panels: hold the pixels and pass the weights. */
INLINE void tap_by_panel(const float *in, const float *w, size_t w_step, size_t step, vf acc[],
                         const size_t N, const size_t P)
{
    vf value[3];
    UNROLL
    for (size_t p = 0; p < P; p++)
        value[p] = vf_set(in[p * step]);
    UNROLL
    for (size_t g = 0; g < N; g++) {
        const vf weight = vf_load(w + g * w_step);
        UNROLL
        for (size_t p = 0; p < P; p++)
            acc[g * P + p] = vf_fma(weight, value[p], acc[g * P + p]);
    }
}

/* Ask for the weights that a panel will read for one tap of 8 channels. */
INLINE void fetch(const float *weights)
{
    UNROLL
    for (size_t i = 0; i < LANES * VF; i += LINE_FLOATS)
        __builtin_prefetch(weights + i, 0, 2);
}

INLINE void tile_run(const struct conv_tile *t, const size_t PANELS, const size_t P,
                     const size_t INNER, const size_t PS, const size_t HALF)
{
    vf acc[ACCUMULATORS_MAX];
    vl half[PIXELS];
    const size_t N = PANELS - HALF;
    const size_t step = PS ? PS : t->pixel_step, w_step = t->weight_step;
    const float *plane = t->in, *w = t->weights, *ahead = t->ahead;
    const bool fetches = INNER == LANES && t->ahead_panels > 0;
    tile_start(t, acc, N, P);
    half_start(t, half, N, P, HALF);
    for (size_t i = t->planes; i > 0; i--, plane += t->plane_step) {
        const float *row = plane;
        for (size_t r = t->rows; r > 0; r--, row += t->row_step) {
            const float *tap = row;
            for (size_t c = t->cols; c > 0; c--, tap += t->col_step, w += INNER * VF) {
                if (fetches) {
                    fetch(ahead);
                    ahead += INNER * VF;
                }
                UNROLL
                for (size_t k = 0; k < INNER; k++) {
                    if (N <= 2 || VF == 16)
                        tap_by_pixel(tap + k, w + k * VF, w_step, step, acc, half, N, P, HALF);
                    else
                        tap_by_panel(tap + k, w + k * VF, w_step, step, acc, N, P);
                }
            }
        }
        w += t->weight_skip;
    }
    tile_finish(t, acc, N, P);
    half_finish(t, half, N, P, HALF);
}

typedef void tile_fn(const struct conv_tile *t);

#define TILE(N, P, INNER, PS, HALF)                                                                \
    static void tile_##N##x##P##_##INNER##_##PS##_##HALF(const struct conv_tile *t)                \
    {                                                                                              \
        tile_run(t, N, P, INNER, PS, HALF);                                                        \
    }
#define TILES_OF(OF, N, INNER, PS, HALF)                                                           \
    OF(N, 1, INNER, PS, HALF)                                                                      \
    OF(N, 2, INNER, PS, HALF)                                                                      \
    OF(N, 3, INNER, PS, HALF)                                                                      \
    OF(N, 4, INNER, PS, HALF)                                                                      \
    OF(N, 5, INNER, PS, HALF)                                                                      \
    OF(N, 6, INNER, PS, HALF)
#if VF == 16
#define TILES(OF, N, INNER, PS, HALF)                                                              \
    TILES_OF(OF, N, INNER, PS, HALF)                                                               \
    OF(N, 7, INNER, PS, HALF)                                                                      \
    OF(N, 8, INNER, PS, HALF)                                                                      \
    OF(N, 9, INNER, PS, HALF)                                                                      \
    OF(N, 10, INNER, PS, HALF)                                                                     \
    OF(N, 11, INNER, PS, HALF)                                                                     \
    OF(N, 12, INNER, PS, HALF)                                                                     \
    OF(N, 13, INNER, PS, HALF)                                                                     \
    OF(N, 14, INNER, PS, HALF)
#define TILES_OF_4(OF, INNER, PS) TILES_OF(OF, 4, INNER, PS, 0)
#else
#define TILES(OF, N, INNER, PS, HALF) TILES_OF(OF, N, INNER, PS, HALF)
#define TILES_OF_4(OF, INNER, PS)                                                                  \
    OF(4, 1, INNER, PS, 0)                                                                         \
    OF(4, 2, INNER, PS, 0)                                                                         \
    OF(4, 3, INNER, PS, 0)
#endif
#define ALL_TILES(INNER, PS)                                                                       \
    TILES(TILE, 1, INNER, PS, 0)                                                                   \
    TILES(TILE, 2, INNER, PS, 0)                                                                   \
    TILES_OF_4(TILE, INNER, PS)
ALL_TILES(1, 0)
ALL_TILES(1, 1)
ALL_TILES(8, 0)
ALL_TILES(8, 8)

#define NAME(N, P, INNER, PS, HALF) tile_##N##x##P##_##INNER##_##PS##_##HALF,
#define NAMES(INNER, PS)                                                                           \
    {                                                                                              \
        {TILES(NAME, 1, INNER, PS, 0)}, {TILES(NAME, 2, INNER, PS, 0)},                            \
        {                                                                                          \
            TILES_OF_4(NAME, INNER, PS)                                                            \
        }                                                                                          \
    }

#if VF == 16
TILES(TILE, 1, 8, 0, 1)
TILES(TILE, 2, 8, 0, 1)
TILES(TILE, 1, 8, 8, 1)
TILES(TILE, 2, 8, 8, 1)
#endif

static void tile(const struct conv_tile *t, size_t inner, size_t panels, size_t pixels)
{
    /* [inner is 8][stride is 1][panels][pixels - 1] */
    static tile_fn *const tiles[2][2][3][PIXELS] = {{NAMES(1, 0), NAMES(1, 1)},
                                                    {NAMES(8, 0), NAMES(8, 8)}};
    bool adjacent = t->pixel_step == inner;
#if VF == 16
    /* [stride is 1][panels - 1][pixels - 1] */
    static tile_fn *const halves[2][2][PIXELS] = {
        {{TILES(NAME, 1, 8, 0, 1)}, {TILES(NAME, 2, 8, 0, 1)}},
        {{TILES(NAME, 1, 8, 8, 1)}, {TILES(NAME, 2, 8, 8, 1)}}};
    if (inner == LANES && panels <= 2 && t->out_blocks < panels * HALVES) {
        halves[adjacent][panels - 1][pixels - 1](t);
        return;
    }
#endif
    tiles[inner == LANES][adjacent][panels / 2][pixels - 1](t);
}

#include "worker/kernels/conv_depthwise_body.h"
#include "worker/kernels/conv_winograd_body.h"

const struct conv_kernel CONV_KERNEL = {
    .name = CONV_NAME,
    .width = VF,
    .pixels = PIXELS,
    .pixels_of_4 = PIXELS_OF_4,
    .tile = tile,
    .depthwise = depthwise,
    .winograd_in = winograd_in,
    .winograd_out = winograd_out,
    .winograd_out_grad = winograd_out_grad,
    .winograd_weights = winograd_weights,
    .winograd_weights_grad = winograd_weights_grad,
};
