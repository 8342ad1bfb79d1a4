/* fuse_norm - LayerNormalization and RMSNormalization written out, over the last axis */
#include <string.h>

#include "worker/graph/fusions.h"
#include "worker/graph/match.h"
#include "worker/ops/op.h"

/* ReduceMean over the last axis, which stays. */
static struct node *mean_of(const struct graph *g, uint32_t v, bool inner)
{
    struct node *n = inner ? match_inner(g, v, "ReduceMean") : match_maker(g, v, "ReduceMean");
    size_t len;
    if (!n || !attr_int(n, "keepdims", 1))
        return NULL;
    const int64_t *axes = attr_ints(n, "axes", &len);
    if (axes)
        return len == 1 && axes[0] == -1 ? n : NULL;
    const struct value *given = n->inputs_len == 2 ? &g->values[n->inputs[1]] : NULL;
    int64_t axis;
    if (!given || given->kind != VALUE_CONST || given->dtype != DTYPE_INT64 ||
        given->bytes != sizeof axis)
        return NULL;
    memcpy(&axis, given->raw, sizeof axis);
    return axis == -1 ? n : NULL;
}

/* v = d d; or d to the power 2. */
static uint32_t squared(const struct graph *g, uint32_t v)
{
    struct product p;
    struct node *n = match_inner(g, v, "Mul");
    n = n ? n : match_inner(g, v, "Pow");
    if (!n || !match_product(g, n, &p) || p.len != 2 || p.factors[0] != p.factors[1] ||
        p.constant != 1)
        return VALUE_NONE;
    return p.factors[0];
}

/* What is divided by sqrt(mean of its square + epsilon) to give v: Div, or Mul by a reciprocal. */
static uint32_t normalised(const struct graph *g, uint32_t v, float *epsilon)
{
    struct node *n = match_inner(g, v, "Div");
    uint32_t d = VALUE_NONE, root = VALUE_NONE;
    float one;
    if (n) {
        d = n->inputs[0];
        root = n->inputs[1];
    } else if ((n = match_inner(g, v, "Mul")) != NULL && n->inputs_len == 2) {
        for (uint32_t i = 0; i < 2; i++) {
            struct node *by = match_inner(g, n->inputs[i], "Reciprocal");
            struct node *part = match_inner(g, n->inputs[i], "Div");
            bool turned = part && match_scalar(g, part->inputs[0], &one) && one == 1;
            if (!by && !turned)
                continue;
            d = n->inputs[1 - i];
            root = by ? by->inputs[0] : part->inputs[1];
        }
    }
    struct node *sqrt = match_inner(g, root, "Sqrt");
    struct node *sum = sqrt ? match_inner(g, sqrt->inputs[0], "Add") : NULL;
    for (uint32_t i = 0; sum && sum->inputs_len == 2 && i < 2; i++) {
        struct node *mean = mean_of(g, sum->inputs[1 - i], true);
        if (match_scalar(g, sum->inputs[i], epsilon) && *epsilon > 0 && mean &&
            squared(g, mean->inputs[0]) == d)
            return d;
    }
    return VALUE_NONE;
}

/* d = x - mean(x); else VALUE_NONE. */
static uint32_t centered(const struct graph *g, uint32_t d)
{
    struct node *sub = match_maker(g, d, "Sub");
    struct node *mean = sub && sub->inputs_len == 2 ? mean_of(g, sub->inputs[1], true) : NULL;
    return mean && mean->inputs[0] == sub->inputs[0] ? sub->inputs[0] : VALUE_NONE;
}

/* The gain that product `n` multiplies something normalised with. */
static bool match_gain(const struct graph *g, const struct node *n, uint32_t *x, uint32_t *gain,
                       bool *centers, float *epsilon)
{
    for (uint32_t i = 0; n && n->inputs_len == 2 && n->opset >= 7 && i < 2; i++) {
        if (!match_vector(g, n->inputs[i]))
            continue;
        uint32_t d = normalised(g, n->inputs[1 - i], epsilon);
        if (d == VALUE_NONE)
            continue;
        *gain = n->inputs[i];
        *x = centered(g, d);
        *centers = *x != VALUE_NONE;
        if (!*centers)
            *x = d;
        return true;
    }
    return false;
}

static bool become_norm(struct graph *g, struct node *n, const struct node *mul, uint32_t bias)
{
    uint32_t x, gain;
    bool centers;
    float epsilon;
    if (!match_op(mul, "Mul") || !match_gain(g, mul, &x, &gain, &centers, &epsilon))
        return false;
    bool biased = bias != VALUE_NONE;
    if (biased && (!centers || match_vector(g, bias) != match_vector(g, gain)))
        return false;
    const struct attr attrs[2] = {{.name = "axis", .kind = ATTR_INT, .i = -1},
                                  {.name = "epsilon", .kind = ATTR_FLOAT, .f = epsilon}};
    const uint32_t inputs[3] = {x, gain, bias};
    match_become(g, n, centers ? "LayerNormalization" : "RMSNormalization", centers ? 17 : 23,
                 centers ? "LayerNormalization (written out)" : "RMSNormalization (written out)",
                 inputs, biased ? 3 : 2, attrs, 2);
    return true;
}

bool fuse_norm_bias(struct graph *g, struct node *n)
{
    if (!match_op(n, "Add") || n->inputs_len != 2 || n->opset < 7)
        return false;
    for (uint32_t i = 0; i < 2; i++)
        if (match_vector(g, n->inputs[i]) &&
            become_norm(g, n, match_inner(g, n->inputs[1 - i], "Mul"), n->inputs[i]))
            return true;
    return false;
}

bool fuse_norm(struct graph *g, struct node *n)
{
    return become_norm(g, n, n, VALUE_NONE);
}
