/* conv_plan - choose how to compute and pack the weights for it; see conv.h
 *
 * Everything here depends on the layer alone, never on batch, map size or threads. */
#include "worker/kernels/conv_plan.h"

#include <stdio.h>
#include <stdlib.h>

#include "worker/kernels/vector_kernel.h"

/* Plain maps of fewer channels are read in place, one channel a plane; of more, they are first
 * interleaved by 8, which pays once each value is used often enough. */
#define PLAIN_CHANNELS_MAX 16

/* Weights of a slice of planes, for the blocks that a tile can take: 160 KiB, so that with the
 * input they stay in a 512 KiB second-level cache. */
#define SLICE_FLOATS   (160 * KIB / sizeof(float))
#define BLOCKS_AT_ONCE 4

static size_t choose_inner(const struct conv_plan *p)
{
    if (p->depthwise)
        return LANES;
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
    bool aligned = p->units == 1 || p->depthwise || p->unit_out % LANES == 0;
    return p->out == LAYOUT_BLOCKED && aligned;
}

static void choose(struct conv_plan *p)
{
    const struct conv_shape *s = &p->shape;
    size_t in = s->channels_in / s->groups, out = s->channels_out / s->groups;
    p->depthwise = s->groups > 1 && in == 1 && out == 1;
    p->units = p->depthwise ? layout_blocks(s->channels_in) : s->groups;
    p->unit_in = p->depthwise ? LANES : in;
    p->unit_out = p->depthwise ? LANES : out;
    p->padded = s->pad_begin[0] || s->pad_begin[1] || s->pad_end[0] || s->pad_end[1];
    p->pointwise = !p->padded && s->kernel[0] * s->kernel[1] * s->stride[0] * s->stride[1] == 1;
    p->inner = choose_inner(p);
    p->planes = (p->unit_in + p->inner - 1) / p->inner;
    p->blocks = layout_blocks(p->unit_out);
    size_t taps = s->kernel[0] * s->kernel[1];
    p->block_floats = p->depthwise ? taps * LANES : p->planes * taps * p->inner * LANES;
    p->gathers = !reads_in_place(p);
    p->scatters = !writes_in_place(p);
    p->slice = p->planes;
    size_t all = p->block_floats * MIN(p->blocks, BLOCKS_AT_ONCE);
    if (!p->scatters && all > SLICE_FLOATS) /* rows on their way elsewhere cannot wait */
        p->slice = MAX(1, p->planes * SLICE_FLOATS / all);
}

/* Where ONNX keeps the weights from unit's output channel o and input channel i, or NULL past
 * the last channel. */
static const float *taps_of(const struct conv_plan *p, const float *weights, size_t unit, size_t o,
                            size_t i)
{
    const struct conv_shape *s = &p->shape;
    size_t taps = s->kernel[0] * s->kernel[1], channel = unit * p->unit_out + o;
    if (p->depthwise)
        return channel < s->channels_out ? weights + channel * taps : NULL;
    if (o >= p->unit_out || i >= p->unit_in)
        return NULL;
    return weights + (channel * p->unit_in + i) * taps;
}

static float *pack_block(const struct conv_plan *p, const float *weights, size_t unit, size_t block,
                         float *to)
{
    size_t taps = p->shape.kernel[0] * p->shape.kernel[1];
    size_t planes = p->depthwise ? 1 : p->planes, inner = p->depthwise ? 1 : p->inner;
    for (size_t plane = 0; plane < planes; plane++)
        for (size_t tap = 0; tap < taps; tap++)
            for (size_t k = 0; k < inner; k++)
                for (size_t lane = 0; lane < LANES; lane++) {
                    const float *from =
                        taps_of(p, weights, unit, block * LANES + lane, plane * inner + k);
                    *to++ = from ? from[tap] : 0.0f;
                }
    return to;
}

static void pack(struct conv_plan *p, const float *weights, const float *bias)
{
    size_t blocks = p->units * p->blocks;
    p->weights = xaligned(blocks * p->block_floats * sizeof(float));
    p->bias = xaligned(blocks * LANES * sizeof(float));
    float *to = p->weights;
    for (size_t unit = 0; unit < p->units; unit++)
        for (size_t block = 0; block < p->blocks; block++) {
            to = pack_block(p, weights, unit, block, to);
            for (size_t lane = 0; lane < LANES; lane++) {
                size_t o = block * LANES + lane, channel = unit * p->unit_out + o;
                bool used = bias && o < p->unit_out && channel < p->shape.channels_out;
                p->bias[(unit * p->blocks + block) * LANES + lane] = used ? bias[channel] : 0.0f;
            }
        }
}

struct conv_plan *conv_plan_new(const struct conv_shape *shape, const float *weights,
                                const float *bias, struct activation act, enum layout in,
                                enum layout out)
{
    struct conv_plan *self = xcalloc(1, sizeof(*self));
    assert(shape->groups && shape->channels_in && shape->channels_out);
    assert(shape->channels_in % shape->groups == 0 && shape->channels_out % shape->groups == 0);
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
    pack(self, weights, bias);
    snprintf(self->name, sizeof(self->name), "%s %s", self->kernel->name,
             self->depthwise   ? "depthwise"
             : self->pointwise ? "pointwise"
                               : "direct");
    return self;
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
