/* conv, the reference: plain loops over taps and channels; never tuned */
#include "worker/kernels/conv_kernel.h"

static float clamped(const struct conv_tile *t, float sum)
{
    sum = sum < t->low ? t->low : sum;
    return sum > t->high ? t->high : sum;
}

/* One output channel (lane of block) at one pixel, with `inner` channels per plane. */
static float dense(const struct conv_tile *t, size_t block, size_t lane, size_t pixel, size_t inner)
{
    const float *w = t->weights + block * t->weight_step + lane;
    const float *out = t->out + block * t->out_step + pixel * LANES + lane;
    float sum = t->accumulate ? *out : t->bias[block * LANES + lane];
    for (size_t i = 0; i < t->planes; i++)
        for (size_t r = 0; r < t->rows; r++)
            for (size_t c = 0; c < t->cols; c++)
                for (size_t k = 0; k < inner; k++, w += LANES)
                    sum += *w * t->in[i * t->plane_step + r * t->row_step + c * t->col_step +
                                      pixel * t->pixel_step + k];
    return clamped(t, sum);
}

static void tile(const struct conv_tile *t, size_t blocks, size_t pixels, size_t inner)
{
    for (size_t b = 0; b < blocks; b++)
        for (size_t p = 0; p < pixels; p++)
            for (size_t lane = 0; lane < LANES; lane++)
                t->out[b * t->out_step + p * LANES + lane] = dense(t, b, lane, p, inner);
}

static void depthwise(const struct conv_tile *t, size_t pixels)
{
    for (size_t p = 0; p < pixels; p++)
        for (size_t lane = 0; lane < LANES; lane++) {
            const float *w = t->weights + lane;
            float sum = t->bias[lane];
            for (size_t r = 0; r < t->rows; r++)
                for (size_t c = 0; c < t->cols; c++, w += LANES)
                    sum += *w * t->in[r * t->row_step + c * t->col_step + p * t->pixel_step + lane];
            t->out[p * LANES + lane] = clamped(t, sum);
        }
}

#define TILE(B, P)                                                                                 \
    static void tile_##B##x##P##_1(const struct conv_tile *t)                                      \
    {                                                                                              \
        tile(t, B, P, 1);                                                                          \
    }                                                                                              \
    static void tile_##B##x##P##_8(const struct conv_tile *t)                                      \
    {                                                                                              \
        tile(t, B, P, LANES);                                                                      \
    }
#define TILES(P)                                                                                   \
    TILE(1, P)                                                                                     \
    TILE(2, P)                                                                                     \
    static void depthwise_##P(const struct conv_tile *t)                                           \
    {                                                                                              \
        depthwise(t, P);                                                                           \
    }
TILES(1)
TILES(2)
TILES(3)
TILES(4)
TILES(5)
TILES(6)
TILE(4, 1)
TILE(4, 2)
TILE(4, 3)

#define NAMES(I)                                                                                   \
    {                                                                                              \
        {tile_1x1_##I, tile_1x2_##I, tile_1x3_##I, tile_1x4_##I, tile_1x5_##I, tile_1x6_##I},      \
            {tile_2x1_##I, tile_2x2_##I, tile_2x3_##I, tile_2x4_##I, tile_2x5_##I, tile_2x6_##I},  \
        {                                                                                          \
            tile_4x1_##I, tile_4x2_##I, tile_4x3_##I, NULL, NULL, NULL                             \
        }                                                                                          \
    }

const struct conv_kernel conv_ref = {
    .name = "conv_ref",
    .tile = {{NAMES(1), NAMES(1)}, {NAMES(8), NAMES(8)}},
    .depthwise = {depthwise_1, depthwise_2, depthwise_3, depthwise_4, depthwise_5, depthwise_6},
};
