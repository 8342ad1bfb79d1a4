/* simd_avx2 - vf on AVX2 and FMA; see simd.h */
#ifndef CONVOY_WORKER_KERNELS_SIMD_AVX2_H
#define CONVOY_WORKER_KERNELS_SIMD_AVX2_H

#include <immintrin.h>

#define VF 8

typedef __m256 vf;

INLINE vf vf_load(const float *from)
{
    return _mm256_loadu_ps(from);
}
INLINE void vf_store(float *to, vf value)
{
    _mm256_storeu_ps(to, value);
}
INLINE vf vf_set(float value)
{
    return _mm256_set1_ps(value);
}
INLINE vf vf_add(vf a, vf b)
{
    return _mm256_add_ps(a, b);
}
INLINE vf vf_sub(vf a, vf b)
{
    return _mm256_sub_ps(a, b);
}
INLINE vf vf_mul(vf a, vf b)
{
    return _mm256_mul_ps(a, b);
}
INLINE vf vf_div(vf a, vf b)
{
    return _mm256_div_ps(a, b);
}
/* a b + c */
INLINE vf vf_fma(vf a, vf b, vf c)
{
    return _mm256_fmadd_ps(a, b, c);
}
INLINE vf vf_max(vf a, vf b)
{
    return _mm256_max_ps(a, b);
}
INLINE vf vf_min(vf a, vf b)
{
    return _mm256_min_ps(a, b);
}
INLINE vf vf_sqrt(vf a)
{
    return _mm256_sqrt_ps(a);
}
INLINE vf vf_abs(vf a)
{
    return _mm256_andnot_ps(_mm256_set1_ps(-0.0f), a);
}
/* a > b ? yes : no */
INLINE vf vf_if_greater(vf a, vf b, vf yes, vf no)
{
    return _mm256_blendv_ps(no, yes, _mm256_cmp_ps(a, b, _CMP_GT_OQ));
}
/* NaN where a is, b elsewhere */
INLINE vf vf_keep_nan(vf a, vf b)
{
    return _mm256_blendv_ps(b, a, _mm256_cmp_ps(a, a, _CMP_UNORD_Q));
}
/* value times 2^k, k the integer in the low mantissa bits of `shifted`; no overflow check */
INLINE vf vf_scale_by_bits(vf value, vf shifted)
{
    __m256i power = _mm256_slli_epi32(_mm256_castps_si256(shifted), 23);
    return _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(value), power));
}
/* The low or the high halves of VF words of 32 bits: BF16 values */
INLINE vf vf_low_halves(vf words)
{
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_castps_si256(words), 16));
}
INLINE vf vf_high_halves(vf words)
{
    __m256i mask = _mm256_set1_epi32((int)0xffff0000);
    return _mm256_castsi256_ps(_mm256_and_si256(_mm256_castps_si256(words), mask));
}
INLINE vf vf_from_u8(const uint8_t *from)
{
    return _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)from)));
}
/* The 8 x 8 transpose of r, in place. */
INLINE void vf_transpose(vf r[VF])
{
    vf a[VF], b[VF];
    for (int i = 0; i < 4; i++) {
        a[2 * i] = _mm256_unpacklo_ps(r[2 * i], r[2 * i + 1]);
        a[2 * i + 1] = _mm256_unpackhi_ps(r[2 * i], r[2 * i + 1]);
    }
    for (int i = 0; i < 2; i++) {
        b[4 * i] = _mm256_shuffle_ps(a[4 * i], a[4 * i + 2], 0x44);
        b[4 * i + 1] = _mm256_shuffle_ps(a[4 * i], a[4 * i + 2], 0xee);
        b[4 * i + 2] = _mm256_shuffle_ps(a[4 * i + 1], a[4 * i + 3], 0x44);
        b[4 * i + 3] = _mm256_shuffle_ps(a[4 * i + 1], a[4 * i + 3], 0xee);
    }
    for (int i = 0; i < 4; i++) {
        r[i] = _mm256_permute2f128_ps(b[i], b[i + 4], 0x20);
        r[i + 4] = _mm256_permute2f128_ps(b[i], b[i + 4], 0x31);
    }
}

#endif
