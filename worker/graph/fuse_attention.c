/* fuse_attention - softmax(scale Q K^T + mask) V written out: two products and what is between them
 */
#include <string.h>

#include "worker/graph/fusions.h"
#include "worker/graph/match.h"
#include "worker/ops/op.h"

/* What a written-out attention consists of. */
struct attention_parts {
    uint32_t q, k, v, mask; /* mask: VALUE_NONE when there is none */
    double scale;
    uint32_t rank; /* of K */
};

/* Softmax over the last axis of something of that rank. */
static bool along_last(struct node *softmax, uint32_t rank)
{
    int64_t axis = attr_int(softmax, "axis", softmax->opset < 13 ? 1 : -1);
    return axis == -1 || axis == (int64_t)rank - 1;
}

/* v times numbers: takes them into *scale. */
static uint32_t unscaled(const struct graph *g, uint32_t v, double *scale)
{
    struct product p;
    struct node *n = match_inner(g, v, "Mul");
    n = n ? n : match_inner(g, v, "Div");
    if (!n || !match_product(g, n, &p) || p.len != 1)
        return v;
    *scale *= p.constant;
    return p.factors[0];
}

/* K whose last two axes `transpose` swaps, perhaps with others: that node then makes K itself. */
static bool take_keys(struct graph *g, uint32_t v, struct attention_parts *a)
{
    struct node *n = match_inner(g, v, "Transpose");
    size_t len = 0;
    const int64_t *perm = n ? attr_ints(n, "perm", &len) : NULL;
    if (!perm || (len != 3 && len != 4))
        return false;
    int64_t *swapped = region_array(g->region, len, sizeof *swapped);
    bool none = true;
    memcpy(swapped, perm, len * sizeof *swapped);
    swapped[len - 1] = perm[len - 2];
    swapped[len - 2] = perm[len - 1];
    for (size_t i = 0; i < len; i++)
        none &= swapped[i] == (int64_t)i;
    a->rank = (uint32_t)len;
    a->k = n->inputs[0];
    if (none)
        return true;
    const struct attr attr = {.name = "perm", .kind = ATTR_INTS, .ints = swapped, .len = len};
    match_become(g, n, "Transpose", n->opset, n->label, n->inputs, 1, &attr, 1);
    a->k = v;
    return true;
}

/* The node that multiplies Q and K^T, with what is added and multiplied behind it. */
static struct node *find_scores(const struct graph *g, uint32_t v, struct attention_parts *a)
{
    a->mask = VALUE_NONE;
    v = unscaled(g, v, &a->scale);
    struct node *n = match_inner(g, v, "MatMul");
    struct node *add = n || a->scale != 1 ? NULL : match_inner(g, v, "Add");
    for (uint32_t i = 0; add && add->inputs_len == 2 && add->opset >= 7 && !n && i < 2; i++) {
        double scale = 1;
        n = match_inner(g, unscaled(g, add->inputs[i], &scale), "MatMul");
        a->scale = n ? scale : 1;
        a->mask = n ? add->inputs[1 - i] : VALUE_NONE;
    }
    return n;
}

bool fuse_attention(struct graph *g, struct node *n)
{
    struct attention_parts a = {.scale = 1};
    struct node *softmax = match_op(n, "MatMul") ? match_inner(g, n->inputs[0], "Softmax") : NULL;
    struct node *scores = softmax ? find_scores(g, softmax->inputs[0], &a) : NULL;
    if (!scores)
        return false;
    double key_scale = 1;
    uint32_t keys = unscaled(g, scores->inputs[1], &key_scale);
    struct node *transpose = match_inner(g, keys, "Transpose");
    size_t len = 0;
    if (!transpose || !attr_ints(transpose, "perm", &len) || !along_last(softmax, (uint32_t)len) ||
        !take_keys(g, keys, &a))
        return false;
    a.q = unscaled(g, scores->inputs[0], &a.scale);
    a.v = n->inputs[1];
    const struct attr attr = {
        .name = "scale", .kind = ATTR_FLOAT, .f = (float)(a.scale * key_scale)};
    const uint32_t inputs[4] = {a.q, a.k, a.v, a.mask};
    match_become(g, n, "InnerAttention", OPSET_OURS, "Attention (written out)", inputs,
                 a.mask == VALUE_NONE ? 3 : 4, &attr, 1);
    return true;
}
