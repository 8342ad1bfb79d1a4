/* op_binary - functions of two or more values with broadcasting: Add, Mul, Pow, Min, Sum, ... */
#include <math.h>
#include <string.h>

#include "worker/kernels/vector.h"
#include "worker/ops/broadcast.h"
#include "worker/ops/ops.h"
#include "worker/ops/scalar.h"

enum status binary_check(struct node *node, struct error *why)
{
    (void)why;
    struct legacy_axis *l = region_take(node->region, sizeof *l);
    l->axis = -1;
    if (node->opset < 7) {
        (void)attr_int(node, "broadcast", 0);
        l->axis = attr_int(node, "axis", -1);
        attr_ignore(node, "consumed_inputs");
    }
    node->state = l;
    return STATUS_OK;
}

/* Both blocked and of one shape, or the second one number per image and channel. */
static bool blocked_pair(const struct array *x, const struct array *y)
{
    if (x->layout != LAYOUT_BLOCKED || y->rank != x->rank || y->known || y->dtype != DTYPE_FP32)
        return false;
    bool same = memcmp(x->dims, y->dims, x->rank * sizeof x->dims[0]) == 0;
    bool per_channel = x->dims[0] == y->dims[0] && x->dims[1] == y->dims[1];
    for (uint32_t k = 2; k < x->rank; k++)
        per_channel &= y->dims[k] == 1;
    return same || per_channel;
}

static bool one_number(const struct array *y)
{
    return y->rank <= 4 && array_count(y) == 1;
}

void binary_layouts(const struct step *step, enum layout *wants)
{
    if (step->in_len != 2)
        return;
    for (uint32_t i = 0; i < 2; i++) {
        const struct array *x = step->in[i], *y = step->in[1 - i];
        if (x->layout == LAYOUT_BLOCKED && one_number(y) && y->layout == LAYOUT_PLAIN &&
            y->rank <= x->rank)
            wants[i] = LAYOUT_BLOCKED;
        if (blocked_pair(x, y))
            wants[0] = wants[1] = LAYOUT_BLOCKED;
    }
}

enum status binary_shape(struct step *step, struct error *why)
{
    int64_t dims[TENSOR_RANK_MAX];
    uint32_t rank;
    enum dtype t = step->in[0]->dtype;
    struct array second;
    struct array *pair[2] = {step->in[0], &second};
    enum status s;
    for (uint32_t i = 0; i < step->in_len; i++) {
        if (!step->in[i])
            return bad_step(why, step, "input %u is left out", i);
        /* Since opset 12 the exponent of Pow may be of another type. */
        if (step->in[i]->dtype != t && step->node->op->variant != BINARY_POW)
            return bad_step(why, step, "inputs are %s and %s; expected one type", dtype_name(t),
                            dtype_name(step->in[i]->dtype));
        if (!dtype_is_float(step->in[i]->dtype) && !dtype_is_integer(step->in[i]->dtype))
            return bad_step(why, step, "%s is not a type of this operator",
                            dtype_name(step->in[i]->dtype));
    }
    if (step->in_len == 2) {
        second = legacy_aligned(step, 1);
        s = broadcast_dims(step, pair, 2, dims, &rank, why);
    } else {
        s = broadcast_dims(step, step->in, step->in_len, dims, &rank, why);
    }
    if (s != STATUS_OK)
        return s;
    if (step->in[0]->layout == LAYOUT_BLOCKED ||
        (step->in_len == 2 && second.layout == LAYOUT_BLOCKED))
        return out_blocked(step, 0, dims, rank, why);
    return out_set(step, 0, t, dims, rank, why);
}

static double apply(enum binary op, double x, double y)
{
    switch (op) {
    case BINARY_ADD:
        return x + y;
    case BINARY_SUB:
        return x - y;
    case BINARY_MUL:
        return x * y;
    case BINARY_DIV:
        return x / y;
    case BINARY_POW:
        return pow(x, y);
    case BINARY_MIN:
        return isnan(x) || x < y ? x : y;
    case BINARY_MAX:
        return isnan(x) || x > y ? x : y;
    default:
        panic("no double form of binary function %d", op);
    }
}

/* Wraps around as two's complement does. */
static uint64_t power(uint64_t x, uint64_t y)
{
    uint64_t result = 1;
    for (; y; y >>= 1, x *= x)
        if (y & 1)
            result *= x;
    return result;
}

static int64_t apply_int(enum binary op, bool is_unsigned, int64_t x, int64_t y)
{
    uint64_t a = (uint64_t)x, b = (uint64_t)y;
    bool less = is_unsigned ? a < b : x < y;
    switch (op) {
    case BINARY_ADD:
        return (int64_t)(a + b);
    case BINARY_SUB:
        return (int64_t)(a - b);
    case BINARY_MUL:
        return (int64_t)(a * b);
    case BINARY_DIV:
        if (is_unsigned)
            return (int64_t)(a / b);
        return y == -1 ? (int64_t)(0 - a) : x / y;
    case BINARY_POW:
        return y < 0 && !is_unsigned ? (x == 1 || (x == -1 && y % 2 == 0) ? 1
                                        : x == -1                         ? -1
                                                                          : 0)
                                     : (int64_t)power(a, b);
    case BINARY_MIN:
        return less ? x : y;
    case BINARY_MAX:
        return less ? y : x;
    default:
        panic("no integer form of binary function %d", op);
    }
}

struct side {
    enum dtype dtype;
    const char *data;
    size_t row_step, col_step; /* elements */
};

static double side_float(const struct side *s, size_t i)
{
    return dtype_is_float(s->dtype) ? scalar_float(s->dtype, s->data, i)
                                    : (double)scalar_int(s->dtype, s->data, i);
}

/* Any types but FP32 with FP32. */
static enum status plain_rows(const struct step *step, size_t rows, size_t cols, struct side x,
                              struct side y, struct array *out, size_t at, struct error *why)
{
    enum binary op = (enum binary)step->node->op->variant;
    bool is_float = dtype_is_float(x.dtype) || dtype_is_float(y.dtype);
    for (size_t r = 0; r < rows; r++) {
        for (size_t c = 0; c < cols; c++) {
            size_t i = r * x.row_step + c * x.col_step, k = r * y.row_step + c * y.col_step;
            size_t o = at + r * cols + c;
            if (is_float) {
                double z = apply(op, side_float(&x, i), side_float(&y, k));
                if (dtype_is_float(out->dtype))
                    scalar_set_float(out->dtype, out->data, o, z);
                else
                    scalar_set_int(out->dtype, out->data, o, fabs(z) < 0x1p63 ? (int64_t)z : 0);
                continue;
            }
            int64_t b = scalar_int(y.dtype, y.data, k);
            if (op == BINARY_DIV && b == 0)
                return bad_step(why, step, "integer division by zero at element %zu", o);
            scalar_set_int(
                out->dtype, out->data, o,
                apply_int(op, x.dtype == DTYPE_UINT64, scalar_int(x.dtype, x.data, i), b));
        }
    }
    return STATUS_OK;
}

/* Rows and columns of x and y under piece `o` of the output's loops. */
static void find_sides(const struct broadcast *b, size_t o, struct side *x, struct side *y)
{
    size_t at[BROADCAST_MAX];
    broadcast_at(b, o, at);
    struct side *sides[2] = {x, y};
    for (uint32_t i = 0; i < 2; i++) {
        sides[i]->data += at[i] * dtype_bytes(sides[i]->dtype);
        sides[i]->row_step = b->steps[i][b->rank - 2];
        sides[i]->col_step = b->steps[i][b->rank - 1];
    }
}

static void loops_of(struct broadcast *b, const struct array *x, const struct array *y,
                     const struct array *out)
{
    const int64_t *dims[2] = {x->dims, y->dims};
    const uint32_t ranks[2] = {x->rank, y->rank};
    broadcast_loops(b, out->dims, out->rank, dims, ranks, 2);
}

void binary_fp32(enum binary op, const struct array *x, const struct array *y, struct array *out)
{
    struct broadcast b;
    loops_of(&b, x, y, out);
    size_t rows = b.dims[b.rank - 2], cols = b.dims[b.rank - 1];
    for (size_t o = 0; rows && cols && o < b.outer; o++) {
        struct side s = {x->dtype, x->data, 0, 0}, t = {y->dtype, y->data, 0, 0};
        find_sides(&b, o, &s, &t);
        struct operand p = {(const float *)(const void *)s.data, s.row_step, s.col_step};
        struct operand q = {(const float *)(const void *)t.data, t.row_step, t.col_step};
        vec_binary(op, rows, cols, p, q, (float *)out->data + o * rows * cols);
    }
}

static enum status combine(const struct step *step, const struct array *x, const struct array *y,
                           struct array *out, struct error *why)
{
    struct broadcast b;
    if (x->dtype == DTYPE_FP32 && y->dtype == DTYPE_FP32) {
        binary_fp32((enum binary)step->node->op->variant, x, y, out);
        return STATUS_OK;
    }
    loops_of(&b, x, y, out);
    size_t rows = b.dims[b.rank - 2], cols = b.dims[b.rank - 1];
    for (size_t o = 0; rows && cols && o < b.outer; o++) {
        struct side p = {x->dtype, x->data, 0, 0}, q = {y->dtype, y->data, 0, 0};
        find_sides(&b, o, &p, &q);
        enum status s = plain_rows(step, rows, cols, p, q, out, o * rows * cols, why);
        if (s != STATUS_OK)
            return s;
    }
    return STATUS_OK;
}

/* Blocked arrays are [n * blocks][spatial][LANES]: see them so. */
static struct array as_blocks(const struct array *a)
{
    struct array b = *a;
    if (a->layout != LAYOUT_BLOCKED)
        return b;
    struct maps m = array_maps(a);
    b.rank = 3;
    b.dims[0] = (int64_t)(m.n * layout_blocks(m.c));
    b.dims[1] = (int64_t)(m.h * m.w);
    b.dims[2] = LANES;
    return b;
}

enum status binary_compute(const struct step *step, struct error *why)
{
    struct array *out = step->out[0];
    struct array x = as_blocks(step->in[0]), all = as_blocks(out);
    enum status s = STATUS_OK;
    if (step->in_len == 1) {
        if (out->bytes)
            memcpy(out->data, x.data, out->bytes);
        return STATUS_OK;
    }
    for (uint32_t i = 1; i < step->in_len && s == STATUS_OK; i++) {
        struct array y = legacy_aligned(step, i);
        if (y.layout == LAYOUT_BLOCKED)
            y = as_blocks(&y);
        else if (out->layout == LAYOUT_BLOCKED)
            y.rank = 0; /* one number */
        if (x.layout == LAYOUT_PLAIN && out->layout == LAYOUT_BLOCKED)
            x.rank = 0;
        s = combine(step, &x, &y, &all, why);
        x = all;
    }
    if (out->layout == LAYOUT_BLOCKED && out->dims[1] % LANES)
        layout_clear_tail(array_maps(out), out->data);
    return s;
}

/* The sum of all inputs over their number. */
enum status mean_compute(const struct step *step, struct error *why)
{
    struct array *out = step->out[0];
    enum status s = binary_compute(step, why);
    for (size_t i = 0; s == STATUS_OK && i < array_count(out); i++)
        if (out->dtype == DTYPE_FP32)
            ((float *)out->data)[i] /= (float)step->in_len;
        else
            scalar_set_float(out->dtype, out->data, i,
                             scalar_float(out->dtype, out->data, i) / step->in_len);
    return s;
}

enum status mean_shape(struct step *step, struct error *why)
{
    if (!dtype_is_float(step->in[0]->dtype))
        return bad_step(why, step, "%s is not a type of this operator",
                        dtype_name(step->in[0]->dtype));
    return binary_shape(step, why);
}
