/* simd_math - exp, tanh and the functions of unary.def on v8
 *
 * The coefficients are minimax fits of our own (relative error, iteratively reweighted least
 * squares in double); the tests measure the resulting errors over the whole range. */
#ifndef CONVOY_WORKER_KERNELS_SIMD_MATH_H
#define CONVOY_WORKER_KERNELS_SIMD_MATH_H

#include "worker/kernels/simd.h"

/* Relative error below 2e-7; 0 below ln(FLT_MIN), infinity above ln(FLT_MAX). */
INLINE v8 v8_exp(v8 x)
{
    const float low = -87.33654f, high = 88.72283f;
    const float round_to_int = 12582912.0f; /* 1.5 * 2^23: adding it leaves k in the low bits */
    v8 in = v8_min(v8_set(high), v8_max(v8_set(low), x));
    v8 shifted = v8_fma(in, v8_set(1.44269504f), v8_set(round_to_int));
    v8 k = v8_sub(shifted, v8_set(round_to_int));
    /* r = x - k ln 2, with ln 2 in two parts so that the product is exact */
    v8 r = v8_fma(k, v8_set(-0.693359375f), in);
    r = v8_fma(k, v8_set(2.12194440e-4f), r);
    v8 p = v8_set(0.00138145999f);
    p = v8_fma(p, r, v8_set(0.00836871751f));
    p = v8_fma(p, r, v8_set(0.0416683890f));
    p = v8_fma(p, r, v8_set(0.166665211f));
    p = v8_fma(p, r, v8_set(0.499999940f));
    p = v8_fma(v8_mul(p, r), r, v8_add(r, v8_set(1.0f)));
    v8 y = v8_scale_by_bits(p, shifted);
    y = v8_if_greater(x, v8_set(high), v8_set(INFINITY), y);
    y = v8_if_greater(v8_set(low), x, v8_set(0.0f), y);
    return v8_keep_nan(x, y);
}

/* Relative error below 4e-7: x P(x^2) / Q(x^2); beyond 8.7 tanh rounds to 1. */
INLINE v8 v8_tanh(v8 x)
{
    const float limit = 8.7f;
    v8 in = v8_min(v8_set(limit), v8_max(v8_set(-limit), x));
    v8 u = v8_mul(in, in);
    v8 p = v8_set(1.3898292294811654e-08f);
    p = v8_fma(p, u, v8_set(2.099435187119525e-05f));
    p = v8_fma(p, u, v8_set(0.0035187776666134596f));
    p = v8_fma(p, u, v8_set(0.13400496542453766f));
    p = v8_fma(p, u, v8_set(1.0f));
    v8 q = v8_set(7.996810040822311e-07f);
    q = v8_fma(q, u, v8_set(0.00033237013849429786f));
    q = v8_fma(q, u, v8_set(0.025965023785829544f));
    q = v8_fma(q, u, v8_set(0.4673381745815277f));
    q = v8_fma(q, u, v8_set(1.0f));
    v8 y = v8_div(v8_mul(in, p), q);
    return v8_min(v8_set(1.0f), v8_max(v8_set(-1.0f), y));
}

/* Relative error below 5e-7: x P(x^2) / Q(x^2); beyond 4 erf rounds to 1. */
INLINE v8 v8_erf(v8 x)
{
    const float limit = 4.0f;
    v8 in = v8_min(v8_set(limit), v8_max(v8_set(-limit), x));
    v8 u = v8_mul(in, in);
    v8 p = v8_set(1.98675434148754e-06f);
    p = v8_fma(p, u, v8_set(0.0002845671260729432f));
    p = v8_fma(p, u, v8_set(0.0038834346923977137f));
    p = v8_fma(p, u, v8_set(0.05310202017426491f));
    p = v8_fma(p, u, v8_set(0.19354727864265442f));
    p = v8_fma(p, u, v8_set(1.1283791065216064f));
    v8 q = v8_set(3.741994805750437e-05f);
    q = v8_fma(q, u, v8_set(0.0011855916818603873f));
    q = v8_fma(q, u, v8_set(0.015207432210445404f));
    q = v8_fma(q, u, v8_set(0.11535090208053589f));
    q = v8_fma(q, u, v8_set(0.5048593878746033f));
    q = v8_fma(q, u, v8_set(1.0f));
    v8 y = v8_div(v8_mul(in, p), q);
    return v8_min(v8_set(1.0f), v8_max(v8_set(-1.0f), y));
}

/* Apply a scalar function to each value, for functions that are not worth a polynomial. */
INLINE v8 v8_map(float (*function)(float), v8 x)
{
    float all[V8];
    v8_store(all, x);
    for (int i = 0; i < V8; i++)
        all[i] = function(all[i]);
    return v8_load(all);
}

/* --- unary.def: name(x, a, b) -------------------------------------------------------------- */
#define UNARY_V8(name) INLINE v8 v8_##name##_of(v8 x, v8 a, v8 b)
#define NO_PARAMETERS  ((void)a, (void)b)

UNARY_V8(identity)
{
    NO_PARAMETERS;
    return x;
}
UNARY_V8(relu)
{
    NO_PARAMETERS;
    return v8_max(v8_set(0.0f), x);
}
UNARY_V8(clip)
{
    return v8_min(b, v8_max(a, x));
}
UNARY_V8(neg)
{
    NO_PARAMETERS;
    return v8_sub(v8_set(-0.0f), x);
}
UNARY_V8(exp)
{
    NO_PARAMETERS;
    return v8_exp(x);
}
UNARY_V8(sigmoid)
{
    v8 one = v8_set(1.0f);
    return v8_div(one, v8_add(one, v8_exp(v8_neg_of(x, a, b))));
}
UNARY_V8(tanh)
{
    NO_PARAMETERS;
    return v8_tanh(x);
}
UNARY_V8(log)
{
    NO_PARAMETERS;
    return v8_map(logf, x);
}
UNARY_V8(sqrt)
{
    NO_PARAMETERS;
    return v8_sqrt(x);
}
UNARY_V8(abs)
{
    NO_PARAMETERS;
    return v8_abs(x);
}
UNARY_V8(reciprocal)
{
    NO_PARAMETERS;
    return v8_div(v8_set(1.0f), x);
}
UNARY_V8(affine)
{
    return v8_fma(a, x, b);
}
UNARY_V8(leaky_relu)
{
    (void)b;
    return v8_if_greater(v8_set(0.0f), x, v8_mul(a, x), x);
}
UNARY_V8(thresholded_relu)
{
    (void)b;
    return v8_keep_nan(x, v8_if_greater(x, a, x, v8_set(0.0f)));
}
UNARY_V8(scaled_tanh)
{
    return v8_mul(a, v8_tanh(v8_mul(b, x)));
}
UNARY_V8(hard_sigmoid)
{
    return v8_min(v8_set(1.0f), v8_max(v8_set(0.0f), v8_fma(a, x, b)));
}
UNARY_V8(elu)
{
    (void)b;
    return v8_if_greater(v8_set(0.0f), x, v8_mul(a, v8_map(expm1f, x)), x);
}
UNARY_V8(softsign)
{
    NO_PARAMETERS;
    return v8_div(x, v8_add(v8_set(1.0f), v8_abs(x)));
}
/* max(x, 0) + ln(1 + exp(-|x|)) does not overflow */
UNARY_V8(softplus)
{
    v8 small = v8_map(log1pf, v8_exp(v8_neg_of(v8_abs(x), a, b)));
    return v8_add(v8_max(v8_set(0.0f), x), small);
}

UNARY_V8(erf)
{
    NO_PARAMETERS;
    return v8_erf(x);
}
UNARY_V8(gelu)
{
    NO_PARAMETERS;
    v8 half = v8_mul(v8_set(0.5f), x);
    return v8_fma(half, v8_erf(v8_mul(v8_set(0.707106781f), x)), half);
}
UNARY_V8(gelu_tanh)
{
    NO_PARAMETERS;
    v8 half = v8_mul(v8_set(0.5f), x), cube = v8_mul(v8_mul(x, x), x);
    v8 in = v8_mul(v8_set(0.797884561f), v8_fma(v8_set(0.044715f), cube, x));
    return v8_fma(half, v8_tanh(in), half);
}
UNARY_V8(swish)
{
    v8 one = v8_set(1.0f);
    return v8_div(x, v8_add(one, v8_exp(v8_neg_of(v8_mul(a, x), a, b))));
}
UNARY_V8(hard_swish)
{
    return v8_mul(x, v8_hard_sigmoid_of(x, a, b));
}
/* with e = exp(x), tanh(ln(1 + e)) is n / (n + 2) for n = e (e + 2); beyond 20 it rounds to 1 */
UNARY_V8(mish)
{
    NO_PARAMETERS;
    v8 e = v8_exp(v8_min(v8_set(20.0f), x));
    v8 n = v8_mul(e, v8_add(e, v8_set(2.0f)));
    return v8_mul(x, v8_div(n, v8_add(n, v8_set(2.0f))));
}

#endif
