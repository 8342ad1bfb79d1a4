/* gemm, the reference: the plain triple loop; never tuned */
#include "worker/kernels/gemm_kernel.h"

#define WIDTH 16

static void tile(const struct gemm_tile *t, size_t rows, size_t panels)
{
    (void)panels; /* always 1 */
    for (size_t r = 0; r < rows; r++) {
        for (size_t j = 0; j < WIDTH; j++) {
            float *c = t->c + r * t->c_step + j;
            float sum = t->bias ? t->bias[j] : t->accumulate ? *c : 0.0f;
            for (size_t p = 0; p < t->k; p++)
                sum += t->a.data[r * t->a.row_step + p * t->a.col_step] * t->b[p * WIDTH + j];
            sum = sum < t->low ? t->low : sum;
            *c = sum > t->high ? t->high : sum;
        }
    }
}

const struct gemm_kernel gemm_ref = {
    .width = WIDTH,
    .rows = 6,
    .wide_panels = {1, 1, 1},
    .tile = tile,
};
