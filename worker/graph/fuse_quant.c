/* fuse_quant - DequantizeLinear, Conv or MatMul, QuantizeLinear: the product of the bytes
 * themselves
 *
 * Such models say by three operators what QLinearConv and QLinearMatMul say by one; sums are exact
 * then, and rounded once. Scales and zero points of the activations must be single constants, the
 * weights' constants too, one or one per output. */
#include <math.h>
#include <string.h>

#include "worker/graph/fusions.h"
#include "worker/graph/match.h"
#include "worker/ops/ops.h"

/* A quantised value: numbers of values in the graph. */
struct quantised {
    uint32_t q, scale, zero;
};

static bool is_const(const struct graph *g, uint32_t v, enum dtype dtype)
{
    return v != VALUE_NONE && g->values[v].kind == VALUE_CONST && g->values[v].dtype == dtype;
}

static bool byte_const(const struct graph *g, uint32_t v)
{
    return is_const(g, v, DTYPE_INT8) || is_const(g, v, DTYPE_UINT8);
}

/* Scale and zero point of node `n` (to bytes or from them): constants, without blocks. */
static bool parameters(const struct graph *g, struct node *n, struct quantised *q)
{
    static const char *const others[] = {"block_size", "output_dtype"};
    for (size_t i = 0; i < ARRAY_LEN(others); i++) {
        const struct attr *a = attr_find(n, others[i]);
        if (a && a->i)
            return false;
    }
    if (n->inputs_len != 3 || !is_const(g, n->inputs[1], DTYPE_FP32) || n->inputs[2] == VALUE_NONE)
        return false;
    *q = (struct quantised){n->inputs[0], n->inputs[1], n->inputs[2]};
    return true;
}

static bool single(const struct graph *g, const struct quantised *q)
{
    return g->values[q->scale].bytes == sizeof(float) && byte_const(g, q->zero) &&
           g->values[q->zero].bytes == 1;
}

/* Value `v` comes out of bytes with one scale. */
static bool from_bytes(const struct graph *g, uint32_t v, struct quantised *q)
{
    struct node *n = match_maker(g, v, "DequantizeLinear");
    return n && parameters(g, n, q) && single(g, q);
}

/* Value `v` is made of constant bytes of `rank` axes, with one scale or one for each of `axis`. */
static bool from_weights(const struct graph *g, uint32_t v, uint32_t axis, struct quantised *q)
{
    struct node *n = match_maker(g, v, "DequantizeLinear");
    if (!n || !parameters(g, n, q) || !byte_const(g, q->q) || !byte_const(g, q->zero))
        return false;
    const struct value *w = &g->values[q->q], *scale = &g->values[q->scale];
    if (w->rank <= axis || g->values[q->zero].dtype != w->dtype ||
        g->values[q->zero].bytes * sizeof(float) != scale->bytes)
        return false;
    if (scale->bytes == sizeof(float))
        return true;
    const struct attr *a = attr_find(n, "axis");
    int64_t along = a ? a->i : 1;
    return axis_ok(&along, w->rank) && along == axis && scale->rank == 1 &&
           scale->dims[0] == w->dims[axis];
}

/* Sums of products have the scale of x times that of w: a bias of that scale is one of them. */
static bool bias_fits(struct graph *g, uint32_t v, const struct quantised *x,
                      const struct quantised *w, uint32_t *bias)
{
    struct node *n = match_maker(g, v, "DequantizeLinear");
    if (!n || n->inputs_len < 2 || !is_const(g, n->inputs[0], DTYPE_INT32) ||
        !is_const(g, n->inputs[1], DTYPE_FP32))
        return false;
    const struct value *b = &g->values[n->inputs[0]];
    size_t scales = g->values[n->inputs[1]].bytes / sizeof(float),
           w_scales = g->values[w->scale].bytes / sizeof(float);
    if (b->rank != 1 || b->dims[0] != g->values[w->q].dims[0] ||
        (scales != 1 && scales != (size_t)b->dims[0]))
        return false;
    if (n->inputs_len > 2 && n->inputs[2] != VALUE_NONE) {
        if (!is_const(g, n->inputs[2], DTYPE_INT32))
            return false;
        const int32_t *zeros = graph_const_data(g, n->inputs[2]);
        for (size_t i = 0; i < g->values[n->inputs[2]].bytes / sizeof *zeros; i++)
            if (zeros[i])
                return false;
    }
    const float *own = graph_const_data(g, n->inputs[1]), *by_w = graph_const_data(g, w->scale);
    double by_x = (double)*(const float *)graph_const_data(g, x->scale);
    for (size_t k = 0; k < (size_t)b->dims[0]; k++) {
        double want = by_x * (double)by_w[w_scales > 1 ? k : 0];
        if (!(fabs((double)own[scales > 1 ? k : 0] - want) <= 1e-6 * fabs(want)))
            return false;
    }
    *bias = n->inputs[0];
    return true;
}

/* The node in front of `v` that nobody else reads, behind ReLU or Clip at most. */
static struct node *behind_activation(const struct graph *g, uint32_t v, const char *op,
                                      struct activation *act)
{
    struct node *n = match_inner(g, v, "Relu");
    *act = (struct activation){.op = UNARY_IDENTITY};
    if (!n)
        n = match_inner(g, v, "Clip");
    if (n && (!fusion_activation(g, n, act) || graph_is_output(g, v)))
        return NULL;
    v = n ? n->inputs[0] : v;
    return graph_is_output(g, v) ? NULL : match_inner(g, v, op);
}

static bool become_conv(struct graph *g, struct node *n, const struct quantised *y)
{
    struct activation act;
    struct quantised x, w;
    uint32_t bias = VALUE_NONE;
    struct node *conv = behind_activation(g, n->inputs[0], "Conv", &act);
    if (!conv || conv->inputs_len > 3 || !from_bytes(g, conv->inputs[0], &x) ||
        !from_weights(g, conv->inputs[1], 0, &w) || g->values[w.q].rank > 4 ||
        (conv->inputs_len > 2 && conv->inputs[2] != VALUE_NONE &&
         !bias_fits(g, conv->inputs[2], &x, &w, &bias)))
        return false;
    const uint32_t inputs[] = {x.q, x.scale, x.zero, w.q, w.scale, w.zero, y->scale, y->zero, bias};
    match_become(g, n, "QLinearConv", 10, "QLinearConv (written out)", inputs,
                 bias == VALUE_NONE ? 8 : 9, conv->attrs, conv->attrs_len);
    n->act = act;
    return true;
}

static bool become_matmul(struct graph *g, struct node *n, const struct quantised *y)
{
    struct quantised a, b;
    struct node *product = match_inner(g, n->inputs[0], "MatMul");
    if (!product || product->inputs_len != 2 || graph_is_output(g, n->inputs[0]) ||
        !from_bytes(g, product->inputs[0], &a) || !from_weights(g, product->inputs[1], 1, &b) ||
        g->values[b.q].rank != 2)
        return false;
    const uint32_t inputs[] = {a.q, a.scale, a.zero, b.q, b.scale, b.zero, y->scale, y->zero};
    match_become(g, n, "QLinearMatMul", 10, "QLinearMatMul (written out)", inputs, 8, NULL, 0);
    return true;
}

bool fuse_quantised(struct graph *g, struct node *n)
{
    struct quantised y;
    return match_op(n, "QuantizeLinear") && parameters(g, n, &y) && single(g, &y) &&
           (become_conv(g, n, &y) || become_matmul(g, n, &y));
}
