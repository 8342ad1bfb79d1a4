/* op_bits - Mod, BitShift, BitwiseAnd, ..., IsNaN, IsInf */
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "worker/ops/broadcast.h"
#include "worker/ops/ops.h"
#include "worker/ops/scalar.h"

enum status bits_check(struct node *node, struct error *why)
{
    enum bits *b = region_take(node->region, sizeof *b);
    *b = (enum bits)node->op->variant;
    node->state = b;
    if (*b == BITS_MOD && attr_int(node, "fmod", 0))
        *b = BITS_FMOD;
    if (*b != BITS_SHIFT)
        return STATUS_OK;
    const char *where = attr_text(node, "direction", "");
    if (strcmp(where, "RIGHT") == 0)
        *b = BITS_SHIFT_RIGHT;
    else if (strcmp(where, "LEFT") != 0)
        return bad_node(why, node, "direction \"%.40s\" is unknown; expected LEFT or RIGHT", where);
    return STATUS_OK;
}

enum status bits_shape(struct step *step, struct error *why)
{
    const struct array *x = step->in[0], *y = step_in(step, 1);
    enum bits b = *(const enum bits *)step->node->state;
    int64_t dims[TENSOR_RANK_MAX];
    uint32_t rank;
    if (!dtype_is_integer(x->dtype) && !(b == BITS_FMOD && dtype_is_float(x->dtype)))
        return bad_step(why, step, "%s is not a type of this operator%s", dtype_name(x->dtype),
                        b == BITS_MOD ? " unless fmod is 1" : "");
    if (y && x->dtype != y->dtype)
        return bad_step(why, step, "inputs are %s and %s; expected one type", dtype_name(x->dtype),
                        dtype_name(y->dtype));
    enum status s = broadcast_dims(step, step->in, step->in_len, dims, &rank, why);
    return s == STATUS_OK ? out_set(step, 0, x->dtype, dims, rank, why) : s;
}

/* The remainder has the divisor's sign (Mod), or the dividend's (fmod). y is not 0. */
static int64_t remainder_of(bool is_unsigned, bool as_c, int64_t x, int64_t y)
{
    if (is_unsigned)
        return (int64_t)((uint64_t)x % (uint64_t)y);
    if (y == -1)
        return 0;
    int64_t r = x % y;
    return !as_c && r && (r < 0) != (y < 0) ? r + y : r;
}

static int64_t apply(enum bits b, enum dtype t, int64_t x, int64_t y)
{
    bool is_unsigned = t == DTYPE_UINT64;
    uint64_t width = 8 * dtype_bytes(t), by = (uint64_t)y;
    switch (b) {
    case BITS_MOD:
    case BITS_FMOD:
        return remainder_of(is_unsigned, b == BITS_FMOD, x, y);
    case BITS_SHIFT:
        return by >= width ? 0 : (int64_t)((uint64_t)x << by);
    case BITS_SHIFT_RIGHT:
        return by >= width ? 0 : (int64_t)((uint64_t)x >> by);
    case BITS_AND:
        return x & y;
    case BITS_OR:
        return x | y;
    case BITS_XOR:
        return x ^ y;
    default:
        return ~x;
    }
}

enum status bits_compute(const struct step *step, struct error *why)
{
    const struct array *x = step->in[0], *y = step_in(step, 1), *out = step->out[0];
    enum bits b = *(const enum bits *)step->node->state;
    enum dtype t = x->dtype;
    struct broadcast loops;
    size_t at[BROADCAST_MAX];
    broadcast_step(&loops, step);
    for (size_t i = 0; i < array_count(out); i++) {
        broadcast_element(&loops, i, at);
        if (y && dtype_is_float(t)) {
            scalar_set_float(
                t, out->data, i,
                fmod(scalar_float(t, x->data, at[0]), scalar_float(t, y->data, at[1])));
            continue;
        }
        int64_t second = y ? scalar_int(t, y->data, at[1]) : 0;
        if (second == 0 && (b == BITS_MOD || b == BITS_FMOD))
            return bad_step(why, step, "integer division by zero at element %zu", i);
        scalar_set_int(t, out->data, i, apply(b, t, scalar_int(t, x->data, at[0]), second));
    }
    return STATUS_OK;
}

struct odd_numbers {
    bool nan, negative, positive; /* which are looked for */
};

enum status odd_check(struct node *node, struct error *why)
{
    (void)why;
    struct odd_numbers *o = region_take(node->region, sizeof *o);
    o->nan = node->op->variant == VARIANT_NONE;
    o->negative = !o->nan && attr_int(node, "detect_negative", 1) != 0;
    o->positive = !o->nan && attr_int(node, "detect_positive", 1) != 0;
    node->state = o;
    return STATUS_OK;
}

enum status odd_shape(struct step *step, struct error *why)
{
    const struct array *x = step->in[0];
    if (!dtype_is_float(x->dtype))
        return bad_step(why, step, "%s is not a type of this operator", dtype_name(x->dtype));
    return out_set(step, 0, DTYPE_BOOL, x->dims, x->rank, why);
}

enum status odd_compute(const struct step *step, struct error *why)
{
    (void)why;
    const struct array *x = step->in[0];
    const struct odd_numbers *o = step->node->state;
    uint8_t *to = step->out[0]->data;
    for (size_t i = 0; i < array_count(x); i++) {
        double v = scalar_float(x->dtype, x->data, i);
        to[i] = (o->nan && isnan(v)) || (o->negative && v == -INFINITY) ||
                (o->positive && v == INFINITY);
    }
    return STATUS_OK;
}
