/* attrs - AttributeProto becomes struct attr; see nodes.h */
#include <stdio.h>
#include <string.h>

#include "worker/onnx/nodes.h"

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
        return onnx_tensor(p->t, self->source, self->graph->region, what, &a->tensor, self->why);
    case ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__SPARSE_TENSOR:
        a->kind = ATTR_TENSOR;
        if (!p->sparse_tensor)
            return fail(self->why, STATUS_BAD_MODEL, "%s holds no tensor", what);
        return onnx_sparse_tensor(p->sparse_tensor, self->source, self->graph->region, what,
                                  &a->tensor, self->why);
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
    case ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__TYPE_PROTO:
        a->kind = ATTR_TYPE;
        return STATUS_OK;
    default:
        return fail(self->why, STATUS_BAD_MODEL, "%s is of a kind that is not supported", what);
    }
}

/* What stands for `p` when the scope is inside of `call`: `p` itself, what the call gives for the
 * name that it refers to, or NULL. */
static const Onnx__AttributeProto *resolve(const struct call *call, const Onnx__AttributeProto *p)
{
    while (p && p->ref_attr_name && p->ref_attr_name[0] && call) {
        const Onnx__AttributeProto *given = NULL;
        for (size_t i = 0; i < call->node->n_attribute && !given; i++)
            if (call->node->attribute[i]->name &&
                strcmp(call->node->attribute[i]->name, p->ref_attr_name) == 0)
                given = call->node->attribute[i];
        if (!given)
            return function_default(call->function, p->ref_attr_name);
        p = given;
        call = call->outer; /* where the call stands a reference means another call's attribute */
    }
    return p;
}

enum status import_attrs(struct import *self, const char *name, const Onnx__NodeProto *p,
                         struct captures *captures, struct attr **attrs, uint32_t *len)
{
    *attrs = region_array(self->graph->region, p->n_attribute, sizeof **attrs);
    *len = 0;
    for (size_t i = 0; i < p->n_attribute; i++) {
        const Onnx__AttributeProto *a = resolve(self->call, p->attribute[i]);
        if (!a)
            continue;
        if (a->ref_attr_name && a->ref_attr_name[0])
            return fail(self->why, STATUS_BAD_MODEL,
                        "attribute \"%.100s\" of node \"%.200s\" refers to an attribute of a "
                        "function, but stands in none",
                        p->attribute[i]->name ? p->attribute[i]->name : "", name);
        if (a != p->attribute[i] && a->g)
            return fail(self->why, STATUS_BAD_MODEL,
                        "attribute \"%.100s\" of node \"%.200s\" is a graph that a function is "
                        "called with, which is not supported",
                        p->attribute[i]->name ? p->attribute[i]->name : "", name);
        enum status s = fill_attr(self, name, a, captures, &(*attrs)[*len]);
        if (s != STATUS_OK)
            return s;
        (*attrs)[(*len)++].name = import_text(self, p->attribute[i]->name);
    }
    return STATUS_OK;
}
