/* bytes, for AVX2 and FMA: bytes are widened and multiplied in pairs, for the sums of AVX2's own
 * product of bytes saturate at 16 bits */
#define BYTES_KERNEL bytes_avx2
#include <immintrin.h>

#include "worker/kernels/bytes_body.h"

#define PIXELS 4 /* by a block of 16 channels: 8 sums, 4 registers of weights, 2 of the input */

struct sums {
    __m256i half[2]; /* channels 0 to 7, 8 to 15 */
};

/* Of each group of four the first and third, the second and fourth, as 16-bit integers. */
struct pairs {
    __m256i even, odd;
};

INLINE struct pairs input_pairs(const uint8_t *x)
{
    int32_t four;
    memcpy(&four, x, sizeof four);
    __m256i v = _mm256_set1_epi32(four);
    return (struct pairs){_mm256_and_si256(v, _mm256_set1_epi16(0xff)), _mm256_srli_epi16(v, 8)};
}

INLINE struct pairs weight_pairs(const int8_t *w)
{
    __m256i v = _mm256_loadu_si256((const void *)w);
    return (struct pairs){_mm256_srai_epi16(_mm256_slli_epi16(v, 8), 8), _mm256_srai_epi16(v, 8)};
}

INLINE __m256i add_products(__m256i sum, struct pairs x, struct pairs w)
{
    sum = _mm256_add_epi32(sum, _mm256_madd_epi16(x.even, w.even));
    return _mm256_add_epi32(sum, _mm256_madd_epi16(x.odd, w.odd));
}

INLINE struct sums start_sums(const struct bytes_panel *p, size_t pixel, size_t block)
{
    struct sums s;
    UNROLL for (int h = 0; h < 2; h++)
    {
        size_t at = block * BYTES_BLOCK + 8 * (size_t)h;
        s.half[h] = _mm256_loadu_si256((const void *)(p->start + at));
        if (p->x_sums) {
            __m256i zero = _mm256_loadu_si256((const void *)(p->w_zeros + at));
            __m256i x = _mm256_set1_epi32(p->x_sums[pixel]);
            s.half[h] = _mm256_sub_epi32(s.half[h], _mm256_mullo_epi32(zero, x));
        }
    }
    return s;
}

INLINE __m256i scaled(__m256i sums, const float *scales)
{
    __m256 v = _mm256_mul_ps(_mm256_cvtepi32_ps(sums), _mm256_loadu_ps(scales));
    return _mm256_cvtps_epi32(_mm256_min_ps(v, _mm256_set1_ps(BYTES_LARGE)));
}

INLINE void store(const struct bytes_panel *p, size_t pixel, size_t block, struct sums s)
{
    size_t from = block * BYTES_BLOCK, n = MIN(BYTES_BLOCK, p->channels - from);
    size_t at = p->y_at[pixel] + from;
    const struct bytes_out *o = p->out;
    if (!o) {
        memcpy((int32_t *)p->y + at, &s, n * sizeof(int32_t));
        return;
    }
    __m256i words = _mm256_packs_epi32(scaled(s.half[0], o->scales + from),
                                       scaled(s.half[1], o->scales + from + 8));
    words = _mm256_adds_epi16(_mm256_permute4x64_epi64(words, 0xd8), _mm256_set1_epi16(o->zero));
    __m128i y = _mm_packus_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1));
    y = _mm_max_epu8(y, _mm_set1_epi8((char)o->low));
    y = _mm_min_epu8(y, _mm_set1_epi8((char)o->high));
    y = _mm_xor_si128(y, _mm_set1_epi8((char)o->flip));
    if (n == BYTES_BLOCK)
        _mm_storeu_si128((void *)((uint8_t *)p->y + at), y);
    else
        memcpy((uint8_t *)p->y + at, &y, n);
}

INLINE void tile(const struct bytes_panel *p, size_t block, size_t first, int pixels)
{
    size_t step = (p->channels + BYTES_BLOCK - 1) / BYTES_BLOCK * 64;
    struct sums sums[PIXELS];
    UNROLL for (int i = 0; i < pixels; i++) sums[i] = start_sums(p, first + (size_t)i, block);
    for (size_t r = 0; r < p->runs_len; r++) {
        const struct bytes_run *run = &p->runs[r];
        const int8_t *w = p->weights + run->w * step + block * 64;
        const uint8_t *x[PIXELS];
        UNROLL for (int i = 0; i < pixels; i++) x[i] = p->x + p->x_at[first + (size_t)i] + run->x;
        for (size_t k = 0; k < run->len; k++, w += step) {
            struct pairs w0 = weight_pairs(w), w1 = weight_pairs(w + 32);
            UNROLL for (int i = 0; i < pixels; i++)
            {
                struct pairs four = input_pairs(x[i] + 4 * k);
                sums[i].half[0] = add_products(sums[i].half[0], four, w0);
                sums[i].half[1] = add_products(sums[i].half[1], four, w1);
            }
        }
    }
    UNROLL for (int i = 0; i < pixels; i++) store(p, first + (size_t)i, block, sums[i]);
}

static void panel(const struct bytes_panel *p)
{
    size_t count = (p->pixels + PIXELS - 1) / PIXELS;
    for (size_t block = 0; block * BYTES_BLOCK < p->channels; block++)
        for (size_t t = 0; t < count; t++) {
            size_t first = p->pixels * t / count, pixels = p->pixels * (t + 1) / count - first;
            if (pixels == 4)
                tile(p, block, first, 4);
            else if (pixels == 3)
                tile(p, block, first, 3);
            else
                for (size_t i = 0; i < pixels; i++)
                    tile(p, block, first + i, 1);
        }
}

const struct bytes_kernel bytes_avx2 = {dots,      from_fp32,  to_fp32,     panel,
                                        depthwise, interleave, "bytes_avx2"};
