/* conv_grad - see conv_grad.h
 *
 * The gradient by the weights is cut by outputs (a tile's width), input planes (8 interleaved
 * channels, or 1 of plain maps) and kernel rows, never along a sum. A row of taps without dilation
 * lies side by side in the input, so it is one tile or a few. */
#include "worker/kernels/conv_grad.h"

#include <string.h>

#include "worker/kernels/conv_plan.h"
#include "worker/kernels/grad_kernel.h"
#include "worker/kernels/par.h"

struct job {
    const struct conv_shape *s;
    struct maps m;      /* of `in`, padding included */
    struct maps o;      /* of the output */
    size_t inner;       /* channels of a plane of `in` */
    size_t planes;      /* of an image of `in` */
    size_t unit_planes; /* of a group */
    size_t unit_out;    /* output channels of a group */
    size_t panels;      /* tiles of outputs of a group */
    const float *in, *dy;
    float *dw, *db;
    struct maps bare; /* without padding: what `from` holds */
    const float *from;
    float *to;
};

static size_t inner_of(enum layout layout)
{
    return layout == LAYOUT_BLOCKED ? LANES : 1;
}

static bool is_padded(const struct conv_shape *s)
{
    return s->pad_begin[0] || s->pad_begin[1] || s->pad_end[0] || s->pad_end[1];
}

static struct maps padded_maps(const struct conv_shape *s, struct maps m)
{
    m.h += s->pad_begin[0] + s->pad_end[0];
    m.w += s->pad_begin[1] + s->pad_end[1];
    return m;
}

static struct maps out_maps(const struct conv_shape *s, struct maps m)
{
    return (struct maps){m.n, s->channels_out, conv_out_size(s, 0, m.h), conv_out_size(s, 1, m.w)};
}

size_t conv_grad_weights_scratch(const struct conv_shape *shape, enum layout in, struct maps m)
{
    if (shape->winograd)
        return conv_winograd_grad_scratch(shape, m);
    return is_padded(shape) ? layout_elements(in, padded_maps(shape, m)) * sizeof(float) : 0;
}

/* Copy planes into the middle of larger ones of zeros. */
static void pad_items(void *arg, size_t slot, size_t begin, size_t end)
{
    const struct job *job = arg;
    size_t row = job->bare.w * job->inner, wide = job->m.w * job->inner;
    (void)slot;
    for (size_t i = begin; i < end; i++) {
        float *to = job->to + i * job->m.h * wide;
        const float *from = job->from + i * job->bare.h * row;
        memset(to, 0, job->m.h * wide * sizeof(float));
        to += job->s->pad_begin[0] * wide + job->s->pad_begin[1] * job->inner;
        for (size_t y = 0; y < job->bare.h; y++)
            memcpy(to + y * wide, from + y * row, row * sizeof(float));
    }
}

/* Taps of a row that one tile takes from kernel column `s` on, as columns. */
static size_t columns_at(const struct job *job, size_t s)
{
    size_t most = MAX(1, (job->inner == 1 ? 8 : grad_now()->taps) / job->inner);
    return job->s->dilation[1] == 1 ? MIN(most, job->s->kernel[1] - s) : 1;
}

/* Where sums of a tile belong among the weights. */
static void put(const struct job *job, const float *sums, size_t first, size_t outputs,
                size_t channel, size_t r, size_t s, size_t columns)
{
    const struct conv_shape *shape = job->s;
    size_t channels = shape->channels_in / shape->groups, width = grad_now()->width;
    for (size_t col = 0; col < columns; col++)
        for (size_t c = 0; c < job->inner && channel + c < channels; c++)
            for (size_t k = 0; k < outputs; k++) {
                size_t at = ((first + k) * channels + channel + c) * shape->kernel[0] + r;
                job->dw[at * shape->kernel[1] + s + col] = sums[(col * job->inner + c) * width + k];
            }
}

/* One row of taps of a plane, for the outputs of a panel. */
static void tile_items(void *arg, size_t slot, size_t begin, size_t end)
{
    const struct job *job = arg;
    const struct conv_shape *s = job->s;
    const struct grad_kernel *kernel = grad_now();
    size_t out_plane = job->o.h * job->o.w * LANES, in_plane = job->m.h * job->m.w * job->inner;
    _Alignas(TENSOR_ALIGN) float sums[GRAD_TAPS_MAX * GRAD_WIDTH_MAX];
    (void)slot;
    for (size_t i = begin; i < end; i++) {
        size_t r = i % s->kernel[0], plane = i / s->kernel[0] % job->unit_planes;
        size_t panel = i / s->kernel[0] / job->unit_planes, group = panel / job->panels;
        size_t first = panel % job->panels * kernel->width;
        size_t outputs = MIN(kernel->width, job->unit_out - first);
        struct grad_tile t = {
            .images = job->o.n,
            .rows = job->o.h,
            .cols = job->o.w,
            .out = job->dy + (group * job->unit_out + first) / LANES * out_plane,
            .out_image = layout_blocks(job->o.c) * out_plane,
            .out_block = out_plane,
            .half = outputs <= LANES,
            .in_image = job->planes * in_plane,
            .in_row = s->stride[0] * job->m.w * job->inner,
            .in_pixel = s->stride[1] * job->inner,
            .sums = sums,
        };
        const float *in = job->in + (group * job->unit_planes + plane) * in_plane +
                          r * s->dilation[0] * job->m.w * job->inner;
        for (size_t col = 0, columns; col < s->kernel[1]; col += columns) {
            columns = columns_at(job, col);
            t.in = in + col * s->dilation[1] * job->inner;
            kernel->tile(&t, columns * job->inner);
            put(job, sums, group * job->unit_out + first, outputs, plane * job->inner, r, col,
                columns);
        }
    }
}

/* Depthwise: a block of 8 channels. */
static void depthwise_items(void *arg, size_t slot, size_t begin, size_t end)
{
    const struct job *job = arg;
    const struct conv_shape *s = job->s;
    size_t out_row = job->o.w * LANES, in_row = job->m.w * LANES,
           taps = s->kernel[0] * s->kernel[1];
    (void)slot;
    for (size_t i = begin; i < end; i++) {
        size_t block = i / taps, tap = i % taps, r = tap / s->kernel[1], col = tap % s->kernel[1];
        float sums[LANES] = {0};
        for (size_t n = 0; n < job->o.n; n++)
            for (size_t y = 0; y < job->o.h; y++) {
                size_t map = n * job->planes + block;
                size_t row = y * s->stride[0] + r * s->dilation[0];
                const float *in = job->in + (map * job->m.h + row) * in_row;
                grad_now()->products(job->o.w, job->dy + (map * job->o.h + y) * out_row,
                                     in + col * s->dilation[1] * LANES, s->stride[1] * LANES, sums);
            }
        for (size_t k = 0; k < LANES && block * LANES + k < s->channels_out; k++)
            job->dw[(block * LANES + k) * taps + tap] = sums[k];
    }
}

/* Groups that begin inside a block: one output channel, value by value. */
static void any_items(void *arg, size_t slot, size_t begin, size_t end)
{
    const struct job *job = arg;
    const struct conv_shape *s = job->s;
    size_t channels = s->channels_in / s->groups, taps = s->kernel[0] * s->kernel[1];
    (void)slot;
    for (size_t i = begin; i < end; i++) {
        size_t k = i / channels / taps, c = i / taps % channels + k / job->unit_out * channels;
        size_t row = i % taps / s->kernel[1] * s->dilation[0];
        size_t col = i % s->kernel[1] * s->dilation[1];
        float sum = 0;
        for (size_t n = 0; n < job->o.n; n++)
            for (size_t p = 0; p < job->o.h * job->o.w; p++) {
                size_t y = p / job->o.w * s->stride[0] + row, x = p % job->o.w * s->stride[1] + col;
                size_t out = n * layout_blocks(job->o.c) + k / LANES;
                size_t in = n * job->planes + c / job->inner;
                in = ((in * job->m.h + y) * job->m.w + x) * job->inner + c % job->inner;
                sum += job->dy[(out * job->o.h * job->o.w + p) * LANES + k % LANES] * job->in[in];
            }
        job->dw[i] = sum;
    }
}

static void bias_items(void *arg, size_t slot, size_t begin, size_t end)
{
    const struct job *job = arg;
    size_t plane = job->o.h * job->o.w, blocks = layout_blocks(job->o.c);
    (void)slot;
    for (size_t i = begin; i < end; i++) {
        float sums[LANES] = {0}, one[LANES];
        for (size_t n = 0; n < job->o.n; n++) {
            grad_now()->lanes(plane, job->dy + (n * blocks + i) * plane * LANES, one);
            for (size_t k = 0; k < LANES; k++)
                sums[k] += one[k];
        }
        memcpy(job->db + i * LANES, sums, MIN(LANES, job->o.c - i * LANES) * sizeof(float));
    }
}

void conv_grad_weights(const struct conv_shape *shape, enum layout layout, struct maps m,
                       const float *in, const float *dy, float *dw, float *db, void *scratch)
{
    struct job job = {.s = shape, .m = padded_maps(shape, m), .o = out_maps(shape, m), .in = in};
    size_t channels = shape->channels_in / shape->groups;
    job.inner = inner_of(layout);
    job.planes = (m.c + job.inner - 1) / job.inner;
    job.unit_planes = (channels + job.inner - 1) / job.inner;
    job.unit_out = shape->channels_out / shape->groups;
    job.panels = (job.unit_out + grad_now()->width - 1) / grad_now()->width;
    job.dy = dy;
    job.dw = dw;
    job.db = db;
    job.bare = m;
    double pixels = (double)(job.o.n * job.o.h * job.o.w);
    if (dw && shape->winograd)
        conv_winograd_grad(shape, m, in, dy, dw, scratch);
    else if (dw && is_padded(shape)) {
        job.from = in;
        job.in = job.to = scratch;
        par_for(m.n * job.planes, (double)layout_elements(layout, m) * 8, pad_items, &job);
    }
    size_t taps = shape->kernel[0] * shape->kernel[1], weights = shape->channels_out * channels;
    double flops = 2 * pixels * (double)(weights * taps);
    bool whole = job.unit_out % LANES == 0 && channels % job.inner == 0;
    if (!dw || shape->winograd)
        ; /* the bias alone */
    else if (shape->groups == 1 || whole)
        par_for(shape->groups * job.panels * job.unit_planes * shape->kernel[0], flops, tile_items,
                &job);
    else if (channels == 1 && job.unit_out == 1 && layout == LAYOUT_BLOCKED)
        par_for(job.planes * taps, flops, depthwise_items, &job);
    else
        par_for(weights * taps, 16 * flops, any_items, &job);
    if (db)
        par_for(layout_blocks(job.o.c), pixels * (double)job.o.c * 4, bias_items, &job);
}

/* --- by the input ------------------------------------------------------------------------------
 */
bool conv_grad_shape(const struct conv_shape *shape, struct maps m, struct conv_shape *back)
{
    size_t sizes[2] = {m.h, m.w};
    memset(back, 0, sizeof *back);
    back->channels_in = shape->channels_out;
    back->channels_out = shape->channels_in;
    back->groups = shape->groups;
    for (size_t axis = 0; axis < 2; axis++) {
        size_t reach = (shape->kernel[axis] - 1) * shape->dilation[axis];
        size_t padded = sizes[axis] + shape->pad_begin[axis] + shape->pad_end[axis];
        /* pixels behind the last window get their zeros as padding */
        size_t unread = (padded - reach - 1) % shape->stride[axis];
        if (shape->pad_begin[axis] > reach || shape->pad_end[axis] > reach + unread)
            return false;
        back->kernel[axis] = shape->kernel[axis];
        back->stride[axis] = 1;
        back->dilation[axis] = shape->dilation[axis];
        back->pad_begin[axis] = reach - shape->pad_begin[axis];
        back->pad_end[axis] = reach + unread - shape->pad_end[axis];
    }
    struct maps spread = conv_grad_spread_maps(shape, out_maps(shape, m));
    back->winograd = conv_winograd_tile(back, LAYOUT_BLOCKED, LAYOUT_BLOCKED, spread.h, spread.w);
    return true;
}

void conv_grad_turn(const struct conv_shape *shape, const float *weights, float *turned)
{
    size_t in = shape->channels_in / shape->groups, out = shape->channels_out / shape->groups;
    size_t taps = shape->kernel[0] * shape->kernel[1];
    for (size_t group = 0; group < shape->groups; group++)
        for (size_t k = 0; k < out; k++)
            for (size_t c = 0; c < in; c++) {
                const float *from = weights + ((group * out + k) * in + c) * taps;
                float *to = turned + ((group * in + c) * out + k) * taps;
                for (size_t tap = 0; tap < taps; tap++)
                    to[taps - 1 - tap] = from[tap];
            }
}

struct maps conv_grad_spread_maps(const struct conv_shape *shape, struct maps dy)
{
    dy.h = (dy.h - 1) * shape->stride[0] + 1;
    dy.w = (dy.w - 1) * shape->stride[1] + 1;
    return dy;
}

void conv_grad_spread(const struct conv_shape *shape, struct maps m, const float *dy, float *spread)
{
    struct maps wide = conv_grad_spread_maps(shape, m);
    size_t row = wide.w * LANES, step = shape->stride[1] * LANES;
    memset(spread, 0, layout_elements(LAYOUT_BLOCKED, wide) * sizeof(float));
    for (size_t i = 0; i < m.n * layout_blocks(m.c); i++)
        for (size_t y = 0; y < m.h; y++) {
            float *to = spread + (i * wide.h + y * shape->stride[0]) * row;
            for (size_t x = 0; x < m.w; x++, dy += LANES)
                memcpy(to + x * step, dy, LANES * sizeof(float));
        }
}
