/* vector, the reference: plain loops on the C library's functions; never tuned */
#include <math.h>

#include "worker/kernels/vector_kernel.h"

static float identity_of(float x, float a, float b)
{
    return (void)a, (void)b, x;
}
static float relu_of(float x, float a, float b)
{
    return (void)a, (void)b, x < 0 ? 0 : x;
}
static float clip_of(float x, float a, float b)
{
    float low = x < a ? a : x;
    return low > b ? b : low;
}
static float sigmoid_of(float x, float a, float b)
{
    return (void)a, (void)b, 1 / (1 + expf(-x));
}
static float tanh_of(float x, float a, float b)
{
    return (void)a, (void)b, tanhf(x);
}
static float exp_of(float x, float a, float b)
{
    return (void)a, (void)b, expf(x);
}
static float log_of(float x, float a, float b)
{
    return (void)a, (void)b, logf(x);
}
static float sqrt_of(float x, float a, float b)
{
    return (void)a, (void)b, sqrtf(x);
}
static float neg_of(float x, float a, float b)
{
    return (void)a, (void)b, -x;
}
static float abs_of(float x, float a, float b)
{
    return (void)a, (void)b, fabsf(x);
}
static float reciprocal_of(float x, float a, float b)
{
    return (void)a, (void)b, 1 / x;
}
static float affine_of(float x, float a, float b)
{
    return a * x + b;
}
static float leaky_relu_of(float x, float a, float b)
{
    return (void)b, x < 0 ? a * x : x;
}
static float thresholded_relu_of(float x, float a, float b)
{
    return (void)b, x <= a ? 0 : x;
}
static float scaled_tanh_of(float x, float a, float b)
{
    return a * tanhf(b * x);
}
static float hard_sigmoid_of(float x, float a, float b)
{
    return clip_of(a * x + b, 0, 1);
}
static float elu_of(float x, float a, float b)
{
    return (void)b, x < 0 ? a * expm1f(x) : x;
}
static float softsign_of(float x, float a, float b)
{
    return (void)a, (void)b, x / (1 + fabsf(x));
}
static float softplus_of(float x, float a, float b)
{
    return (void)a, (void)b, relu_of(x, 0, 0) + log1pf(expf(-fabsf(x)));
}
static float erf_of(float x, float a, float b)
{
    return (void)a, (void)b, erff(x);
}
static float gelu_of(float x, float a, float b)
{
    return (void)a, (void)b, 0.5f * x * (1 + erff(x * 0.707106781f));
}
static float gelu_tanh_of(float x, float a, float b)
{
    return (void)a, (void)b, 0.5f * x * (1 + tanhf(0.797884561f * (x + 0.044715f * x * x * x)));
}
static float swish_of(float x, float a, float b)
{
    return (void)b, x / (1 + expf(-a * x));
}
static float hard_swish_of(float x, float a, float b)
{
    return x * hard_sigmoid_of(x, a, b);
}
static float mish_of(float x, float a, float b)
{
    return (void)a, (void)b, x * tanhf(softplus_of(x, 0, 0));
}

#define UNARY(NAME, name, formula)                                                                 \
    static void name##_loop(size_t n, float a, float b, const float *x, float *y)                  \
    {                                                                                              \
        for (size_t i = 0; i < n; i++)                                                             \
            y[i] = name##_of(x[i], a, b);                                                          \
    }
#include "worker/kernels/unary.def"
#undef UNARY

static float min_of(float x, float y)
{
    return isnan(x) || x < y ? x : y;
}
static float max_of(float x, float y)
{
    return isnan(x) || x > y ? x : y;
}

#define op_add(x, y) ((x) + (y))
#define op_sub(x, y) ((x) - (y))
#define op_mul(x, y) ((x) * (y))
#define op_div(x, y) ((x) / (y))
#define op_pow(x, y) powf(x, y)
#define op_min(x, y) min_of(x, y)
#define op_max(x, y) max_of(x, y)

#define BINARY(NAME, name, formula)                                                                \
    static void name##_pairs(size_t n, const float *x, size_t x_step, const float *y,              \
                             size_t y_step, float *out)                                            \
    {                                                                                              \
        float x0 = n ? x[0] : 0, y0 = n ? y[0] : 0;                                                \
        for (size_t i = 0; i < n; i++)                                                             \
            out[i] = op_##name(x_step ? x[i] : x0, y_step ? y[i] : y0);                            \
    }
#include "worker/kernels/binary.def"
#undef BINARY

static void from_u8(size_t n, float scale, const uint8_t *x, float *y)
{
    for (size_t i = 0; i < n; i++)
        y[i] = scale * (float)x[i];
}

const struct vector_kernel vector_ref = {
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
