/* op_math - functions of one float that no kernel has: Floor, Sin, Selu, ... */
#include <math.h>
#include <string.h>

#include "worker/ops/ops.h"
#include "worker/ops/scalar.h"

static double sign(double x)
{
    return x > 0 ? 1 : x < 0 ? -1 : x;
}

/* By enum math, up to MATH_SELU. */
static double (*const functions[])(double) = {
    [MATH_FLOOR] = floor, [MATH_CEIL] = ceil,   [MATH_ROUND] = rint,  [MATH_SIGN] = sign,
    [MATH_SIN] = sin,     [MATH_COS] = cos,     [MATH_TAN] = tan,     [MATH_ASIN] = asin,
    [MATH_ACOS] = acos,   [MATH_ATAN] = atan,   [MATH_SINH] = sinh,   [MATH_COSH] = cosh,
    [MATH_ASINH] = asinh, [MATH_ACOSH] = acosh, [MATH_ATANH] = atanh,
};

struct math_state {
    enum math function;
    double a, b; /* of those from MATH_SELU on */
};

static double with_parameters(const struct math_state *m, double x)
{
    switch (m->function) {
    case MATH_SELU: /* a: alpha, b: gamma */
        return m->b * (x > 0 ? x : m->a * expm1(x));
    case MATH_CELU:
        return x > 0 ? x : x <= 0 ? m->a * expm1(x / m->a) : x;
    default: /* MATH_SHRINK; a: lambd, b: bias */
        return x < -m->a ? x + m->b : x > m->a ? x - m->b : x != x ? x : 0;
    }
}

enum status math_check(struct node *node, struct error *why)
{
    (void)why;
    struct math_state *m = region_take(node->region, sizeof *m);
    enum math *function = &m->function;
    *function = (enum math)node->op->variant;
    node->state = m;
    if (*function == MATH_SELU) {
        m->a = (double)attr_float(node, "alpha", 1.6732632f);
        m->b = (double)attr_float(node, "gamma", 1.0507010f);
        attr_ignore(node, "consumed_inputs"); /* opset 1's hint about memory */
    } else if (*function == MATH_CELU) {
        m->a = (double)attr_float(node, "alpha", 1.0f);
    } else if (*function == MATH_SHRINK) {
        m->a = (double)attr_float(node, "lambd", 0.5f);
        m->b = (double)attr_float(node, "bias", 0.0f);
    }
    return STATUS_OK;
}

enum status math_shape(struct step *step, struct error *why)
{
    enum dtype t = step->in[0]->dtype;
    int v = step->node->op->variant;
    bool integer = dtype_is_integer(t) && (v == MATH_SIGN || v == MATH_SHRINK);
    if (!dtype_is_float(t) && !integer)
        return bad_step(why, step, "%s is not a type of this operator", dtype_name(t));
    return out_set(step, 0, t, step->in[0]->dims, step->in[0]->rank, why);
}

static double apply(const struct math_state *m, double x)
{
    return m->function < MATH_SELU ? functions[m->function](x) : with_parameters(m, x);
}

enum status math_compute(const struct step *step, struct error *why)
{
    (void)why;
    const struct array *in = step->in[0], *out = step->out[0];
    const struct math_state *m = step->node->state;
    size_t n = array_count(in);
    for (size_t i = 0; i < n; i++)
        if (dtype_is_float(in->dtype)) {
            scalar_set_float(out->dtype, out->data, i,
                             apply(m, scalar_float(in->dtype, in->data, i)));
        } else {
            int64_t x = scalar_int(in->dtype, in->data, i);
            scalar_set_int(out->dtype, out->data, i,
                           m->function == MATH_SIGN ? (x > 0) - (x < 0)
                                                    : scalar_truncate(apply(m, (double)x)));
        }
    return STATUS_OK;
}
