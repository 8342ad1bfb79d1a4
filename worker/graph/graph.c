/* graph - numbered values and nodes; see graph.h */
#include "worker/graph/graph.h"

#include <stdlib.h>
#include <string.h>

struct graph *graph_new(void)
{
    struct graph *g = xcalloc(1, sizeof *g);
    g->region = region_new();
    g->reorder = region_take(g->region, sizeof *g->reorder);
    g->copy = region_take(g->region, sizeof *g->copy);
    return g;
}

uint32_t graph_value(struct graph *self, const char *name, enum value_kind kind)
{
    assert(self->values_len < GRAPH_VALUES_MAX);
    if (self->values_len == self->values_room) {
        self->values_room = MAX(64, self->values_room * 2);
        self->values = xrealloc(self->values, self->values_room * sizeof *self->values);
    }
    self->values[self->values_len] = (struct value){.name = name, .kind = kind};
    return self->values_len++;
}

void graph_node(struct graph *self, struct node *node)
{
    assert(self->nodes_len < GRAPH_NODES_MAX);
    if (self->nodes_len == self->nodes_room) {
        self->nodes_room = MAX(64, self->nodes_room * 2);
        self->nodes = xrealloc(self->nodes, self->nodes_room * sizeof(struct node *));
    }
    for (uint32_t i = 0; i < node->outputs_len; i++)
        if (node->outputs[i] != VALUE_NONE)
            self->values[node->outputs[i]].maker = self->nodes_len;
    self->nodes[self->nodes_len++] = node;
}

void graph_own(struct graph *self, struct graph *body)
{
    if (self->bodies_len == self->bodies_room) {
        self->bodies_room = MAX(4, self->bodies_room * 2);
        self->bodies = xrealloc(self->bodies, self->bodies_room * sizeof(struct graph *));
    }
    self->bodies[self->bodies_len++] = body;
}

struct graph *graph_body(const struct node *node, uint32_t i)
{
    for (uint32_t a = 0; a < node->attrs_len; a++)
        if (node->attrs[a].kind == ATTR_GRAPH && i-- == 0)
            return node->attrs[a].graph;
    return NULL;
}

/* Whether some body reads capture `k` of `captures`; one that is constant outside is made so. */
static bool capture_read(const struct graph *self, const struct node *node, uint32_t k)
{
    const struct value *v = &self->values[node->inputs[node->inputs_len - node->captures + k]];
    struct graph *body;
    bool read = false;
    for (uint32_t i = 0; (body = graph_body(node, i)) != NULL; i++) {
        uint32_t inside = body->inputs[body->inputs_len - node->captures + k];
        if (v->kind == VALUE_CONST)
            graph_set_const(body, inside, v->dtype, v->dims, v->rank, v->raw, v->bytes);
        read |= v->kind != VALUE_CONST && body->values[inside].readers > 0;
    }
    return read;
}

static void remove_number(uint32_t *list, uint32_t *len, uint32_t at)
{
    memmove(list + at, list + at + 1, (*len - at - 1) * sizeof *list);
    --*len;
}

void graph_settle_captures(struct graph *self, struct node *node)
{
    struct graph *body;
    for (uint32_t i = 0; (body = graph_body(node, i)) != NULL; i++)
        graph_count_readers(body);
    for (uint32_t k = node->captures; k-- > 0;) {
        if (capture_read(self, node, k))
            continue;
        for (uint32_t i = 0; (body = graph_body(node, i)) != NULL; i++)
            remove_number(body->inputs, &body->inputs_len, body->inputs_len - node->captures + k);
        remove_number(node->inputs, &node->inputs_len, node->inputs_len - node->captures + k);
        node->captures--;
    }
}

void graph_set_const(struct graph *self, uint32_t number, enum dtype dtype, const int64_t *dims,
                     uint32_t rank, const void *raw, size_t bytes)
{
    struct value *v = &self->values[number];
    assert(rank <= TENSOR_RANK_MAX);
    v->kind = VALUE_CONST;
    v->dtype = dtype;
    v->rank = rank;
    memcpy(v->dims, dims, rank * sizeof dims[0]);
    v->raw = raw;
    v->bytes = bytes;
    v->aligned = NULL;
    v->outer = false;
}

/* In pieces, whose pages of the file then go: at no time are there two of a large tensor. */
static void *copy_aligned(struct graph *self, const struct value *v)
{
    uint8_t *to = region_take(self->region, v->bytes);
    for (size_t at = 0, n; at < v->bytes; at += n) {
        const uint8_t *from = (const uint8_t *)v->raw + at;
        n = MIN(v->bytes - at, MIB);
        memcpy(to + at, from, n);
        file_map_forget(&self->file, from, n);
    }
    return to;
}

void *graph_const_data(struct graph *self, uint32_t number)
{
    struct value *v = &self->values[number];
    assert(v->kind == VALUE_CONST);
    if (!v->aligned && (uintptr_t)v->raw % element_bytes(v->dtype) == 0)
        v->aligned = (void *)(uintptr_t)v->raw; /* never written: run() writes outputs only */
    if (!v->aligned)
        v->aligned = copy_aligned(self, v);
    return v->aligned;
}

void graph_set_file(struct graph *self, struct file_map file)
{
    self->file = file;
    for (uint32_t i = 0; i < self->bodies_len; i++)
        graph_set_file(self->bodies[i], file);
}

enum status graph_check(struct graph *self, struct error *why)
{
    for (uint32_t i = 0; i < self->nodes_len; i++) {
        struct node *n = self->nodes[i];
        enum status s = STATUS_OK;
        for (uint32_t b = 0; graph_body(n, b) && s == STATUS_OK; b++)
            s = graph_check(graph_body(n, b), why);
        if (s == STATUS_OK)
            s = n->op->check(n, why);
        if (s != STATUS_OK)
            return s;
        for (uint32_t a = 0; a < n->attrs_len; a++)
            if (!n->attrs[a].read)
                return bad_node(why, n,
                                "attribute \"%.100s\" is unknown to opset %d, or not of the "
                                "type that the operator takes",
                                n->attrs[a].name, n->opset);
    }
    return STATUS_OK;
}

/* Whether input `k` of a node, a capture, decides shapes in one of its bodies. */
static bool decides_inside(const struct node *n, uint32_t k)
{
    const struct graph *body;
    for (uint32_t i = 0; (body = graph_body(n, i)) != NULL; i++)
        if (body->values[body->inputs[body->inputs_len - (n->inputs_len - k)]].decides)
            return true;
    return false;
}

void graph_mark_deciding(struct graph *self)
{
    bool *needed = xcalloc(self->values_len, sizeof *needed);
    for (uint32_t i = self->nodes_len; i-- > 0;) {
        const struct node *n = self->nodes[i];
        bool all = false;
        for (uint32_t k = 0; n && k < n->outputs_len; k++)
            all |= n->outputs[k] != VALUE_NONE && needed[n->outputs[k]];
        for (uint32_t k = 0; n && k < n->inputs_len; k++) {
            bool asked = k < 32 && (n->op->known & 1u << k) != 0;
            asked |= k >= n->inputs_len - n->captures && decides_inside(n, k);
            if (n->inputs[k] != VALUE_NONE && (asked || (all && !(n->op->flags & OP_DIMS_ONLY))))
                needed[n->inputs[k]] = true;
        }
    }
    for (uint32_t i = 0; i < self->inputs_len; i++)
        self->values[self->inputs[i]].decides =
            !self->repeats && needed[self->inputs[i]] && self->values[self->inputs[i]].rank <= 1;
    free(needed);
}

void graph_count_readers(struct graph *self)
{
    for (uint32_t i = 0; i < self->values_len; i++)
        self->values[i].readers = 0;
    for (uint32_t i = 0; i < self->nodes_len; i++)
        for (uint32_t k = 0; self->nodes[i] && k < self->nodes[i]->inputs_len; k++)
            if (self->nodes[i]->inputs[k] != VALUE_NONE)
                self->values[self->nodes[i]->inputs[k]].readers++;
    for (uint32_t i = 0; i < self->outputs_len; i++)
        self->values[self->outputs[i]].readers++;
}

void graph_drop_dead(struct graph *self)
{
    graph_count_readers(self);
    for (uint32_t i = self->nodes_len; i-- > 0;) {
        struct node *n = self->nodes[i];
        bool read = false;
        for (uint32_t k = 0; n && k < n->outputs_len; k++)
            read |= n->outputs[k] != VALUE_NONE && self->values[n->outputs[k]].readers > 0;
        if (!n || read)
            continue;
        for (uint32_t k = 0; k < n->inputs_len; k++)
            if (n->inputs[k] != VALUE_NONE)
                self->values[n->inputs[k]].readers--;
        if (n->unpack)
            n->unpack(n->packed);
        self->nodes[i] = NULL;
    }
}

void graph_redirect(struct graph *self, uint32_t from, uint32_t to)
{
    for (uint32_t i = 0; i < self->nodes_len; i++)
        for (uint32_t k = 0; self->nodes[i] && k < self->nodes[i]->inputs_len; k++)
            if (self->nodes[i]->inputs[k] == from)
                self->nodes[i]->inputs[k] = to;
}

bool graph_is_output(const struct graph *self, uint32_t number)
{
    for (uint32_t i = 0; i < self->outputs_len; i++)
        if (self->outputs[i] == number)
            return true;
    return false;
}

void graph_each_node(struct graph *self, void (*visit)(struct node *node, void *arg), void *arg)
{
    for (uint32_t i = 0; i < self->nodes_len; i++) {
        if (!self->nodes[i])
            continue;
        visit(self->nodes[i], arg);
        for (uint32_t b = 0; graph_body(self->nodes[i], b); b++)
            graph_each_node(graph_body(self->nodes[i], b), visit, arg);
    }
}

uint64_t graph_parameters(const struct graph *self)
{
    uint64_t total = 0, count;
    for (uint32_t i = 0; i < self->values_len; i++) {
        const struct value *v = &self->values[i];
        if (v->kind == VALUE_CONST && !v->outer && v->rank && dims_count(v->dims, v->rank, &count))
            total += count;
    }
    for (uint32_t i = 0; i < self->bodies_len; i++)
        total += graph_parameters(self->bodies[i]);
    return total;
}

void graph_destroy(struct graph **self_p)
{
    struct graph *self = *self_p;
    if (!self)
        return;
    for (uint32_t i = 0; i < self->nodes_len; i++)
        if (self->nodes[i] && self->nodes[i]->unpack)
            self->nodes[i]->unpack(self->nodes[i]->packed);
    for (uint32_t i = 0; i < self->bodies_len; i++)
        graph_destroy(&self->bodies[i]);
    free(self->bodies);
    free(self->values);
    free(self->nodes);
    region_destroy(&self->region);
    free(self);
    *self_p = NULL;
}
