/* simd - eight fp32 values at once, in the instruction set of the file that includes this
 *
 * v8 is one 256-bit register with AVX2 and a pair of 128-bit vectors of the compiler otherwise, so
 * that a kernel's body is written once and compiled for each. v8_fma rounds once with AVX2 and
 * twice without: bytes differ between instruction sets, never within one. v8_max(a, b) and v8_min
 * return b where either is NaN. `_n` variants touch n <= 8 values and read zeros past them. */
#ifndef CONVOY_WORKER_KERNELS_SIMD_H
#define CONVOY_WORKER_KERNELS_SIMD_H

#include <math.h>
#include <string.h>

#include "common/base.h"

#define V8 8

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
#define UNROLL _Pragma("GCC unroll 8")
#endif
#endif

#if defined(__AVX2__) && defined(__FMA__)
#include "worker/kernels/simd_avx2.h"
#else
#include "worker/kernels/simd_generic.h"
#endif

INLINE v8 v8_load_n(const float *from, size_t n)
{
    float all[V8] = {0};
    memcpy(all, from, n * sizeof(float));
    return v8_load(all);
}

INLINE void v8_store_n(float *to, v8 value, size_t n)
{
    float all[V8];
    v8_store(all, value);
    memcpy(to, all, n * sizeof(float));
}

/* Sum and extremes of the eight, always in the same order. */
INLINE float v8_sum(v8 value)
{
    float s[V8];
    v8_store(s, value);
    return ((s[0] + s[4]) + (s[1] + s[5])) + ((s[2] + s[6]) + (s[3] + s[7]));
}

INLINE float v8_largest(v8 value)
{
    float s[V8];
    v8_store(s, value);
    for (int i = 1; i < V8; i++)
        s[0] = s[i] > s[0] || isnan(s[i]) ? s[i] : s[0];
    return s[0];
}

#endif
