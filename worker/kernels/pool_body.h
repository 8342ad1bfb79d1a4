/* pool_body - the pool family, compiled once per instruction set as POOL_KERNEL */
#include "worker/kernels/pool_kernel.h"
#include "worker/kernels/simd.h"

/* --- blocked: eight channels a value ---------------------------------------------------------- */
INLINE void max_blocked_of(const struct pool_span *s, const size_t rows, const size_t cols)
{
    const float *in = s->in;
    for (size_t i = 0; i < s->pixels; i++, in += s->pixel_step) {
        v8 best = v8_set(-INFINITY);
        for (size_t r = 0; r < rows; r++)
            for (size_t c = 0; c < cols; c++)
                best = v8_max(best, v8_load(in + r * s->row_step + c * s->col_step));
        v8_store(s->out + i * V8, best);
    }
}

static void max_blocked(const struct pool_span *s)
{
    if (s->rows == 2 && s->cols == 2)
        max_blocked_of(s, 2, 2); /* by far the most common window */
    else
        max_blocked_of(s, s->rows, s->cols);
}

static void average_blocked(const struct pool_span *s)
{
    const v8 divisor = v8_set(s->divisor);
    const float *in = s->in;
    for (size_t i = 0; i < s->pixels; i++, in += s->pixel_step) {
        v8 sum = v8_set(0.0f);
        for (size_t r = 0; r < s->rows; r++)
            for (size_t c = 0; c < s->cols; c++)
                sum = v8_add(sum, v8_load(in + r * s->row_step + c * s->col_step));
        v8_store(s->out + i * V8, v8_div(sum, divisor));
    }
}

/* --- plain: one channel a value --------------------------------------------------------------- */
static void max_plain(const struct pool_span *s)
{
    for (size_t i = 0; i < s->pixels; i++) {
        const float *in = s->in + i * s->pixel_step;
        float best = -INFINITY;
        for (size_t r = 0; r < s->rows; r++)
            for (size_t c = 0; c < s->cols; c++) {
                float value = in[r * s->row_step + c * s->col_step];
                best = best > value ? best : value;
            }
        s->out[i] = best;
    }
}

static void average_plain(const struct pool_span *s)
{
    for (size_t i = 0; i < s->pixels; i++) {
        const float *in = s->in + i * s->pixel_step;
        float sum = 0;
        for (size_t r = 0; r < s->rows; r++)
            for (size_t c = 0; c < s->cols; c++)
                sum += in[r * s->row_step + c * s->col_step];
        s->out[i] = sum / s->divisor;
    }
}

/* --- whole maps ------------------------------------------------------------------------------- */
#define CHAINS 4 /* sums side by side, to hide the latency of an addition */

static void average_map_blocked(size_t pixels, size_t lanes, const float *in, float *out)
{
    v8 sum[CHAINS];
    for (size_t j = 0; j < CHAINS; j++)
        sum[j] = v8_set(0.0f);
    size_t i = 0;
    for (; i + CHAINS <= pixels; i += CHAINS)
        for (size_t j = 0; j < CHAINS; j++)
            sum[j] = v8_add(sum[j], v8_load(in + (i + j) * V8));
    for (; i < pixels; i++)
        sum[0] = v8_add(sum[0], v8_load(in + i * V8));
    v8 all = v8_add(v8_add(sum[0], sum[1]), v8_add(sum[2], sum[3]));
    v8_store_n(out, v8_div(all, v8_set((float)pixels)), lanes);
}

static void max_map_blocked(size_t pixels, size_t lanes, const float *in, float *out)
{
    v8 best = v8_set(-INFINITY);
    for (size_t i = 0; i < pixels; i++)
        best = v8_max(best, v8_load(in + i * V8));
    v8_store_n(out, best, lanes);
}

static void average_map_plain(size_t pixels, size_t lanes, const float *in, float *out)
{
    v8 sum = v8_set(0.0f);
    size_t i = 0;
    for (; i + V8 <= pixels; i += V8)
        sum = v8_add(sum, v8_load(in + i));
    if (i < pixels)
        sum = v8_add(sum, v8_load_n(in + i, pixels - i));
    assert(lanes == 1);
    *out = v8_sum(sum) / (float)pixels;
}

static void max_map_plain(size_t pixels, size_t lanes, const float *in, float *out)
{
    v8 best = v8_set(-INFINITY);
    size_t i = 0;
    for (; i + V8 <= pixels; i += V8)
        best = v8_max(best, v8_load(in + i));
    assert(lanes == 1);
    *out = v8_largest(best);
    for (; i < pixels; i++)
        *out = *out > in[i] ? *out : in[i];
}

const struct pool_kernel POOL_KERNEL = {
    .span = {{max_plain, max_blocked}, {average_plain, average_blocked}},
    .global = {{max_map_plain, max_map_blocked}, {average_map_plain, average_map_blocked}},
};
