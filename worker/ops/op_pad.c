/* op_pad - Pad: constant, reflect, edge, wrap */
#include <inttypes.h>
#include <string.h>

#include "worker/ops/ops.h"

#define PAD_DIM_MAX ((int64_t)1 << 26) /* of the output: bounds the table of sources */

enum pad_mode { PAD_CONSTANT, PAD_REFLECT, PAD_EDGE, PAD_WRAP };

struct pad {
    enum pad_mode mode;
    size_t len; /* of pads in the attribute (to opset 10) */
    int64_t pads[2 * TENSOR_RANK_MAX];
    float value;
};

/* For every axis of the output, where each index comes from; -1: the constant. */
struct sources {
    const int32_t *from[TENSOR_RANK_MAX];
};

enum status pad_check(struct node *node, struct error *why)
{
    static const char *const names[] = {"constant", "reflect", "edge", "wrap"};
    struct pad *p = region_take(node->region, sizeof *p);
    const char *mode = attr_text(node, "mode", "constant");
    size_t m = 0;
    node->state = p;
    while (m < ARRAY_LEN(names) && strcmp(names[m], mode) != 0)
        m++;
    if (m == ARRAY_LEN(names))
        return bad_node(why, node, "mode \"%.40s\" is unknown", mode);
    p->mode = (enum pad_mode)m;
    if (node->op->variant != VARIANT_LEGACY)
        return STATUS_OK;
    const int64_t *pads = attr_ints(node, "pads", &p->len);
    p->value = attr_float(node, "value", 0);
    if (p->len > ARRAY_LEN(p->pads))
        return bad_node(why, node, "%zu pads; at most %zu are possible", p->len,
                        ARRAY_LEN(p->pads));
    for (size_t i = 0; i < p->len; i++)
        p->pads[i] = pads[i];
    return STATUS_OK;
}

/* begin[k] and end[k] for every axis of the input. */
static enum status all_pads(const struct step *step, int64_t *begin, int64_t *end,
                            struct error *why)
{
    struct pad p = *(const struct pad *)step->node->state;
    uint32_t rank = step->in[0]->rank;
    int64_t axes[TENSOR_RANK_MAX];
    size_t axes_len = rank;
    enum status s = STATUS_OK;
    for (uint32_t k = 0; k < rank; k++) {
        begin[k] = end[k] = 0;
        axes[k] = k;
    }
    if (step->in_len > 1)
        s = known_ints(step, 1, p.pads, ARRAY_LEN(p.pads), &p.len, why);
    if (s == STATUS_OK && step_in(step, 3))
        s = known_ints(step, 3, axes, TENSOR_RANK_MAX, &axes_len, why);
    if (s != STATUS_OK)
        return s;
    if (p.len != 2 * axes_len)
        return bad_step(why, step, "pads has %zu numbers; expected %zu", p.len, 2 * axes_len);
    for (size_t i = 0; i < axes_len; i++) {
        if (!axis_ok(&axes[i], rank))
            return bad_step(why, step, "axis %" PRId64 " is outside of rank %u", axes[i], rank);
        begin[axes[i]] = p.pads[i];
        end[axes[i]] = p.pads[axes_len + i];
    }
    return STATUS_OK;
}

/* Where output index `i` (counted from the input's first element) of an axis comes from. */
static int32_t source(enum pad_mode mode, int64_t i, int64_t size)
{
    if (i >= 0 && i < size)
        return (int32_t)i;
    if (mode == PAD_CONSTANT)
        return -1;
    if (mode == PAD_EDGE || size == 1)
        return (int32_t)(i < 0 ? 0 : size - 1);
    if (mode == PAD_WRAP)
        return (int32_t)((i % size + size) % size);
    int64_t period = 2 * (size - 1), at = (i % period + period) % period;
    return (int32_t)(at < size ? at : period - at);
}

enum status pad_shape(struct step *step, struct error *why)
{
    const struct pad *p = step->node->state;
    const struct array *in = step->in[0], *value = step_in(step, 2);
    struct sources *src = region_take(step->region, sizeof *src);
    int64_t begin[TENSOR_RANK_MAX], end[TENSOR_RANK_MAX], dims[TENSOR_RANK_MAX];
    enum status s = all_pads(step, begin, end, why);
    if (s != STATUS_OK)
        return s;
    if (value && (value->dtype != in->dtype || array_count(value) != 1))
        return bad_step(why, step, "constant_value must be one %s", dtype_name(in->dtype));
    if (step->node->op->variant == VARIANT_LEGACY && in->dtype != DTYPE_FP32)
        return bad_step(why, step, "%s is not supported; expected FP32", dtype_name(in->dtype));
    for (uint32_t k = 0; k < in->rank; k++) {
        bool sane = begin[k] >= -INT32_MAX && begin[k] <= INT32_MAX && end[k] >= -INT32_MAX &&
                    end[k] <= INT32_MAX && in->dims[k] <= INT32_MAX;
        dims[k] = sane ? in->dims[k] + begin[k] + end[k] : -1;
        if (dims[k] < 0 || dims[k] > PAD_DIM_MAX ||
            (in->dims[k] == 0 && dims[k] > 0 && p->mode != PAD_CONSTANT))
            return bad_step(why, step,
                            "axis %u of size %" PRId64 " cannot be padded by %" PRId64
                            " and %" PRId64,
                            k, in->dims[k], begin[k], end[k]);
    }
    s = out_set(step, 0, in->dtype, dims, in->rank, why);
    for (uint32_t k = 0; k < in->rank && s == STATUS_OK && array_count(step->out[0]); k++) {
        int32_t *from = region_array(step->region, (size_t)dims[k], sizeof *from);
        for (int64_t i = 0; i < dims[k]; i++)
            from[i] = source(p->mode, i - begin[k], in->dims[k]);
        src->from[k] = from;
    }
    step->params = src;
    return s;
}

enum status pad_compute(const struct step *step, struct error *why)
{
    (void)why;
    const struct pad *p = step->node->state;
    const struct array *in = step->in[0], *out = step->out[0], *value = step_in(step, 2);
    const struct sources *src = step->params;
    static const uint64_t zero = 0;
    const void *fill = value                                       ? value->data
                       : step->node->op->variant == VARIANT_LEGACY ? (const void *)&p->value
                                                                   : &zero;
    size_t width = dtype_bytes(in->dtype), count = array_count(out);
    size_t last = out->rank ? (size_t)out->dims[out->rank - 1] : 1;
    for (size_t row = 0; row < count / MAX(last, 1); row++) {
        size_t rest = row, at = 0, span = out->rank ? (size_t)in->dims[in->rank - 1] : 1;
        bool outside = false;
        for (uint32_t k = out->rank - (out->rank > 0); k-- > 0;) {
            int32_t from = src->from[k][rest % (size_t)out->dims[k]];
            rest /= (size_t)out->dims[k];
            outside |= from < 0;
            at += (size_t)MAX(from, 0) * span;
            span *= (size_t)in->dims[k];
        }
        char *to = (char *)out->data + row * last * width;
        for (size_t i = 0; i < last; i++) {
            int32_t from = out->rank ? src->from[out->rank - 1][i] : 0;
            const void *x =
                outside || from < 0 ? fill : (const char *)in->data + (at + (size_t)from) * width;
            memcpy(to + i * width, x, width);
        }
    }
    return STATUS_OK;
}

void pad_rows(const struct rows_step *s, const struct rows_at *in, struct rows_at *out)
{
    const struct sources *src = s->step->params;
    int rows = rows_axis(s, s->step->in[0], in[0]);
    for (uint32_t i = 1; i < s->step->in_len; i++)
        if (in[i].rows != ROWS_NONE)
            return;
    if (rows < 0 || s->step->out[0]->dims[rows] != s->batch || !src->from[rows])
        return;
    for (int64_t i = 0; i < s->batch; i++)
        if (src->from[rows][i] != i)
            return;
    out[0] = rows_on_axis(s->step->out[0], (uint32_t)rows);
}
