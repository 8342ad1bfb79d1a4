/* nodes - see nodes.h */
#include "worker/onnx/nodes.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *import_text(struct import *self, const char *text)
{
    return region_text(self->graph->region, text ? text : "", text ? strlen(text) : 0);
}

static const char *type_of(const Onnx__NodeProto *n)
{
    return n->op_type ? n->op_type : "";
}

static const void *texts_of(struct import *self, const char *const *from, size_t count)
{
    struct text *texts = region_array(self->graph->region, count, sizeof *texts);
    for (size_t i = 0; i < count; i++)
        texts[i] = (struct text){from[i], strlen(from[i])};
    return texts;
}

/* Constant: value, sparse_value, value_int(s), value_float(s), value_string(s). */
static enum status add_constant(struct import *self, const char *name, const Onnx__NodeProto *p)
{
    struct attr *a;
    struct captures none = {.len = 0};
    enum dtype dtype = DTYPE_NONE;
    const void *raw = NULL;
    size_t count = 1;
    uint32_t rank = 0;
    uint32_t len;
    enum status s = import_attrs(self, name, p, &none, &a, &len);
    if (s != STATUS_OK)
        return s;
    if (len != 1 || p->n_output != 1)
        return fail(
            self->why, STATUS_BAD_MODEL,
            "node \"%.200s\" (Constant) needs one attribute and one output; it has %u and %zu",
            name, len, p->n_output);
    uint32_t v = graph_value(self->graph, import_text(self, p->output[0]), VALUE_CONST);
    if (!names_add(self->names, self->graph->values[v].name, v))
        return fail(self->why, STATUS_BAD_MODEL, "value \"%.200s\" is made twice", p->output[0]);
    if (a->kind == ATTR_TENSOR &&
        (strcmp(a->name, "value") == 0 || strcmp(a->name, "sparse_value") == 0)) {
        const struct tensor *t = &a->tensor;
        graph_set_const(self->graph, v, t->dtype, t->dims, t->rank, t->data, t->bytes);
        return STATUS_OK;
    }
    switch (a->kind) {
    case ATTR_INT:
    case ATTR_FLOAT:
        dtype = a->kind == ATTR_INT ? DTYPE_INT64 : DTYPE_FP32;
        raw = a->kind == ATTR_INT ? (const void *)&a->i : &a->f;
        break;
    case ATTR_INTS:
    case ATTR_FLOATS:
        dtype = a->kind == ATTR_INTS ? DTYPE_INT64 : DTYPE_FP32;
        raw = a->kind == ATTR_INTS ? (const void *)a->ints : a->floats;
        count = a->len;
        rank = 1;
        break;
    case ATTR_TEXT:
    case ATTR_TEXTS:
        dtype = DTYPE_BYTES;
        count = a->kind == ATTR_TEXT ? 1 : a->len;
        rank = a->kind == ATTR_TEXT ? 0 : 1;
        raw = texts_of(self, a->kind == ATTR_TEXT ? &a->text : a->texts, count);
        break;
    default:
        return fail(self->why, STATUS_BAD_MODEL,
                    "node \"%.200s\" (Constant): attribute \"%.100s\" is not supported", name,
                    a->name);
    }
    graph_set_const(self->graph, v, dtype, &(int64_t){(int64_t)count}, rank, raw,
                    count * element_bytes(dtype));
    return STATUS_OK;
}

/* Whether the name stands for an input that a call leaves out. */
static bool left_out(const struct import *self, const char *name)
{
    while (self && !names_has(self->names, name))
        self = self->outer;
    return self != NULL;
}

/* The values of these names; VALUE_NONE for "" and for what a call leaves out. */
static enum status find_inputs(struct import *self, const char *node, const Onnx__NodeProto *p,
                               uint32_t *values, size_t *len)
{
    *len = 0;
    for (size_t i = 0; i < p->n_input; i++) {
        const char *name = p->input[i];
        values[i] = name[0] ? import_find(self, name) : VALUE_NONE;
        if (values[i] != VALUE_NONE)
            *len = i + 1;
        else if (name[0] && !left_out(self, name))
            return fail(self->why, STATUS_BAD_MODEL,
                        "node \"%.200s\" (%.60s): its input \"%.200s\" is made by no earlier node",
                        node, p->op_type ? p->op_type : "", name);
    }
    return STATUS_OK;
}

static enum status connect(struct import *self, struct node *n, const Onnx__NodeProto *p,
                           const struct captures *captures)
{
    struct graph *g = self->graph;
    size_t in, out = p->n_output;
    n->inputs = region_array(g->region, p->n_input + captures->len, sizeof *n->inputs);
    enum status s = find_inputs(self, n->name, p, n->inputs, &in);
    if (s != STATUS_OK)
        return s;
    while (out && !p->output[out - 1][0])
        out--;
    if (in < n->op->in_min || in > n->op->in_max || out < 1 || out > n->op->out_max)
        return bad_node(
            self->why, n,
            "it has %zu inputs and %zu outputs; this engine takes %u to %u inputs and 1 to "
            "%u outputs",
            in, out, n->op->in_min, MIN(n->op->in_max, GRAPH_VALUES_MAX),
            MIN(n->op->out_max, GRAPH_VALUES_MAX));
    for (size_t i = 0; i < n->op->in_min; i++)
        if (n->inputs[i] == VALUE_NONE)
            return bad_node(self->why, n, "its input %zu is left out, but the operator needs it",
                            i);
    n->captures = captures->len;
    n->inputs_len = (uint32_t)in + n->captures;
    n->outputs_len = (uint32_t)out;
    n->outputs = region_array(g->region, out, sizeof *n->outputs);
    for (uint32_t i = 0; i < captures->len; i++)
        n->inputs[in + i] = captures->list[i].outer;
    for (size_t i = 0; i < out; i++) {
        n->outputs[i] = VALUE_NONE;
        if (!p->output[i][0])
            continue;
        n->outputs[i] = graph_value(g, import_text(self, p->output[i]), VALUE_MADE);
        if (!names_add(self->names, g->values[n->outputs[i]].name, n->outputs[i]))
            return bad_node(self->why, n, "its output \"%.200s\" is made twice", p->output[i]);
    }
    graph_node(g, n);
    return STATUS_OK;
}

static enum status add_node(struct import *self, const char *name, const Onnx__NodeProto *p)
{
    struct node *n = region_take(self->graph->region, sizeof *n);
    struct captures captures = {.len = 0};
    n->op = op_find(type_of(p), self->opset);
    if (!n->op) /* found for one caller's opset, but not for that of the next */
        return fail(self->why, STATUS_BAD_MODEL,
                    "node \"%.200s\": this engine has no operator %.60s at opset %d", name,
                    type_of(p), self->opset);
    n->name = name;
    n->opset = self->opset;
    n->region = self->graph->region;
    n->label = n->op->name;
    enum status s = import_attrs(self, name, p, &captures, &n->attrs, &n->attrs_len);
    if (s == STATUS_OK) {
        import_captures(&captures);
        s = connect(self, n, p, &captures);
    }
    free(captures.list);
    return s;
}

/* The formal inputs of a function get the values that the call gives. */
static enum status bind_inputs(struct import *self, struct import *inside, const char *name,
                               const Onnx__NodeProto *p)
{
    const Onnx__FunctionProto *f = inside->call->function->proto;
    uint32_t *values = region_array(self->graph->region, p->n_input, sizeof *values);
    size_t given;
    enum status s = find_inputs(self, name, p, values, &given);
    if (s != STATUS_OK)
        return s;
    if (given > f->n_input || p->n_output > f->n_output)
        return fail(
            self->why, STATUS_BAD_MODEL,
            "node \"%.200s\" calls function \"%.100s\" with %zu inputs and %zu outputs; the "
            "function has %zu and %zu",
            name, type_of(p), given, p->n_output, f->n_input, f->n_output);
    for (size_t i = 0; i < f->n_input; i++)
        if (!names_add(inside->names, f->input[i], i < given ? values[i] : VALUE_NONE))
            return fail(self->why, STATUS_BAD_MODEL,
                        "function \"%.100s\" has two inputs \"%.200s\"", type_of(p), f->input[i]);
    return STATUS_OK;
}

static enum status bind_outputs(struct import *self, struct import *inside,
                                const Onnx__NodeProto *p)
{
    const Onnx__FunctionProto *f = inside->call->function->proto;
    for (size_t i = 0; i < p->n_output; i++) {
        if (!p->output[i][0])
            continue;
        uint32_t v = names_find(inside->names, f->output[i]);
        if (v == VALUE_NONE)
            return fail(self->why, STATUS_BAD_MODEL,
                        "function \"%.100s\": output \"%.200s\" is made by none of its nodes",
                        type_of(p), f->output[i]);
        if (!names_add(self->names, import_text(self, p->output[i]), v))
            return fail(self->why, STATUS_BAD_MODEL, "value \"%.200s\" is made twice",
                        p->output[i]);
    }
    return STATUS_OK;
}

/* The function's nodes in place of the node that calls it. */
static enum status add_call(struct import *self, const char *name, const Onnx__NodeProto *p,
                            const struct function *f)
{
    struct call call = {p, f, self->call, name};
    struct import inside = *self;
    unsigned depth = 0;
    for (const struct call *c = self->call; c; c = c->outer)
        depth++;
    if (depth == FUNCTION_DEPTH_MAX)
        return fail(self->why, STATUS_BAD_MODEL,
                    "function \"%.100s\" is called inside %d others: functions must not call "
                    "themselves",
                    type_of(p), FUNCTION_DEPTH_MAX);
    self->budget->function_bytes += onnx__function_proto__get_packed_size(f->proto);
    if (self->budget->function_bytes > FUNCTION_BYTES_MAX)
        return fail(self->why, STATUS_BAD_MODEL,
                    "the model's functions, written out wherever they are called, take more than "
                    "%zu MiB",
                    FUNCTION_BYTES_MAX / MIB);
    inside.names = names_new();
    inside.outer = NULL; /* a function sees its inputs only */
    inside.call = &call;
    inside.opset = f->opset ? f->opset : self->opset;
    enum status s = bind_inputs(self, &inside, name, p);
    if (s == STATUS_OK)
        s = import_nodes(&inside, f->proto->node, f->proto->n_node);
    if (s == STATUS_OK)
        s = bind_outputs(self, &inside, p);
    names_destroy(&inside.names);
    return s;
}

enum status import_spend(struct import *self, size_t nodes, size_t values)
{
    struct budget *b = self->budget;
    b->nodes += nodes;
    b->values += values;
    if (b->nodes > GRAPH_NODES_MAX || b->values > GRAPH_VALUES_MAX)
        return fail(self->why, STATUS_BAD_MODEL,
                    "the model has more than %d nodes or %d values, its functions and what its "
                    "sub-graphs read from around them included",
                    GRAPH_NODES_MAX, GRAPH_VALUES_MAX);
    return STATUS_OK;
}

/* "call/node", so that messages tell where a function is called. */
static const char *name_of(struct import *self, const Onnx__NodeProto *p)
{
    char text[256];
    const char *name = p->name;
    if (!name || !name[0])
        name = p->n_output ? p->output[0] : "";
    if (!self->call)
        return import_text(self, name);
    snprintf(text, sizeof text, "%.120s/%.120s", self->call->name, name);
    return import_text(self, text);
}

enum status import_nodes(struct import *self, Onnx__NodeProto *const *nodes, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        const Onnx__NodeProto *p = nodes[i];
        /* A name from around may become a value in every graph on the way. */
        enum status s = import_spend(self, 1, p->n_output + p->n_input * (1 + self->depth));
        if (s != STATUS_OK)
            return s;
        const char *name = name_of(self, p);
        const struct function *f = functions_find(self->functions, p);
        if (f)
            s = add_call(self, name, p, f);
        else if (strcmp(type_of(p), "Constant") == 0)
            s = add_constant(self, name, p);
        else
            s = add_node(self, name, p);
        if (s != STATUS_OK)
            return s;
    }
    return STATUS_OK;
}
