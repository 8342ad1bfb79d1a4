/* rnn_plan - pack a recurrent layer's weights; see rnn.h */
#include "worker/kernels/rnn_plan.h"

#include <stdlib.h>
#include <string.h>

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

/* Pack `rows` rows of k values each, ONNX's [out][in], as a k x rows matrix. */
static float *pack_transposed(const float *from, size_t rows, size_t k)
{
    float *packed = xaligned(gemm_packed_bytes(k, rows));
    gemm_pack(k, rows, (struct matrix){from, 1, k}, 1.0f, packed);
    return packed;
}

/* Wb + Rb, except that Rb of a linear_before_reset GRU's new gate is multiplied by r first. */
static void pack_bias(struct rnn_plan *p, size_t dir, const float *bias)
{
    size_t hidden = p->shape.hidden, width = RNN_GATES(p->shape.cell) * hidden;
    size_t joined = p->shape.cell == RNN_GRU && p->shape.linear_before_reset ? 2 * hidden : width;
    p->bias_x[dir] = xcalloc(width, sizeof(float));
    p->bias_new[dir] = xcalloc(hidden, sizeof(float));
    if (!bias)
        return;
    for (size_t i = 0; i < width; i++)
        p->bias_x[dir][i] = i < joined ? bias[i] + bias[width + i] : bias[i];
    if (joined < width)
        memcpy(p->bias_new[dir], bias + width + joined, hidden * sizeof(float));
}

static void pack_direction(struct rnn_plan *p, size_t dir, const struct rnn_weights *from)
{
    size_t hidden = p->shape.hidden, width = RNN_GATES(p->shape.cell) * hidden;
    const float *r = from->r + dir * width * hidden;
    bool gru = p->shape.cell == RNN_GRU;
    p->w[dir] = pack_transposed(from->w + dir * width * p->shape.input, width, p->shape.input);
    p->r[dir] = pack_transposed(r, gru ? 2 * hidden : width, hidden);
    if (gru)
        p->r_new[dir] = pack_transposed(r + 2 * hidden * hidden, hidden, hidden);
    pack_bias(p, dir, from->bias ? from->bias + dir * 2 * width : NULL);
    if (from->peephole && p->shape.cell == RNN_LSTM) {
        p->peephole[dir] = xmalloc(3 * hidden * sizeof(float));
        memcpy(p->peephole[dir], from->peephole + dir * 3 * hidden, 3 * hidden * sizeof(float));
    }
}

struct rnn_plan *rnn_plan_new(const struct rnn_shape *shape, const struct rnn_weights *weights)
{
    struct rnn_plan *self = xcalloc(1, sizeof(*self));
    self->shape = *shape;
    self->dirs = shape->direction == RNN_BIDIRECTIONAL ? 2 : 1;
    for (size_t dir = 0; dir < self->dirs; dir++)
        pack_direction(self, dir, weights);
    return self;
}

void rnn_plan_destroy(struct rnn_plan **self_p)
{
    struct rnn_plan *self = *self_p;
    if (!self)
        return;
    for (size_t dir = 0; dir < 2; dir++) {
        free(self->w[dir]);
        free(self->r[dir]);
        free(self->r_new[dir]);
        free(self->bias_x[dir]);
        free(self->bias_new[dir]);
        free(self->peephole[dir]);
    }
    free(self);
    *self_p = NULL;
}
