/* survey - see survey.h */
#include "worker/onnx/survey.h"

#include <stdlib.h>
#include <string.h>

#include "worker/onnx/nodes.h"
#include "worker/onnx/strip.h"

static const char *keep(struct survey *s, const char *text)
{
    return region_text(s->region, text ? text : "", text ? strlen(text) : 0);
}

/* What is at hand while the file is walked. */
struct walk {
    struct survey *survey;
    const Onnx__ModelProto *model;
    int64_t opset;     /* of ai.onnx where the walk is: a function may import another */
    struct names *ops; /* by domain and name */
};

/* Nodes, those of sub-graphs included; the strip before has bounded how deep messages nest. */
static size_t count_nodes(Onnx__NodeProto *const *nodes, size_t len)
{
    size_t all = len;
    for (size_t i = 0; i < len; i++)
        for (size_t k = 0; k < nodes[i]->n_attribute; k++)
            if (nodes[i]->attribute[k]->g)
                all +=
                    count_nodes(nodes[i]->attribute[k]->g->node, nodes[i]->attribute[k]->g->n_node);
    return all;
}

static bool is_function(const Onnx__ModelProto *m, const char *domain, const char *name)
{
    for (size_t i = 0; i < m->n_functions; i++) {
        const Onnx__FunctionProto *f = m->functions[i];
        const char *of = onnx_domain_is_ours(f->domain) ? "ai.onnx" : f->domain;
        if (f->name && strcmp(f->name, name) == 0 && strcmp(of, domain) == 0)
            return true;
    }
    return false;
}

/* The opset of `domain` in a list of imports, or 0. */
static int64_t opset_of(Onnx__OperatorSetIdProto *const *list, size_t len, const char *domain)
{
    bool ours = onnx_domain_is_ours(domain);
    for (size_t i = 0; i < len; i++) {
        const Onnx__OperatorSetIdProto *o = list[i];
        if (ours ? onnx_domain_is_ours(o->domain) : o->domain && strcmp(o->domain, domain) == 0)
            return o->version;
    }
    return 0;
}

static void note_op(struct walk *w, const Onnx__NodeProto *n)
{
    struct survey *s = w->survey;
    const char *name = n->op_type ? n->op_type : "";
    bool ours = onnx_domain_is_ours(n->domain);
    const char *domain = ours ? "ai.onnx" : n->domain;
    char *key = xasprintf("%s\n%s", domain, name);
    uint32_t at = names_find(w->ops, key);
    if (at == VALUE_NONE) {
        at = (uint32_t)s->ops_len++;
        names_add(w->ops, keep(s, key), at);
        s->ops[at] = (struct survey_op){.domain = keep(s, domain), .name = keep(s, name)};
        s->ops[at].opset =
            ours ? w->opset : opset_of(w->model->opset_import, w->model->n_opset_import, domain);
        s->ops[at].supported = true;
    }
    s->ops[at].count++;
    s->ops[at].supported &=
        is_function(w->model, domain, name) ||
        (ours && (strcmp(name, "Constant") == 0 || op_find(name, (int)w->opset)));
    free(key);
}

static void note_nodes(struct walk *w, Onnx__NodeProto *const *nodes, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        note_op(w, nodes[i]);
        for (size_t k = 0; k < nodes[i]->n_attribute; k++) {
            const Onnx__GraphProto *g = nodes[i]->attribute[k]->g;
            if (g)
                note_nodes(w, g->node, g->n_node);
        }
    }
}

static void note_value(struct survey *s, const Onnx__ValueInfoProto *info, bool is_output)
{
    struct survey_value *v = &s->values[s->values_len++];
    struct tensor t;
    v->name = keep(s, info->name);
    v->is_output = is_output;
    if (onnx_value_info(info, "", &t, &v->has_dims, NULL) != STATUS_OK || !v->has_dims)
        return;
    v->dtype = t.dtype;
    v->rank = t.rank;
    memcpy(v->dims, t.dims, sizeof v->dims);
    const Onnx__TensorShapeProto *shape = info->type->tensor_type->shape;
    for (uint32_t i = 0; i < v->rank; i++)
        if (v->dims[i] < 0 && shape->dim[i]->dim_param && shape->dim[i]->dim_param[0])
            v->dim_names[i] = keep(s, shape->dim[i]->dim_param);
}

static int most_first(const void *a, const void *b)
{
    const struct survey_op *x = a, *y = b;
    if (x->count != y->count)
        return x->count < y->count ? 1 : -1;
    return strcmp(x->name, y->name);
}

static void fill_ops(struct survey *s, const Onnx__ModelProto *m)
{
    struct walk w = {s, m, s->opset, names_new()};
    size_t nodes = count_nodes(m->graph->node, m->graph->n_node);
    for (size_t i = 0; i < m->n_functions; i++)
        nodes += count_nodes(m->functions[i]->node, m->functions[i]->n_node);
    s->ops = region_array(s->region, nodes, sizeof *s->ops);
    note_nodes(&w, m->graph->node, m->graph->n_node);
    for (size_t i = 0; i < m->n_functions; i++) {
        const Onnx__FunctionProto *f = m->functions[i];
        int64_t own = opset_of(f->opset_import, f->n_opset_import, "");
        w.opset = own ? MAX(0, MIN(own, INT32_MAX)) : s->opset;
        note_nodes(&w, f->node, f->n_node);
    }
    qsort(s->ops, s->ops_len, sizeof *s->ops, most_first);
    names_destroy(&w.ops);
}

static void fill_values(struct survey *s, const Onnx__GraphProto *g)
{
    struct names *made = names_new();
    for (size_t i = 0; i < g->n_initializer; i++)
        names_add(made, g->initializer[i]->name ? g->initializer[i]->name : "", 0);
    s->values = region_array(s->region, g->n_input + g->n_output, sizeof *s->values);
    for (size_t i = 0; i < g->n_input; i++)
        if (names_find(made, g->input[i]->name ? g->input[i]->name : "") == VALUE_NONE)
            note_value(s, g->input[i], false);
    for (size_t i = 0; i < g->n_output; i++)
        note_value(s, g->output[i], true);
    names_destroy(&made);
}

static void fill(struct survey *s, const Onnx__ModelProto *m)
{
    s->ir_version = m->has_ir_version ? m->ir_version : 0;
    s->producer = keep(s, m->producer_name);
    int64_t opset = opset_of(m->opset_import, m->n_opset_import, "");
    s->opset = MAX(0, MIN(opset, INT32_MAX));
    fill_ops(s, m);
    fill_values(s, m->graph);
}

enum status survey_make(struct survey **out, const void *bytes, size_t size, struct error *why)
{
    uint8_t *stripped = NULL;
    size_t stripped_size = 0;
    *out = NULL;
    enum status status = onnx_strip(bytes, size, &stripped, &stripped_size, why);
    if (status != STATUS_OK)
        return status;
    Onnx__ModelProto *m = onnx__model_proto__unpack(NULL, stripped_size, stripped);
    free(stripped);
    if (!m || !m->graph) {
        if (m)
            onnx__model_proto__free_unpacked(m, NULL);
        return fail(why, STATUS_BAD_MODEL, "the file holds no graph: is this an ONNX model?");
    }
    struct region *region = region_new();
    *out = region_take(region, sizeof **out);
    (*out)->region = region;
    fill(*out, m);
    onnx__model_proto__free_unpacked(m, NULL);
    return STATUS_OK;
}

const struct survey_value *survey_find(const struct survey *self, const char *name, bool is_output)
{
    for (size_t i = 0; i < self->values_len; i++)
        if (self->values[i].is_output == is_output && strcmp(self->values[i].name, name) == 0)
            return &self->values[i];
    return NULL;
}

void survey_destroy(struct survey **self_p)
{
    struct survey *self = *self_p;
    if (!self)
        return;
    struct region *region = self->region; /* `self` lies in it */
    region_destroy(&region);
    *self_p = NULL;
}
