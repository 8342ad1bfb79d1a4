/* nodes - see nodes.h */
#include "worker/onnx/nodes.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MISSING_MAX 64 /* different operators that one message names */

bool onnx_domain_is_ours(const char *domain)
{
    return !domain || !domain[0] || strcmp(domain, "ai.onnx") == 0;
}

const char *import_text(struct import *self, const char *text)
{
    return region_text(self->graph->region, text ? text : "", text ? strlen(text) : 0);
}

/* One operator that is not there, with how often the model uses it. */
struct missing {
    const Onnx__NodeProto *node;
    size_t count;
};

static const char *type_of(const Onnx__NodeProto *n)
{
    return n->op_type ? n->op_type : "";
}

static const char *domain_of(const Onnx__NodeProto *n)
{
    return onnx_domain_is_ours(n->domain) ? "ai.onnx" : n->domain;
}

static bool have(const struct import *self, const Onnx__NodeProto *n)
{
    if (!onnx_domain_is_ours(n->domain))
        return false;
    return strcmp(type_of(n), "Constant") == 0 || op_find(type_of(n), self->graph->opset);
}

static enum status name_missing(const struct import *self, const struct missing *list, size_t len,
                                bool more)
{
    char text[ERROR_TEXT_MAX - 128];
    size_t used = 0;
    for (size_t i = 0; i < len && used < sizeof text; i++) {
        const Onnx__NodeProto *n = list[i].node;
        bool other_opset = onnx_domain_is_ours(n->domain) && op_known(type_of(n));
        char opset[32] = "";
        if (other_opset)
            snprintf(opset, sizeof opset, " at opset %d", self->graph->opset);
        int w =
            snprintf(text + used, sizeof text - used, "%s%s.%.60s%s (%zu node%s)", i ? ", " : "",
                     domain_of(n), type_of(n), opset, list[i].count, list[i].count == 1 ? "" : "s");
        used += (size_t)w;
    }
    return fail(self->why, STATUS_BAD_MODEL, "operators that this engine does not have: %s%s", text,
                more ? " and more" : "");
}

/* The operators that are missing, each once. */
struct missing_list {
    struct missing list[MISSING_MAX];
    size_t len;
    bool more;
};

static void note_missing(struct missing_list *m, const Onnx__NodeProto *n)
{
    size_t k = 0;
    while (k < m->len && (strcmp(type_of(m->list[k].node), type_of(n)) != 0 ||
                          strcmp(domain_of(m->list[k].node), domain_of(n)) != 0))
        k++;
    if (k < m->len)
        m->list[k].count++;
    else if (m->len < MISSING_MAX)
        m->list[m->len++] = (struct missing){n, 1};
    else
        m->more = true;
}

/* Sub-graphs too; the strip before has bounded how deep messages nest. */
static void find_missing(const struct import *self, const Onnx__GraphProto *graph,
                         struct missing_list *m)
{
    for (size_t i = 0; i < graph->n_node; i++) {
        const Onnx__NodeProto *n = graph->node[i];
        if (!have(self, n))
            note_missing(m, n);
        for (size_t k = 0; k < n->n_attribute; k++)
            if (n->attribute[k]->g)
                find_missing(self, n->attribute[k]->g, m);
    }
}

enum status import_check_operators(struct import *self, const Onnx__GraphProto *graph)
{
    struct missing_list m = {.len = 0};
    find_missing(self, graph, &m);
    return m.len ? name_missing(self, m.list, m.len, m.more) : STATUS_OK;
}

static enum status fill_texts(struct import *self, const Onnx__AttributeProto *p, struct attr *a)
{
    struct region *region = self->graph->region;
    const char **texts = region_array(region, p->n_strings, sizeof *texts);
    for (size_t i = 0; i < p->n_strings; i++)
        texts[i] = region_text(region, p->strings[i].data, p->strings[i].len);
    a->texts = texts;
    a->len = p->n_strings;
    return STATUS_OK;
}

static void *copy_array(struct import *self, const void *from, size_t count, size_t bytes)
{
    void *to = region_array(self->graph->region, count, bytes);
    if (count)
        memcpy(to, from, count * bytes);
    return to;
}

/* Before IR 3 there was no type field: tell by what is there. */
static int type_of_attr(const Onnx__AttributeProto *p)
{
    if (p->has_type && p->type != ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__UNDEFINED)
        return (int)p->type;
    if (p->has_f)
        return ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__FLOAT;
    if (p->has_i)
        return ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__INT;
    if (p->has_s)
        return ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__STRING;
    if (p->t)
        return ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__TENSOR;
    if (p->n_floats)
        return ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__FLOATS;
    if (p->n_strings)
        return ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__STRINGS;
    if (p->g)
        return ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__GRAPH;
    return ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__INTS;
}

static enum status fill_attr(struct import *self, const char *node, const Onnx__AttributeProto *p,
                             struct captures *captures, struct attr *a)
{
    char what[512];
    a->name = import_text(self, p->name);
    snprintf(what, sizeof what, "attribute \"%.100s\" of node \"%.200s\"", a->name, node);
    switch (type_of_attr(p)) {
    case ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__FLOAT:
        a->kind = ATTR_FLOAT;
        a->f = p->f;
        return STATUS_OK;
    case ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__INT:
        a->kind = ATTR_INT;
        a->i = p->i;
        return STATUS_OK;
    case ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__STRING:
        a->kind = ATTR_TEXT;
        a->text = region_text(self->graph->region, p->s.data, p->has_s ? p->s.len : 0);
        return STATUS_OK;
    case ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__TENSOR:
        a->kind = ATTR_TENSOR;
        if (!p->t)
            return fail(self->why, STATUS_BAD_MODEL, "%s holds no tensor", what);
        return onnx_tensor(p->t, &self->source, self->graph->region, what, &a->tensor, self->why);
    case ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__FLOATS:
        a->kind = ATTR_FLOATS;
        a->len = p->n_floats;
        a->floats = copy_array(self, p->floats, p->n_floats, sizeof *p->floats);
        return STATUS_OK;
    case ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__INTS:
        a->kind = ATTR_INTS;
        a->len = p->n_ints;
        a->ints = copy_array(self, p->ints, p->n_ints, sizeof *p->ints);
        return STATUS_OK;
    case ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__STRINGS:
        a->kind = ATTR_TEXTS;
        return fill_texts(self, p, a);
    case ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__GRAPH:
        a->kind = ATTR_GRAPH;
        return import_body(self, p->g, captures, &a->graph);
    default:
        return fail(self->why, STATUS_BAD_MODEL, "%s is of a kind that is not supported", what);
    }
}

static enum status fill_attrs(struct import *self, const char *name, const Onnx__NodeProto *p,
                              struct captures *captures, struct attr **attrs)
{
    *attrs = region_array(self->graph->region, p->n_attribute, sizeof **attrs);
    for (size_t i = 0; i < p->n_attribute; i++) {
        enum status s = fill_attr(self, name, p->attribute[i], captures, &(*attrs)[i]);
        if (s != STATUS_OK)
            return s;
    }
    return STATUS_OK;
}

/* Constant: value, value_int(s), value_float(s). */
static enum status add_constant(struct import *self, const char *name, const Onnx__NodeProto *p)
{
    struct attr *a;
    struct captures none = {.len = 0};
    enum dtype dtype = DTYPE_NONE;
    const void *raw = NULL;
    size_t count = 1;
    uint32_t rank = 0;
    enum status s = fill_attrs(self, name, p, &none, &a);
    if (s != STATUS_OK)
        return s;
    if (p->n_attribute != 1 || p->n_output != 1)
        return fail(
            self->why, STATUS_BAD_MODEL,
            "node \"%.200s\" (Constant) needs one attribute and one output; it has %zu and %zu",
            name, p->n_attribute, p->n_output);
    uint32_t v = graph_value(self->graph, import_text(self, p->output[0]), VALUE_CONST);
    if (!names_add(self->names, self->graph->values[v].name, v))
        return fail(self->why, STATUS_BAD_MODEL, "value \"%.200s\" is made twice", p->output[0]);
    if (a->kind == ATTR_TENSOR && strcmp(a->name, "value") == 0) {
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
    default:
        return fail(self->why, STATUS_BAD_MODEL,
                    "node \"%.200s\" (Constant): attribute \"%.100s\" is not supported", name,
                    a->name);
    }
    graph_set_const(self->graph, v, dtype, &(int64_t){(int64_t)count}, rank, raw,
                    count * dtype_bytes(dtype));
    return STATUS_OK;
}

static enum status connect(struct import *self, struct node *n, const Onnx__NodeProto *p,
                           const struct captures *captures)
{
    struct graph *g = self->graph;
    size_t in = p->n_input, out = p->n_output;
    while (in && !p->input[in - 1][0])
        in--;
    while (out && !p->output[out - 1][0])
        out--;
    if (in < n->op->in_min || in > n->op->in_max || out < 1 || out > n->op->out_max)
        return bad_node(
            self->why, n,
            "it has %zu inputs and %zu outputs; this engine takes %u to %u inputs and 1 to "
            "%u outputs",
            in, out, n->op->in_min, MIN(n->op->in_max, GRAPH_VALUES_MAX),
            MIN(n->op->out_max, GRAPH_VALUES_MAX));
    n->captures = captures->len;
    n->inputs_len = (uint32_t)in + n->captures;
    n->outputs_len = (uint32_t)out;
    n->inputs = region_array(g->region, n->inputs_len, sizeof *n->inputs);
    n->outputs = region_array(g->region, out, sizeof *n->outputs);
    for (size_t i = 0; i < in; i++) {
        n->inputs[i] = p->input[i][0] ? import_find(self, p->input[i]) : VALUE_NONE;
        if (p->input[i][0] && n->inputs[i] == VALUE_NONE)
            return bad_node(self->why, n, "its input \"%.200s\" is made by no earlier node",
                            p->input[i]);
        if (i < n->op->in_min && n->inputs[i] == VALUE_NONE)
            return bad_node(self->why, n, "its input %zu is left out, but the operator needs it",
                            i);
    }
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
    n->op = op_find(type_of(p), self->graph->opset);
    n->name = name;
    n->opset = self->graph->opset;
    n->region = self->graph->region;
    n->label = n->op->name;
    n->attrs_len = (uint32_t)p->n_attribute;
    enum status s = fill_attrs(self, name, p, &captures, &n->attrs);
    if (s == STATUS_OK) {
        import_captures(&captures);
        s = connect(self, n, p, &captures);
    }
    free(captures.list);
    return s;
}

enum status import_nodes(struct import *self, const Onnx__GraphProto *graph)
{
    for (size_t i = 0; i < graph->n_node; i++) {
        const Onnx__NodeProto *p = graph->node[i];
        const char *first = p->n_output ? p->output[0] : "";
        const char *name = import_text(self, p->name && p->name[0] ? p->name : first);
        enum status s = strcmp(type_of(p), "Constant") == 0 ? add_constant(self, name, p)
                                                            : add_node(self, name, p);
        if (s != STATUS_OK)
            return s;
    }
    return STATUS_OK;
}
