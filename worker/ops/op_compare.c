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
    enum status s = broadcast_dims(step, step->in, step->in_len, dims, &rank, why);
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
    if (dtype_is_float(t)) {
        double a = scalar_float(t, x, i), b = scalar_float(t, y, k);
        return decide(op, a < b, a == b, false, false);
    }
    int64_t a = scalar_int(t, x, i), b = scalar_int(t, y, k);
    bool less = t == DTYPE_UINT64 ? (uint64_t)a < (uint64_t)b : a < b;
    return decide(op, less, a == b, a != 0, b != 0);
}

/* Element offsets of up to three operands for output element `i`. */
static void locate(const struct broadcast *b, size_t i, size_t *at)
{
    size_t cols = b->dims[b->rank - 1], rows = b->dims[b->rank - 2];
    size_t c = i % cols, r = i / cols % rows;
    broadcast_at(b, i / cols / rows, at);
    for (uint32_t k = 0; k < BROADCAST_MAX; k++)
        at[k] += r * b->steps[k][b->rank - 2] + c * b->steps[k][b->rank - 1];
}

static void loops_of(struct broadcast *b, const struct step *step)
{
    const int64_t *dims[BROADCAST_MAX];
    uint32_t ranks[BROADCAST_MAX];
    for (uint32_t i = 0; i < step->in_len; i++) {
        dims[i] = step->in[i]->dims;
        ranks[i] = step->in[i]->rank;
    }
    broadcast_loops(b, step->out[0]->dims, step->out[0]->rank, dims, ranks, step->in_len);
}

enum status compare_compute(const struct step *step, struct error *why)
{
    (void)why;
    struct broadcast b;
    size_t at[BROADCAST_MAX], n = array_count(step->out[0]);
    enum compare op = (enum compare)step->node->op->variant;
    uint32_t x = 0, y = 1;
    if (op == COMPARE_GREATER || op == COMPARE_GREATER_EQUAL) { /* a > b is b < a */
        x = 1;
        y = 0;
        op = op == COMPARE_GREATER ? COMPARE_LESS : COMPARE_LESS_EQUAL;
    }
    loops_of(&b, step);
    for (size_t i = 0; i < n; i++) {
        locate(&b, i, at);
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
    size_t width = dtype_bytes(step->out[0]->dtype);
    loops_of(&b, step);
    for (size_t i = 0; i < n; i++) {
        locate(&b, i, at);
        uint32_t from = ((const uint8_t *)step->in[0]->data)[at[0]] ? 1 : 2;
        memcpy((char *)step->out[0]->data + i * width,
               (const char *)step->in[from]->data + at[from] * width, width);
    }
    return STATUS_OK;
}

enum status prelu_shape(struct step *step, struct error *why)
{
    int64_t dims[TENSOR_RANK_MAX];
    uint32_t rank;
    if (step->in[0]->dtype != DTYPE_FP32 || step->in[1]->dtype != DTYPE_FP32)
        return bad_step(why, step, "%s is not supported; expected FP32",
                        dtype_name(step->in[0]->dtype));
    enum status s = broadcast_dims(step, step->in, 2, dims, &rank, why);
    return s == STATUS_OK ? out_set(step, 0, DTYPE_FP32, dims, rank, why) : s;
}

enum status prelu_compute(const struct step *step, struct error *why)
{
    (void)why;
    struct broadcast b;
    size_t at[BROADCAST_MAX], n = array_count(step->out[0]);
    loops_of(&b, step);
    for (size_t i = 0; i < n; i++) {
        locate(&b, i, at);
        float x = ((const float *)step->in[0]->data)[at[0]];
        ((float *)step->out[0]->data)[i] =
            x < 0 ? x * ((const float *)step->in[1]->data)[at[1]] : x;
    }
    return STATUS_OK;
}
