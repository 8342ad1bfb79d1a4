/* simd_math - exp, tanh and the functions of unary.def on vf
 *
 * The coefficients are minimax fits of our own (relative error, iteratively reweighted least
 * squares in double); the tests measure the resulting errors over the whole range. */
#ifndef CONVOY_WORKER_KERNELS_SIMD_MATH_H
#define CONVOY_WORKER_KERNELS_SIMD_MATH_H

#include "worker/kernels/simd.h"

/* Relative error below 2e-7; 0 below ln(FLT_MIN), infinity above ln(FLT_MAX). */
INLINE vf vf_exp(vf x)
{
    const float low = -87.33654f, high = 88.72283f;
    const float round_to_int = 12582912.0f; /* 1.5 * 2^23: adding it leaves k in the low bits */
    vf in = vf_min(vf_set(high), vf_max(vf_set(low), x));
    vf shifted = vf_fma(in, vf_set(1.44269504f), vf_set(round_to_int));
    vf k = vf_sub(shifted, vf_set(round_to_int));
    /* r = x - k ln 2, with ln 2 in two parts so that the product is exact */
    vf r = vf_fma(k, vf_set(-0.693359375f), in);
    r = vf_fma(k, vf_set(2.12194440e-4f), r);
    vf p = vf_set(0.00138145999f);
    p = vf_fma(p, r, vf_set(0.00836871751f));
    p = vf_fma(p, r, vf_set(0.0416683890f));
    p = vf_fma(p, r, vf_set(0.166665211f));
    p = vf_fma(p, r, vf_set(0.499999940f));
    p = vf_fma(vf_mul(p, r), r, vf_add(r, vf_set(1.0f)));
    vf y = vf_scale_by_bits(p, shifted);
    y = vf_if_greater(x, vf_set(high), vf_set(INFINITY), y);
    y = vf_if_greater(vf_set(low), x, vf_set(0.0f), y);
    return vf_keep_nan(x, y);
}

/* Relative error below 4e-7: x P(x^2) / Q(x^2); beyond 8.7 tanh rounds to 1. */
INLINE vf vf_tanh(vf x)
{
    const float limit = 8.7f;
    vf in = vf_min(vf_set(limit), vf_max(vf_set(-limit), x));
    vf u = vf_mul(in, in);
    vf p = vf_set(1.3898292294811654e-08f);
    p = vf_fma(p, u, vf_set(2.099435187119525e-05f));
    p = vf_fma(p, u, vf_set(0.0035187776666134596f));
    p = vf_fma(p, u, vf_set(0.13400496542453766f));
    p = vf_fma(p, u, vf_set(1.0f));
    vf q = vf_set(7.996810040822311e-07f);
    q = vf_fma(q, u, vf_set(0.00033237013849429786f));
    q = vf_fma(q, u, vf_set(0.025965023785829544f));
    q = vf_fma(q, u, vf_set(0.4673381745815277f));
    q = vf_fma(q, u, vf_set(1.0f));
    vf y = vf_div(vf_mul(in, p), q);
    return vf_min(vf_set(1.0f), vf_max(vf_set(-1.0f), y));
}

/* Relative error below 5e-7: x P(x^2) / Q(x^2); beyond 4 erf rounds to 1. */
INLINE vf vf_erf(vf x)
{
    const float limit = 4.0f;
    vf in = vf_min(vf_set(limit), vf_max(vf_set(-limit), x));
    vf u = vf_mul(in, in);
    vf p = vf_set(1.98675434148754e-06f);
    p = vf_fma(p, u, vf_set(0.0002845671260729432f));
    p = vf_fma(p, u, vf_set(0.0038834346923977137f));
    p = vf_fma(p, u, vf_set(0.05310202017426491f));
    p = vf_fma(p, u, vf_set(0.19354727864265442f));
    p = vf_fma(p, u, vf_set(1.1283791065216064f));
    vf q = vf_set(3.741994805750437e-05f);
    q = vf_fma(q, u, vf_set(0.0011855916818603873f));
    q = vf_fma(q, u, vf_set(0.015207432210445404f));
    q = vf_fma(q, u, vf_set(0.11535090208053589f));
    q = vf_fma(q, u, vf_set(0.5048593878746033f));
    q = vf_fma(q, u, vf_set(1.0f));
    vf y = vf_div(vf_mul(in, p), q);
    return vf_min(vf_set(1.0f), vf_max(vf_set(-1.0f), y));
}

/* Apply a scalar function to each value, for functions that are not worth a polynomial. */
INLINE vf vf_map(float (*function)(float), vf x)
{
    float all[VF];
    vf_store(all, x);
    for (int i = 0; i < VF; i++)
        all[i] = function(all[i]);
    return vf_load(all);
}

/* --- unary.def: name(x, a, b) -------------------------------------------------------------- */
#define UNARY_VF(name) INLINE vf vf_##name##_of(vf x, vf a, vf b)
#define NO_PARAMETERS  ((void)a, (void)b)

UNARY_VF(identity)
{
    NO_PARAMETERS;
    return x;
}
UNARY_VF(relu)
{
    NO_PARAMETERS;
    return vf_max(vf_set(0.0f), x);
}
UNARY_VF(clip)
{
    return vf_min(b, vf_max(a, x));
}
UNARY_VF(neg)
{
    NO_PARAMETERS;
    return vf_sub(vf_set(-0.0f), x);
}
UNARY_VF(exp)
{
    NO_PARAMETERS;
    return vf_exp(x);
}
UNARY_VF(sigmoid)
{
    vf one = vf_set(1.0f);
    return vf_div(one, vf_add(one, vf_exp(vf_neg_of(x, a, b))));
}
UNARY_VF(tanh)
{
    NO_PARAMETERS;
    return vf_tanh(x);
}
UNARY_VF(log)
{
    NO_PARAMETERS;
    return vf_map(logf, x);
}
UNARY_VF(sqrt)
{
    NO_PARAMETERS;
    return vf_sqrt(x);
}
UNARY_VF(abs)
{
    NO_PARAMETERS;
    return vf_abs(x);
}
UNARY_VF(reciprocal)
{
    NO_PARAMETERS;
    return vf_div(vf_set(1.0f), x);
}
UNARY_VF(affine)
{
    return vf_fma(a, x, b);
}
UNARY_VF(leaky_relu)
{
    (void)b;
    return vf_if_greater(vf_set(0.0f), x, vf_mul(a, x), x);
}
UNARY_VF(thresholded_relu)
{
    (void)b;
    return vf_keep_nan(x, vf_if_greater(x, a, x, vf_set(0.0f)));
}
UNARY_VF(scaled_tanh)
{
    return vf_mul(a, vf_tanh(vf_mul(b, x)));
}
UNARY_VF(hard_sigmoid)
{
    return vf_min(vf_set(1.0f), vf_max(vf_set(0.0f), vf_fma(a, x, b)));
}
UNARY_VF(elu)
{
    (void)b;
    return vf_if_greater(vf_set(0.0f), x, vf_mul(a, vf_map(expm1f, x)), x);
}
UNARY_VF(softsign)
{
    NO_PARAMETERS;
    return vf_div(x, vf_add(vf_set(1.0f), vf_abs(x)));
}
/* max(x, 0) + ln(1 + exp(-|x|)) does not overflow */
UNARY_VF(softplus)
{
    vf small = vf_map(log1pf, vf_exp(vf_neg_of(vf_abs(x), a, b)));
    return vf_add(vf_max(vf_set(0.0f), x), small);
}

UNARY_VF(erf)
{
    NO_PARAMETERS;
    return vf_erf(x);
}
UNARY_VF(gelu)
{
    NO_PARAMETERS;
    vf half = vf_mul(vf_set(0.5f), x);
    return vf_fma(half, vf_erf(vf_mul(vf_set(0.707106781f), x)), half);
}
UNARY_VF(gelu_tanh)
{
    NO_PARAMETERS;
    vf half = vf_mul(vf_set(0.5f), x), cube = vf_mul(vf_mul(x, x), x);
    vf in = vf_mul(vf_set(0.797884561f), vf_fma(vf_set(0.044715f), cube, x));
    return vf_fma(half, vf_tanh(in), half);
}
UNARY_VF(swish)
{
    vf one = vf_set(1.0f);
    return vf_div(x, vf_add(one, vf_exp(vf_neg_of(vf_mul(a, x), a, b))));
}
UNARY_VF(hard_swish)
{
    return vf_mul(x, vf_hard_sigmoid_of(x, a, b));
}
/* with e = exp(x), tanh(ln(1 + e)) is n / (n + 2) for n = e (e + 2); beyond 20 it rounds to 1 */
UNARY_VF(mish)
{
    NO_PARAMETERS;
    vf e = vf_exp(vf_min(vf_set(20.0f), x));
    vf n = vf_mul(e, vf_add(e, vf_set(2.0f)));
    return vf_mul(x, vf_div(n, vf_add(n, vf_set(2.0f))));
}

#endif
