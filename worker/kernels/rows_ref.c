/* rows, the reference: plain loops; never tuned */
#include <math.h>

#include "worker/kernels/rows_kernel.h"

static float sum_of(size_t n, const float *x)
{
    float sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += x[i];
    return sum;
}

static float max_of(size_t n, const float *x)
{
    float best = -INFINITY;
    for (size_t i = 0; i < n; i++)
        best = x[i] > best ? x[i] : best;
    return best;
}

static float min_of(size_t n, const float *x)
{
    float best = INFINITY;
    for (size_t i = 0; i < n; i++)
        best = x[i] < best ? x[i] : best;
    return best;
}

static float squares_of(size_t n, float mean, const float *x)
{
    float sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += (x[i] - mean) * (x[i] - mean);
    return sum;
}

static float exp_sum(size_t n, float shift, const float *x, float *y)
{
    float sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += y[i] = expf(x[i] - shift);
    return sum;
}

static void normalise(size_t n, float mean, float factor, const float *gain, const float *bias,
                      const float *x, float *y)
{
    for (size_t i = 0; i < n; i++)
        y[i] = (x[i] - mean) * factor * gain[i] + (bias ? bias[i] : 0);
}

static void scale_shift(size_t n, const float *scale, const float *shift, const float *x, float *y)
{
    for (size_t i = 0; i < n * LANES; i++)
        y[i] = scale[i % LANES] * x[i] + shift[i % LANES];
}

const struct rows_kernel rows_ref = {
    .sum = sum_of,
    .max = max_of,
    .min = min_of,
    .squares = squares_of,
    .exp_sum = exp_sum,
    .normalise = normalise,
    .scale_shift = scale_shift,
};
