/* conv, the reference: plain loops over taps and channels; never tuned */
#include "worker/kernels/conv_kernel.h"

static float clamped(float low, float high, float sum)
{
    sum = sum < low ? low : sum;
    return sum > high ? high : sum;
}

/* One output channel (lane of panel) at one pixel, with `inner` channels per plane. */
static float dense(const struct conv_tile *t, size_t panel, size_t lane, size_t pixel, size_t inner)
{
    const float *w = t->weights + panel * t->weight_step + lane;
    const float *out = t->out + panel * t->out_step + pixel * LANES + lane;
    float sum = t->accumulate ? *out : t->bias[panel * LANES + lane];
    for (size_t i = 0; i < t->planes; i++, w += t->weight_skip)
        for (size_t r = 0; r < t->rows; r++)
            for (size_t c = 0; c < t->cols; c++)
                for (size_t k = 0; k < inner; k++, w += LANES)
                    sum += *w * t->in[i * t->plane_step + r * t->row_step + c * t->col_step +
                                      pixel * t->pixel_step + k];
    if (t->add)
        sum += t->add[panel * t->out_step + pixel * LANES + lane];
    return clamped(t->low, t->high, sum);
}

static void tile(const struct conv_tile *t, size_t inner, size_t panels, size_t pixels)
{
    for (size_t g = 0; g < panels; g++)
        for (size_t p = 0; p < pixels; p++)
            for (size_t lane = 0; lane < LANES; lane++)
                t->out[g * t->out_step + p * LANES + lane] = dense(t, g, lane, p, inner);
}

static float depthwise_sum(const struct conv_depthwise *d, size_t y, size_t x, size_t lane)
{
    float sum = d->bias[lane];
    for (size_t r = 0; r < d->kernel[0]; r++)
        for (size_t c = 0; c < d->kernel[1]; c++) {
            size_t row = y * d->stride[0] + r * d->dilation[0]; /* in the padded map */
            size_t col = x * d->stride[1] + c * d->dilation[1];
            bool inside = row >= d->pad[0] && row - d->pad[0] < d->in_size[0] && col >= d->pad[1] &&
                          col - d->pad[1] < d->in_size[1];
            size_t at = (row - d->pad[0]) * d->in_size[1] + col - d->pad[1];
            if (inside)
                sum += d->weights[(r * d->kernel[1] + c) * LANES + lane] * d->in[at * LANES + lane];
        }
    return sum;
}

static void depthwise(const struct conv_depthwise *d)
{
    for (size_t y = d->y; y < d->y_end; y++)
        for (size_t x = 0; x < d->out_w; x++)
            for (size_t lane = 0; lane < LANES; lane++)
                d->out[(y * d->out_w + x) * LANES + lane] =
                    clamped(d->low, d->high, depthwise_sum(d, y, x, lane));
}

const struct conv_kernel conv_ref = {
    .name = "conv_ref",
    .width = LANES,
    .pixels = 6,
    .pixels_of_4 = 3,
    .tile = tile,
    .depthwise = depthwise,
};
