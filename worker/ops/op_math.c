/* op_math - functions of one float that no kernel has: Erf, Floor, Sin, HardSwish, Gelu, ... */
#include <math.h>
#include <string.h>

#include "worker/ops/ops.h"
#include "worker/ops/scalar.h"

static double sign(double x)
{
    return x > 0 ? 1 : x < 0 ? -1 : x;
}

static double hard_swish(double x)
{
    return x * fmax(0, fmin(1, x / 6 + 0.5));
}

static double mish(double x)
{
    return x * tanh(x > 0 ? x + log1p(exp(-x)) : log1p(exp(x)));
}

static double gelu(double x)
{
    return 0.5 * x * (1 + erf(x * M_SQRT1_2));
}

static double gelu_tanh(double x)
{
    return 0.5 * x * (1 + tanh(sqrt(M_2_PI) * (x + 0.044715 * x * x * x)));
}

/* By enum math. */
static double (*const functions[])(double) = {
    [MATH_ERF] = erf,     [MATH_FLOOR] = floor,
    [MATH_CEIL] = ceil,   [MATH_ROUND] = rint,
    [MATH_SIGN] = sign,   [MATH_SIN] = sin,
    [MATH_COS] = cos,     [MATH_TAN] = tan,
    [MATH_ASIN] = asin,   [MATH_ACOS] = acos,
    [MATH_ATAN] = atan,   [MATH_SINH] = sinh,
    [MATH_COSH] = cosh,   [MATH_ASINH] = asinh,
    [MATH_ACOSH] = acosh, [MATH_ATANH] = atanh,
    [MATH_MISH] = mish,   [MATH_HARD_SWISH] = hard_swish,
    [MATH_GELU] = gelu,   [MATH_GELU_TANH] = gelu_tanh,
};

enum status math_check(struct node *node, struct error *why)
{
    enum math *function = region_take(node->region, sizeof *function);
    *function = (enum math)node->op->variant;
    node->state = function;
    if (*function != MATH_GELU)
        return STATUS_OK;
    const char *how = attr_text(node, "approximate", "none");
    if (strcmp(how, "tanh") == 0)
        *function = MATH_GELU_TANH;
    else if (strcmp(how, "none") != 0)
        return bad_node(why, node, "approximate \"%.40s\" is unknown", how);
    return STATUS_OK;
}

enum status math_shape(struct step *step, struct error *why)
{
    enum dtype t = step->in[0]->dtype;
    bool integer = dtype_is_integer(t) && step->node->op->variant == MATH_SIGN;
    if (!dtype_is_float(t) && !integer)
        return bad_step(why, step, "%s is not a type of this operator", dtype_name(t));
    return out_set(step, 0, t, step->in[0]->dims, step->in[0]->rank, why);
}

enum status math_compute(const struct step *step, struct error *why)
{
    (void)why;
    const struct array *in = step->in[0], *out = step->out[0];
    double (*function)(double) = functions[*(const enum math *)step->node->state];
    size_t n = array_count(in);
    for (size_t i = 0; i < n; i++)
        if (dtype_is_float(in->dtype)) {
            scalar_set_float(out->dtype, out->data, i,
                             function(scalar_float(in->dtype, in->data, i)));
        } else {
            int64_t x = scalar_int(in->dtype, in->data, i);
            scalar_set_int(out->dtype, out->data, i, (x > 0) - (x < 0));
        }
    return STATUS_OK;
}
