/* simd_generic - v8 as two 128-bit vectors of the compiler (SSE2, NEON, ...); see simd.h */
#ifndef CONVOY_WORKER_KERNELS_SIMD_GENERIC_H
#define CONVOY_WORKER_KERNELS_SIMD_GENERIC_H

typedef float v4 __attribute__((vector_size(16)));
typedef int32_t v4i __attribute__((vector_size(16)));
typedef uint32_t v4u __attribute__((vector_size(16)));
typedef struct {
    v4 lo;
    v4 hi;
} v8;

#define V8_PAIR(expression_lo, expression_hi) ((v8){(expression_lo), (expression_hi)})

INLINE v8 v8_load(const float *from)
{
    v8 value;
    memcpy(&value.lo, from, sizeof(value.lo));
    memcpy(&value.hi, from + 4, sizeof(value.hi));
    return value;
}
INLINE void v8_store(float *to, v8 value)
{
    memcpy(to, &value.lo, sizeof(value.lo));
    memcpy(to + 4, &value.hi, sizeof(value.hi));
}
INLINE v8 v8_set(float value)
{
    v4 all = {value, value, value, value};
    return V8_PAIR(all, all);
}
INLINE v8 v8_add(v8 a, v8 b)
{
    return V8_PAIR(a.lo + b.lo, a.hi + b.hi);
}
INLINE v8 v8_sub(v8 a, v8 b)
{
    return V8_PAIR(a.lo - b.lo, a.hi - b.hi);
}
INLINE v8 v8_mul(v8 a, v8 b)
{
    return V8_PAIR(a.lo * b.lo, a.hi * b.hi);
}
INLINE v8 v8_div(v8 a, v8 b)
{
    return V8_PAIR(a.lo / b.lo, a.hi / b.hi);
}
/* a b + c, rounded twice */
INLINE v8 v8_fma(v8 a, v8 b, v8 c)
{
    return V8_PAIR(a.lo * b.lo + c.lo, a.hi * b.hi + c.hi);
}
INLINE v4 v4_where(v4i mask, v4 yes, v4 no)
{
    return (v4)(((v4i)yes & mask) | ((v4i)no & ~mask));
}
INLINE v8 v8_max(v8 a, v8 b)
{
    return V8_PAIR(v4_where(a.lo > b.lo, a.lo, b.lo), v4_where(a.hi > b.hi, a.hi, b.hi));
}
INLINE v8 v8_min(v8 a, v8 b)
{
    return V8_PAIR(v4_where(a.lo < b.lo, a.lo, b.lo), v4_where(a.hi < b.hi, a.hi, b.hi));
}
INLINE v8 v8_sqrt(v8 a)
{
    for (int i = 0; i < 4; i++) {
        a.lo[i] = sqrtf(a.lo[i]);
        a.hi[i] = sqrtf(a.hi[i]);
    }
    return a;
}
INLINE v8 v8_abs(v8 a)
{
    v4i bits = {INT32_MAX, INT32_MAX, INT32_MAX, INT32_MAX};
    return V8_PAIR((v4)((v4i)a.lo & bits), (v4)((v4i)a.hi & bits));
}
/* a > b ? yes : no */
INLINE v8 v8_if_greater(v8 a, v8 b, v8 yes, v8 no)
{
    return V8_PAIR(v4_where(a.lo > b.lo, yes.lo, no.lo), v4_where(a.hi > b.hi, yes.hi, no.hi));
}
/* NaN where a is, b elsewhere */
INLINE v8 v8_keep_nan(v8 a, v8 b)
{
    return V8_PAIR(v4_where(a.lo == a.lo, b.lo, a.lo), v4_where(a.hi == a.hi, b.hi, a.hi));
}
/* value times 2^k, k the integer in the low mantissa bits of `shifted`; no overflow check */
INLINE v8 v8_scale_by_bits(v8 value, v8 shifted)
{
    return V8_PAIR((v4)((v4u)value.lo + ((v4u)shifted.lo << 23)),
                   (v4)((v4u)value.hi + ((v4u)shifted.hi << 23)));
}
INLINE v8 v8_from_u8(const uint8_t *from)
{
    float all[V8];
    for (int i = 0; i < V8; i++)
        all[i] = (float)from[i];
    return v8_load(all);
}
/* The 8 x 8 transpose of r, in place. */
INLINE void v8_transpose(v8 r[V8])
{
    float all[V8][V8], turned[V8][V8];
    for (int i = 0; i < V8; i++)
        v8_store(all[i], r[i]);
    for (int i = 0; i < V8; i++)
        for (int j = 0; j < V8; j++)
            turned[j][i] = all[i][j];
    for (int i = 0; i < V8; i++)
        r[i] = v8_load(turned[i]);
}

#endif
