/* op_quantize - QuantizeLinear, DequantizeLinear, DynamicQuantizeLinear */
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "worker/kernels/bytes.h"
#include "worker/kernels/par.h"
#include "worker/ops/ops.h"
#include "worker/ops/quant.h"
#include "worker/ops/scalar.h"

struct quantize {
    int64_t axis, block;
    enum dtype to; /* output_dtype; DTYPE_NONE: the zero point's */
};

/* Which scale element `e` of the input has: [outer][axis][inner], an axis in blocks. */
struct scales {
    size_t axis, inner; /* axis 0: one scale for all */
    size_t block, count;
};

enum status quantize_check(struct node *node, struct error *why)
{
    struct quantize *q = region_take(node->region, sizeof *q);
    node->state = q;
    q->axis = attr_int(node, "axis", 1);
    q->block = attr_int(node, "block_size", 0);
    attr_ignore(node, "saturate"); /* of 8-bit floats, which dtype.def does not have */
    attr_ignore(node, "precision");
    int64_t code = attr_int(node, "output_dtype", 0);
    q->to = code > 0 && code < 64 ? dtype_by_onnx((int)code) : DTYPE_NONE;
    if (code && !dtype_bytes(q->to))
        return bad_node(why, node, "output_dtype %" PRId64 " is not supported", code);
    return q->block >= 0 ? STATUS_OK : bad_node(why, node, "block_size is %" PRId64, q->block);
}

static enum status find_scales(struct step *step, struct error *why)
{
    const struct array *x = step->in[0], *scale = step->in[1], *zero = step_in(step, 2);
    const struct quantize *q = step->node->state;
    struct scales *s = region_take(step->region, sizeof *s);
    int64_t axis = q->axis;
    char text[2][128];
    bool fits = !zero || (array_count(zero) == array_count(scale) && zero->rank == scale->rank);
    step->params = s;
    if (scale->rank == 0 || (scale->rank == 1 && scale->dims[0] == 1 && !q->block)) {
        if (fits)
            return STATUS_OK;
    } else if (fits && axis_ok(&axis, x->rank)) {
        int64_t count = q->block ? (x->dims[axis] + q->block - 1) / q->block : x->dims[axis];
        s->axis = (size_t)x->dims[axis];
        s->inner = dims_span(x, (uint32_t)axis + 1, x->rank);
        s->block = q->block ? (size_t)q->block : 1;
        s->count = (size_t)count;
        fits = scale->rank == (q->block ? x->rank : 1) && scale->dims[q->block ? axis : 0] == count;
        for (uint32_t k = 0; fits && q->block && k < x->rank; k++)
            fits = k == axis || scale->dims[k] == x->dims[k];
        if (fits)
            return STATUS_OK;
    }
    return bad_step(why, step, "scale %s does not fit input %s along axis %" PRId64,
                    dims_text(text[0], sizeof text[0], scale->dims, scale->rank),
                    dims_text(text[1], sizeof text[1], x->dims, x->rank), q->axis);
}

static size_t scale_of(const struct scales *s, bool blocked, size_t e)
{
    if (!s->axis)
        return 0;
    size_t at = e / s->inner % s->axis / s->block;
    return blocked ? (e / s->inner / s->axis * s->count + at) * s->inner + e % s->inner : at;
}

static bool quantised(enum dtype t)
{
    return dtype_is_integer(t) && dtype_bytes(t) <= 2;
}

enum status quantize_shape(struct step *step, struct error *why)
{
    const struct array *x = step->in[0], *scale = step->in[1], *zero = step_in(step, 2);
    const struct quantize *q = step->node->state;
    enum dtype t = zero ? zero->dtype : q->to != DTYPE_NONE ? q->to : DTYPE_UINT8;
    if ((!dtype_is_float(x->dtype) && x->dtype != DTYPE_INT32) || !dtype_is_float(scale->dtype) ||
        !quantised(t) || (q->to != DTYPE_NONE && q->to != t))
        return bad_step(why, step, "%s with a scale of %s to %s is not possible",
                        dtype_name(x->dtype), dtype_name(scale->dtype), dtype_name(t));
    enum status s = find_scales(step, why);
    return s == STATUS_OK ? out_set(step, 0, t, x->dims, x->rank, why) : s;
}

#define CHUNK 4096 /* elements of one scale that go to one thread at a time */

/* Stretches of neighbours that share a scale, for the kernels. */
struct stretches {
    const struct array *x, *scale, *zero, *out;
    size_t len, scales, total;
};

static void stretches_of(void *arg, size_t slot, size_t begin, size_t end)
{
    const struct stretches *j = arg;
    bool back = j->out->dtype == DTYPE_FP32;
    (void)slot;
    for (size_t i = begin; i < end; i++) {
        size_t at = i * j->len, n = MIN(j->len, j->total - at), e = i % j->scales;
        const struct array *q = back ? j->x : j->out;
        struct bytes_scale s = {q->dtype, ((const float *)j->scale->data)[e], 0};
        void *bytes = (char *)q->data + at * dtype_bytes(q->dtype);
        s.zero = j->zero ? (int32_t)scalar_int(j->zero->dtype, j->zero->data, e) : 0;
        if (back)
            bytes_to_fp32(s, n, bytes, (float *)j->out->data + at);
        else
            bytes_from_fp32(s, n, (const float *)j->x->data + at, bytes);
    }
}

/* Done by the kernels, if they have these types and a stretch is worth a call. */
static bool by_stretches(const struct step *step, bool blocked)
{
    const struct scales *s = step->params;
    struct stretches j = {step->in[0], step->in[1], step_in(step, 2), step->out[0], CHUNK, 1, 0};
    bool types = (j.x->dtype == DTYPE_FP32 && bytes_has(j.out->dtype)) ||
                 (bytes_has(j.x->dtype) && j.out->dtype == DTYPE_FP32);
    if (!types || j.scale->dtype != DTYPE_FP32 || (s->axis && (blocked || s->inner < 8)))
        return false;
    j.total = array_count(j.x);
    if (s->axis) {
        j.len = s->inner;
        j.scales = s->axis;
    }
    par_for((j.total + j.len - 1) / j.len, 4.0 * (double)j.total, stretches_of, &j);
    return true;
}

enum status quantize_compute(const struct step *step, struct error *why)
{
    (void)why;
    const struct array *x = step->in[0], *scale = step->in[1], *zero = step_in(step, 2);
    const struct array *out = step->out[0];
    bool blocked = ((const struct quantize *)step->node->state)->block > 0;
    if (by_stretches(step, blocked))
        return STATUS_OK;
    for (size_t i = 0; i < array_count(x); i++) {
        size_t at = scale_of(step->params, blocked, i);
        double by = scalar_float(scale->dtype, scale->data, at);
        double v = dtype_is_float(x->dtype) ? scalar_float(x->dtype, x->data, i)
                                            : (double)scalar_int(x->dtype, x->data, i);
        /* FP32 in, FP32 division: a tie must fall where the standard has one */
        v = x->dtype == DTYPE_FP32 ? (double)((float)v / (float)by) : v / by;
        double offset = zero ? (double)scalar_int(zero->dtype, zero->data, at) : 0;
        scalar_set_int(out->dtype, out->data, i,
                       isnan(v) ? 0 : quant_round(out->dtype, nearbyint(v) + offset));
    }
    return STATUS_OK;
}

enum status dequantize_shape(struct step *step, struct error *why)
{
    const struct array *x = step->in[0], *scale = step->in[1], *zero = step_in(step, 2);
    const struct quantize *q = step->node->state;
    enum dtype t = q->to != DTYPE_NONE ? q->to : scale->dtype;
    if ((!quantised(x->dtype) && x->dtype != DTYPE_INT32) || !dtype_is_float(t) ||
        !dtype_is_float(scale->dtype) || (zero && zero->dtype != x->dtype))
        return bad_step(why, step, "%s with a scale of %s to %s is not possible",
                        dtype_name(x->dtype), dtype_name(scale->dtype), dtype_name(t));
    enum status s = find_scales(step, why);
    return s == STATUS_OK ? out_set(step, 0, t, x->dims, x->rank, why) : s;
}

enum status dequantize_compute(const struct step *step, struct error *why)
{
    (void)why;
    const struct array *x = step->in[0], *scale = step->in[1], *zero = step_in(step, 2);
    const struct array *out = step->out[0];
    bool blocked = ((const struct quantize *)step->node->state)->block > 0;
    if (by_stretches(step, blocked))
        return STATUS_OK;
    for (size_t i = 0; i < array_count(x); i++) {
        size_t at = scale_of(step->params, blocked, i);
        int64_t v = scalar_int(x->dtype, x->data, i);
        v -= zero ? scalar_int(zero->dtype, zero->data, at) : 0;
        scalar_set_float(out->dtype, out->data, i,
                         (double)v * scalar_float(scale->dtype, scale->data, at));
    }
    return STATUS_OK;
}

/* Element by element, unless the scales' axis is the rows' own. */
void quantize_rows(const struct rows_step *s, const struct rows_at *in, struct rows_at *out)
{
    uint32_t rank = s->step->in[0]->rank;
    int64_t axis = ((const struct quantize *)s->step->node->state)->axis;
    for (uint32_t i = 1; i < s->step->in_len; i++)
        if (in[i].rows != ROWS_NONE)
            return;
    if (!((const struct scales *)s->step->params)->axis)
        out[0] = in[0];
    else if (axis_ok(&axis, rank))
        rows_beside(s, in[0], (uint32_t)axis, (uint32_t)axis + 1, &out[0]);
}

enum status dynamic_shape(struct step *step, struct error *why)
{
    const struct array *x = step->in[0];
    if (x->dtype != DTYPE_FP32)
        return bad_step(why, step, "%s is not a type of this operator", dtype_name(x->dtype));
    enum status s = out_set(step, 0, DTYPE_UINT8, x->dims, x->rank, why);
    if (s == STATUS_OK)
        s = out_set(step, 1, DTYPE_FP32, NULL, 0, why);
    return s == STATUS_OK ? out_set(step, 2, DTYPE_UINT8, NULL, 0, why) : s;
}

/* The range that holds all values and 0 goes to 0..255. */
enum status dynamic_compute(const struct step *step, struct error *why)
{
    (void)why;
    const struct array *x = step->in[0];
    struct array *y = step_out(step, 0), *scale = step_out(step, 1), *zero = step_out(step, 2);
    const float *from = x->data;
    float low = 0, high = 0;
    for (size_t i = 0; i < array_count(x); i++) {
        low = from[i] < low ? from[i] : low;
        high = from[i] > high ? from[i] : high;
    }
    float by = (high - low) / 255;
    by = by > 0 ? by : 1;
    int64_t offset = quant_round(DTYPE_UINT8, (double)(0 - low / by));
    if (y)
        bytes_from_fp32((struct bytes_scale){DTYPE_UINT8, by, (int32_t)offset}, array_count(x),
                        from, y->data);
    if (scale)
        *(float *)scale->data = by;
    if (zero)
        *(uint8_t *)zero->data = (uint8_t)offset;
    return STATUS_OK;
}
