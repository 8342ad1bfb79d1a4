/* match - see match.h */
#include "worker/graph/match.h"

#include <math.h>
#include <string.h>

#include "worker/ops/op.h"

#define DEPTH_MAX 8 /* of products inside products */

bool match_op(const struct node *n, const char *op)
{
    return n && strcmp(n->op->name, op) == 0;
}

struct node *match_maker(const struct graph *g, uint32_t v, const char *op)
{
    if (v == VALUE_NONE || g->values[v].kind != VALUE_MADE)
        return NULL;
    struct node *n = g->nodes[g->values[v].maker];
    return match_op(n, op) && n->outputs[0] == v && n->act.op == UNARY_IDENTITY ? n : NULL;
}

struct node *match_inner(const struct graph *g, uint32_t v, const char *op)
{
    struct node *n = match_maker(g, v, op);
    return n && n->outputs_len == 1 && g->values[v].readers == 1 ? n : NULL;
}

bool match_scalar(const struct graph *g, uint32_t v, float *x)
{
    if (v == VALUE_NONE || g->values[v].kind != VALUE_CONST || g->values[v].dtype != DTYPE_FP32 ||
        g->values[v].bytes != sizeof *x)
        return false;
    memcpy(x, g->values[v].raw, sizeof *x);
    return true;
}

bool match_close(double x, double want)
{
    return fabs(x - want) <= 2e-5 * fabs(want);
}

size_t match_vector(const struct graph *g, uint32_t v)
{
    if (v == VALUE_NONE || g->values[v].kind != VALUE_CONST || g->values[v].dtype != DTYPE_FP32 ||
        g->values[v].rank != 1 || g->values[v].dims[0] < 2)
        return 0;
    return (size_t)g->values[v].dims[0];
}

uint32_t match_other(const struct node *n, uint32_t v)
{
    if (n->inputs_len != 2 || (n->inputs[0] != v && n->inputs[1] != v))
        return VALUE_NONE;
    return n->inputs[n->inputs[0] == v ? 1 : 0];
}

static bool multiply(const struct graph *g, const struct node *n, struct product *p, int depth);

/* One side of a product: a number, a product itself, or a factor. */
static bool add_factor(const struct graph *g, uint32_t v, struct product *p, int depth)
{
    float x;
    const struct node *inner = NULL;
    if (match_scalar(g, v, &x)) {
        p->constant *= (double)x;
        return true;
    }
    if (depth < DEPTH_MAX &&
        ((inner = match_inner(g, v, "Mul")) != NULL || (inner = match_inner(g, v, "Div")) != NULL ||
         (inner = match_inner(g, v, "Pow")) != NULL)) {
        struct product before = *p;
        if (multiply(g, inner, p, depth + 1))
            return true;
        *p = before;
    }
    if (p->len == FACTORS_MAX)
        return false;
    p->factors[p->len++] = v;
    return true;
}

static bool multiply(const struct graph *g, const struct node *n, struct product *p, int depth)
{
    float x;
    if (n->inputs_len != 2 || n->opset < 7)
        return false;
    if (match_op(n, "Mul"))
        return add_factor(g, n->inputs[0], p, depth) && add_factor(g, n->inputs[1], p, depth);
    if (!match_scalar(g, n->inputs[1], &x) || x == 0)
        return false;
    if (match_op(n, "Div")) {
        p->constant /= (double)x;
        return add_factor(g, n->inputs[0], p, depth);
    }
    if (!match_op(n, "Pow") || (x != 2 && x != 3) || p->len + (uint32_t)x > FACTORS_MAX)
        return false;
    for (int i = 0; i < (int)x; i++)
        p->factors[p->len++] = n->inputs[0];
    return true;
}

bool match_product(const struct graph *g, const struct node *n, struct product *p)
{
    *p = (struct product){.constant = 1};
    return multiply(g, n, p, 0);
}

uint32_t match_beside(const struct product *p, uint32_t v)
{
    if (p->len != 2 || (p->factors[0] != v && p->factors[1] != v))
        return VALUE_NONE;
    return p->factors[p->factors[0] == v ? 1 : 0];
}

void match_become(struct graph *g, struct node *n, const char *op, int opset, const char *label,
                  const uint32_t *inputs, uint32_t inputs_len, const struct attr *attrs,
                  uint32_t attrs_len)
{
    n->op = op_find(op, opset);
    assert(n->op);
    n->opset = opset;
    n->label = label;
    n->inputs = region_array(g->region, inputs_len, sizeof *n->inputs);
    memcpy(n->inputs, inputs, inputs_len * sizeof *inputs);
    n->inputs_len = inputs_len;
    n->attrs = region_array(g->region, attrs_len, sizeof *n->attrs);
    if (attrs_len)
        memcpy(n->attrs, attrs, attrs_len * sizeof *attrs);
    n->attrs_len = attrs_len;
    enum status s = n->op->check(n, NULL);
    assert(s == STATUS_OK);
    (void)s;
}
