/* vector_body - the vector family, compiled once per instruction set as VECTOR_KERNEL */
#include "worker/kernels/simd_math.h"
#include "worker/kernels/vector_kernel.h"

#define UNARY(NAME, name, formula)                                                                 \
    static void name##_loop(size_t n, float a, float b, const float *x, float *y)                  \
    {                                                                                              \
        const vf va = vf_set(a), vb = vf_set(b);                                                   \
        size_t i = 0;                                                                              \
        for (; i + VF <= n; i += VF)                                                               \
            vf_store(y + i, vf_##name##_of(vf_load(x + i), va, vb));                               \
        if (i < n)                                                                                 \
            vf_store_n(y + i, vf_##name##_of(vf_load_n(x + i, n - i), va, vb), n - i);             \
    }
#include "worker/kernels/unary.def"
#undef UNARY

INLINE vf vf_pow(vf x, vf y)
{
    float base[VF], power[VF];
    vf_store(base, x);
    vf_store(power, y);
    for (int i = 0; i < VF; i++)
        base[i] = powf(base[i], power[i]);
    return vf_load(base);
}

INLINE vf vf_keep_both_nans(vf x, vf y, vf result)
{
    return vf_keep_nan(x, vf_keep_nan(y, result));
}

#define vf_binary_add(x, y) vf_add(x, y)
#define vf_binary_sub(x, y) vf_sub(x, y)
#define vf_binary_mul(x, y) vf_mul(x, y)
#define vf_binary_div(x, y) vf_div(x, y)
#define vf_binary_pow(x, y) vf_pow(x, y)
#define vf_binary_min(x, y) vf_keep_both_nans(x, y, vf_min(x, y))
#define vf_binary_max(x, y) vf_keep_both_nans(x, y, vf_max(x, y))

#define BINARY(NAME, name, formula)                                                                \
    static void name##_pairs(size_t n, const float *x, size_t x_step, const float *y,              \
                             size_t y_step, float *out)                                            \
    {                                                                                              \
        if (!n)                                                                                    \
            return;                                                                                \
        /* read before out, which may be the same array, is written */                             \
        const vf x0 = vf_set(x[0]), y0 = vf_set(y[0]);                                             \
        size_t i = 0;                                                                              \
        if (x_step && y_step)                                                                      \
            for (; i + VF <= n; i += VF)                                                           \
                vf_store(out + i, vf_binary_##name(vf_load(x + i), vf_load(y + i)));               \
        else if (x_step)                                                                           \
            for (; i + VF <= n; i += VF)                                                           \
                vf_store(out + i, vf_binary_##name(vf_load(x + i), y0));                           \
        else                                                                                       \
            for (; i + VF <= n; i += VF)                                                           \
                vf_store(out + i, vf_binary_##name(x0, y_step ? vf_load(y + i) : y0));             \
        if (i == n)                                                                                \
            return;                                                                                \
        vf last_x = x_step ? vf_load_n(x + i, n - i) : x0;                                         \
        vf last_y = y_step ? vf_load_n(y + i, n - i) : y0;                                         \
        vf_store_n(out + i, vf_binary_##name(last_x, last_y), n - i);                              \
    }
#include "worker/kernels/binary.def"
#undef BINARY

static void from_u8(size_t n, float scale, const uint8_t *x, float *y)
{
    size_t i = 0;
    for (; i + VF <= n; i += VF)
        vf_store(y + i, vf_mul(vf_set(scale), vf_from_u8(x + i)));
    for (; i < n; i++)
        y[i] = scale * (float)x[i];
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
};
