/* vector_body - the vector family, compiled once per instruction set as VECTOR_KERNEL */
#include "worker/kernels/simd_math.h"
#include "worker/kernels/vector_kernel.h"

#define UNARY(NAME, name, formula)                                                                 \
    static void name##_loop(size_t n, float a, float b, const float *x, float *y)                  \
    {                                                                                              \
        const v8 va = v8_set(a), vb = v8_set(b);                                                   \
        size_t i = 0;                                                                              \
        for (; i + V8 <= n; i += V8)                                                               \
            v8_store(y + i, v8_##name##_of(v8_load(x + i), va, vb));                               \
        if (i < n)                                                                                 \
            v8_store_n(y + i, v8_##name##_of(v8_load_n(x + i, n - i), va, vb), n - i);             \
    }
#include "worker/kernels/unary.def"
#undef UNARY

INLINE v8 v8_pow(v8 x, v8 y)
{
    float base[V8], power[V8];
    v8_store(base, x);
    v8_store(power, y);
    for (int i = 0; i < V8; i++)
        base[i] = powf(base[i], power[i]);
    return v8_load(base);
}

INLINE v8 v8_keep_both_nans(v8 x, v8 y, v8 result)
{
    return v8_keep_nan(x, v8_keep_nan(y, result));
}

#define v8_binary_add(x, y) v8_add(x, y)
#define v8_binary_sub(x, y) v8_sub(x, y)
#define v8_binary_mul(x, y) v8_mul(x, y)
#define v8_binary_div(x, y) v8_div(x, y)
#define v8_binary_pow(x, y) v8_pow(x, y)
#define v8_binary_min(x, y) v8_keep_both_nans(x, y, v8_min(x, y))
#define v8_binary_max(x, y) v8_keep_both_nans(x, y, v8_max(x, y))

#define BINARY(NAME, name, formula)                                                                \
    static void name##_pairs(size_t n, const float *x, size_t x_step, const float *y,              \
                             size_t y_step, float *out)                                            \
    {                                                                                              \
        if (!n)                                                                                    \
            return;                                                                                \
        /* read before out, which may be the same array, is written */                             \
        const v8 x0 = v8_set(x[0]), y0 = v8_set(y[0]);                                             \
        size_t i = 0;                                                                              \
        if (x_step && y_step)                                                                      \
            for (; i + V8 <= n; i += V8)                                                           \
                v8_store(out + i, v8_binary_##name(v8_load(x + i), v8_load(y + i)));               \
        else if (x_step)                                                                           \
            for (; i + V8 <= n; i += V8)                                                           \
                v8_store(out + i, v8_binary_##name(v8_load(x + i), y0));                           \
        else                                                                                       \
            for (; i + V8 <= n; i += V8)                                                           \
                v8_store(out + i, v8_binary_##name(x0, y_step ? v8_load(y + i) : y0));             \
        if (i == n)                                                                                \
            return;                                                                                \
        v8 last_x = x_step ? v8_load_n(x + i, n - i) : x0;                                         \
        v8 last_y = y_step ? v8_load_n(y + i, n - i) : y0;                                         \
        v8_store_n(out + i, v8_binary_##name(last_x, last_y), n - i);                              \
    }
#include "worker/kernels/binary.def"
#undef BINARY

static void from_u8(size_t n, float scale, const uint8_t *x, float *y)
{
    size_t i = 0;
    for (; i + V8 <= n; i += V8)
        v8_store(y + i, v8_mul(v8_set(scale), v8_from_u8(x + i)));
    for (; i < n; i++)
        y[i] = scale * (float)x[i];
}

static void two_products(size_t n, const float *a, const float *b, const float *c, const float *d,
                         float *y)
{
    size_t i = 0;
    for (; i + V8 <= n; i += V8)
        v8_store(y + i,
                 v8_fma(v8_load(a + i), v8_load(b + i), v8_mul(v8_load(c + i), v8_load(d + i))));
    size_t rest = n - i;
    if (rest)
        v8_store_n(y + i,
                   v8_fma(v8_load_n(a + i, rest), v8_load_n(b + i, rest),
                          v8_mul(v8_load_n(c + i, rest), v8_load_n(d + i, rest))),
                   rest);
}

INLINE v8 mixed(v8 z, v8 a, v8 b)
{
    return v8_fma(v8_sub(v8_set(1.0f), z), a, v8_mul(z, b));
}

static void mix(size_t n, const float *z, const float *a, const float *b, float *y)
{
    size_t i = 0;
    for (; i + V8 <= n; i += V8)
        v8_store(y + i, mixed(v8_load(z + i), v8_load(a + i), v8_load(b + i)));
    size_t rest = n - i;
    if (rest)
        v8_store_n(y + i,
                   mixed(v8_load_n(z + i, rest), v8_load_n(a + i, rest), v8_load_n(b + i, rest)),
                   rest);
}

static void add_product(size_t n, const float *a, const float *b, float *y)
{
    size_t i = 0;
    for (; i + V8 <= n; i += V8)
        v8_store(y + i, v8_fma(v8_load(a + i), v8_load(b + i), v8_load(y + i)));
    size_t rest = n - i;
    if (rest)
        v8_store_n(y + i,
                   v8_fma(v8_load_n(a + i, rest), v8_load_n(b + i, rest), v8_load_n(y + i, rest)),
                   rest);
}

const struct vector_kernel VECTOR_KERNEL = {
    .unary =
        {
#define UNARY(NAME, name, formula) [UNARY_##NAME] = name##_loop,
#include "worker/kernels/unary.def"
#undef UNARY
        },
    .binary =
        {
#define BINARY(NAME, name, formula) [BINARY_##NAME] = name##_pairs,
#include "worker/kernels/binary.def"
#undef BINARY
        },
    .from_u8 = from_u8,
    .two_products = two_products,
    .mix = mix,
    .add_product = add_product,
};
