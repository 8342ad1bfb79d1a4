/* half - bit patterns, in loops that the compiler turns into vectors; see half.h */
#include "worker/kernels/half.h"

#include <string.h>

#include "worker/kernels/par.h"

#define CHUNK 4096 /* elements that go to one thread at a time */

bool dtype_is_half(enum dtype dtype)
{
    return dtype == DTYPE_FP16 || dtype == DTYPE_BF16;
}

static inline uint32_t bits_of(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

static inline float float_of(uint32_t bits)
{
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

/* a or b, without a branch that would keep a loop from being made of vectors. */
static inline uint32_t choose(bool first, uint32_t a, uint32_t b)
{
    uint32_t mask = -(uint32_t)first;
    return (a & mask) | (b & ~mask);
}

/* 1 sign, 5 exponent (bias 15), 10 mantissa bits; exponent 0 counts in steps of 2^-24. */
static inline float from_fp16(uint16_t h)
{
    uint32_t rest = (uint32_t)(h & 0x7fff) << 13, exponent = h & 0x7c00;
    uint32_t normal = rest + (112u << 23), special = rest | 0x7f800000;
    uint32_t small = bits_of((float)(int32_t)(h & 0x3ff) * 0x1p-24f);
    uint32_t bits = choose(exponent == 0, small, choose(exponent == 0x7c00, special, normal));
    return float_of(bits | (uint32_t)(h & 0x8000) << 16);
}

static inline uint16_t to_fp16(float x)
{
    uint32_t bits = bits_of(x), sign = bits >> 16 & 0x8000, size = bits & 0x7fffffff;
    /* beside 0.5 a float's last bit is worth 2^-24: the addition rounds as a subnormal must */
    uint32_t small = bits_of(float_of(size) + 0.5f) - bits_of(0.5f);
    uint32_t normal = (size + 0xfff + (size >> 13 & 1) - (112u << 23)) >> 13;
    uint32_t special = choose(size > 0x7f800000, 0x7e00, 0x7c00);
    uint32_t half = choose(size < 113u << 23, small, choose(size >= 143u << 23, special, normal));
    return (uint16_t)(sign | half);
}

static inline uint16_t to_bf16(float x)
{
    uint32_t bits = bits_of(x), rounded = (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
    return (uint16_t)((bits & 0x7fffffff) > 0x7f800000 ? bits >> 16 | 0x40 : rounded);
}

struct half_job {
    enum dtype type;
    size_t n;
    const void *x;
    void *y;
};

static void widen(void *arg, size_t slot, size_t begin, size_t end)
{
    const struct half_job *j = arg;
    size_t to = MIN(end * CHUNK, j->n);
    const uint16_t *restrict x = j->x;
    float *restrict y = j->y;
    (void)slot;
    if (j->type == DTYPE_FP16)
        for (size_t i = begin * CHUNK; i < to; i++)
            y[i] = from_fp16(x[i]);
    else
        for (size_t i = begin * CHUNK; i < to; i++)
            y[i] = float_of((uint32_t)x[i] << 16);
}

static void narrow(void *arg, size_t slot, size_t begin, size_t end)
{
    const struct half_job *j = arg;
    size_t to = MIN(end * CHUNK, j->n);
    const float *restrict x = j->x;
    uint16_t *restrict y = j->y;
    (void)slot;
    if (j->type == DTYPE_FP16)
        for (size_t i = begin * CHUNK; i < to; i++)
            y[i] = to_fp16(x[i]);
    else
        for (size_t i = begin * CHUNK; i < to; i++)
            y[i] = to_bf16(x[i]);
}

void half_to_fp32(enum dtype from, size_t n, const uint16_t *x, float *y)
{
    struct half_job job = {from, n, x, y};
    par_for((n + CHUNK - 1) / CHUNK, (double)n * 6, widen, &job);
}

void half_from_fp32(enum dtype to, size_t n, const float *x, uint16_t *y)
{
    struct half_job job = {to, n, x, y};
    par_for((n + CHUNK - 1) / CHUNK, (double)n * 6, narrow, &job);
}
