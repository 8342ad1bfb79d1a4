/* check - what the kernel tests share: seeded numbers, guarded buffers, every instruction set
 *
 * Each test program prints its seed; KERNEL_SEED=<number> repeats a run. */
#ifndef CONVOY_TESTS_KERNELS_CHECK_H
#define CONVOY_TESTS_KERNELS_CHECK_H

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "common/base.h"
#include "worker/kernels/cpu.h"

#define ISA_MAX 8

static uint64_t check_state;

/* Take the seed from the environment or the clock, and say it. */
static inline void check_seed(void)
{
    const char *given = getenv("KERNEL_SEED");
    uint64_t seed = given ? strtoull(given, NULL, 0) : (uint64_t)time(NULL);
    check_state = seed;
    printf("KERNEL_SEED=%llu\n", (unsigned long long)seed);
    fflush(stdout);
}

static inline uint64_t random_bits(void)
{
    uint64_t z = check_state += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

/* from..to, both included */
static inline size_t random_between(size_t from, size_t to)
{
    return from + (size_t)(random_bits() % (to - from + 1));
}

/* -1..1 */
static inline float random_value(void)
{
    return (float)(int32_t)(uint32_t)random_bits() * 0x1p-31f;
}

/* Buffers with marks on both sides; check_free fails when a mark was overwritten. */
#define MARKS 16
#define MARK  12345.678f

static inline float *check_alloc(size_t n)
{
    float *memory = xaligned((n + 2 * MARKS) * sizeof(float));
    for (size_t i = 0; i < n + 2 * MARKS; i++)
        memory[i] = MARK;
    return memory + MARKS;
}

static inline float *check_random(size_t n)
{
    float *values = check_alloc(n);
    for (size_t i = 0; i < n; i++)
        values[i] = random_value();
    return values;
}

static inline void check_free(float *values, size_t n)
{
    for (size_t i = 0; i < MARKS; i++) {
        assert_true(values[-1 - (ptrdiff_t)i] == MARK);
        assert_true(values[n + i] == MARK);
    }
    free(values - MARKS);
}

/* Scratch for a run: of at least one byte, so that no call passes NULL. */
static inline void *check_scratch(size_t bytes)
{
    return xaligned(bytes + TENSOR_ALIGN);
}

/* Fail unless got is want within `tolerance`; NaN equals NaN. */
static inline void check_close(const char *what, size_t index, double got, double want,
                               double tolerance)
{
    if ((isnan(got) && isnan(want)) || got == want || fabs(got - want) <= tolerance)
        return;
    fail_msg("%s %s [%zu]: got %.9g, want %.9g, off by %.3g, allowed %.3g", kernels_isa(), what,
             index, got, want, fabs(got - want), tolerance);
}

/* What rounding `terms` products in fp32 may cost, their sizes adding up to `magnitude`. */
static inline double rounding(size_t terms, double magnitude)
{
    return 0x1p-23 * (3 + sqrt((double)terms)) * magnitude + 1e-30;
}

static inline void check_same_bytes(const char *what, const float *a, const float *b, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        uint32_t left, right;
        memcpy(&left, a + i, sizeof(left));
        memcpy(&right, b + i, sizeof(right));
        if (left != right)
            fail_msg("%s %s: value %zu of %zu differs: %.9g and %.9g", kernels_isa(), what, i, n,
                     (double)a[i], (double)b[i]);
    }
}

/* Run the test with each instruction set that this CPU has forced in turn, on `threads`. */
static inline void with_each_isa(void (*test)(void), uint32_t threads)
{
    const char *names[ISA_MAX];
    size_t count = kernels_isa_list(names, ISA_MAX);
    assert_true(count >= 2); /* at least generic and the reference */
    for (size_t i = 0; i < count; i++) {
        assert_true(kernels_start(names[i], threads));
        assert_string_equal(kernels_isa(), names[i]);
        test();
    }
}

#endif
