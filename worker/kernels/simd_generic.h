/* simd_generic - vf as two 128-bit vectors of the compiler (SSE2, NEON, ...); see simd.h */
#ifndef CONVOY_WORKER_KERNELS_SIMD_GENERIC_H
#define CONVOY_WORKER_KERNELS_SIMD_GENERIC_H

#define VF 8

typedef float v4 __attribute__((vector_size(16)));
typedef int32_t v4i __attribute__((vector_size(16)));
typedef uint32_t v4u __attribute__((vector_size(16)));
typedef struct {
    v4 lo;
    v4 hi;
} vf;

#define VF_PAIR(expression_lo, expression_hi) ((vf){(expression_lo), (expression_hi)})

INLINE vf vf_load(const float *from)
{
    vf value;
    memcpy(&value.lo, from, sizeof(value.lo));
    memcpy(&value.hi, from + 4, sizeof(value.hi));
    return value;
}
INLINE void vf_store(float *to, vf value)
{
    memcpy(to, &value.lo, sizeof(value.lo));
    memcpy(to + 4, &value.hi, sizeof(value.hi));
}
INLINE vf vf_set(float value)
{
    v4 all = {value, value, value, value};
    return VF_PAIR(all, all);
}
INLINE vf vf_add(vf a, vf b)
{
    return VF_PAIR(a.lo + b.lo, a.hi + b.hi);
}
INLINE vf vf_sub(vf a, vf b)
{
    return VF_PAIR(a.lo - b.lo, a.hi - b.hi);
}
INLINE vf vf_mul(vf a, vf b)
{
    return VF_PAIR(a.lo * b.lo, a.hi * b.hi);
}
INLINE vf vf_div(vf a, vf b)
{
    return VF_PAIR(a.lo / b.lo, a.hi / b.hi);
}
/* a b + c, rounded twice */
INLINE vf vf_fma(vf a, vf b, vf c)
{
    return VF_PAIR(a.lo * b.lo + c.lo, a.hi * b.hi + c.hi);
}
INLINE v4 v4_where(v4i mask, v4 yes, v4 no)
{
    return (v4)(((v4i)yes & mask) | ((v4i)no & ~mask));
}
INLINE vf vf_max(vf a, vf b)
{
    return VF_PAIR(v4_where(a.lo > b.lo, a.lo, b.lo), v4_where(a.hi > b.hi, a.hi, b.hi));
}
INLINE vf vf_min(vf a, vf b)
{
    return VF_PAIR(v4_where(a.lo < b.lo, a.lo, b.lo), v4_where(a.hi < b.hi, a.hi, b.hi));
}
INLINE vf vf_sqrt(vf a)
{
    for (int i = 0; i < 4; i++) {
        a.lo[i] = sqrtf(a.lo[i]);
        a.hi[i] = sqrtf(a.hi[i]);
    }
    return a;
}
INLINE vf vf_abs(vf a)
{
    v4i bits = {INT32_MAX, INT32_MAX, INT32_MAX, INT32_MAX};
    return VF_PAIR((v4)((v4i)a.lo & bits), (v4)((v4i)a.hi & bits));
}
/* a > b ? yes : no */
INLINE vf vf_if_greater(vf a, vf b, vf yes, vf no)
{
    return VF_PAIR(v4_where(a.lo > b.lo, yes.lo, no.lo), v4_where(a.hi > b.hi, yes.hi, no.hi));
}
/* NaN where a is, b elsewhere */
INLINE vf vf_keep_nan(vf a, vf b)
{
    return VF_PAIR(v4_where(a.lo == a.lo, b.lo, a.lo), v4_where(a.hi == a.hi, b.hi, a.hi));
}
/* value times 2^k, k the integer in the low mantissa bits of `shifted`; no overflow check */
INLINE vf vf_scale_by_bits(vf value, vf shifted)
{
    return VF_PAIR((v4)((v4u)value.lo + ((v4u)shifted.lo << 23)),
                   (v4)((v4u)value.hi + ((v4u)shifted.hi << 23)));
}
/* The low or the high halves of VF words of 32 bits: BF16 values */
INLINE vf vf_low_halves(vf words)
{
    return VF_PAIR((v4)((v4u)words.lo << 16), (v4)((v4u)words.hi << 16));
}
INLINE vf vf_high_halves(vf words)
{
    return VF_PAIR((v4)((v4u)words.lo & 0xffff0000u), (v4)((v4u)words.hi & 0xffff0000u));
}
INLINE vf vf_from_u8(const uint8_t *from)
{
    float all[VF];
    for (int i = 0; i < VF; i++)
        all[i] = (float)from[i];
    return vf_load(all);
}
/* The 8 x 8 transpose of r, in place. */
INLINE void vf_transpose(vf r[VF])
{
    float all[VF][VF], turned[VF][VF];
    for (int i = 0; i < VF; i++)
        vf_store(all[i], r[i]);
    for (int i = 0; i < VF; i++)
        for (int j = 0; j < VF; j++)
            turned[j][i] = all[i][j];
    for (int i = 0; i < VF; i++)
        r[i] = vf_load(turned[i]);
}

#endif
