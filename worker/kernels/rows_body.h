/* rows_body - the rows family, compiled once per instruction set as ROWS_KERNEL */
#include "worker/kernels/rows_kernel.h"
#include "worker/kernels/simd_math.h"

#define CHAINS 4 /* sums side by side, to hide the latency of an addition */

INLINE v8 join(const v8 sum[CHAINS])
{
    return v8_add(v8_add(sum[0], sum[1]), v8_add(sum[2], sum[3]));
}

static float sum_of(size_t n, const float *x)
{
    v8 sum[CHAINS];
    size_t i = 0;
    for (size_t j = 0; j < CHAINS; j++)
        sum[j] = v8_set(0.0f);
    for (; i + CHAINS * V8 <= n; i += CHAINS * V8)
        for (size_t j = 0; j < CHAINS; j++)
            sum[j] = v8_add(sum[j], v8_load(x + i + j * V8));
    for (; i + V8 <= n; i += V8)
        sum[0] = v8_add(sum[0], v8_load(x + i));
    if (i < n)
        sum[1] = v8_add(sum[1], v8_load_n(x + i, n - i));
    return v8_sum(join(sum));
}

static float max_of(size_t n, const float *x)
{
    v8 best = v8_set(-INFINITY);
    size_t i = 0;
    for (; i + V8 <= n; i += V8)
        best = v8_max(best, v8_load(x + i));
    float all = v8_largest(best);
    for (; i < n; i++)
        all = x[i] > all ? x[i] : all;
    return all;
}

static float min_of(size_t n, const float *x)
{
    v8 best = v8_set(-INFINITY);
    size_t i = 0;
    for (; i + V8 <= n; i += V8)
        best = v8_max(best, v8_sub(v8_set(0.0f), v8_load(x + i)));
    float all = -v8_largest(best);
    for (; i < n; i++)
        all = x[i] < all ? x[i] : all;
    return all;
}

static float squares_of(size_t n, float mean, const float *x)
{
    const v8 centre = v8_set(mean);
    v8 sum[CHAINS];
    size_t i = 0;
    for (size_t j = 0; j < CHAINS; j++)
        sum[j] = v8_set(0.0f);
    for (; i + CHAINS * V8 <= n; i += CHAINS * V8)
        for (size_t j = 0; j < CHAINS; j++) {
            v8 d = v8_sub(v8_load(x + i + j * V8), centre);
            sum[j] = v8_fma(d, d, sum[j]);
        }
    float rest = 0;
    for (; i < n; i++)
        rest += (x[i] - mean) * (x[i] - mean);
    return v8_sum(join(sum)) + rest;
}

static float exp_sum(size_t n, float shift, const float *x, float *y)
{
    const v8 least = v8_set(shift);
    v8 sum = v8_set(0.0f);
    size_t i = 0;
    for (; i + V8 <= n; i += V8) {
        v8 value = v8_exp(v8_sub(v8_load(x + i), least));
        v8_store(y + i, value);
        sum = v8_add(sum, value);
    }
    if (i == n)
        return v8_sum(sum);
    float rest[V8] = {0};
    v8_store_n(rest, v8_exp(v8_sub(v8_load_n(x + i, n - i), least)), n - i);
    memcpy(y + i, rest, (n - i) * sizeof(float));
    return v8_sum(v8_add(sum, v8_load(rest)));
}

static void normalise(size_t n, float mean, float factor, const float *gain, const float *bias,
                      const float *x, float *y)
{
    const v8 centre = v8_set(mean), scale = v8_set(factor);
    for (size_t i = 0; i < n; i += V8) {
        size_t m = MIN(V8, n - i);
        v8 d = v8_mul(v8_sub(v8_load_n(x + i, m), centre), scale);
        v8 shift = bias ? v8_load_n(bias + i, m) : v8_set(0.0f);
        v8_store_n(y + i, v8_fma(d, v8_load_n(gain + i, m), shift), m);
    }
}

static void scale_shift(size_t n, const float *scale, const float *shift, const float *x, float *y)
{
    const v8 factor = v8_load(scale), summand = v8_load(shift);
    for (size_t i = 0; i < n; i++)
        v8_store(y + i * V8, v8_fma(v8_load(x + i * V8), factor, summand));
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
