/* pool_body - the pool family, compiled once per instruction set as POOL_KERNEL */
#include "worker/kernels/pool_kernel.h"
#include "worker/kernels/simd.h"

/* --- blocked: eight channels a value ---------------------------------------------------------- */
INLINE void max_blocked_of(const struct pool_span *s, size_t y, const size_t rows,
                           const size_t cols)
{
    const float *in = s->in + y * s->line_step;
    float *out = s->out + y * s->out_step;
    for (size_t i = 0; i < s->pixels; i++, in += s->pixel_step) {
        vf best = vf_set(-INFINITY);
        for (size_t r = 0; r < rows; r++)
            for (size_t c = 0; c < cols; c++)
                best = vf_max(best, vf_load(in + r * s->row_step + c * s->col_step));
        vf_store(out + i * VF, best);
    }
}

static void max_blocked(const struct pool_span *s)
{
    bool two = s->rows == 2 && s->cols == 2; /* by far the most common window */
    for (size_t y = 0; two && y < s->lines; y++)
        max_blocked_of(s, y, 2, 2);
    for (size_t y = 0; !two && y < s->lines; y++)
        max_blocked_of(s, y, s->rows, s->cols);
}

static void average_blocked(const struct pool_span *s)
{
    const vf divisor = vf_set(s->divisor);
    for (size_t i = 0; i < s->pixels * s->lines; i++) {
        size_t y = i / s->pixels, x = i % s->pixels;
        const float *in = s->in + y * s->line_step + x * s->pixel_step;
        vf sum = vf_set(0.0f);
        for (size_t r = 0; r < s->rows; r++)
            for (size_t c = 0; c < s->cols; c++)
                sum = vf_add(sum, vf_load(in + r * s->row_step + c * s->col_step));
        vf_store(s->out + y * s->out_step + x * VF, vf_div(sum, divisor));
    }
}

/* --- plain: one channel a value --------------------------------------------------------------- */
static void max_plain(const struct pool_span *s)
{
    for (size_t i = 0; i < s->pixels * s->lines; i++) {
        size_t y = i / s->pixels, x = i % s->pixels;
        const float *in = s->in + y * s->line_step + x * s->pixel_step;
        float best = -INFINITY;
        for (size_t r = 0; r < s->rows; r++)
            for (size_t c = 0; c < s->cols; c++) {
                float value = in[r * s->row_step + c * s->col_step];
                best = best > value ? best : value;
            }
        s->out[y * s->out_step + x] = best;
    }
}

static void average_plain(const struct pool_span *s)
{
    for (size_t i = 0; i < s->pixels * s->lines; i++) {
        size_t y = i / s->pixels, x = i % s->pixels;
        const float *in = s->in + y * s->line_step + x * s->pixel_step;
        float sum = 0;
        for (size_t r = 0; r < s->rows; r++)
            for (size_t c = 0; c < s->cols; c++)
                sum += in[r * s->row_step + c * s->col_step];
        s->out[y * s->out_step + x] = sum / s->divisor;
    }
}

/* --- whole maps ------------------------------------------------------------------------------- */
#define CHAINS 4 /* sums side by side, to hide the latency of an addition */

static void average_map_blocked(size_t pixels, size_t lanes, const float *in, float *out)
{
    vf sum[CHAINS];
    for (size_t j = 0; j < CHAINS; j++)
        sum[j] = vf_set(0.0f);
    size_t i = 0;
    for (; i + CHAINS <= pixels; i += CHAINS)
        for (size_t j = 0; j < CHAINS; j++)
            sum[j] = vf_add(sum[j], vf_load(in + (i + j) * VF));
    for (; i < pixels; i++)
        sum[0] = vf_add(sum[0], vf_load(in + i * VF));
    vf all = vf_add(vf_add(sum[0], sum[1]), vf_add(sum[2], sum[3]));
    vf_store_n(out, vf_div(all, vf_set((float)pixels)), lanes);
}

static void max_map_blocked(size_t pixels, size_t lanes, const float *in, float *out)
{
    vf best = vf_set(-INFINITY);
    for (size_t i = 0; i < pixels; i++)
        best = vf_max(best, vf_load(in + i * VF));
    vf_store_n(out, best, lanes);
}

static void average_map_plain(size_t pixels, size_t lanes, const float *in, float *out)
{
    vf sum = vf_set(0.0f);
    size_t i = 0;
    for (; i + VF <= pixels; i += VF)
        sum = vf_add(sum, vf_load(in + i));
    if (i < pixels)
        sum = vf_add(sum, vf_load_n(in + i, pixels - i));
    assert(lanes == 1);
    *out = vf_sum(sum) / (float)pixels;
}

static void max_map_plain(size_t pixels, size_t lanes, const float *in, float *out)
{
    vf best = vf_set(-INFINITY);
    size_t i = 0;
    for (; i + VF <= pixels; i += VF)
        best = vf_max(best, vf_load(in + i));
    assert(lanes == 1);
    *out = vf_largest(best);
    for (; i < pixels; i++)
        *out = *out > in[i] ? *out : in[i];
}

const struct pool_kernel POOL_KERNEL = {
    .span = {{max_plain, max_blocked}, {average_plain, average_blocked}},
    .global = {{max_map_plain, max_map_blocked}, {average_map_plain, average_map_blocked}},
};
