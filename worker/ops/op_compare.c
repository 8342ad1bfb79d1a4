/* op_compare - Equal, Less, Greater, And, Or, Not, Where, PRelu: elementwise with types of their
 * own */
#include <string.h>

#include "worker/ops/broadcast.h"
#include "worker/ops/ops.h"
#include "worker/ops/scalar.h"

enum status compare_shape(struct step *step, struct error *why)
{
    int64_t dims[TENSOR_RANK_MAX];
    uint32_t rank;
    bool logic = step->node->op->variant >= COMPARE_AND;
    for (uint32_t i = 0; i < step->in_len; i++)
        if (step->in[i]->dtype != step->in[0]->dtype || (logic && step->in[i]->dtype != DTYPE_BOOL))
            return bad_step(why, step, "inputs are %s and %s; expected %s",
                            dtype_name(step->in[0]->dtype), dtype_name(step->in[i]->dtype),
                            logic ? "BOOL" : "one type");
    struct array second = legacy_aligned(step, 1), *pair[2] = {step->in[0], &second};
    enum status s = broadcast_dims(step, pair, 2, dims, &rank, why);
    return s == STATUS_OK ? out_set(step, 0, DTYPE_BOOL, dims, rank, why) : s;
}

static bool decide(enum compare op, bool less, bool equal, bool x, bool y)
{
    switch (op) {
    case COMPARE_EQUAL:
        return equal;
    case COMPARE_LESS:
        return less;
    case COMPARE_LESS_EQUAL:
        return less || equal;
    case COMPARE_AND:
        return x && y;
    case COMPARE_OR:
        return x || y;
    case COMPARE_XOR:
        return x != y;
    default:
        panic("no comparison %d", op);
    }
}

static bool compare_at(enum compare op, enum dtype t, const void *x, size_t i, const void *y,
                       size_t k)
{
    if (t == DTYPE_BYTES)
        return text_same(((const struct text *)x)[i], ((const struct text *)y)[k]);
    if (dtype_is_float(t)) {
        double a = scalar_float(t, x, i), b = scalar_float(t, y, k);
        return decide(op, a < b, a == b, false, false);
    }
    int64_t a = scalar_int(t, x, i), b = scalar_int(t, y, k);
    bool less = t == DTYPE_UINT64 ? (uint64_t)a < (uint64_t)b : a < b;
    return decide(op, less, a == b, a != 0, b != 0);
}

enum status compare_compute(const struct step *step, struct error *why)
{
    (void)why;
    struct broadcast b;
    struct array second = legacy_aligned(step, 1);
    const int64_t *dims[2] = {step->in[0]->dims, second.dims};
    const uint32_t ranks[2] = {step->in[0]->rank, second.rank};
    size_t at[BROADCAST_MAX], n = array_count(step->out[0]);
    enum compare op = (enum compare)step->node->op->variant;
    uint32_t x = 0, y = 1;
    if (op == COMPARE_GREATER || op == COMPARE_GREATER_EQUAL) { /* a > b is b < a */
        x = 1;
        y = 0;
        op = op == COMPARE_GREATER ? COMPARE_LESS : COMPARE_LESS_EQUAL;
    }
    broadcast_loops(&b, step->out[0]->dims, step->out[0]->rank, dims, ranks, 2);
    for (size_t i = 0; i < n; i++) {
        broadcast_element(&b, i, at);
        ((uint8_t *)step->out[0]->data)[i] =
            compare_at(op, step->in[0]->dtype, step->in[x]->data, at[x], step->in[y]->data, at[y]);
    }
    return STATUS_OK;
}

enum status not_shape(struct step *step, struct error *why)
{
    if (step->in[0]->dtype != DTYPE_BOOL)
        return bad_step(why, step, "input is %s; expected BOOL", dtype_name(step->in[0]->dtype));
    return shape_same(step, why);
}

enum status not_compute(const struct step *step, struct error *why)
{
    (void)why;
    for (size_t i = 0; i < step->out[0]->bytes; i++)
        ((uint8_t *)step->out[0]->data)[i] = !((const uint8_t *)step->in[0]->data)[i];
    return STATUS_OK;
}

enum status where_shape(struct step *step, struct error *why)
{
    int64_t dims[TENSOR_RANK_MAX];
    uint32_t rank;
    if (step->in[0]->dtype != DTYPE_BOOL || step->in[1]->dtype != step->in[2]->dtype)
        return bad_step(why, step, "inputs are %s, %s and %s; expected BOOL and twice one type",
                        dtype_name(step->in[0]->dtype), dtype_name(step->in[1]->dtype),
                        dtype_name(step->in[2]->dtype));
    enum status s = broadcast_dims(step, step->in, 3, dims, &rank, why);
    return s == STATUS_OK ? out_set(step, 0, step->in[1]->dtype, dims, rank, why) : s;
}

enum status where_compute(const struct step *step, struct error *why)
{
    (void)why;
    struct broadcast b;
    size_t at[BROADCAST_MAX], n = array_count(step->out[0]);
    size_t width = element_bytes(step->out[0]->dtype);
    broadcast_step(&b, step);
    for (size_t i = 0; i < n; i++) {
        broadcast_element(&b, i, at);
        uint32_t from = ((const uint8_t *)step->in[0]->data)[at[0]] ? 1 : 2;
        memcpy((char *)step->out[0]->data + i * width,
               (const char *)step->in[from]->data + at[from] * width, width);
    }
    return STATUS_OK;
}

/* Up to opset 6 one slope per channel came as a vector. */
static struct array slopes_of(const struct step *step)
{
    struct array slope = *step->in[1];
    if (step->node->op->variant == VARIANT_LEGACY && slope.rank == 1 && slope.dims[0] > 1)
        while (slope.rank + 1 < step->in[0]->rank)
            slope.dims[slope.rank++] = 1;
    return slope;
}

enum status prelu_check(struct node *node, struct error *why)
{
    (void)why;
    attr_ignore(node, "consumed_inputs"); /* opset 1's hint about memory */
    return STATUS_OK;
}

enum status prelu_shape(struct step *step, struct error *why)
{
    const struct array *x = step->in[0];
    struct array slope = slopes_of(step), *both[2] = {step->in[0], &slope};
    int64_t dims[TENSOR_RANK_MAX];
    uint32_t rank;
    if ((!dtype_is_float(x->dtype) && !dtype_is_integer(x->dtype)) || slope.dtype != x->dtype)
        return bad_step(why, step, "inputs are %s and %s; expected one type of numbers",
                        dtype_name(x->dtype), dtype_name(slope.dtype));
    enum status s = broadcast_dims(step, both, 2, dims, &rank, why);
    return s == STATUS_OK ? out_set(step, 0, x->dtype, dims, rank, why) : s;
}

enum status prelu_compute(const struct step *step, struct error *why)
{
    (void)why;
    const struct array *x = step->in[0], *out = step->out[0];
    struct array slope = slopes_of(step);
    const int64_t *dims[2] = {x->dims, slope.dims};
    const uint32_t ranks[2] = {x->rank, slope.rank};
    enum dtype t = x->dtype;
    struct broadcast b;
    size_t at[BROADCAST_MAX];
    broadcast_loops(&b, out->dims, out->rank, dims, ranks, 2);
    for (size_t i = 0; i < array_count(out); i++) {
        broadcast_element(&b, i, at);
        if (t == DTYPE_FP32) {
            float v = ((const float *)x->data)[at[0]];
            ((float *)out->data)[i] = v < 0 ? v * ((const float *)slope.data)[at[1]] : v;
        } else if (dtype_is_float(t)) {
            double v = scalar_float(t, x->data, at[0]);
            scalar_set_float(t, out->data, i, v < 0 ? v * scalar_float(t, slope.data, at[1]) : v);
        } else {
            int64_t v = scalar_int(t, x->data, at[0]);
            uint64_t product = (uint64_t)v * (uint64_t)scalar_int(t, slope.data, at[1]);
            scalar_set_int(t, out->data, i, v < 0 && t != DTYPE_UINT64 ? (int64_t)product : v);
        }
    }
    return STATUS_OK;
}
