/* import - strip, decode, check versions, then values and nodes in order; see import.h */
#include "worker/onnx/import.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "worker/onnx/names.h"
#include "worker/onnx/nodes.h"
#include "worker/onnx/strip.h"
#include "worker/onnx/tensors.h"

/* *opset is 0 where the model imports none of ai.onnx: then it must not use that domain. */
static enum status check_versions(const Onnx__ModelProto *m, int *opset, struct error *why)
{
    if (!m->has_ir_version || m->ir_version < 1 || m->ir_version > IMPORT_IR_NEWEST)
        return fail(why, STATUS_BAD_MODEL,
                    "ir_version is %" PRId64 "; this engine reads 1 to %d: is this an ONNX model?",
                    m->has_ir_version ? m->ir_version : 0, IMPORT_IR_NEWEST);
    enum status s = onnx_opset(m->opset_import, m->n_opset_import, opset, why);
    if (s != STATUS_OK)
        return s;
    if (!*opset && m->ir_version < 3)
        *opset = 1; /* opset_import exists since IR 3 */
    if (!m->graph)
        return fail(why, STATUS_BAD_MODEL, "the file holds no graph: is this an ONNX model?");
    return STATUS_OK;
}

static enum status add_initializer(struct import *im, const char *name, const struct tensor *t)
{
    uint32_t v = graph_value(im->graph, name, VALUE_CONST);
    graph_set_const(im->graph, v, t->dtype, t->dims, t->rank, t->data, t->bytes);
    if (!names_add(im->names, name, v))
        return fail(im->why, STATUS_BAD_MODEL, "two initializers are named \"%.200s\"", name);
    return STATUS_OK;
}

static enum status add_initializers(struct import *im, const Onnx__GraphProto *p)
{
    struct tensor t;
    char what[256];
    enum status s = STATUS_OK;
    for (size_t i = 0; i < p->n_initializer && s == STATUS_OK; i++) {
        const char *name = import_text(im, p->initializer[i]->name);
        snprintf(what, sizeof what, "initializer \"%.200s\"", name);
        s = onnx_tensor(p->initializer[i], im->source, im->graph->region, what, &t, im->why);
        if (s == STATUS_OK)
            s = add_initializer(im, name, &t);
    }
    for (size_t i = 0; i < p->n_sparse_initializer && s == STATUS_OK; i++) {
        const Onnx__TensorProto *values = p->sparse_initializer[i]->values;
        const char *name = import_text(im, values ? values->name : NULL);
        snprintf(what, sizeof what, "initializer \"%.200s\"", name);
        s = onnx_sparse_tensor(p->sparse_initializer[i], im->source, im->graph->region, what, &t,
                               im->why);
        if (s == STATUS_OK)
            s = add_initializer(im, name, &t);
    }
    return s;
}

static enum status add_inputs(struct import *im, const Onnx__GraphProto *p)
{
    struct graph *g = im->graph;
    g->inputs = region_array(g->region, p->n_input, sizeof *g->inputs);
    for (size_t i = 0; i < p->n_input; i++) {
        struct tensor t;
        bool has_dims;
        char what[256];
        const char *name = import_text(im, p->input[i]->name);
        if (names_find(im->names, name) != VALUE_NONE &&
            g->values[names_find(im->names, name)].kind == VALUE_CONST)
            continue; /* up to IR 3 every initializer is listed as an input too */
        snprintf(what, sizeof what, "input \"%.200s\"", name);
        enum status s = onnx_value_info(p->input[i], what, &t, &has_dims, im->why);
        if (im->outer) /* what a body is given is known when it runs */
            t = (struct tensor){.dtype = DTYPE_NONE};
        else if (s != STATUS_OK)
            return s;
        else if (!has_dims)
            return fail(im->why, STATUS_BAD_MODEL, "%s declares no shape; export it with one",
                        what);
        uint32_t v = graph_value(g, name, VALUE_INPUT);
        g->values[v].dtype = t.dtype;
        g->values[v].rank = t.rank;
        memcpy(g->values[v].dims, t.dims, sizeof t.dims);
        if (!names_add(im->names, name, v))
            return fail(im->why, STATUS_BAD_MODEL, "two inputs are named \"%.200s\"", name);
        g->inputs[g->inputs_len++] = v;
    }
    return STATUS_OK;
}

static enum status add_outputs(struct import *im, const Onnx__GraphProto *p)
{
    struct graph *g = im->graph;
    if (!p->n_output && !im->outer)
        return fail(im->why, STATUS_BAD_MODEL, "the graph has no output");
    g->outputs = region_array(g->region, p->n_output, sizeof *g->outputs);
    g->declared = region_array(g->region, p->n_output, sizeof *g->declared);
    for (size_t i = 0; i < p->n_output; i++) {
        const char *name = p->output[i]->name ? p->output[i]->name : "";
        uint32_t v = import_find(im, name);
        if (v == VALUE_NONE)
            return fail(im->why, STATUS_BAD_MODEL, "output \"%.200s\" is made by no node", name);
        bool has_dims;
        struct tensor *t = &g->declared[i];
        /* Only a hint: what the output really is follows from the graph. */
        if (onnx_value_info(p->output[i], "", t, &has_dims, NULL) != STATUS_OK)
            t->dtype = DTYPE_NONE;
        else if (!has_dims)
            t->dims[t->rank++] = -1;
        t->name = import_text(im, name); /* a value that a function makes has another */
        g->outputs[g->outputs_len++] = v;
    }
    return STATUS_OK;
}

enum status import_graph(struct import *self, const Onnx__GraphProto *p)
{
    enum status s = import_spend(self, 0,
                                 p->n_initializer + p->n_sparse_initializer + p->n_input +
                                     p->n_output * (1 + self->depth));
    if (s == STATUS_OK)
        s = add_initializers(self, p);
    if (s == STATUS_OK)
        s = add_inputs(self, p);
    if (s == STATUS_OK)
        s = import_nodes(self, p->node, p->n_node);
    if (s == STATUS_OK)
        s = add_outputs(self, p);
    return s;
}

static enum status fill(struct import *im, const Onnx__ModelProto *m)
{
    enum status s = check_versions(m, &im->graph->opset, im->why);
    im->opset = im->graph->opset;
    if (s == STATUS_OK)
        s = functions_new(&im->functions, m, im->why);
    if (s == STATUS_OK)
        s = import_check_operators(im, m->graph);
    if (s == STATUS_OK)
        s = import_graph(im, m->graph);
    if (s == STATUS_OK)
        s = graph_check(im->graph, im->why);
    return s;
}

enum status onnx_import(struct graph **out, const void *bytes, size_t size,
                        struct external *external, struct error *why)
{
    uint8_t *stripped = NULL;
    size_t stripped_size = 0;
    if (!size)
        return fail(why, STATUS_BAD_MODEL, "the file is empty");
    enum status s = onnx_strip(bytes, size, &stripped, &stripped_size, why);
    if (s != STATUS_OK)
        return s;
    Onnx__ModelProto *m = onnx__model_proto__unpack(NULL, stripped_size, stripped);
    free(stripped);
    if (!m)
        return fail(why, STATUS_BAD_MODEL,
                    "not an ONNX model: its fields do not have the types that ONNX gives them");
    struct budget budget = {.nodes = 0};
    struct source source = {bytes, size, external, 0};
    struct import im = {.graph = graph_new(), .source = &source, .budget = &budget, .why = why};
    im.names = names_new();
    s = fill(&im, m);
    names_destroy(&im.names);
    functions_destroy(&im.functions);
    onnx__model_proto__free_unpacked(m, NULL);
    if (s != STATUS_OK)
        graph_destroy(&im.graph);
    *out = im.graph;
    return s;
}
