/* merge - see merge.h */
#include "worker/graph/merge.h"

#include <stdlib.h>
#include <string.h>

#include "worker/ops/op.h"

#define CONST_BYTES_MAX 64 /* of a constant that is compared by its contents */

/* FNV-1a */
static uint64_t hash_bytes(uint64_t hash, const void *data, size_t size)
{
    const uint8_t *bytes = data;
    for (size_t i = 0; i < size; i++)
        hash = (hash ^ bytes[i]) * UINT64_C(0x100000001b3);
    return hash;
}

#define HASH_START UINT64_C(0xcbf29ce484222325)

/* Open addressing over numbers of values or nodes. */
struct table {
    uint32_t *slots; /* UINT32_MAX: free */
    size_t mask;
};

static struct table table_new(size_t entries)
{
    struct table t = {.mask = 63};
    while (t.mask < 2 * entries)
        t.mask = 2 * t.mask + 1;
    t.slots = xmalloc((t.mask + 1) * sizeof *t.slots);
    memset(t.slots, 0xff, (t.mask + 1) * sizeof *t.slots);
    return t;
}

static bool equal_consts(const struct value *a, const struct value *b)
{
    return a->dtype == b->dtype && a->rank == b->rank && a->bytes == b->bytes &&
           memcmp(a->dims, b->dims, a->rank * sizeof a->dims[0]) == 0 &&
           (!a->bytes || memcmp(a->raw, b->raw, a->bytes) == 0);
}

static size_t attr_bytes(const struct attr *a, const void **data)
{
    switch (a->kind) {
    case ATTR_FLOATS:
        *data = a->floats;
        return a->len * sizeof *a->floats;
    case ATTR_INTS:
        *data = a->ints;
        return a->len * sizeof *a->ints;
    case ATTR_TEXT:
        *data = a->text;
        return strlen(a->text);
    case ATTR_TENSOR:
        *data = a->tensor.data;
        return a->tensor.bytes;
    case ATTR_INT:
        *data = &a->i;
        return sizeof a->i;
    default:
        *data = &a->f;
        return sizeof a->f;
    }
}

static bool equal_attrs(const struct node *a, const struct node *b)
{
    for (uint32_t i = 0; i < a->attrs_len; i++) {
        const struct attr *x = &a->attrs[i], *y = &b->attrs[i];
        const void *p, *q;
        if (strcmp(x->name, y->name) != 0 || x->kind != y->kind || x->kind == ATTR_GRAPH ||
            x->kind == ATTR_TEXTS)
            return false;
        size_t size = attr_bytes(x, &p);
        if (size != attr_bytes(y, &q) || (size && memcmp(p, q, size) != 0))
            return false;
        if (x->kind == ATTR_TENSOR &&
            (x->tensor.dtype != y->tensor.dtype || x->tensor.rank != y->tensor.rank ||
             memcmp(x->tensor.dims, y->tensor.dims, x->tensor.rank * sizeof(int64_t)) != 0))
            return false;
    }
    return true;
}

static bool equal_nodes(const struct node *a, const struct node *b)
{
    if (a->op != b->op || a->opset != b->opset || a->inputs_len != b->inputs_len ||
        a->attrs_len != b->attrs_len || a->outputs_len < b->outputs_len ||
        memcmp(a->inputs, b->inputs, a->inputs_len * sizeof a->inputs[0]) != 0)
        return false;
    for (uint32_t i = 0; i < b->outputs_len; i++)
        if (a->outputs[i] == VALUE_NONE && b->outputs[i] != VALUE_NONE)
            return false;
    return equal_attrs(a, b);
}

static uint64_t hash_node(const struct node *n)
{
    uint64_t hash = hash_bytes(HASH_START, &n->op, sizeof(void *));
    hash = hash_bytes(hash, n->inputs, n->inputs_len * sizeof n->inputs[0]);
    for (uint32_t i = 0; i < n->attrs_len; i++) {
        const void *data;
        size_t size = n->attrs[i].kind == ATTR_TEXTS || n->attrs[i].kind == ATTR_GRAPH
                          ? 0
                          : attr_bytes(&n->attrs[i], &data);
        hash = size ? hash_bytes(hash, data, size) : hash;
    }
    return hash;
}

/* Each small constant is the first with the same contents. */
static void merge_consts(struct graph *g, uint32_t *same)
{
    struct table t = table_new(g->values_len);
    for (uint32_t v = 0; v < g->values_len; v++) {
        const struct value *c = &g->values[v];
        same[v] = v;
        if (c->kind != VALUE_CONST || c->bytes > CONST_BYTES_MAX || graph_is_output(g, v))
            continue;
        uint64_t hash = hash_bytes(HASH_START + c->rank, c->raw, c->bytes);
        size_t at = (size_t)hash & t.mask;
        while (t.slots[at] != UINT32_MAX && !equal_consts(&g->values[t.slots[at]], c))
            at = (at + 1) & t.mask;
        if (t.slots[at] == UINT32_MAX)
            t.slots[at] = v;
        same[v] = t.slots[at];
    }
    free(t.slots);
}

void graph_merge_equal(struct graph *self)
{
    uint32_t *same = xmalloc((self->values_len + 1) * sizeof *same);
    struct table t = table_new(self->nodes_len);
    merge_consts(self, same);
    for (uint32_t i = 0; i < self->nodes_len; i++) {
        struct node *n = self->nodes[i];
        if (!n)
            continue;
        for (uint32_t k = 0; k < n->inputs_len; k++)
            if (n->inputs[k] != VALUE_NONE)
                n->inputs[k] = same[n->inputs[k]];
        if (graph_body(n, 0))
            continue;
        size_t at = (size_t)hash_node(n) & t.mask;
        while (t.slots[at] != UINT32_MAX && !equal_nodes(self->nodes[t.slots[at]], n))
            at = (at + 1) & t.mask;
        if (t.slots[at] == UINT32_MAX) {
            t.slots[at] = i;
            continue;
        }
        const struct node *first = self->nodes[t.slots[at]];
        for (uint32_t k = 0; k < n->outputs_len; k++)
            if (n->outputs[k] != VALUE_NONE)
                same[n->outputs[k]] = first->outputs[k];
    }
    free(t.slots);
    free(same);
    graph_count_readers(self);
}
