/* bytes_body - the bytes family, compiled once per instruction set as BYTES_KERNEL
 *
 * Plain loops of a form that compilers turn into vectors: pairs of 16-bit products into 32 bits. */
#include "worker/kernels/bytes_kernel.h"
#include "worker/kernels/simd.h"

#define BYTES_LARGE 2147483520.0f /* the largest FP32 number that 32 bits hold */

#define SLICE 16384 /* products: their sum fits 32 bits */
#define COLS  4     /* columns of a tile */

/* c[0..3] += one row by COLS columns. */
INLINE void dot_tile(size_t k, const int16_t *restrict a, const int16_t *restrict b, size_t b_step,
                     uint32_t *c)
{
    const int16_t *b1 = b + b_step, *b2 = b1 + b_step, *b3 = b2 + b_step;
    int32_t s0 = 0, s1 = 0, s2 = 0, s3 = 0;
    for (size_t p = 0; p < k; p++) {
        s0 += a[p] * b[p];
        s1 += a[p] * b1[p];
        s2 += a[p] * b2[p];
        s3 += a[p] * b3[p];
    }
    c[0] += (uint32_t)s0;
    c[1] += (uint32_t)s1;
    c[2] += (uint32_t)s2;
    c[3] += (uint32_t)s3;
}

INLINE uint32_t single(size_t k, const int16_t *restrict a, const int16_t *restrict b)
{
    int32_t sum = 0;
    for (size_t p = 0; p < k; p++)
        sum += a[p] * b[p];
    return (uint32_t)sum;
}

static void dots(size_t rows, size_t cols, size_t k, const int16_t *a, const int16_t *b, int32_t *c,
                 size_t c_step)
{
    for (size_t j = 0; j < cols; j += COLS)
        for (size_t i = 0; i < rows; i++) {
            uint32_t sums[COLS] = {0};
            size_t width = MIN(COLS, cols - j);
            for (size_t p = 0; p < k; p += SLICE) {
                size_t part = MIN(SLICE, k - p);
                if (width == COLS)
                    dot_tile(part, a + i * k + p, b + j * k + p, k, sums);
                for (size_t n = 0; n < width && width < COLS; n++)
                    sums[n] += single(part, a + i * k + p, b + (j + n) * k + p);
            }
            for (size_t n = 0; n < width; n++)
                c[i * c_step + j + n] = (int32_t)sums[n];
        }
}

/* Beside 1.5 * 2^23 a float's last bit is worth 1: adding it rounds half to even. */
INLINE int32_t quantise(float x, float scale, float low, float high, int32_t zero)
{
    const float round = 12582912.0f;
    float v = x / scale;
    int32_t number = -(int32_t)(v == v); /* all bits, or none */
    v = v > low ? v : low;
    v = v < high ? v : high;
    return ((int32_t)((v + round) - round) + zero) & number;
}

#define EACH_TYPE(LOOP)                                                                            \
    LOOP(INT8, int8_t, -128, 127)                                                                  \
    LOOP(UINT8, uint8_t, 0, 255)                                                                   \
    LOOP(INT16, int16_t, -32768, 32767)                                                            \
    LOOP(UINT16, uint16_t, 0, 65535)

static void from_fp32(struct bytes_scale s, size_t n, const float *restrict x, void *q)
{
#define LOOP(NAME, element, least, most)                                                           \
    if (s.type == DTYPE_##NAME) {                                                                  \
        element *restrict to = q;                                                                  \
        float low = (float)((least)-s.zero), high = (float)((most)-s.zero);                        \
        for (size_t i = 0; i < n; i++)                                                             \
            to[i] = (element)quantise(x[i], s.scale, low, high, s.zero);                           \
    }
    EACH_TYPE(LOOP)
#undef LOOP
}

static void to_fp32(struct bytes_scale s, size_t n, const void *q, float *restrict y)
{
#define LOOP(NAME, element, least, most)                                                           \
    if (s.type == DTYPE_##NAME) {                                                                  \
        const element *restrict from = q;                                                          \
        for (size_t i = 0; i < n; i++)                                                             \
            y[i] = (float)(from[i] - s.zero) * s.scale;                                            \
    }
    EACH_TYPE(LOOP)
#undef LOOP
}

/* The byte that a sum becomes; everything far out of range is cut first. */
INLINE uint8_t finished(const struct bytes_out *o, float scale, int32_t sum)
{
    const float round = 12582912.0f;
    float v = (float)sum * scale;
    v = v < 65536.0f ? v : 65536.0f;
    v = v > -65536.0f ? v : -65536.0f;
    int32_t y = (int32_t)((v + round) - round) + o->zero;
    y = y > o->low ? y : o->low;
    y = y < o->high ? y : o->high;
    return (uint8_t)(y ^ o->flip);
}

#define SOME 64 /* channels of a depthwise layer at a time */

static void depthwise(const struct bytes_panel *p, const int16_t *weights)
{
    for (size_t c = 0; c < p->channels; c += SOME)
        for (size_t i = 0; i < p->pixels; i++) {
            const uint8_t *x = p->x + p->x_at[i] + c;
            size_t n = MIN(SOME, p->channels - c), at = p->y_at[i] + c;
            uint32_t sums[SOME];
            memcpy(sums, p->start + c, n * sizeof *sums);
            for (size_t r = 0; r < p->runs_len; r++) {
                const uint8_t *restrict from = x + p->runs[r].x;
                const int16_t *restrict w = weights + p->runs[r].w * p->channels + c;
                for (size_t k = 0; k < n; k++)
                    sums[k] += (uint32_t)(from[k] * w[k]);
            }
            uint8_t *restrict to = (uint8_t *)p->y + at;
            if (!p->out)
                memcpy((int32_t *)p->y + at, sums, n * sizeof *sums);
            else
                for (size_t k = 0; k < n; k++)
                    to[k] = finished(p->out, p->out->scales[c + k], (int32_t)sums[k]);
        }
}

static void interleave(size_t n, size_t planes, size_t plane, const uint8_t *restrict from,
                       uint8_t flip, uint8_t *restrict to)
{
    if (planes == 3)
        for (size_t i = 0; i < n; i++) {
            to[3 * i] = from[i] ^ flip;
            to[3 * i + 1] = from[plane + i] ^ flip;
            to[3 * i + 2] = from[2 * plane + i] ^ flip;
        }
    else
        for (size_t k = 0; k < planes; k++)
            for (size_t i = 0; i < n; i++)
                to[i * planes + k] = from[k * plane + i] ^ flip;
}
