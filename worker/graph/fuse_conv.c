/* fuse_conv - see fuse_conv.h */
#include "worker/graph/fuse_conv.h"

#include <math.h>
#include <string.h>

#include "worker/ops/ops.h"

/* What a node does to each channel: y = scale x + shift. */
struct affine {
    size_t channels;
    double *scale, *shift;
};

static bool is_op(const struct node *n, const char *name)
{
    return strcmp(n->op->name, name) == 0;
}

static bool const_floats(const struct graph *g, uint32_t v)
{
    return v != VALUE_NONE && g->values[v].kind == VALUE_CONST && g->values[v].dtype == DTYPE_FP32;
}

static bool of_batch_norm(struct graph *g, const struct node *bn, struct affine *a)
{
    const float *in[5] = {NULL};
    double epsilon;
    if (!batch_norm_epsilon(bn, &epsilon))
        return false;
    for (uint32_t i = 1; i < 5; i++) {
        const struct value *v = &g->values[bn->inputs[i]];
        if (!const_floats(g, bn->inputs[i]) || v->rank != 1 || (size_t)v->dims[0] != a->channels)
            return false;
        in[i] = graph_const_data(g, bn->inputs[i]);
    }
    for (size_t c = 0; c < a->channels; c++) {
        a->scale[c] = (double)in[1][c] / sqrt((double)in[4][c] + epsilon);
        a->shift[c] = (double)in[2][c] - (double)in[3][c] * a->scale[c];
    }
    return true;
}

/* One number for all channels, or one per channel as [..., C, 1, 1] under an output of `rank`. */
static bool per_channel(const struct value *v, uint32_t rank, size_t channels)
{
    size_t count = v->bytes / sizeof(float);
    if (v->rank > rank)
        return false;
    if (count == 1)
        return true;
    uint32_t axis = 1 + v->rank - rank; /* of the channels, when v has that many axes */
    return v->rank + 1 >= rank && count == channels && (size_t)v->dims[axis] == channels;
}

static bool of_arithmetic(struct graph *g, const struct node *n, const struct node *next,
                          struct affine *a)
{
    bool add = is_op(next, "Add"), sub = is_op(next, "Sub"), mul = is_op(next, "Mul");
    if ((!add && !sub && !mul && !is_op(next, "Div")) || next->opset < 7 || next->inputs_len != 2)
        return false;
    uint32_t side = next->inputs[0] == n->outputs[0] ? 1 : 0;
    uint32_t other = next->inputs[side];
    if (!const_floats(g, other) || (side == 0 && !add && !mul) ||
        !per_channel(&g->values[other], g->values[n->inputs[1]].rank, a->channels))
        return false;
    const float *x = graph_const_data(g, other);
    bool one = g->values[other].bytes == sizeof(float);
    for (size_t c = 0; c < a->channels; c++) {
        double by = (double)x[one ? 0 : c];
        a->scale[c] = add || sub ? 1 : mul ? by : 1 / by;
        a->shift[c] = add ? by : sub ? -by : 0;
    }
    return true;
}

static uint32_t new_const(struct graph *g, const char *name, const int64_t *dims, uint32_t rank,
                          const float *data, size_t count)
{
    uint32_t v = graph_value(g, name, VALUE_CONST);
    graph_set_const(g, v, DTYPE_FP32, dims, rank, data, count * sizeof *data);
    return v;
}

static void scale_weights(struct graph *g, struct node *n, const struct affine *a)
{
    struct value w = g->values[n->inputs[1]];
    size_t count = w.bytes / sizeof(float), each = count / a->channels;
    const float *old = graph_const_data(g, n->inputs[1]);
    float *scaled = region_array(g->region, count, sizeof *scaled);
    bool same = true;
    for (size_t c = 0; c < a->channels; c++) {
        same &= a->scale[c] == 1;
        for (size_t i = 0; i < each; i++)
            scaled[c * each + i] = (float)((double)old[c * each + i] * a->scale[c]);
    }
    if (!same)
        n->inputs[1] = new_const(g, w.name, w.dims, w.rank, scaled, count);
}

static void scale_bias(struct graph *g, struct node *n, const struct affine *a)
{
    const float *old = n->inputs_len > 2 ? graph_const_data(g, n->inputs[2]) : NULL;
    float *bias = region_array(g->region, a->channels, sizeof *bias);
    uint32_t *inputs = region_array(g->region, 3, sizeof *inputs);
    int64_t dims[1] = {(int64_t)a->channels};
    for (size_t c = 0; c < a->channels; c++)
        bias[c] = (float)((old ? (double)old[c] * a->scale[c] : 0) + a->shift[c]);
    inputs[0] = n->inputs[0];
    inputs[1] = n->inputs[1];
    inputs[2] = new_const(g, n->name, dims, 1, bias, a->channels);
    n->inputs = inputs;
    n->inputs_len = 3;
}

bool fuse_scale_shift(struct graph *graph, struct node *n, const struct node *next)
{
    const struct value *w = &graph->values[n->inputs[1]];
    if (!is_op(n, "Conv") || n->inputs_len > 3 || n->act.op != UNARY_IDENTITY ||
        !const_floats(graph, n->inputs[1]) || w->rank < 3 || w->dims[0] < 1 ||
        graph->values_len + 2 > GRAPH_VALUES_MAX)
        return false;
    struct affine a = {.channels = (size_t)w->dims[0]};
    if (n->inputs_len > 2 && (!const_floats(graph, n->inputs[2]) ||
                              graph->values[n->inputs[2]].bytes != a.channels * sizeof(float)))
        return false;
    a.scale = region_array(graph->region, a.channels, sizeof(double));
    a.shift = region_array(graph->region, a.channels, sizeof(double));
    bool norm = is_op(next, "BatchNormalization") && next->inputs[0] == n->outputs[0];
    if (!(norm ? of_batch_norm(graph, next, &a) : of_arithmetic(graph, n, next, &a)))
        return false;
    scale_weights(graph, n, &a);
    scale_bias(graph, n, &a);
    return true;
}
