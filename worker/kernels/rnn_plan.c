/* rnn_plan - pack a recurrent layer's weights; see rnn.h and, for the layout, rnn_kernel.h */
#include "worker/kernels/rnn_plan.h"

#include <stdlib.h>
#include <string.h>

#include "worker/kernels/half.h"

static const struct activation defaults[][RNN_ACTIVATIONS_MAX] = {
    [RNN_PLAIN] = {{UNARY_TANH, 0, 0}},
    [RNN_GRU] = {{UNARY_SIGMOID, 0, 0}, {UNARY_TANH, 0, 0}},
    [RNN_LSTM] = {{UNARY_SIGMOID, 0, 0}, {UNARY_TANH, 0, 0}, {UNARY_TANH, 0, 0}},
};

void rnn_default_activations(struct rnn_shape *shape)
{
    for (size_t dir = 0; dir < 2; dir++)
        memcpy(shape->acts[dir], defaults[shape->cell], sizeof(shape->acts[dir]));
}

static bool has_defaults(const struct rnn_shape *shape, size_t dir)
{
    bool same = !(shape->clip > 0);
    for (size_t i = 0; i < RNN_ACTIVATIONS(shape->cell); i++)
        same = same && shape->acts[dir][i].op == defaults[shape->cell][i].op;
    return same;
}

/* Where gate g of unit u lies among the sums of a sheet. */
static size_t sum_at(const struct rnn_plan *p, const struct rnn_sheet *s, size_t g, size_t u)
{
    size_t lanes = p->kernel->lanes;
    return (u / lanes * s->gates + g) * lanes + u % lanes;
}

/* `from` is [all gates][hidden][k]. */
static void *pack_weights(const struct rnn_plan *p, const struct rnn_sheet *s, const float *from,
                          size_t k)
{
    bool halves = p->shape.weight_type == RNN_BF16;
    size_t hidden = p->shape.hidden, lines = halves ? (k + 1) / 2 : k;
    size_t panel = RNN_PANEL(s->gates) * p->kernel->lanes; /* words of a line */
    size_t bytes = lines * s->width * sizeof(uint32_t);
    uint32_t *packed = xaligned(bytes);
    memset(packed, 0, bytes);
    for (size_t g = 0; g < s->gates; g++)
        for (size_t u = 0; u < hidden; u++) {
            const float *row = from + ((s->first + g) * hidden + u) * k;
            size_t at = sum_at(p, s, g, u);
            uint32_t *to = packed + at / panel * panel * lines + at % panel;
            for (size_t i = 0; i < k; i++) {
                uint16_t half;
                half_from_fp32(DTYPE_BF16, 1, row + i, &half);
                if (halves)
                    to[i / 2 * panel] |= (uint32_t)half << i % 2 * 16;
                else
                    memcpy(to + i * panel, row + i, sizeof(*to));
            }
        }
    return packed;
}

/* `from` is [all gates][hidden], or NULL: zeros. */
static float *pack_bias(const struct rnn_plan *p, const struct rnn_sheet *s, const float *from)
{
    size_t hidden = p->shape.hidden;
    float *packed = xcalloc(s->width, sizeof(float));
    for (size_t g = 0; from && g < s->gates; g++)
        for (size_t u = 0; u < hidden; u++)
            packed[sum_at(p, s, g, u)] = from[(s->first + g) * hidden + u];
    return packed;
}

static void pack_sheet(const struct rnn_plan *p, struct rnn_sheet *s, size_t dir,
                       const struct rnn_weights *from)
{
    size_t width = RNN_GATES(p->shape.cell) * p->shape.hidden;
    const float *bias = from->bias ? from->bias + dir * 2 * width : NULL;
    s->w[dir] = pack_weights(p, s, from->w + dir * width * p->shape.input, p->shape.input);
    s->r[dir] = pack_weights(p, s, from->r + dir * width * p->shape.hidden, p->shape.hidden);
    s->bias_x[dir] = pack_bias(p, s, bias);
    s->bias_h[dir] = pack_bias(p, s, bias ? bias + width : NULL);
}

static float *pack_peephole(const struct rnn_plan *p, const float *from)
{
    float *packed = xcalloc(3 * p->units, sizeof(float));
    for (size_t g = 0; g < 3; g++)
        memcpy(packed + g * p->units, from + g * p->shape.hidden, p->shape.hidden * sizeof(float));
    return packed;
}

static void add_sheet(struct rnn_plan *p, size_t gates, enum rnn_phase phase)
{
    struct rnn_sheet *s = &p->sheet[p->sheets++];
    *s = (struct rnn_sheet){.gates = gates, .phase = phase};
    if (p->sheets > 1)
        s->first = s[-1].first + s[-1].gates;
    p->grain = MAX(p->grain, RNN_PANEL_BLOCKS(gates));
}

/* Sheets and sizes. */
static void lay_out(struct rnn_plan *p)
{
    size_t lanes = p->kernel->lanes;
    if (p->shape.cell == RNN_LSTM) {
        add_sheet(p, 4, RNN_LSTM_ALL);
    } else if (p->shape.cell == RNN_PLAIN) {
        add_sheet(p, 1, RNN_PLAIN_ALL);
    } else if (p->shape.linear_before_reset) {
        add_sheet(p, 3, RNN_GRU_ALL);
    } else {
        add_sheet(p, 2, RNN_GRU_RESET);
        add_sheet(p, 1, RNN_GRU_NEW);
    }
    size_t grains = (p->shape.hidden + p->grain * lanes - 1) / (p->grain * lanes);
    p->blocks = grains * p->grain;
    p->units = p->blocks * lanes;
    for (size_t i = 0; i < p->sheets; i++) {
        p->sheet[i].at = p->width;
        p->sheet[i].width = p->sheet[i].gates * p->units;
        p->width += p->sheet[i].width;
    }
}

struct rnn_plan *rnn_plan_new(const struct rnn_shape *shape, const struct rnn_weights *weights)
{
    struct rnn_plan *self = xcalloc(1, sizeof(*self));
    self->shape = *shape;
    self->kernel = rnn_now();
    self->dirs = shape->direction == RNN_BIDIRECTIONAL ? 2 : 1;
    lay_out(self);
    for (size_t dir = 0; dir < self->dirs; dir++) {
        for (size_t i = 0; i < self->sheets; i++)
            pack_sheet(self, &self->sheet[i], dir, weights);
        if (weights->peephole && shape->cell == RNN_LSTM)
            self->peephole[dir] = pack_peephole(self, weights->peephole + dir * 3 * shape->hidden);
        self->by_default[dir] = has_defaults(shape, dir);
    }
    return self;
}

void rnn_plan_destroy(struct rnn_plan **self_p)
{
    struct rnn_plan *self = *self_p;
    if (!self)
        return;
    for (size_t dir = 0; dir < 2; dir++) {
        for (size_t i = 0; i < RNN_SHEETS_MAX; i++) {
            free(self->sheet[i].w[dir]);
            free(self->sheet[i].r[dir]);
            free(self->sheet[i].bias_x[dir]);
            free(self->sheet[i].bias_h[dir]);
        }
        free(self->peephole[dir]);
    }
    free(self);
    *self_p = NULL;
}
