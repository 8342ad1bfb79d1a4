/* bytes, for AVX-512 with VNNI: a register holds 16 channels; four products of bytes are added
 * into 32 bits at a time, without the 16-bit saturation of older instructions */
#define BYTES_KERNEL bytes_vnni
#include <immintrin.h>

#include "worker/kernels/bytes_body.h"

#define PIXELS 6 /* by 4 blocks of channels: 24 sums, 4 registers of weights, 1 of the input */

/* A panel's four blocks of channels. Named, for gcc 12 keeps arrays of sums in memory. */
struct blocks {
    __m512i a, b, c, d;
};
#define EACH_PIXEL(DO) DO(0) DO(1) DO(2) DO(3) DO(4) DO(5)

INLINE struct blocks load(const void *from, const int blocks)
{
    const char *at = from;
    const __m512i none = _mm512_setzero_si512();
    return (struct blocks){
        _mm512_loadu_si512(at),
        blocks > 1 ? _mm512_loadu_si512(at + 64) : none,
        blocks > 2 ? _mm512_loadu_si512(at + 128) : none,
        blocks > 3 ? _mm512_loadu_si512(at + 192) : none,
    };
}

/* _mm512_dpbusd_epi32, whose sum gcc 12 copies before each use and then keeps in memory. */
INLINE __m512i products(__m512i sum, __m512i x, __m512i w)
{
    __asm__("vpdpbusd %2, %1, %0" : "+v"(sum) : "v"(x), "v"(w));
    return sum;
}

INLINE struct blocks add_products(struct blocks sums, const uint8_t *x, struct blocks w,
                                  const int blocks)
{
    int32_t four;
    memcpy(&four, x, sizeof four);
    __m512i by = _mm512_set1_epi32(four);
    sums.a = products(sums.a, by, w.a);
    if (blocks > 1)
        sums.b = products(sums.b, by, w.b);
    if (blocks > 2)
        sums.c = products(sums.c, by, w.c);
    if (blocks > 3)
        sums.d = products(sums.d, by, w.d);
    return sums;
}

INLINE __m512i less_zero(__m512i sum, __m512i zero, __m512i x)
{
    return _mm512_sub_epi32(sum, _mm512_mullo_epi32(zero, x));
}

INLINE struct blocks start_sums(const struct bytes_panel *p, size_t pixel, const int blocks)
{
    struct blocks s = load(p->start, blocks);
    if (p->x_sums) {
        struct blocks zero = load(p->w_zeros, blocks);
        __m512i x = _mm512_set1_epi32(p->x_sums[pixel]);
        s = (struct blocks){less_zero(s.a, zero.a, x), less_zero(s.b, zero.b, x),
                            less_zero(s.c, zero.c, x), less_zero(s.d, zero.d, x)};
    }
    return s;
}

/* 16 sums scaled and rounded: none larger than what 32 bits hold. */
INLINE __m512i scaled(__m512i sums, const float *scales, const bool bare, const bool there)
{
    if (!there)
        return _mm512_setzero_si512();
    __m512 v = _mm512_mul_ps(_mm512_cvtepi32_ps(sums), _mm512_loadu_ps(scales));
    return _mm512_cvtps_epi32(bare ? v : _mm512_min_ps(v, _mm512_set1_ps(BYTES_LARGE)));
}

INLINE __m512i limited(const struct bytes_out *o, __m512i ab, __m512i cd)
{
    __m512i zero = _mm512_set1_epi16(o->zero);
    __m512i y = _mm512_packus_epi16(_mm512_adds_epi16(ab, zero), _mm512_adds_epi16(cd, zero));
    y = _mm512_max_epu8(y, _mm512_set1_epi8((char)o->low));
    y = _mm512_min_epu8(y, _mm512_set1_epi8((char)o->high));
    return _mm512_xor_si512(y, _mm512_set1_epi8((char)o->flip));
}

/* Packing works on quarters of registers: groups of four channels lie [quarter][block] then. */
INLINE void store_bytes(const struct bytes_panel *p, size_t pixel, struct blocks s,
                        const int blocks, const bool bare)
{
    const struct bytes_out *o = p->out;
    const float *scales = o->scales;
    const __m512i order = _mm512_set_epi32(15, 11, 7, 3, 14, 10, 6, 2, 13, 9, 5, 1, 12, 8, 4, 0);
    __m512i ab = _mm512_packs_epi32(scaled(s.a, scales, bare, true),
                                    scaled(s.b, scales + 16, bare, blocks > 1));
    __m512i cd = _mm512_packs_epi32(scaled(s.c, scales + 32, bare, blocks > 2),
                                    scaled(s.d, scales + 48, bare, blocks > 3));
    __m512i y = bare ? _mm512_packus_epi16(ab, cd) : limited(o, ab, cd);
    y = _mm512_permutexvar_epi32(order, y);
    uint8_t *to = (uint8_t *)p->y + p->y_at[pixel];
    if (p->channels == BYTES_PANEL)
        _mm512_storeu_si512(to, y);
    else
        _mm512_mask_storeu_epi8(to, (1ull << p->channels) - 1, y);
}

INLINE void store_sums(const struct bytes_panel *p, size_t pixel, struct blocks s)
{
    int32_t *to = (int32_t *)p->y + p->y_at[pixel];
    uint64_t mask = p->channels == BYTES_PANEL ? ~0ull : (1ull << p->channels) - 1;
    _mm512_mask_storeu_epi32(to, (__mmask16)mask, s.a);
    _mm512_mask_storeu_epi32(to + 16, (__mmask16)(mask >> 16), s.b);
    _mm512_mask_storeu_epi32(to + 32, (__mmask16)(mask >> 32), s.c);
    _mm512_mask_storeu_epi32(to + 48, (__mmask16)(mask >> 48), s.d);
}

INLINE void tile(const struct bytes_panel *p, size_t first, const int blocks, const int pixels)
{
#define START(i) struct blocks s##i = start_sums(p, first + MIN(i, (size_t)pixels - 1), blocks);
    EACH_PIXEL(START)
    for (size_t r = 0; r < p->runs_len; r++) {
        const struct bytes_run *run = &p->runs[r];
        const int8_t *w = p->weights + run->w * (size_t)blocks * 64;
#define INPUT(i) const uint8_t *x##i = p->x + p->x_at[first + MIN(i, (size_t)pixels - 1)] + run->x;
        EACH_PIXEL(INPUT)
        for (size_t k = 0; k < 4 * run->len; k += 4, w += blocks * 64) {
            struct blocks by = load(w, blocks);
#define ADD(i)                                                                                     \
    if (i < pixels)                                                                                \
        s##i = add_products(s##i, x##i + k, by, blocks);
            EACH_PIXEL(ADD)
        }
    }
    const bool bare = p->out && p->out->bare;
#define STORE(i)                                                                                   \
    if (i < pixels && bare)                                                                        \
        store_bytes(p, first + i, s##i, blocks, true);                                             \
    else if (i < pixels && p->out)                                                                 \
        store_bytes(p, first + i, s##i, blocks, false);                                            \
    else if (i < pixels)                                                                           \
        store_sums(p, first + i, s##i);
    EACH_PIXEL(STORE)
}

INLINE void tiles(const struct bytes_panel *p, const int blocks)
{
    size_t count = (p->pixels + PIXELS - 1) / PIXELS;
    for (size_t t = 0; t < count; t++) {
        size_t first = p->pixels * t / count, pixels = p->pixels * (t + 1) / count - first;
        switch (pixels) {
        case 1:
            tile(p, first, blocks, 1);
            break;
        case 2:
            tile(p, first, blocks, 2);
            break;
        case 3:
            tile(p, first, blocks, 3);
            break;
        case 4:
            tile(p, first, blocks, 4);
            break;
        case 5:
            tile(p, first, blocks, 5);
            break;
        default:
            tile(p, first, blocks, 6);
        }
    }
}

static void panel(const struct bytes_panel *p)
{
    switch ((p->channels + BYTES_BLOCK - 1) / BYTES_BLOCK) {
    case 1:
        tiles(p, 1);
        break;
    case 2:
        tiles(p, 2);
        break;
    case 3:
        tiles(p, 3);
        break;
    default:
        tiles(p, 4);
    }
}

const struct bytes_kernel bytes_vnni = {dots,      from_fp32,  to_fp32,     panel,
                                        depthwise, interleave, "bytes_vnni"};
