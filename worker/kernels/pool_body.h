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
        vl best = vl_set(-INFINITY);
        for (size_t r = 0; r < rows; r++)
            for (size_t c = 0; c < cols; c++)
                best = vl_max(best, vl_load(in + r * s->row_step + c * s->col_step));
        vl_store(out + i * LANES, best);
    }
}

/* Windows of 2 x 2. */
INLINE void max_of_four(const struct pool_span *s, size_t y)
{
    const float *in = s->in + y * s->line_step, *below = in + s->row_step;
    const size_t pixel = s->pixel_step, next = s->col_step;
    float *out = s->out + y * s->out_step;
    for (size_t i = s->pixels; i > 0; i--, in += pixel, below += pixel, out += LANES) {
        vl above = vl_max(vl_max(vl_set(-INFINITY), vl_load(in)), vl_load(in + next));
        vl_store(out, vl_max(vl_max(above, vl_load(below)), vl_load(below + next)));
    }
}

static void max_blocked(const struct pool_span *s)
{
    bool two = s->rows == 2 && s->cols == 2; /* by far the most common window */
    for (size_t y = 0; two && y < s->lines; y++)
        max_of_four(s, y);
    for (size_t y = 0; !two && y < s->lines; y++)
        max_blocked_of(s, y, s->rows, s->cols);
}

static void average_blocked(const struct pool_span *s)
{
    const vl divisor = vl_set(s->divisor);
    for (size_t i = 0; i < s->pixels * s->lines; i++) {
        size_t y = i / s->pixels, x = i % s->pixels;
        const float *in = s->in + y * s->line_step + x * s->pixel_step;
        vl sum = vl_set(0.0f);
        for (size_t r = 0; r < s->rows; r++)
            for (size_t c = 0; c < s->cols; c++)
                sum = vl_add(sum, vl_load(in + r * s->row_step + c * s->col_step));
        vl_store(s->out + y * s->out_step + x * LANES, vl_div(sum, divisor));
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
    vl sum[CHAINS];
    for (size_t j = 0; j < CHAINS; j++)
        sum[j] = vl_set(0.0f);
    size_t i = 0;
    for (; i + CHAINS <= pixels; i += CHAINS)
        for (size_t j = 0; j < CHAINS; j++)
            sum[j] = vl_add(sum[j], vl_load(in + (i + j) * LANES));
    for (; i < pixels; i++)
        sum[0] = vl_add(sum[0], vl_load(in + i * LANES));
    vl all = vl_add(vl_add(sum[0], sum[1]), vl_add(sum[2], sum[3]));
    vl_store_n(out, vl_div(all, vl_set((float)pixels)), lanes);
}

static void max_map_blocked(size_t pixels, size_t lanes, const float *in, float *out)
{
    vl best = vl_set(-INFINITY);
    for (size_t i = 0; i < pixels; i++)
        best = vl_max(best, vl_load(in + i * LANES));
    vl_store_n(out, best, lanes);
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
