/* conv_plan - choose how to compute and pack the weights for it; see conv.h
 *
 * Everything here depends on the layer alone, never on batch, map size or threads. */
#include "worker/kernels/conv_plan.h"

#include <stdio.h>
#include <stdlib.h>

#include "worker/kernels/cpu.h"
#include "worker/kernels/pool_kernel.h"
#include "worker/kernels/vector_kernel.h"

/* Plain maps of fewer channels are read in place, one channel a plane; of more, they are first
 * interleaved by 8, which pays once each value is used often enough. */
#define PLAIN_CHANNELS_MAX 16

/* Weights of a slice of planes, for the panels that a tile can take: 160 KiB, so that with the
 * input they stay in a 512 KiB second-level cache. */
#define SLICE_FLOATS   (160 * KIB / sizeof(float))
#define PANELS_AT_ONCE 4

/* Weights of more than that part of a second-level cache do not stay there. */
#define FAR_PART 4

static size_t choose_inner(const struct conv_plan *p)
{
    if (p->in == LAYOUT_PLAIN)
        return p->unit_in < PLAIN_CHANNELS_MAX ? 1 : LANES;
    /* a group that begins inside a block of 8 is taken apart */
    return p->units == 1 || p->unit_in % LANES == 0 ? LANES : 1;
}

static bool reads_in_place(const struct conv_plan *p)
{
    return !p->padded && (p->inner == 1) == (p->in == LAYOUT_PLAIN);
}

static bool writes_in_place(const struct conv_plan *p)
{
    return p->out == LAYOUT_BLOCKED && (p->units == 1 || p->unit_out % LANES == 0);
}

static void choose_depthwise(struct conv_plan *p)
{
    p->units = layout_blocks(p->shape.channels_in);
    p->unit_in = p->unit_out = p->inner = LANES;
    p->panels = p->planes = 1;
    p->panel_floats = p->shape.kernel[0] * p->shape.kernel[1] * LANES;
}

static void choose_direct(struct conv_plan *p)
{
    const struct conv_shape *s = &p->shape;
    p->units = s->groups;
    p->unit_in = s->channels_in / s->groups;
    p->unit_out = s->channels_out / s->groups;
    p->inner = choose_inner(p);
    p->planes = (p->unit_in + p->inner - 1) / p->inner;
    p->panels = (p->unit_out + p->kernel->width - 1) / p->kernel->width;
    p->panel_floats = p->planes * p->inner * s->kernel[0] * s->kernel[1] * p->kernel->width;
    if (p->way == CONV_WINOGRAD)
        return;
    p->gathers = !reads_in_place(p);
    p->scatters = !writes_in_place(p);
    p->slice = p->planes;
    size_t all = p->panel_floats * MIN(p->panels, PANELS_AT_ONCE);
    if (!p->scatters && !p->pools &&
        all > SLICE_FLOATS) /* rows on their way elsewhere cannot wait */
        p->slice = MAX(1, p->planes * SLICE_FLOATS / all);
}

static void choose(struct conv_plan *p)
{
    struct conv_shape *s = &p->shape;
    bool thins = s->kernel[0] * s->kernel[1] == 1 && p->in == LAYOUT_BLOCKED;
    p->padded = s->pad_begin[0] || s->pad_begin[1] || s->pad_end[0] || s->pad_end[1];
    for (size_t axis = 0; axis < 2; axis++) {
        p->thin[axis] = thins && !p->padded ? s->stride[axis] : 1;
        s->stride[axis] /= p->thin[axis];
    }
    p->pools = s->pool[0] * s->pool[1] > 1;
    p->pool[0] = MAX(1, s->pool[0]);
    p->pool[1] = MAX(1, s->pool[1]);
    assert(!p->pools ||
           (p->out == LAYOUT_BLOCKED && s->groups == 1 && p->pool[1] <= 2 && 4 % p->pool[0] == 0));
    p->pointwise =
        !p->padded && !p->pools && s->kernel[0] * s->kernel[1] * s->stride[0] * s->stride[1] == 1;
    if (s->groups > 1 && s->channels_in == s->groups && s->channels_out == s->groups)
        p->way = CONV_DEPTHWISE;
    else if (s->winograd)
        p->way = CONV_WINOGRAD;
    if (p->way == CONV_DEPTHWISE)
        choose_depthwise(p);
    else
        choose_direct(p);
}

/* Where ONNX keeps the weights from unit's output channel o and input channel i, or NULL past
 * the last channel. */
static const float *taps_of(const struct conv_plan *p, const float *weights, size_t unit, size_t o,
                            size_t i)
{
    const struct conv_shape *s = &p->shape;
    size_t taps = s->kernel[0] * s->kernel[1], channel = unit * p->unit_out + o;
    if (p->way == CONV_DEPTHWISE)
        return channel < s->channels_out ? weights + channel * taps : NULL;
    if (o >= p->unit_out || i >= p->unit_in)
        return NULL;
    return weights + (channel * p->unit_in + i) * taps;
}

static float *pack_panel(const struct conv_plan *p, const float *weights, size_t unit, size_t first,
                         size_t width, float *to)
{
    size_t taps = p->shape.kernel[0] * p->shape.kernel[1];
    size_t inner = p->way == CONV_DEPTHWISE ? 1 : p->inner;
    for (size_t plane = 0; plane < p->planes; plane++)
        for (size_t tap = 0; tap < taps; tap++)
            for (size_t k = 0; k < inner; k++)
                for (size_t lane = 0; lane < width; lane++) {
                    const float *from = taps_of(p, weights, unit, first + lane, plane * inner + k);
                    *to++ = from ? from[tap] : 0.0f;
                }
    return to;
}

static size_t panel_width(const struct conv_plan *p)
{
    return p->way == CONV_DEPTHWISE ? LANES : p->kernel->width;
}

static void take_memory(struct conv_plan *p)
{
    size_t panels = p->units * p->panels, taps = p->shape.kernel[0] * p->shape.kernel[1];
    /* of a pair of channels */
    size_t each = p->way == CONV_WINOGRAD ? conv_winograd_points(&p->shape) : taps;
    size_t bytes = panels * p->panel_floats / taps * each * sizeof(float);
    p->weights = xaligned(bytes);
    p->bias = xaligned(panels * panel_width(p) * sizeof(float));
    p->far = bytes > kernels_l2_bytes() / FAR_PART;
}

void conv_plan_pack(struct conv_plan *p, const float *weights, const float *bias)
{
    size_t panels = p->units * p->panels, width = panel_width(p);
    bool winograd = p->way == CONV_WINOGRAD;
    float *to = p->weights;
    if (winograd)
        conv_winograd_pack(p, weights);
    for (size_t i = 0; i < panels; i++) {
        size_t unit = i / p->panels, first = i % p->panels * width;
        to = winograd ? to : pack_panel(p, weights, unit, first, width, to);
        for (size_t lane = 0; lane < width; lane++) {
            size_t channel = unit * p->unit_out + first + lane;
            bool used = bias && first + lane < p->unit_out && channel < p->shape.channels_out;
            p->bias[i * width + lane] = used ? bias[channel] : 0.0f;
        }
    }
}

static const char *way_name(const struct conv_plan *p)
{
    if (p->way == CONV_DEPTHWISE)
        return "depthwise";
    if (p->way == CONV_WINOGRAD)
        return "winograd";
    return p->pointwise ? "pointwise" : "direct";
}

struct conv_plan *conv_plan_new(const struct conv_shape *shape, const float *weights,
                                const float *bias, struct activation act, enum layout in,
                                enum layout out)
{
    struct conv_plan *self = xcalloc(1, sizeof(*self));
    assert(shape->groups && shape->channels_in && shape->channels_out);
    assert(shape->channels_in % shape->groups == 0 && shape->channels_out % shape->groups == 0);
    assert(!shape->winograd || (shape->winograd >= 2 && shape->winograd <= 4));
    self->shape = *shape;
    self->kernel = conv_now();
    self->act = act;
    self->in = in;
    self->out = out;
    self->clamps = activation_is_clamp(act, &self->low, &self->high);
    float zero = 0;
    vector_apply(act, 1, &zero, &zero);
    self->tail_nonzero = zero < 0 || zero > 0;
    choose(self);
    take_memory(self);
    if (weights)
        conv_plan_pack(self, weights, bias);
    snprintf(self->name, sizeof(self->name), "%s %s", self->kernel->name, way_name(self));
    return self;
}

static const struct {
    void (*run)(const struct conv_plan *self, struct maps m, const float *in, const float *add,
                float *out, void *scratch);
    size_t (*scratch)(const struct conv_plan *self, struct maps m);
} ways[] = {
    [CONV_DIRECT] = {conv_direct_run, conv_direct_scratch},
    [CONV_DEPTHWISE] = {conv_depthwise_run, conv_depthwise_scratch},
    [CONV_WINOGRAD] = {conv_winograd_run, conv_winograd_scratch},
};

void conv_run(const struct conv_plan *self, struct maps m, const float *in, const float *add,
              float *out, void *scratch)
{
    assert(m.c == self->shape.channels_in);
    struct maps o = conv_out_maps(self, m);
    if (!o.h || !o.w || !o.n)
        return;
    ways[self->way].run(self, m, in, add, out, scratch);
    bool gaps = self->scatters || self->tail_nonzero;
    if (self->out == LAYOUT_BLOCKED && gaps && o.c % LANES)
        layout_clear_tail(o, out);
}

size_t conv_scratch_bytes(const struct conv_plan *self, struct maps m)
{
    return ways[self->way].scratch(self, m);
}

void conv_plan_destroy(struct conv_plan **self_p)
{
    if (*self_p) {
        free((*self_p)->weights);
        free((*self_p)->bias);
        free(*self_p);
        *self_p = NULL;
    }
}

const char *conv_plan_name(const struct conv_plan *self)
{
    return self->name;
}

size_t conv_out_size(const struct conv_shape *shape, size_t axis, size_t in)
{
    size_t extent = (shape->kernel[axis] - 1) * shape->dilation[axis] + 1;
    size_t padded = in + shape->pad_begin[axis] + shape->pad_end[axis];
    return padded < extent ? 0 : (padded - extent) / shape->stride[axis] + 1;
}

struct maps conv_thin_maps(const struct conv_plan *self, struct maps m)
{
    size_t h = (m.h + self->thin[0] - 1) / self->thin[0];
    return (struct maps){m.n, m.c, h, (m.w + self->thin[1] - 1) / self->thin[1]};
}

struct maps conv_sum_maps(const struct conv_plan *self, struct maps m)
{
    m = conv_thin_maps(self, m);
    size_t h = conv_out_size(&self->shape, 0, m.h), w = conv_out_size(&self->shape, 1, m.w);
    return (struct maps){m.n, self->shape.channels_out, h - h % self->pool[0],
                         w - w % self->pool[1]};
}

struct maps conv_out_maps(const struct conv_plan *self, struct maps m)
{
    m = conv_sum_maps(self, m);
    return (struct maps){m.n, m.c, m.h / self->pool[0], m.w / self->pool[1]};
}

void conv_pool(const struct conv_plan *self, const struct conv_pooling *rows)
{
    struct pool_span span = {
        .rows = self->pool[0],
        .cols = self->pool[1],
        .row_step = rows->row_step,
        .col_step = LANES,
        .pixel_step = self->pool[1] * LANES,
        .pixels = rows->pixels,
        .lines = rows->lines,
        .line_step = rows->line_step,
        .out_step = rows->out_step,
        .in = rows->in,
        .out = rows->out,
    };
    pool_now()->span[POOL_MAX][LAYOUT_BLOCKED](&span);
}
