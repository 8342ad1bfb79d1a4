/* pool, the reference: plain loops; never tuned */
#include <math.h>

#include "worker/kernels/pool_kernel.h"

static void line(const struct pool_span *s, enum pool_kind kind, size_t lanes, size_t y)
{
    for (size_t i = 0; i < s->pixels * lanes; i++) {
        const float *in = s->in + y * s->line_step + i / lanes * s->pixel_step + i % lanes;
        float best = -INFINITY, sum = 0;
        for (size_t r = 0; r < s->rows; r++)
            for (size_t c = 0; c < s->cols; c++) {
                float value = in[r * s->row_step + c * s->col_step];
                best = value > best ? value : best;
                sum += value;
            }
        s->out[y * s->out_step + i] = kind == POOL_MAX ? best : sum / s->divisor;
    }
}

static void span(const struct pool_span *s, enum pool_kind kind, size_t lanes)
{
    for (size_t y = 0; y < s->lines; y++)
        line(s, kind, lanes, y);
}

static void global(size_t pixels, size_t lanes, size_t step, enum pool_kind kind, const float *in,
                   float *out)
{
    for (size_t k = 0; k < lanes; k++) {
        struct pool_span s = {.rows = 1,
                              .cols = pixels,
                              .col_step = step,
                              .pixels = 1,
                              .lines = 1,
                              .divisor = (float)pixels,
                              .in = in + k,
                              .out = out + k};
        span(&s, kind, 1);
    }
}

static void max_plain(const struct pool_span *s)
{
    span(s, POOL_MAX, 1);
}
static void max_blocked(const struct pool_span *s)
{
    span(s, POOL_MAX, LANES);
}
static void average_plain(const struct pool_span *s)
{
    span(s, POOL_AVERAGE, 1);
}
static void average_blocked(const struct pool_span *s)
{
    span(s, POOL_AVERAGE, LANES);
}
static void max_map_plain(size_t pixels, size_t lanes, const float *in, float *out)
{
    global(pixels, lanes, 1, POOL_MAX, in, out);
}
static void max_map_blocked(size_t pixels, size_t lanes, const float *in, float *out)
{
    global(pixels, lanes, LANES, POOL_MAX, in, out);
}
static void average_map_plain(size_t pixels, size_t lanes, const float *in, float *out)
{
    global(pixels, lanes, 1, POOL_AVERAGE, in, out);
}
static void average_map_blocked(size_t pixels, size_t lanes, const float *in, float *out)
{
    global(pixels, lanes, LANES, POOL_AVERAGE, in, out);
}

const struct pool_kernel pool_ref = {
    .span = {{max_plain, max_blocked}, {average_plain, average_blocked}},
    .global = {{max_map_plain, max_map_blocked}, {average_map_plain, average_map_blocked}},
};
