/* simd_avx512 - vf on AVX-512 (F, BW, DQ, VL); see simd.h */
#ifndef CONVOY_WORKER_KERNELS_SIMD_AVX512_H
#define CONVOY_WORKER_KERNELS_SIMD_AVX512_H

#include <immintrin.h>

#define VF 16

typedef __m512 vf;

INLINE vf vf_load(const float *from)
{
    return _mm512_loadu_ps(from);
}
INLINE void vf_store(float *to, vf value)
{
    _mm512_storeu_ps(to, value);
}
INLINE vf vf_set(float value)
{
    return _mm512_set1_ps(value);
}
INLINE vf vf_load_lanes(const float *from)
{
    return _mm512_broadcast_f32x8(_mm256_loadu_ps(from));
}
/* 8 values from each of two places */
INLINE vf vf_join(const float *low, const float *high)
{
    return _mm512_insertf32x8(_mm512_castps256_ps512(_mm256_loadu_ps(low)), _mm256_loadu_ps(high),
                              1);
}
INLINE void vf_store_low(float *to, vf value)
{
    _mm256_storeu_ps(to, _mm512_castps512_ps256(value));
}
INLINE void vf_store_high(float *to, vf value)
{
    _mm256_storeu_ps(to, _mm512_extractf32x8_ps(value, 1));
}
INLINE vf vf_load_two(const float *from, size_t step)
{
    return vf_join(from, from + step);
}
/* Which of a register's two blocks of 8 are read or written; the others are read as 0. */
typedef __mmask16 vf_mask;

INLINE vf_mask vf_mask_of(bool first, bool second)
{
    return (vf_mask)((first ? 0xff : 0) | (second ? 0xff00 : 0));
}
INLINE vf vf_load_where(vf_mask mask, const float *from)
{
    return _mm512_maskz_loadu_ps(mask, from);
}
INLINE void vf_store_where(vf_mask mask, float *to, vf value)
{
    _mm512_mask_storeu_ps(to, mask, value);
}
INLINE vf vf_add(vf a, vf b)
{
    return _mm512_add_ps(a, b);
}
INLINE vf vf_sub(vf a, vf b)
{
    return _mm512_sub_ps(a, b);
}
INLINE vf vf_mul(vf a, vf b)
{
    return _mm512_mul_ps(a, b);
}
INLINE vf vf_div(vf a, vf b)
{
    return _mm512_div_ps(a, b);
}
/* a b + c */
INLINE vf vf_fma(vf a, vf b, vf c)
{
    return _mm512_fmadd_ps(a, b, c);
}
INLINE vf vf_max(vf a, vf b)
{
    return _mm512_max_ps(a, b);
}
INLINE vf vf_min(vf a, vf b)
{
    return _mm512_min_ps(a, b);
}
INLINE vf vf_sqrt(vf a)
{
    return _mm512_sqrt_ps(a);
}
INLINE vf vf_abs(vf a)
{
    return _mm512_abs_ps(a);
}
/* a > b ? yes : no */
INLINE vf vf_if_greater(vf a, vf b, vf yes, vf no)
{
    return _mm512_mask_blend_ps(_mm512_cmp_ps_mask(a, b, _CMP_GT_OQ), no, yes);
}
/* NaN where a is, b elsewhere */
INLINE vf vf_keep_nan(vf a, vf b)
{
    return _mm512_mask_blend_ps(_mm512_cmp_ps_mask(a, a, _CMP_UNORD_Q), b, a);
}
/* value times 2^k, k the integer in the low mantissa bits of `shifted`; no overflow check */
INLINE vf vf_scale_by_bits(vf value, vf shifted)
{
    __m512i power = _mm512_slli_epi32(_mm512_castps_si512(shifted), 23);
    return _mm512_castsi512_ps(_mm512_add_epi32(_mm512_castps_si512(value), power));
}
/* The low or the high halves of VF words of 32 bits: BF16 values */
INLINE vf vf_low_halves(vf words)
{
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_castps_si512(words), 16));
}
INLINE vf vf_high_halves(vf words)
{
    __m512i mask = _mm512_set1_epi32((int)0xffff0000);
    return _mm512_castsi512_ps(_mm512_and_si512(_mm512_castps_si512(words), mask));
}
INLINE vf vf_from_u8(const uint8_t *from)
{
    return _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)from)));
}
/* n <= VF values; the rest of the register is 0, the rest of memory untouched */
INLINE __mmask16 vf_first(size_t n)
{
    return (__mmask16)((1u << n) - 1);
}
INLINE vf vf_load_n(const float *from, size_t n)
{
    return _mm512_maskz_loadu_ps(vf_first(n), from);
}
INLINE void vf_store_n(float *to, vf value, size_t n)
{
    _mm512_mask_storeu_ps(to, vf_first(n), value);
}

/* One block of 8 values, in half a register. */
typedef __m256 vl;

/* The first half */
INLINE vl vf_low(vf value)
{
    return _mm512_castps512_ps256(value);
}
INLINE vl vl_load(const float *from)
{
    return _mm256_loadu_ps(from);
}
INLINE void vl_store(float *to, vl value)
{
    _mm256_storeu_ps(to, value);
}
INLINE vl vl_set(float value)
{
    return _mm256_set1_ps(value);
}
INLINE vl vl_fma(vl a, vl b, vl c)
{
    return _mm256_fmadd_ps(a, b, c);
}
INLINE vl vl_add(vl a, vl b)
{
    return _mm256_add_ps(a, b);
}
INLINE vl vl_sub(vl a, vl b)
{
    return _mm256_sub_ps(a, b);
}
/* a > b ? yes : no */
INLINE vl vl_if_greater(vl a, vl b, vl yes, vl no)
{
    return _mm256_blendv_ps(no, yes, _mm256_cmp_ps(a, b, _CMP_GT_OQ));
}
INLINE vl vl_div(vl a, vl b)
{
    return _mm256_div_ps(a, b);
}
INLINE void vl_store_n(float *to, vl value, size_t n)
{
    _mm256_mask_storeu_ps(to, (__mmask8)((1u << n) - 1), value);
}
INLINE vl vl_max(vl a, vl b)
{
    return _mm256_max_ps(a, b);
}
INLINE vl vl_min(vl a, vl b)
{
    return _mm256_min_ps(a, b);
}

#endif
