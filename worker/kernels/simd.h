/* simd - VF fp32 values at once, in the instruction set of the file that includes this
 *
 * vf is one 512-bit register of 16 with AVX-512, one 256-bit register of 8 with AVX2 and a pair of
 * 128-bit vectors of the compiler otherwise, so that a kernel's body is written once and compiled
 * for each. vf_fma rounds once with AVX2 and AVX-512 and twice without: bytes differ between
 * instruction sets, never within one. vf_max(a, b) and vf_min return b where either is NaN.
 * vf_load_lanes fills a register with the 8 values of one pixel's block (layout.h), once or twice;
 * vf_load_two loads such blocks at `from` and, where a register holds two, at `from + step`.
 * vl is a register of one such block: vf itself unless that is wider.
 * A vf_mask says which of these blocks exist: the others are read as zeros and not written.
 * `_n` variants touch n <= VF values and read zeros past them. */
#ifndef CONVOY_WORKER_KERNELS_SIMD_H
#define CONVOY_WORKER_KERNELS_SIMD_H

#include <math.h>
#include <string.h>

#include "common/base.h"

/* UNROLL, before a loop of a few rounds that are known when compiled: leave no loop.
 * Under a sanitizer speed is no matter, and a kernel that is expanded in full takes minutes to
 * compile: there, loops stay loops and functions stay functions. SANITIZED comes from the Makefile.
 */
#ifdef SANITIZED
#define INLINE static inline __attribute__((unused))
#define UNROLL
#else
#define INLINE static inline __attribute__((always_inline, unused))
#ifdef __clang__
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNROLL _Pragma("GCC unroll 24")
#endif
#endif

#if defined(__AVX512F__)
#include "worker/kernels/simd_avx512.h"
#elif defined(__AVX2__) && defined(__FMA__)
#include "worker/kernels/simd_avx2.h"
#else
#include "worker/kernels/simd_generic.h"
#endif

#ifndef __AVX512F__
typedef vf vl;
#define vl_load       vf_load
#define vl_store      vf_store
#define vl_set        vf_set
#define vl_fma        vf_fma
#define vl_max        vf_max
#define vl_min        vf_min
#define vl_add        vf_add
#define vl_sub        vf_sub
#define vl_div        vf_div
#define vl_store_n    vf_store_n
#define vl_if_greater vf_if_greater

INLINE vl vf_low(vf value)
{
    return value;
}

INLINE vf vf_load_lanes(const float *from)
{
    return vf_load(from);
}

INLINE vf vf_load_two(const float *from, size_t step)
{
    (void)step;
    return vf_load(from);
}

typedef bool vf_mask;

INLINE vf_mask vf_mask_of(bool first, bool second)
{
    (void)second;
    return first;
}
INLINE vf vf_load_where(vf_mask mask, const float *from)
{
    return mask ? vf_load(from) : vf_set(0.0f);
}
INLINE void vf_store_where(vf_mask mask, float *to, vf value)
{
    if (mask)
        vf_store(to, value);
}

INLINE vf vf_load_n(const float *from, size_t n)
{
    float all[VF] = {0};
    memcpy(all, from, n * sizeof(float));
    return vf_load(all);
}

INLINE void vf_store_n(float *to, vf value, size_t n)
{
    float all[VF];
    vf_store(all, value);
    memcpy(to, all, n * sizeof(float));
}
#endif

/* Sum and extremes of all, always in the same order. */
INLINE float vf_sum(vf value)
{
    float s[VF];
    vf_store(s, value);
    for (int half = VF / 2; half > 4; half /= 2)
        for (int i = 0; i < half; i++)
            s[i] += s[i + half];
    return ((s[0] + s[4]) + (s[1] + s[5])) + ((s[2] + s[6]) + (s[3] + s[7]));
}

INLINE float vf_largest(vf value)
{
    float s[VF];
    vf_store(s, value);
    for (int i = 1; i < VF; i++)
        s[0] = s[i] > s[0] || isnan(s[i]) ? s[i] : s[0];
    return s[0];
}

#endif
