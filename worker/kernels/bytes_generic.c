/* bytes, for any CPU */
#define BYTES_KERNEL bytes_generic
#include "worker/kernels/bytes_body.h"

/* One pixel by a block of channels: loops that compilers turn into vectors. */
static void pixel_by_block(const struct bytes_panel *p, size_t pixel, size_t block)
{
    size_t step = (p->channels + BYTES_BLOCK - 1) / BYTES_BLOCK * 64, from = block * BYTES_BLOCK;
    size_t n = MIN(BYTES_BLOCK, p->channels - from), at = p->y_at[pixel] + from;
    uint32_t sums[BYTES_BLOCK];
    for (size_t c = 0; c < BYTES_BLOCK; c++) {
        sums[c] = (uint32_t)p->start[from + c];
        if (p->x_sums)
            sums[c] -= (uint32_t)p->w_zeros[from + c] * (uint32_t)p->x_sums[pixel];
    }
    for (size_t r = 0; r < p->runs_len; r++) {
        const struct bytes_run *run = &p->runs[r];
        const int8_t *w = p->weights + run->w * step + block * 64;
        const uint8_t *x = p->x + p->x_at[pixel] + run->x;
        for (size_t k = 0; k < run->len; k++, w += step, x += 4)
            for (size_t c = 0; c < BYTES_BLOCK; c++)
                sums[c] += (uint32_t)(x[0] * w[4 * c] + x[1] * w[4 * c + 1] + x[2] * w[4 * c + 2] +
                                      x[3] * w[4 * c + 3]);
    }
    if (!p->out)
        memcpy((int32_t *)p->y + at, sums, n * sizeof *sums);
    else
        for (size_t c = 0; c < n; c++)
            ((uint8_t *)p->y)[at + c] =
                finished(p->out, p->out->scales[from + c], (int32_t)sums[c]);
}

static void panel(const struct bytes_panel *p)
{
    for (size_t block = 0; block * BYTES_BLOCK < p->channels; block++)
        for (size_t i = 0; i < p->pixels; i++)
            pixel_by_block(p, i, block);
}

const struct bytes_kernel bytes_generic = {dots,      from_fp32,  to_fp32,        panel,
                                           depthwise, interleave, "bytes_generic"};
