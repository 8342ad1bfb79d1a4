/* halves - see halves.h */
#include "worker/graph/halves.h"

#include <stdlib.h>
#include <string.h>

#include "worker/kernels/half.h"

/* Both steps: input 0 goes to FP32, or, with an input 1 of a half type, from FP32 to that. */
static enum dtype type_after(const struct step *step)
{
    enum dtype t = step->in[0]->dtype;
    if (step->in_len == 1)
        return dtype_is_half(t) ? DTYPE_FP32 : t;
    return t == DTYPE_FP32 && dtype_is_half(step->in[1]->dtype) ? step->in[1]->dtype : t;
}

static enum status convert_shape(struct step *step, struct error *why)
{
    return out_like(step, 0, type_after(step), step->in[0], why);
}

static enum status convert_run(const struct step *step, struct error *why)
{
    (void)why;
    const struct array *in = step->in[0], *out = step->out[0];
    if (dtype_is_half(in->dtype) && out->dtype == DTYPE_FP32)
        half_to_fp32(in->dtype, array_count(in), in->data, out->data);
    else if (in->dtype == DTYPE_FP32 && dtype_is_half(out->dtype))
        half_from_fp32(out->dtype, array_count(in), in->data, out->data);
    else if (out->data != in->data && in->bytes)
        memcpy(out->data, in->data, in->bytes);
    return STATUS_OK;
}

/* Of input 1 only the type is read. */
static void convert_rows(const struct rows_step *s, const struct rows_at *in, struct rows_at *out)
{
    (void)s;
    out[0] = in[0];
}

/* A view takes what comes. */
static void convert_layouts(const struct step *step, enum layout *wants)
{
    for (uint32_t i = 0; i < step->in_len; i++)
        wants[i] = i || type_after(step) == step->in[0]->dtype ? step->in[i]->layout : LAYOUT_PLAIN;
}

#define CONVERT                                                                                    \
    .opset_min = 1, .opset_max = OPSET_NEWEST, .in_min = 1, .in_max = 2, .out_max = 1,             \
    .flags = OP_VIEW | OP_TEXTS | OP_ANY_TYPE, .shape = convert_shape, .run = convert_run,         \
    .rows = convert_rows, .layouts = convert_layouts

static const struct op widen_op = {.name = "(to FP32)", CONVERT};
static const struct op round_op = {.name = "(from FP32)", CONVERT};

/* The type that an attribute gives the outputs; DTYPE_NONE when none does. */
static enum dtype type_by_attr(const struct node *n)
{
    static const char *const names[] = {"to", "dtype", "output_dtype", "output_datatype"};
    for (uint32_t a = 0; a < n->attrs_len; a++) {
        const struct attr *at = &n->attrs[a];
        if (at->kind == ATTR_TENSOR)
            return at->tensor.dtype;
        for (size_t k = 0; k < ARRAY_LEN(names) && at->kind == ATTR_INT; k++)
            if (strcmp(at->name, names[k]) == 0 && at->i > 0 && at->i < 64)
                return dtype_by_onnx((int)at->i);
    }
    return DTYPE_NONE;
}

/* Whether a value of these types can come up in the graph at all. */
static bool has_halves(const struct graph *g)
{
    for (uint32_t i = 0; i < g->values_len; i++)
        if (dtype_is_half(g->values[i].dtype))
            return true;
    for (uint32_t i = 0; i < g->nodes_len; i++)
        if (dtype_is_half(type_by_attr(g->nodes[i])))
            return true;
    for (uint32_t i = 0; i < g->bodies_len; i++)
        if (has_halves(g->bodies[i]))
            return true;
    return false;
}

struct halves {
    struct graph *graph;
    bool *perhaps;   /* by value: it may be of a half type */
    uint32_t *wides; /* by value: the same in FP32, or VALUE_NONE */
};

static uint32_t add_value(struct halves *h, uint32_t like, bool perhaps)
{
    uint32_t v = graph_value(h->graph, h->graph->values[like].name, VALUE_MADE);
    h->perhaps[v] = perhaps;
    h->wides[v] = VALUE_NONE;
    return v;
}

static void add_convert(struct halves *h, const struct op *op, uint32_t from, uint32_t like,
                        uint32_t to)
{
    struct region *region = h->graph->region;
    struct node *n = region_take(region, sizeof *n);
    n->op = op;
    n->name = h->graph->values[from].name;
    n->opset = h->graph->opset;
    n->region = region;
    n->label = op->name;
    n->inputs = region_array(region, 2, sizeof *n->inputs);
    n->inputs[0] = from;
    n->inputs[1] = like;
    n->inputs_len = like == VALUE_NONE ? 1 : 2;
    n->outputs = region_array(region, 1, sizeof *n->outputs);
    n->outputs[0] = to;
    n->outputs_len = 1;
    graph_node(h->graph, n);
}

static uint32_t wide(struct halves *h, uint32_t v)
{
    if (h->wides[v] == VALUE_NONE) {
        h->wides[v] = add_value(h, v, false);
        add_convert(h, &widen_op, v, VALUE_NONE, h->wides[v]);
    }
    return h->wides[v];
}

/* Statistics stay as they were computed. */
static bool stays_fp32(const struct node *n, uint32_t output)
{
    return output > 0 && strcmp(n->op->name, "LayerNormalization") == 0;
}

static void add_between(struct halves *h, struct node *n)
{
    uint32_t first = n->inputs_len ? n->inputs[0] : VALUE_NONE;
    bool rounds = first != VALUE_NONE && h->perhaps[first];
    uint32_t *outputs = region_array(h->graph->region, n->outputs_len, sizeof *outputs);
    for (uint32_t i = 0; i < n->inputs_len; i++)
        if (n->inputs[i] != VALUE_NONE && h->perhaps[n->inputs[i]])
            n->inputs[i] = wide(h, n->inputs[i]);
    memcpy(outputs, n->outputs, n->outputs_len * sizeof *outputs);
    for (uint32_t i = 0; i < n->outputs_len && rounds; i++)
        if (outputs[i] != VALUE_NONE && !stays_fp32(n, i))
            n->outputs[i] = add_value(h, outputs[i], false);
    graph_node(h->graph, n);
    for (uint32_t i = 0; i < n->outputs_len; i++) {
        if (n->outputs[i] == outputs[i])
            continue;
        add_convert(h, &round_op, n->outputs[i], first, outputs[i]);
        h->perhaps[outputs[i]] = true;
    }
}

static void add_node(struct halves *h, struct node *n)
{
    enum dtype given = type_by_attr(n);
    bool any = graph_body(n, 0) != NULL;
    for (uint32_t i = 0; i < n->inputs_len; i++)
        any |= n->inputs[i] != VALUE_NONE && h->perhaps[n->inputs[i]];
    if (any && !(n->op->flags & OP_ANY_TYPE)) {
        add_between(h, n);
        return;
    }
    if (given != DTYPE_NONE)
        any = dtype_is_half(given);
    for (uint32_t i = 0; i < n->outputs_len; i++)
        if (n->outputs[i] != VALUE_NONE)
            h->perhaps[n->outputs[i]] = any;
    graph_node(h->graph, n);
}

static enum status widen_graph(struct graph *g, struct error *why)
{
    size_t more = 0; /* conversions, each with a value */
    for (uint32_t i = 0; i < g->nodes_len; i++)
        more += g->nodes[i]->inputs_len + g->nodes[i]->outputs_len;
    if (g->nodes_len + more > GRAPH_NODES_MAX || g->values_len + more > GRAPH_VALUES_MAX)
        return fail(why, STATUS_BAD_MODEL,
                    "the model has more than %d nodes or %d values, conversions of FP16 and BF16 "
                    "included",
                    GRAPH_NODES_MAX, GRAPH_VALUES_MAX);
    struct halves h = {.graph = g};
    struct node **nodes = g->nodes;
    uint32_t len = g->nodes_len;
    h.perhaps = xcalloc(g->values_len + more, sizeof *h.perhaps);
    h.wides = xcalloc(g->values_len + more, sizeof *h.wides);
    for (uint32_t i = 0; i < g->values_len; i++) {
        const struct value *v = &g->values[i];
        h.perhaps[i] = dtype_is_half(v->dtype) ||
                       (v->kind == VALUE_INPUT && v->dtype == DTYPE_NONE); /* of a body */
        h.wides[i] = VALUE_NONE;
    }
    g->nodes = NULL;
    g->nodes_len = g->nodes_room = 0;
    for (uint32_t i = 0; i < len; i++)
        add_node(&h, nodes[i]);
    free(nodes);
    free(h.perhaps);
    free(h.wides);
    enum status s = STATUS_OK;
    for (uint32_t i = 0; i < g->bodies_len && s == STATUS_OK; i++)
        s = widen_graph(g->bodies[i], why);
    return s;
}

enum status graph_widen_halves(struct graph *self, struct error *why)
{
    return has_halves(self) ? widen_graph(self, why) : STATUS_OK;
}
