/* rows_body - the rows family, compiled once per instruction set as ROWS_KERNEL */
#include "worker/kernels/rows_kernel.h"
#include "worker/kernels/simd_math.h"

#define CHAINS 4 /* sums side by side, to hide the latency of an addition */

INLINE vf join(const vf sum[CHAINS])
{
    return vf_add(vf_add(sum[0], sum[1]), vf_add(sum[2], sum[3]));
}

static float sum_of(size_t n, const float *x)
{
    vf sum[CHAINS];
    size_t i = 0;
    for (size_t j = 0; j < CHAINS; j++)
        sum[j] = vf_set(0.0f);
    for (; i + CHAINS * VF <= n; i += CHAINS * VF)
        for (size_t j = 0; j < CHAINS; j++)
            sum[j] = vf_add(sum[j], vf_load(x + i + j * VF));
    for (; i + VF <= n; i += VF)
        sum[0] = vf_add(sum[0], vf_load(x + i));
    if (i < n)
        sum[1] = vf_add(sum[1], vf_load_n(x + i, n - i));
    return vf_sum(join(sum));
}

static float max_of(size_t n, const float *x)
{
    vf best = vf_set(-INFINITY);
    size_t i = 0;
    for (; i + VF <= n; i += VF)
        best = vf_max(best, vf_load(x + i));
    float all = vf_largest(best);
    for (; i < n; i++)
        all = x[i] > all ? x[i] : all;
    return all;
}

static float min_of(size_t n, const float *x)
{
    vf best = vf_set(-INFINITY);
    size_t i = 0;
    for (; i + VF <= n; i += VF)
        best = vf_max(best, vf_sub(vf_set(0.0f), vf_load(x + i)));
    float all = -vf_largest(best);
    for (; i < n; i++)
        all = x[i] < all ? x[i] : all;
    return all;
}

static float squares_of(size_t n, float mean, const float *x)
{
    const vf centre = vf_set(mean);
    vf sum[CHAINS];
    size_t i = 0;
    for (size_t j = 0; j < CHAINS; j++)
        sum[j] = vf_set(0.0f);
    for (; i + CHAINS * VF <= n; i += CHAINS * VF)
        for (size_t j = 0; j < CHAINS; j++) {
            vf d = vf_sub(vf_load(x + i + j * VF), centre);
            sum[j] = vf_fma(d, d, sum[j]);
        }
    float rest = 0;
    for (; i < n; i++)
        rest += (x[i] - mean) * (x[i] - mean);
    return vf_sum(join(sum)) + rest;
}

static float exp_sum(size_t n, float shift, const float *x, float *y)
{
    const vf least = vf_set(shift);
    vf sum = vf_set(0.0f);
    size_t i = 0;
    for (; i + VF <= n; i += VF) {
        vf value = vf_exp(vf_sub(vf_load(x + i), least));
        vf_store(y + i, value);
        sum = vf_add(sum, value);
    }
    if (i == n)
        return vf_sum(sum);
    float rest[VF] = {0};
    vf_store_n(rest, vf_exp(vf_sub(vf_load_n(x + i, n - i), least)), n - i);
    memcpy(y + i, rest, (n - i) * sizeof(float));
    return vf_sum(vf_add(sum, vf_load(rest)));
}

static void normalise(size_t n, float mean, float factor, const float *gain, const float *bias,
                      const float *x, float *y)
{
    const vf centre = vf_set(mean), scale = vf_set(factor);
    for (size_t i = 0; i < n; i += VF) {
        size_t m = MIN(VF, n - i);
        vf d = vf_mul(vf_sub(vf_load_n(x + i, m), centre), scale);
        vf shift = bias ? vf_load_n(bias + i, m) : vf_set(0.0f);
        vf_store_n(y + i, vf_fma(d, vf_load_n(gain + i, m), shift), m);
    }
}

static void scale_shift(size_t n, const float *scale, const float *shift, const float *x, float *y)
{
    const vf factor = vf_load_lanes(scale), summand = vf_load_lanes(shift);
    size_t i = 0, all = n * LANES;
    for (; i + VF <= all; i += VF)
        vf_store(y + i, vf_fma(vf_load(x + i), factor, summand));
    if (i < all)
        vf_store_n(y + i, vf_fma(vf_load_n(x + i, all - i), factor, summand), all - i);
}

const struct rows_kernel ROWS_KERNEL = {
    .sum = sum_of,
    .max = max_of,
    .min = min_of,
    .squares = squares_of,
    .exp_sum = exp_sum,
    .normalise = normalise,
    .scale_shift = scale_shift,
};
