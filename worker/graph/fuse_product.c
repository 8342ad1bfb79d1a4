/* fuse_product - activations written out as x times a function of x: SiLU, HardSwish, Mish, GELU */
#include "worker/graph/fusions.h"

#include <math.h>
#include <string.h>

#include "worker/graph/match.h"
#include "worker/ops/op.h"

/* c x, alone. */
static bool is_multiple(const struct graph *g, uint32_t v, uint32_t x, double c)
{
    struct product p;
    struct node *n = match_inner(g, v, "Mul");
    n = n ? n : match_inner(g, v, "Div");
    return n && match_product(g, n, &p) && p.len == 1 && p.factors[0] == x &&
           match_close(p.constant, c);
}

/* The value to which `n` adds the number c, or VALUE_NONE. */
static uint32_t added(const struct graph *g, const struct node *n, double c)
{
    float x;
    for (uint32_t i = 0; n && n->inputs_len == 2 && n->opset >= 7 && i < 2; i++)
        if (match_scalar(g, n->inputs[i], &x) && match_close((double)x, c))
            return n->inputs[1 - i];
    return VALUE_NONE;
}

/* f = 1 + erf(x / sqrt(2)) */
static bool is_gelu(const struct graph *g, uint32_t x, uint32_t f)
{
    struct node *erf = match_inner(g, added(g, match_inner(g, f, "Add"), 1), "Erf");
    return erf && is_multiple(g, erf->inputs[0], x, M_SQRT1_2);
}

/* v = 0.044715 x x x */
static bool is_cube(const struct graph *g, uint32_t v, uint32_t x)
{
    struct product p;
    struct node *n = match_inner(g, v, "Mul");
    return n && match_product(g, n, &p) && p.len == 3 && p.factors[0] == x && p.factors[1] == x &&
           p.factors[2] == x && match_close(p.constant, 0.044715);
}

/* f = 1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3)) */
static bool is_gelu_tanh(const struct graph *g, uint32_t x, uint32_t f)
{
    struct product p;
    struct node *tanh = match_inner(g, added(g, match_inner(g, f, "Add"), 1), "Tanh");
    struct node *scaled = tanh ? match_inner(g, tanh->inputs[0], "Mul") : NULL;
    if (!scaled || !match_product(g, scaled, &p) || p.len != 1 ||
        !match_close(p.constant, sqrt(M_2_PI)))
        return false;
    struct node *sum = match_inner(g, p.factors[0], "Add");
    uint32_t cube = sum ? match_other(sum, x) : VALUE_NONE;
    return cube != VALUE_NONE && is_cube(g, cube, x);
}

static bool is_sigmoid(const struct graph *g, uint32_t x, uint32_t f)
{
    struct node *n = match_inner(g, f, "Sigmoid");
    return n && n->inputs[0] == x;
}

static bool is_mish(const struct graph *g, uint32_t x, uint32_t f)
{
    struct node *n = match_inner(g, f, "Tanh");
    struct node *inside = n ? match_inner(g, n->inputs[0], "Softplus") : NULL;
    return inside && inside->inputs[0] == x;
}

/* f = HardSigmoid(x) with a = 1 / 6, b = 1 / 2 */
static bool is_hard_sigmoid(const struct graph *g, uint32_t x, uint32_t f)
{
    struct node *n = match_inner(g, f, "HardSigmoid");
    if (!n || n->inputs[0] != x)
        return false;
    const struct activation *act = n->state;
    return match_close((double)act->a, 1.0 / 6) && match_close((double)act->b, 0.5);
}

/* f = min(6, max(0, x + 3)) */
static bool is_relu6(const struct graph *g, uint32_t x, uint32_t f)
{
    struct node *n = match_inner(g, f, "Clip");
    struct activation act;
    return n && fusion_activation(g, n, &act) && act.op == UNARY_CLIP && act.a == 0 && act.b == 6 &&
           added(g, match_inner(g, n->inputs[0], "Add"), 3) == x;
}

/* What makes f of x, the constant in front of x f(x), and the operator that all of it is. */
static const struct written_out {
    bool (*is)(const struct graph *g, uint32_t x, uint32_t f);
    double constant;
    const char *op;
    int opset;
    const char *approximate; /* Gelu's attribute */
    const char *label;
} forms[] = {
    {is_gelu, 0.5, "Gelu", 20, NULL, "Gelu (written out)"},
    {is_gelu_tanh, 0.5, "Gelu", 20, "tanh", "Gelu (written out)"},
    {is_sigmoid, 1, "Swish", 24, NULL, "SiLU (written out)"},
    {is_hard_sigmoid, 1, "HardSwish", 14, NULL, "HardSwish (written out)"},
    {is_relu6, 1.0 / 6, "HardSwish", 14, NULL, "HardSwish (written out)"},
    {is_mish, 1, "Mish", 18, NULL, "Mish (written out)"},
};

bool fuse_product(struct graph *g, struct node *n)
{
    struct product p;
    if ((!match_op(n, "Mul") && !match_op(n, "Div")) || !match_product(g, n, &p) || p.len != 2)
        return false;
    for (size_t i = 0; i < ARRAY_LEN(forms); i++)
        for (uint32_t side = 0; side < 2; side++) {
            const struct written_out *w = &forms[i];
            uint32_t x = p.factors[side], f = p.factors[1 - side];
            if (!match_close(p.constant, w->constant) || !w->is(g, x, f))
                continue;
            struct attr attr = {.name = "approximate", .kind = ATTR_TEXT, .text = w->approximate};
            match_become(g, n, w->op, w->opset, w->label, &x, 1, &attr, w->approximate ? 1 : 0);
            return true;
        }
    return false;
}
