/* bytes, the reference: plain loops; never tuned */
#include <math.h>

#include "worker/kernels/bytes_kernel.h"

static void dots(size_t rows, size_t cols, size_t k, const int16_t *a, const int16_t *b, int32_t *c,
                 size_t c_step)
{
    for (size_t i = 0; i < rows; i++)
        for (size_t j = 0; j < cols; j++) {
            uint32_t sum = 0;
            for (size_t p = 0; p < k; p++)
                sum += (uint32_t)(a[i * k + p] * b[j * k + p]);
            c[i * c_step + j] = (int32_t)sum;
        }
}

static void from_fp32(struct bytes_scale s, size_t n, const float *x, void *q)
{
    bool wide = dtype_bytes(s.type) == 2;
    bool is_signed = s.type == DTYPE_INT8 || s.type == DTYPE_INT16;
    double span = wide ? 65536 : 256, low = is_signed ? -span / 2 : 0;
    for (size_t i = 0; i < n; i++) {
        double v = nearbyint((double)(x[i] / s.scale)) + s.zero;
        int32_t limited = isnan(v) ? 0 : (int32_t)fmin(fmax(v, low), low + span - 1);
        if (wide)
            ((uint16_t *)q)[i] = (uint16_t)limited;
        else
            ((uint8_t *)q)[i] = (uint8_t)limited;
    }
}

static void to_fp32(struct bytes_scale s, size_t n, const void *q, float *y)
{
    for (size_t i = 0; i < n; i++) {
        int32_t v = s.type == DTYPE_INT8    ? ((const int8_t *)q)[i]
                    : s.type == DTYPE_UINT8 ? ((const uint8_t *)q)[i]
                    : s.type == DTYPE_INT16 ? ((const int16_t *)q)[i]
                                            : ((const uint16_t *)q)[i];
        y[i] = (float)(v - s.zero) * s.scale;
    }
}

/* Element `at` of the output: the sum, or its byte. */
static void put(const struct bytes_panel *p, size_t at, size_t channel, uint32_t sum)
{
    const struct bytes_out *o = p->out;
    if (!o) {
        ((int32_t *)p->y)[at] = (int32_t)sum;
        return;
    }
    float v = (float)(int32_t)sum * o->scales[channel];
    double y = isnan(v) ? INFINITY : nearbyint((double)v) + o->zero;
    ((uint8_t *)p->y)[at] = (uint8_t)((int)fmin(fmax(y, o->low), o->high) ^ o->flip);
}

static void panel(const struct bytes_panel *p)
{
    size_t padded = (p->channels + BYTES_BLOCK - 1) / BYTES_BLOCK * BYTES_BLOCK;
    for (size_t i = 0; i < p->pixels; i++)
        for (size_t c = 0; c < p->channels; c++) {
            uint32_t sum = (uint32_t)p->start[c];
            if (p->x_sums)
                sum -= (uint32_t)p->w_zeros[c] * (uint32_t)p->x_sums[i];
            for (size_t r = 0; r < p->runs_len; r++)
                for (size_t k = 0; k < 4 * p->runs[r].len; k++)
                    sum +=
                        (uint32_t)(p->x[p->x_at[i] + p->runs[r].x + k] *
                                   p->weights[((p->runs[r].w + k / 4) * padded + c) * 4 + k % 4]);
            put(p, p->y_at[i] + c, c, sum);
        }
}

static void depthwise(const struct bytes_panel *p, const int16_t *weights)
{
    for (size_t i = 0; i < p->pixels; i++)
        for (size_t c = 0; c < p->channels; c++) {
            uint32_t sum = (uint32_t)p->start[c];
            for (size_t r = 0; r < p->runs_len; r++)
                sum += (uint32_t)(p->x[p->x_at[i] + p->runs[r].x + c] *
                                  weights[p->runs[r].w * p->channels + c]);
            put(p, p->y_at[i] + c, c, sum);
        }
}

static void interleave(size_t n, size_t planes, size_t plane, const uint8_t *from, uint8_t flip,
                       uint8_t *to)
{
    for (size_t i = 0; i < n * planes; i++)
        to[i] = from[i % planes * plane + i / planes] ^ flip;
}

const struct bytes_kernel bytes_ref = {dots,      from_fp32,  to_fp32,    panel,
                                       depthwise, interleave, "bytes_ref"};
