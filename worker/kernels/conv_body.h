/* conv_body - the conv family, compiled once per instruction set as CONV_KERNEL, CONV_NAME
 *
 * In every function below the capital letters are constants after inlining: B blocks of output
 * channels, P pixels, INNER channels per plane, PS elements from pixel to pixel (0: t says). Else
 * the compiler would keep the accumulators in memory, three times slower. With AVX2's 16
 * registers: 2 blocks x 6 pixels use 12 accumulators, 2 weights, 1 broadcast; 4 blocks x 3 pixels
 * 12 accumulators, 1 weight, 3 broadcasts. */
#include "worker/kernels/conv_kernel.h"
#include "worker/kernels/simd.h"

#define ACCUMULATORS_MAX 12

INLINE void tile_start(const struct conv_tile *t, vf acc[], const size_t B, const size_t P)
{
    if (t->accumulate) {
        UNROLL
        for (size_t b = 0; b < B; b++) {
            UNROLL
            for (size_t p = 0; p < P; p++)
                acc[b * P + p] = vf_load(t->out + b * t->out_step + p * VF);
        }
        return;
    }
    UNROLL
    for (size_t b = 0; b < B; b++) {
        const vf bias = vf_load(t->bias + b * VF);
        UNROLL
        for (size_t p = 0; p < P; p++)
            acc[b * P + p] = bias;
    }
}

INLINE void tile_finish(const struct conv_tile *t, const vf acc[], const size_t B, const size_t P)
{
    const vf low = vf_set(t->low), high = vf_set(t->high);
    const size_t out_step = t->out_step;
    float *out = t->out;
    UNROLL
    for (size_t b = 0; b < B; b++) {
        UNROLL
        for (size_t p = 0; p < P; p++)
            vf_store(out + b * out_step + p * VF, vf_min(high, vf_max(low, acc[b * P + p])));
    }
}

/* One input channel of one tap; few blocks: hold the weights and pass the pixels. */
INLINE void tap_by_pixel(const float *in, const float *w, size_t w_step, size_t step, vf acc[],
                         const size_t B, const size_t P)
{
    vf weight[2];
    UNROLL
    for (size_t b = 0; b < B; b++)
        weight[b] = vf_load(w + b * w_step);
    UNROLL
    for (size_t p = 0; p < P; p++) {
        const vf value = vf_set(in[p * step]);
        UNROLL
        for (size_t b = 0; b < B; b++)
            acc[b * P + p] = vf_fma(weight[b], value, acc[b * P + p]);
    }
}

/* Many blocks: hold the pixels and pass the weights. */
INLINE void tap_by_block(const float *in, const float *w, size_t w_step, size_t step, vf acc[],
                         const size_t B, const size_t P)
{
    vf value[3];
    UNROLL
    for (size_t p = 0; p < P; p++)
        value[p] = vf_set(in[p * step]);
    UNROLL
    for (size_t b = 0; b < B; b++) {
        const vf weight = vf_load(w + b * w_step);
        UNROLL
        for (size_t p = 0; p < P; p++)
            acc[b * P + p] = vf_fma(weight, value[p], acc[b * P + p]);
    }
}

INLINE void tile_run(const struct conv_tile *t, const size_t B, const size_t P, const size_t INNER,
                     const size_t PS)
{
    vf acc[ACCUMULATORS_MAX];
    const size_t step = PS ? PS : t->pixel_step, w_step = t->weight_step;
    const float *plane = t->in, *w = t->weights;
    tile_start(t, acc, B, P);
    for (size_t i = t->planes; i > 0; i--, plane += t->plane_step) {
        const float *row = plane;
        for (size_t r = t->rows; r > 0; r--, row += t->row_step) {
            const float *tap = row;
            for (size_t c = t->cols; c > 0; c--, tap += t->col_step, w += INNER * VF) {
                UNROLL
                for (size_t k = 0; k < INNER; k++) {
                    if (B <= 2)
                        tap_by_pixel(tap + k, w + k * VF, w_step, step, acc, B, P);
                    else
                        tap_by_block(tap + k, w + k * VF, w_step, step, acc, B, P);
                }
            }
        }
    }
    tile_finish(t, acc, B, P);
}

/* One kernel row of three columns, stride and dilation 1: each input is read once and used by the
 * three outputs that see it, in the order of the columns for each of them. */
INLINE void depthwise_row_of_3(const float *in, const float *w, vf acc[], const size_t P)
{
    const vf first = vf_load(w), second = vf_load(w + VF), third = vf_load(w + 2 * VF);
    UNROLL
    for (size_t x = 0; x < P + 2; x++) {
        const vf value = vf_load(in + x * VF);
        if (x < P)
            acc[x] = vf_fma(first, value, acc[x]);
        if (x >= 1 && x < P + 1)
            acc[x - 1] = vf_fma(second, value, acc[x - 1]);
        if (x >= 2)
            acc[x - 2] = vf_fma(third, value, acc[x - 2]);
    }
}

INLINE void depthwise_run(const struct conv_tile *t, const size_t P)
{
    vf acc[ACCUMULATORS_MAX];
    const float *row = t->in, *w = t->weights;
    const bool three = t->cols == 3 && t->col_step == VF && t->pixel_step == VF;
    tile_start(t, acc, 1, P);
    for (size_t r = t->rows; three && r > 0; r--, row += t->row_step, w += 3 * VF)
        depthwise_row_of_3(row, w, acc, P);
    for (size_t r = t->rows; !three && r > 0; r--, row += t->row_step) {
        const float *tap = row;
        for (size_t c = t->cols; c > 0; c--, tap += t->col_step, w += VF) {
            const vf weight = vf_load(w);
            UNROLL
            for (size_t p = 0; p < P; p++)
                acc[p] = vf_fma(weight, vf_load(tap + p * t->pixel_step), acc[p]);
        }
    }
    tile_finish(t, acc, 1, P);
}

#define TILE(B, P, INNER, PS)                                                                      \
    static void tile_##B##x##P##_##INNER##_##PS(const struct conv_tile *t)                         \
    {                                                                                              \
        tile_run(t, B, P, INNER, PS);                                                              \
    }
#define TILES_6(B, INNER, PS)                                                                      \
    TILE(B, 1, INNER, PS)                                                                          \
    TILE(B, 2, INNER, PS)                                                                          \
    TILE(B, 3, INNER, PS)                                                                          \
    TILE(B, 4, INNER, PS)                                                                          \
    TILE(B, 5, INNER, PS)                                                                          \
    TILE(B, 6, INNER, PS)
#define TILES(INNER, PS)                                                                           \
    TILES_6(1, INNER, PS)                                                                          \
    TILES_6(2, INNER, PS)                                                                          \
    TILE(4, 1, INNER, PS)                                                                          \
    TILE(4, 2, INNER, PS)                                                                          \
    TILE(4, 3, INNER, PS)
TILES(1, 0)
TILES(1, 1)
TILES(8, 0)
TILES(8, 8)

#define DEPTHWISE(P)                                                                               \
    static void depthwise_##P(const struct conv_tile *t)                                           \
    {                                                                                              \
        depthwise_run(t, P);                                                                       \
    }
DEPTHWISE(1)
DEPTHWISE(2)
DEPTHWISE(3)
DEPTHWISE(4)
DEPTHWISE(5)
DEPTHWISE(6)

#define NAMES_6(B, INNER, PS)                                                                      \
    {                                                                                              \
        tile_##B##x1_##INNER##_##PS, tile_##B##x2_##INNER##_##PS, tile_##B##x3_##INNER##_##PS,     \
            tile_##B##x4_##INNER##_##PS, tile_##B##x5_##INNER##_##PS, tile_##B##x6_##INNER##_##PS  \
    }
#define NAMES(INNER, PS)                                                                           \
    {                                                                                              \
        NAMES_6(1, INNER, PS), NAMES_6(2, INNER, PS),                                              \
        {                                                                                          \
            tile_4x1_##INNER##_##PS, tile_4x2_##INNER##_##PS, tile_4x3_##INNER##_##PS, NULL, NULL, \
                NULL                                                                               \
        }                                                                                          \
    }

const struct conv_kernel CONV_KERNEL = {
    .name = CONV_NAME,
    .tile = {{NAMES(1, 0), NAMES(1, 1)}, {NAMES(8, 0), NAMES(8, 8)}},
    .depthwise = {depthwise_1, depthwise_2, depthwise_3, depthwise_4, depthwise_5, depthwise_6},
};
