/* optimise - see optimise.h */
#include "worker/graph/optimise.h"

#include <stdio.h>
#include <string.h>

#include "worker/graph/eval.h"
#include "worker/graph/fuse_conv.h"
#include "worker/graph/fusions.h"
#include "worker/graph/merge.h"
#include "worker/ops/ops.h"
#include "worker/ops/scalar.h"

static bool is_op(const struct node *n, const char *name)
{
    return n && strcmp(n->op->name, name) == 0;
}

/* The only reader of node `n`'s only output, or NULL when there are several or it is an output. */
static struct node *sole_reader(struct graph *g, const struct node *n, uint32_t after)
{
    uint32_t v = n->outputs[0];
    if (n->outputs_len != 1 || g->values[v].readers != 1 || graph_is_output(g, v))
        return NULL;
    for (uint32_t i = after + 1; i < g->nodes_len; i++)
        for (uint32_t k = 0; g->nodes[i] && k < g->nodes[i]->inputs_len; k++)
            if (g->nodes[i]->inputs[k] == v)
                return g->nodes[i];
    return NULL;
}

/* `n` takes over `next`'s output, and `next` disappears. */
static void swallow(struct graph *g, struct node *n, uint32_t number, struct node *next)
{
    char label[256];
    uint32_t gone = g->values[next->outputs[0]].maker;
    snprintf(label, sizeof label, "%s+%s", n->label, next->label);
    n->label = region_text(g->region, label, strlen(label));
    n->outputs[0] = next->outputs[0];
    g->values[n->outputs[0]].maker = number;
    g->nodes[gone] = NULL;
}

bool fusion_activation(const struct graph *g, const struct node *n, struct activation *act)
{
    if (n->op->check == unary_check) {
        *act = *(const struct activation *)n->state;
        return true;
    }
    if (clip_by_attributes(n, act))
        return true;
    if (!is_op(n, "Clip"))
        return false;
    *act = (struct activation){UNARY_CLIP, -__builtin_inff(), __builtin_inff()};
    for (uint32_t i = 1; i < n->inputs_len; i++) {
        if (n->inputs[i] == VALUE_NONE)
            continue;
        const struct value *v = &g->values[n->inputs[i]];
        if (v->kind != VALUE_CONST || v->dtype != DTYPE_FP32 || v->bytes != sizeof(float))
            return false;
        memcpy(i == 1 ? &act->a : &act->b, v->raw, sizeof(float));
    }
    return true;
}

/* Whether the right side is one matrix for all, so that the packed product runs (see op_gemm). */
static bool packed_product(const struct graph *g, const struct node *n)
{
    if (!is_op(n, "Conv") && !is_op(n, "Gemm") && !is_op(n, "MatMul"))
        return false;
    const struct value *right = &g->values[n->inputs[1]];
    bool constant = right->kind == VALUE_CONST;
    if (constant && (right->dtype == DTYPE_FP64 || dtype_is_integer(right->dtype)))
        return false; /* no kernel to do more in one go */
    return !is_op(n, "MatMul") || (constant && right->rank == 2);
}

static bool fuse_activation(struct graph *g, struct node *n, uint32_t number)
{
    struct activation act;
    struct node *next = sole_reader(g, n, number);
    if (!next || n->act.op != UNARY_IDENTITY || next->inputs[0] != n->outputs[0] ||
        !fusion_activation(g, next, &act))
        return false;
    n->act = act;
    swallow(g, n, number, next);
    return true;
}

static bool fuse_affine(struct graph *g, struct node *n, uint32_t number)
{
    struct node *next = sole_reader(g, n, number);
    if (!next || !fuse_scale_shift(g, n, next))
        return false;
    swallow(g, n, number, next);
    return true;
}

/* Conv + Add of something that is there before it: the shortcut of a residual network. Only of
 * known rank 4 or less: three spatial axes have no kernel that adds. */
static bool fuse_residual(struct graph *g, struct node *n, uint32_t number)
{
    struct node *next = sole_reader(g, n, number);
    if (!is_op(n, "Conv") || n->inputs_len > 3 || n->act.op != UNARY_IDENTITY ||
        !is_op(next, "Add") || next->inputs_len != 2 || next->opset < 7)
        return false;
    const struct value *w = &g->values[n->inputs[1]];
    uint32_t z = next->inputs[next->inputs[0] == n->outputs[0]];
    const struct value *v = &g->values[z];
    bool before = v->kind == VALUE_INPUT || (v->kind == VALUE_MADE && v->maker < number);
    if (!before || z == n->outputs[0] || w->kind != VALUE_CONST || w->rank > 4)
        return false;
    uint32_t *inputs = region_array(g->region, 4, sizeof *inputs);
    for (uint32_t i = 0; i < 3; i++)
        inputs[i] = i < n->inputs_len ? n->inputs[i] : VALUE_NONE;
    inputs[3] = z;
    n->inputs = inputs;
    n->inputs_len = 4;
    swallow(g, n, number, next);
    return true;
}

/* Conv + MaxPool of windows side by side. */
static void fuse_pool(struct graph *g, struct node *n, uint32_t number)
{
    struct node *next = sole_reader(g, n, number);
    size_t size[2];
    if (is_op(n, "Conv") && n->inputs_len <= 3 && g->values[n->inputs[1]].rank == 4 &&
        is_op(next, "MaxPool") && pool_tiles(next, size) && conv_take_pool(n, size))
        swallow(g, n, number, next);
}

/* MatMul + Add of one number per column. */
static bool fuse_matmul_bias(struct graph *g, struct node *n, uint32_t number)
{
    struct node *next = sole_reader(g, n, number);
    if (!is_op(n, "MatMul") || n->inputs_len != 2 || n->act.op != UNARY_IDENTITY ||
        !is_op(next, "Add") || next->inputs_len != 2 || next->opset < 7)
        return false;
    uint32_t bias = next->inputs[next->inputs[0] == n->outputs[0]];
    const struct value *b = &g->values[bias], *w = &g->values[n->inputs[1]];
    if (b->kind != VALUE_CONST || b->dtype != DTYPE_FP32 || b->rank != 1 ||
        b->dims[0] != w->dims[1])
        return false;
    uint32_t *inputs = region_array(g->region, 3, sizeof *inputs);
    inputs[0] = n->inputs[0];
    inputs[1] = n->inputs[1];
    inputs[2] = bias;
    n->inputs = inputs;
    n->inputs_len = 3;
    swallow(g, n, number, next);
    return true;
}

/* What folding has made constant outside is so inside; what optimising has made dead inside is no
 * reader outside. */
static void optimise_bodies(struct graph *g)
{
    for (uint32_t i = 0; i < g->nodes_len; i++) {
        if (!g->nodes[i] || !graph_body(g->nodes[i], 0))
            continue;
        graph_settle_captures(g, g->nodes[i]);
        for (uint32_t b = 0; graph_body(g->nodes[i], b); b++)
            graph_optimise(graph_body(g->nodes[i], b));
        graph_settle_captures(g, g->nodes[i]);
    }
}

typedef bool fusion(struct graph *g, struct node *n);
static fusion *const fusions[] = {
#define FUSION(function, what) function,
#include "worker/graph/fusions.def"
#undef FUSION
};

static void fuse_patterns(struct graph *g)
{
    for (size_t f = 0; f < ARRAY_LEN(fusions); f++) {
        bool found = false;
        for (uint32_t i = 0; i < g->nodes_len; i++)
            found |= g->nodes[i] && fusions[f](g, g->nodes[i]);
        if (found)
            graph_drop_dead(g);
    }
}

/* While weights are still bytes. */
static void fuse_bytes(struct graph *g)
{
    bool found = false;
    graph_count_readers(g);
    for (uint32_t i = 0; i < g->nodes_len; i++)
        found |= g->nodes[i] && fuse_quantised(g, g->nodes[i]);
    if (found)
        graph_drop_dead(g);
}

void graph_optimise(struct graph *self)
{
    graph_fold(self, "DequantizeLinear");
    fuse_bytes(self);
    graph_fold(self, NULL);
    optimise_bodies(self);
    graph_merge_equal(self);
    graph_drop_dead(self);
    fuse_patterns(self);
    for (uint32_t i = 0; i < self->nodes_len; i++) {
        struct node *n = self->nodes[i];
        if (!n || !packed_product(self, n))
            continue;
        while (fuse_affine(self, n, i) || fuse_matmul_bias(self, n, i) ||
               fuse_residual(self, n, i) || fuse_activation(self, n, i))
            continue;
        fuse_pool(self, n, i);
    }
    graph_drop_dead(self);
    graph_mark_deciding(self);
}
