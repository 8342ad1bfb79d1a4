/* gemm, the reference: the plain triple loop; never tuned */
#include "worker/kernels/gemm_kernel.h"

static void tile(const struct gemm_tile *t, size_t rows)
{
    for (size_t r = 0; r < rows; r++) {
        for (size_t j = 0; j < GEMM_WIDTH; j++) {
            float *c = t->c + r * t->c_step + j;
            float sum = t->bias ? t->bias[j] : t->accumulate ? *c : 0.0f;
            for (size_t p = 0; p < t->k; p++)
                sum += t->a.data[r * t->a.row_step + p * t->a.col_step] * t->b[p * GEMM_WIDTH + j];
            sum = sum < t->low ? t->low : sum;
            *c = sum > t->high ? t->high : sum;
        }
    }
}

#define TILE(R)                                                                                    \
    static void tile_##R(const struct gemm_tile *t)                                                \
    {                                                                                              \
        tile(t, R);                                                                                \
    }
TILE(1)
TILE(2)
TILE(3)
TILE(4)
TILE(5)
TILE(6)

const struct gemm_kernel gemm_ref = {
    .tile = {tile_1, tile_2, tile_3, tile_4, tile_5, tile_6},
    .wide = {tile_1, tile_2, tile_3},
    .wide_panels = {1, 1, 1},
};
