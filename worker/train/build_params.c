/* build_params - see build_params.h */
#include "worker/train/build_params.h"

#include <stdlib.h>
#include <string.h>

#include "worker/train/spec_init.h"
#include "worker/train/spec_shapes.h"

/* Where ONNX's gate k of an LSTM (i, o, f, c) stands in Keras (i, f, c, o). GRU and RNN agree. */
static const uint32_t lstm_gates[] = {0, 3, 1, 2};
#define FORGET_GATE 1 /* in Keras's order */

/* Keras's numbers of one copy become ONNX's. */
typedef void place_fn(const struct spec_layer *layer, const struct spec_param *p, const float *from,
                      float *to);

static size_t count(const int64_t *dims, uint32_t rank)
{
    size_t product = 1;
    for (uint32_t i = 0; i < rank; i++)
        product *= (size_t)dims[i];
    return product;
}

static void place_same(const struct spec_layer *layer, const struct spec_param *p,
                       const float *from, float *to)
{
    (void)layer;
    memcpy(to, from, count(p->dims, p->rank) * sizeof *to);
}

/* [window, in, out] becomes [out, in, window]. */
static void place_kernel(const struct spec_layer *layer, const struct spec_param *p,
                         const float *from, float *to)
{
    size_t window = count(p->dims, p->rank - 2), in = (size_t)p->dims[p->rank - 2],
           out = (size_t)p->dims[p->rank - 1];
    (void)layer;
    for (size_t o = 0; o < out; o++)
        for (size_t i = 0; i < in; i++)
            for (size_t w = 0; w < window; w++)
                to[(o * in + i) * window + w] = from[(w * in + i) * out + o];
}

/* [window, channels * multiplier] becomes [channels * multiplier, window]. */
static void place_depthwise(const struct spec_layer *layer, const struct spec_param *p,
                            const float *from, float *to)
{
    size_t window = count(p->dims, 2), out = count(p->dims + 2, 2);
    (void)layer;
    for (size_t o = 0; o < out; o++)
        for (size_t w = 0; w < window; w++)
            to[o * window + w] = from[w * out + o];
}

static uint32_t keras_gate(const struct spec_layer *layer, uint32_t onnx_gate)
{
    return layer->cell.type == SPEC_LSTM ? lstm_gates[onnx_gate] : onnx_gate;
}

/* [rows, gates * units] becomes [gates * units, rows]. */
static void place_gates(const struct spec_layer *layer, const struct spec_param *p,
                        const float *from, float *to)
{
    size_t rows = (size_t)p->dims[0], columns = (size_t)p->dims[1];
    uint32_t gates = spec_gates(layer->cell.type);
    size_t units = columns / gates;
    for (uint32_t g = 0; g < gates; g++)
        for (size_t u = 0; u < units; u++)
            for (size_t r = 0; r < rows; r++)
                to[(g * units + u) * rows + r] =
                    from[r * columns + keras_gate(layer, g) * units + u];
}

static void place_gates_bias(const struct spec_layer *layer, const struct spec_param *p,
                             const float *from, float *to)
{
    uint32_t gates = spec_gates(layer->cell.type);
    size_t units = (size_t)p->dims[0] / gates;
    for (uint32_t g = 0; g < gates; g++)
        memcpy(to + g * units, from + keras_gate(layer, g) * units, units * sizeof *to);
    memset(to + gates * units, 0, gates * units * sizeof *to);
}

static const struct {
    const char *name;
    place_fn *place;
} layouts[] = {
    [SPEC_AS_KERAS] = {"as_keras", place_same},           [SPEC_KERNEL] = {"kernel", place_kernel},
    [SPEC_DEPTHWISE] = {"depthwise", place_depthwise},    [SPEC_GATES] = {"gates", place_gates},
    [SPEC_GATES_BIAS] = {"gates_bias", place_gates_bias},
};

const char *build_layout_name(enum spec_layout layout)
{
    return layouts[layout].name;
}

/* What changes nothing: gamma 1, beta 0. */
static void stand_in(const struct spec_param *p, float *values)
{
    float value = strcmp(strrchr(p->name, '/'), "/gamma") == 0 ? 1 : 0;
    for (int64_t i = 0; i < p->dims[0]; i++)
        values[i] = value;
}

/* The forget gate's bias starts at 1, so that a fresh LSTM remembers. */
static void open_forget_gate(const struct spec_layer *layer, const struct spec_param *p,
                             float *values)
{
    size_t units = (size_t)p->dims[0] / 4;
    bool asked = layer->cell.type == SPEC_LSTM && p->layout == SPEC_GATES_BIAS &&
                 spec_bool(&layer->cell, "unit_forget_bias");
    for (size_t u = 0; asked && u < units; u++)
        values[FORGET_GATE * units + u] = 1;
}

static void add(struct build *b, const struct spec_param *p, uint64_t seed)
{
    size_t from_len = count(p->dims, p->rank), to_len = count(p->onnx_dims, p->onnx_rank);
    float *from = xmalloc(from_len * sizeof *from);
    float *to = region_array(b->region, to_len, sizeof *to);
    for (uint32_t copy = 0; copy < p->copies; copy++) {
        init_fill(from, p->initializer, p->dims, p->rank, seed, p->name, copy);
        open_forget_gate(b->layer, p, from);
        if (p->stand_in)
            stand_in(p, from);
        layouts[p->layout].place(b->layer, p, from, to + copy * (to_len / p->copies));
    }
    free(from);
    build_tensor(b, p->name, ONNX__TENSOR_PROTO__DATA_TYPE__FLOAT, p->onnx_dims, p->onnx_rank, to,
                 to_len * sizeof *to);
}

void build_params(struct build *b, uint64_t seed)
{
    for (uint32_t i = 0; i < b->layer->params_len; i++)
        add(b, &b->layer->params[i], seed);
}

const char *build_param(const struct build *b, const char *role)
{
    size_t skip = strlen(b->layer->name) + 1;
    for (uint32_t i = 0; i < b->layer->params_len; i++)
        if (strcmp(b->layer->params[i].name + skip, role) == 0)
            return b->layer->params[i].name;
    return NULL;
}
