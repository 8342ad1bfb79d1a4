/* bytes_pack - weights of a quantised convolution into the form its kernels read; see bytes_plan.h
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "worker/kernels/bytes_plan.h"

/* Under so few channels a row of taps is packed without holes between them. */
#define GATHERED_CHANNELS_MAX 15

static int32_t byte_at(enum dtype type, const void *bytes, size_t i)
{
    return type == DTYPE_INT8 ? ((const int8_t *)bytes)[i] : ((const uint8_t *)bytes)[i];
}

static bool narrow_rows(const struct conv_shape *s)
{
    return s->groups == 1 && s->channels_in % 4 != 0 && s->channels_in <= GATHERED_CHANNELS_MAX &&
           s->kernel[1] > 1 && s->dilation[1] == 1;
}

bool bytes_conv_reads_plain(const struct conv_shape *shape)
{
    return narrow_rows(shape);
}

/* One output channel: where its weights come from and where they go. */
struct channel {
    const struct bytes_conv_numbers *numbers;
    const void *weights;
    size_t first;   /* of its weights */
    int32_t offset; /* what is taken from each: the zero point if that leaves 8 bits, or 128 */
    int32_t zero;   /* the zero point that is left */
    size_t lane;
};

static struct channel channel_of(const struct bytes_conv *self,
                                 const struct bytes_conv_numbers *numbers, const void *weights,
                                 size_t k)
{
    size_t each = self->group_in * bytes_taps(self), group = k / self->group_out,
           in_group = k % self->group_out;
    struct channel c = {.numbers = numbers, .weights = weights, .first = k * each};
    int32_t zero = numbers->w_zeros ? numbers->w_zeros[k] : 0, low = 0, high = 0;
    for (size_t i = 0; i < each; i++) {
        int32_t w = byte_at(numbers->w_type, weights, c.first + i) - zero;
        low = MIN(low, w);
        high = MAX(high, w);
    }
    bool fits = self->depthwise || (low >= -128 && high <= 127);
    c.offset = fits ? zero : numbers->w_type == DTYPE_UINT8 ? 128 : 0;
    c.zero = zero - c.offset;
    c.lane = self->depthwise ? k : group * self->panels * BYTES_PANEL + in_group;
    return c;
}

/* Where weight `i` of a channel of a group, in ONNX's order, goes in a panel of `width` lanes. */
static size_t packed_at(const struct bytes_conv *self, size_t i, size_t lane, size_t width)
{
    size_t taps = bytes_taps(self), channel = i / taps, tap = i % taps, at;
    if (self->gathered) {
        size_t row = tap / self->shape.kernel[1], column = tap % self->shape.kernel[1];
        at = row * self->tap_quads * 4 + column * self->group_in + channel;
    } else {
        at = tap * self->tap_quads * 4 + channel;
    }
    return (at / 4 * width + lane) * 4 + at % 4;
}

static void pack_channel(struct bytes_conv *self, const struct channel *c, size_t k)
{
    size_t taps = bytes_taps(self), group = k / self->group_out, in_group = k % self->group_out;
    size_t panel = in_group / BYTES_PANEL;
    size_t width = bytes_blocks(bytes_panel_channels(self, panel)) * BYTES_BLOCK;
    int8_t *to = self->depthwise ? NULL : self->weights + bytes_panel_at(self, group, panel);
    for (size_t i = 0; i < self->group_in * taps; i++) {
        int32_t w = byte_at(c->numbers->w_type, c->weights, c->first + i) - c->offset;
        self->tap_sums[i % taps * self->lanes + c->lane] += w;
        if (self->depthwise)
            self->tap_weights[i * self->lanes + c->lane] = (int16_t)w;
        else
            to[packed_at(self, i, in_group % BYTES_PANEL, width)] = (int8_t)w;
    }
}

/* bias - x_zero (sum of weights) + count x_zero w_zero, of all taps, modulo 2^32 */
static void start_channel(struct bytes_conv *self, const struct channel *c, size_t k)
{
    uint32_t zero = (uint32_t)self->x_zero, taps = (uint32_t)bytes_taps(self), weights = 0;
    for (size_t t = 0; t < taps; t++)
        weights += (uint32_t)self->tap_sums[t * self->lanes + c->lane];
    uint32_t sum = c->numbers->bias ? (uint32_t)c->numbers->bias[k] : 0;
    sum -= zero * weights;
    sum += taps * (uint32_t)self->group_in * zero * (uint32_t)c->zero;
    self->start[c->lane] = (int32_t)sum;
}

/* Whether no sum of that channel, scaled, comes near 2^31. */
static bool stays_small(const struct bytes_conv *self, const struct channel *c, float scale)
{
    double most = fabs((double)self->start[c->lane]);
    for (size_t i = 0; i < self->group_in * bytes_taps(self); i++)
        most += 255.0 * abs(byte_at(c->numbers->w_type, c->weights, c->first + i) - c->offset);
    return !c->zero && most * fabs((double)scale) < 0x1p30;
}

static void *zeros(size_t bytes)
{
    void *memory = xaligned(MAX(bytes, 1));
    memset(memory, 0, MAX(bytes, 1));
    return memory;
}

static void finish_as(struct bytes_conv *self, const struct bytes_conv_numbers *n)
{
    int32_t up = n->y_type == DTYPE_INT8 ? 128 : 0;
    self->finish = (struct bytes_out){
        .zero = (int16_t)(n->y_zero + up),
        .low = (uint8_t)(n->low + up),
        .high = (uint8_t)(n->high + up),
        .flip = (uint8_t)up,
    };
    self->finish.bare = !self->finish.zero && !self->finish.low && self->finish.high == 255 && !up;
    self->scales = zeros(self->lanes * sizeof(float));
}

/* Everything but the numbers themselves. */
static void lay_out(struct bytes_conv *self, const struct conv_shape *s)
{
    size_t taps = s->kernel[0] * s->kernel[1];
    self->shape = *s;
    self->group_in = s->channels_in / s->groups;
    self->group_out = s->channels_out / s->groups;
    self->depthwise = s->groups > 1 && self->group_in == 1 && self->group_out == 1;
    self->gathered = narrow_rows(s);
    self->panels = (self->group_out + BYTES_PANEL - 1) / BYTES_PANEL;
    if (self->gathered) {
        self->tap_quads = (self->group_in * s->kernel[1] + 3) / 4;
        self->quads = s->kernel[0] * self->tap_quads;
    } else {
        self->tap_quads = (self->group_in + 3) / 4;
        self->quads = taps * self->tap_quads;
    }
    self->lanes = self->depthwise ? s->channels_out : s->groups * self->panels * BYTES_PANEL;
    if (self->depthwise)
        self->tap_weights = zeros(taps * self->lanes * sizeof(int16_t));
    else
        self->weights = zeros(bytes_panel_at(self, s->groups, 0));
    self->tap_sums = zeros(taps * self->lanes * sizeof(int32_t));
    self->start = zeros(self->lanes * sizeof(int32_t));
    self->w_zeros = zeros(self->lanes * sizeof(int32_t));
}

static void pack_ones(struct bytes_conv *self)
{
    self->ones = zeros(self->quads * BYTES_BLOCK * 4);
    for (size_t i = 0; i < self->group_in * bytes_taps(self); i++)
        self->ones[packed_at(self, i, 0, BYTES_BLOCK)] = 1;
}

struct bytes_conv *bytes_conv_new(const struct conv_shape *shape,
                                  const struct bytes_conv_numbers *numbers, const void *weights,
                                  enum layout in)
{
    struct bytes_conv *self = xcalloc(1, sizeof *self);
    bool zero_left = false;
    self->kernel = bytes_now();
    self->in = in;
    self->flip = numbers->x_type == DTYPE_INT8 ? 0x80 : 0;
    self->x_zero = numbers->x_zero + self->flip;
    self->sums = numbers->y_type == DTYPE_INT32;
    lay_out(self, shape);
    assert(in == LAYOUT_LAST || self->gathered);
    if (!self->sums)
        finish_as(self, numbers);
    for (size_t k = 0; k < shape->channels_out; k++) {
        struct channel c = channel_of(self, numbers, weights, k);
        pack_channel(self, &c, k);
        start_channel(self, &c, k);
        self->w_zeros[c.lane] = c.zero;
        zero_left |= c.zero != 0;
        if (!self->sums)
            self->scales[c.lane] = numbers->scales[k];
        self->finish.bare &= !self->sums && stays_small(self, &c, numbers->scales[k]);
    }
    if (zero_left) {
        pack_ones(self);
    } else {
        free(self->w_zeros);
        self->w_zeros = NULL;
    }
    snprintf(self->name, sizeof self->name, "%s %s", self->kernel->name,
             self->depthwise  ? "depthwise"
             : self->gathered ? "gathered"
                              : "direct");
    return self;
}

const char *bytes_conv_name(const struct bytes_conv *self)
{
    return self->name;
}

void bytes_conv_destroy(struct bytes_conv **self_p)
{
    struct bytes_conv *self = *self_p;
    if (!self)
        return;
    free(self->weights);
    free(self->tap_weights);
    free(self->ones);
    free(self->tap_sums);
    free(self->start);
    free(self->w_zeros);
    free(self->scales);
    free(self);
    *self_p = NULL;
}
