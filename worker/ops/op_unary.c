/* op_unary - functions of one value: Relu, Sigmoid, Exp, ..., and Clip */
#include <math.h>
#include <string.h>

#include "worker/kernels/vector.h"
#include "worker/ops/ops.h"
#include "worker/ops/scalar.h"

/* Names and defaults of the parameters a and b in the attributes of the operators that have some.
 */
static const struct parameters {
    enum unary op;
    const char *a, *b;
    float a_default, b_default;
} parameters[] = {
    {UNARY_LEAKY_RELU, "alpha", NULL, 0.01f, 0},
    {UNARY_ELU, "alpha", NULL, 1.0f, 0},
    {UNARY_THRESHOLDED_RELU, "alpha", NULL, 1.0f, 0},
    {UNARY_HARD_SIGMOID, "alpha", "beta", 0.2f, 0.5f},
    {UNARY_SWISH, "alpha", NULL, 1.0f, 0},
    {UNARY_HARD_SWISH, NULL, NULL, 1.0f / 6, 0.5f},
};

enum status unary_check(struct node *node, struct error *why)
{
    struct activation *act = region_take(node->region, sizeof *act);
    act->op = (enum unary)node->op->variant;
    for (size_t i = 0; i < ARRAY_LEN(parameters); i++) {
        const struct parameters *p = &parameters[i];
        if (p->op != act->op)
            continue;
        act->a = p->a ? attr_float(node, p->a, p->a_default) : p->a_default;
        act->b = p->b ? attr_float(node, p->b, p->b_default) : p->b_default;
    }
    attr_ignore(node, "consumed_inputs"); /* opset 1's hint about memory */
    node->state = act;
    if (act->op != UNARY_GELU)
        return STATUS_OK;
    const char *how = attr_text(node, "approximate", "none");
    if (strcmp(how, "tanh") == 0)
        act->op = UNARY_GELU_TANH;
    else if (strcmp(how, "none") != 0)
        return bad_node(why, node, "approximate \"%.40s\" is unknown; expected none or tanh", how);
    return STATUS_OK;
}

static bool integer_too(const struct node *node)
{
    int v = node->op->variant;
    return strcmp(node->op->name, "Clip") == 0 || v == UNARY_NEG || v == UNARY_ABS ||
           v == UNARY_RELU;
}

enum status unary_shape(struct step *step, struct error *why)
{
    enum dtype t = step->in[0]->dtype;
    if (t != DTYPE_FP32 && !dtype_is_float(t) && !(dtype_is_integer(t) && integer_too(step->node)))
        return bad_step(why, step, "%s is not a type of this operator", dtype_name(t));
    return out_like(step, 0, t, step->in[0], why);
}

static double apply(struct activation act, double x)
{
    switch (act.op) {
    case UNARY_IDENTITY:
        return x;
    case UNARY_CLIP:
        x = x < (double)act.a ? (double)act.a : x;
        return x > (double)act.b ? (double)act.b : x;
    case UNARY_RELU:
        return x < 0 ? 0 : x;
    case UNARY_LEAKY_RELU:
        return x < 0 ? (double)act.a * x : x;
    case UNARY_SIGMOID:
        return 1 / (1 + exp(-x));
    case UNARY_TANH:
        return tanh(x);
    case UNARY_EXP:
        return exp(x);
    case UNARY_LOG:
        return log(x);
    case UNARY_SQRT:
        return sqrt(x);
    case UNARY_NEG:
        return -x;
    case UNARY_ABS:
        return fabs(x);
    case UNARY_RECIPROCAL:
        return 1 / x;
    case UNARY_ELU:
        return x < 0 ? (double)act.a * expm1(x) : x;
    case UNARY_SOFTPLUS:
        return x > 0 ? x + log1p(exp(-x)) : log1p(exp(x));
    case UNARY_SOFTSIGN:
        return x / (1 + fabs(x));
    case UNARY_THRESHOLDED_RELU:
        return x > (double)act.a ? x : 0;
    case UNARY_HARD_SIGMOID:
        return fmin(1, fmax(0, (double)act.a * x + (double)act.b));
    case UNARY_ERF:
        return erf(x);
    case UNARY_GELU:
        return 0.5 * x * (1 + erf(x * M_SQRT1_2));
    case UNARY_GELU_TANH:
        return 0.5 * x * (1 + tanh(sqrt(M_2_PI) * (x + 0.044715 * x * x * x)));
    case UNARY_SWISH:
        return x / (1 + exp(-(double)act.a * x));
    case UNARY_HARD_SWISH:
        return x * fmin(1, fmax(0, (double)act.a * x + (double)act.b));
    case UNARY_MISH:
        return x * tanh(x > 0 ? x + log1p(exp(-x)) : log1p(exp(x)));
    default:
        panic("no double form of unary function %d", act.op);
    }
}

static int64_t apply_int(enum unary op, int64_t x)
{
    if (op == UNARY_RELU)
        return x < 0 ? 0 : x;
    if (op == UNARY_NEG || x < 0)
        return (int64_t)(0 - (uint64_t)x);
    return x;
}

void unary_plain(struct activation act, enum dtype t, size_t n, const void *x, void *y)
{
    for (size_t i = 0; i < n; i++)
        if (dtype_is_float(t))
            scalar_set_float(t, y, i, apply(act, scalar_float(t, x, i)));
        else
            scalar_set_int(t, y, i, apply_int(act.op, scalar_int(t, x, i)));
}

enum status unary_compute(const struct step *step, struct error *why)
{
    (void)why;
    const struct array *in = step->in[0], *out = step->out[0];
    struct activation act = *(const struct activation *)step->node->state;
    size_t n = array_stored(in);
    if (in->dtype == DTYPE_FP32) {
        vec_unary(act, n, in->data, out->data);
        if (in->layout == LAYOUT_BLOCKED && in->dims[1] % LANES)
            layout_clear_tail(array_maps(out), out->data);
        return STATUS_OK;
    }
    unary_plain(act, in->dtype, n, in->data, out->data);
    return STATUS_OK;
}

/* Limits given by attributes; used where no input gives them. */
struct clip {
    float low, high;
};

enum status clip_check(struct node *node, struct error *why)
{
    (void)why;
    struct clip *c = region_take(node->region, sizeof *c);
    *c = (struct clip){-INFINITY, INFINITY};
    if (node->op->variant == VARIANT_LEGACY) {
        c->low = attr_float(node, "min", -INFINITY);
        c->high = attr_float(node, "max", INFINITY);
        attr_ignore(node, "consumed_inputs");
    }
    node->state = c;
    return STATUS_OK;
}

bool clip_by_attributes(const struct node *node, struct activation *act)
{
    const struct clip *c = node->state;
    if (node->op->check != clip_check || node->op->variant != VARIANT_LEGACY)
        return false;
    *act = (struct activation){UNARY_CLIP, c->low, c->high};
    return true;
}

enum status clip_shape(struct step *step, struct error *why)
{
    for (uint32_t i = 1; i < step->in_len; i++)
        if (step->in[i] &&
            (array_count(step->in[i]) != 1 || step->in[i]->dtype != step->in[0]->dtype))
            return bad_step(why, step, "limits must be single numbers of the input's type %s",
                            dtype_name(step->in[0]->dtype));
    return unary_shape(step, why);
}

enum status clip_compute(const struct step *step, struct error *why)
{
    (void)why;
    const struct array *in = step->in[0], *out = step->out[0];
    const struct array *low = step_in(step, 1), *high = step_in(step, 2);
    const struct clip *c = step->node->state;
    size_t n = array_stored(in);
    if (in->dtype == DTYPE_FP32) {
        struct activation act = {UNARY_CLIP, low ? *(const float *)low->data : c->low,
                                 high ? *(const float *)high->data : c->high};
        vec_unary(act, n, in->data, out->data);
        if (in->layout == LAYOUT_BLOCKED && in->dims[1] % LANES)
            layout_clear_tail(array_maps(out), out->data);
        return STATUS_OK;
    }
    for (size_t i = 0; i < n; i++) {
        if (dtype_is_float(in->dtype)) {
            double x = scalar_float(in->dtype, in->data, i);
            double a = low ? scalar_float(in->dtype, low->data, 0) : (double)c->low;
            double b = high ? scalar_float(in->dtype, high->data, 0) : (double)c->high;
            x = x < a ? a : x;
            scalar_set_float(out->dtype, out->data, i, x > b ? b : x);
        } else {
            int64_t x = scalar_int(in->dtype, in->data, i);
            x = low ? MAX(x, scalar_int(in->dtype, low->data, 0)) : x;
            x = high ? MIN(x, scalar_int(in->dtype, high->data, 0)) : x;
            scalar_set_int(out->dtype, out->data, i, x);
        }
    }
    return STATUS_OK;
}
