/* bodies - sub-graphs: what they read from around them becomes their node's input; see nodes.h
 *
 * This is closure conversion: afterwards a body is a graph like any other, and the graph around it
 * sees in the node's inputs all that the node reads. */
#include <stdlib.h>
#include <string.h>

#include "worker/onnx/nodes.h"

/* The number of the capture of value `outer`, which may be new. */
static struct capture *capture_of(struct captures *c, uint32_t outer)
{
    for (uint32_t i = 0; i < c->len; i++)
        if (c->list[i].outer == outer)
            return &c->list[i];
    if (c->len == c->room) {
        c->room = MAX(8, c->room * 2);
        c->list = xrealloc(c->list, c->room * sizeof *c->list);
    }
    struct capture *new = &c->list[c->len++];
    new->outer = outer;
    for (uint32_t b = 0; b < BODIES_MAX; b++)
        new->inside[b] = VALUE_NONE;
    return new;
}

uint32_t import_find(struct import *self, const char *name)
{
    uint32_t v = names_find(self->names, name);
    if (v != VALUE_NONE || !self->outer)
        return v;
    uint32_t outer = import_find(self->outer, name);
    if (outer == VALUE_NONE)
        return VALUE_NONE;
    const struct value *o = &self->outer->graph->values[outer];
    v = graph_value(self->graph, o->name, VALUE_INPUT);
    if (o->kind == VALUE_CONST) {
        graph_set_const(self->graph, v, o->dtype, o->dims, o->rank, o->raw, o->bytes);
        self->graph->values[v].outer = true;
    } else {
        capture_of(self->captures, outer)->inside[self->body] = v;
    }
    names_add(self->names, import_text(self, name), v);
    return v;
}

enum status import_body(struct import *self, const Onnx__GraphProto *p, struct captures *captures,
                        struct graph **body)
{
    if (!p)
        return fail(self->why, STATUS_BAD_MODEL, "an attribute that should hold a graph is empty");
    if (captures->bodies_len == BODIES_MAX || self->depth == GRAPH_DEPTH_MAX)
        return fail(self->why, STATUS_BAD_MODEL,
                    "more than %d graphs in one node, or %d inside each other", BODIES_MAX,
                    GRAPH_DEPTH_MAX);
    struct import im = *self;
    im.graph = graph_new();
    im.names = names_new();
    im.outer = self;
    im.captures = captures;
    im.body = captures->bodies_len;
    im.depth = self->depth + 1;
    im.graph->opset = self->opset;
    graph_own(self->graph, im.graph);
    captures->bodies[captures->bodies_len++] = *body = im.graph;
    enum status s = import_graph(&im, p);
    names_destroy(&im.names);
    return s;
}

void import_captures(struct captures *captures)
{
    for (uint32_t b = 0; b < captures->bodies_len; b++) {
        struct graph *g = captures->bodies[b];
        uint32_t *inputs = region_array(g->region, g->inputs_len + captures->len, sizeof *inputs);
        if (g->inputs_len)
            memcpy(inputs, g->inputs, g->inputs_len * sizeof *inputs);
        for (uint32_t i = 0; i < captures->len; i++) {
            uint32_t v = captures->list[i].inside[b];
            if (v == VALUE_NONE)
                v = graph_value(g, "", VALUE_INPUT);
            inputs[g->inputs_len + i] = v;
        }
        g->inputs = inputs;
        g->inputs_len += captures->len;
    }
}
