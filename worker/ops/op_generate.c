/* op_generate - Range, EyeLike, OneHot and window functions: values made of a few numbers */
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "worker/ops/ops.h"
#include "worker/ops/scalar.h"

enum status range_shape(struct step *step, struct error *why)
{
    enum dtype t = step->in[0]->dtype;
    double count;
    for (uint32_t i = 0; i < 3; i++)
        if (step->in[i]->dtype != t || array_count(step->in[i]) != 1)
            return bad_step(why, step, "input %u must be one number of type %s", i, dtype_name(t));
    const void *start = step->in[0]->data, *limit = step->in[1]->data, *delta = step->in[2]->data;
    if (dtype_is_float(t)) {
        count = ceil((scalar_float(t, limit, 0) - scalar_float(t, start, 0)) /
                     scalar_float(t, delta, 0));
    } else if (dtype_is_integer(t)) {
        double span = (double)scalar_int(t, limit, 0) - (double)scalar_int(t, start, 0);
        count = ceil(span / (double)scalar_int(t, delta, 0));
    } else {
        return bad_step(why, step, "%s is not a type of this operator", dtype_name(t));
    }
    if (!(count < 0x1p40))
        return bad_step(why, step, "the range has %g elements", count);
    int64_t len = count > 0 ? (int64_t)count : 0;
    return out_set(step, 0, t, &len, 1, why);
}

enum status range_compute(const struct step *step, struct error *why)
{
    (void)why;
    const struct array *out = step->out[0];
    enum dtype t = out->dtype;
    const void *start = step->in[0]->data, *delta = step->in[2]->data;
    for (size_t i = 0; i < array_count(out); i++)
        if (dtype_is_float(t))
            scalar_set_float(t, out->data, i,
                             scalar_float(t, start, 0) + (double)i * scalar_float(t, delta, 0));
        else
            scalar_set_int(t, out->data, i,
                           (int64_t)((uint64_t)scalar_int(t, start, 0) +
                                     i * (uint64_t)scalar_int(t, delta, 0)));
    return STATUS_OK;
}

struct eye {
    enum dtype dtype; /* DTYPE_NONE: the input's */
    int64_t diagonal;
};

enum status eye_check(struct node *node, struct error *why)
{
    struct eye *e = region_take(node->region, sizeof *e);
    int64_t code = attr_int(node, "dtype", 0);
    e->dtype = code > 0 && code < 64 ? dtype_by_onnx((int)code) : DTYPE_NONE;
    e->diagonal = attr_int(node, "k", 0);
    node->state = e;
    return code && !dtype_bytes(e->dtype)
               ? bad_node(why, node, "dtype %" PRId64 " of ONNX's list is not supported", code)
               : STATUS_OK;
}

enum status eye_shape(struct step *step, struct error *why)
{
    const struct array *in = step->in[0];
    const struct eye *e = step->node->state;
    enum dtype t = e->dtype != DTYPE_NONE ? e->dtype : in->dtype;
    if (in->rank != 2 || !dtype_bytes(t))
        return bad_step(why, step, "the input is %s of rank %u; expected numbers of rank 2",
                        dtype_name(in->dtype), in->rank);
    return out_set(step, 0, t, in->dims, 2, why);
}

enum status eye_compute(const struct step *step, struct error *why)
{
    (void)why;
    const struct array *out = step->out[0];
    int64_t k = ((const struct eye *)step->node->state)->diagonal;
    memset(out->data, 0, out->bytes);
    for (int64_t row = MAX(0, k < 0 ? -(k + 1) + 1 : 0); row < out->dims[0]; row++) {
        if (k >= out->dims[1] - row)
            break;
        size_t at = (size_t)(row * out->dims[1] + row + k);
        if (dtype_is_float(out->dtype))
            scalar_set_float(out->dtype, out->data, at, 1);
        else
            scalar_set_int(out->dtype, out->data, at, 1);
    }
    return STATUS_OK;
}

enum status onehot_check(struct node *node, struct error *why)
{
    (void)why;
    int64_t *axis = region_take(node->region, sizeof *axis);
    *axis = attr_int(node, "axis", -1);
    node->state = axis;
    return STATUS_OK;
}

static bool is_number(const struct array *a)
{
    return dtype_is_float(a->dtype) || dtype_is_integer(a->dtype);
}

static int64_t whole(const struct array *a, size_t i)
{
    return dtype_is_float(a->dtype) ? scalar_truncate(scalar_float(a->dtype, a->data, i))
                                    : scalar_int(a->dtype, a->data, i);
}

enum status onehot_shape(struct step *step, struct error *why)
{
    const struct array *index = step->in[0], *depth = step->in[1], *values = step->in[2];
    int64_t axis = *(const int64_t *)step->node->state, dims[TENSOR_RANK_MAX + 1];
    if (!is_number(index) || !is_number(depth) || array_count(depth) != 1 ||
        array_count(values) != 2 || values->rank != 1 || !element_bytes(values->dtype))
        return bad_step(why, step, "expected indices, a depth and two values, all of them numbers");
    if (!axis_ok(&axis, index->rank + 1))
        return bad_step(why, step, "axis %" PRId64 " is outside of rank %u", axis, index->rank + 1);
    for (uint32_t k = 0; k < index->rank; k++)
        dims[k < axis ? k : k + 1] = index->dims[k];
    dims[axis] = whole(depth, 0);
    int64_t *resolved = region_take(step->region, sizeof *resolved);
    *resolved = axis;
    step->params = resolved;
    return out_set(step, 0, values->dtype, dims, index->rank + 1, why);
}

enum status onehot_compute(const struct step *step, struct error *why)
{
    (void)why;
    const struct array *index = step->in[0], *out = step->out[0];
    const char *values = step->in[2]->data;
    uint32_t axis = (uint32_t) * (const int64_t *)step->params;
    int64_t depth = out->dims[axis];
    size_t inner = dims_span(out, axis + 1, out->rank), width = element_bytes(out->dtype);
    for (size_t i = 0; i < array_count(out); i++)
        memcpy((char *)out->data + i * width, values, width);
    for (size_t i = 0; i < array_count(index); i++) {
        int64_t at = whole(index, i);
        if (at < -depth || at >= depth)
            continue; /* all off, as the standard says */
        at += at < 0 ? depth : 0;
        size_t o = (i / inner * (size_t)depth + (size_t)at) * inner + i % inner;
        memcpy((char *)out->data + o * width, values + width, width);
    }
    return STATUS_OK;
}

void onehot_rows(const struct rows_step *s, const struct rows_at *in, struct rows_at *out)
{
    const struct array *index = s->step->in[0];
    int64_t axis = *(const int64_t *)s->step->params;
    int rows = rows_axis(s, index, in[0]);
    if (rows >= 0 && in[1].rows == ROWS_NONE && in[2].rows == ROWS_NONE)
        out[0] = rows_on_axis(s->step->out[0], (uint32_t)(rows < axis ? rows : rows + 1));
}

struct window {
    enum dtype dtype;
    bool periodic;
};

enum status taper_check(struct node *node, struct error *why)
{
    struct window *w = region_take(node->region, sizeof *w);
    int64_t code = attr_int(node, "output_datatype", 1);
    w->dtype = code > 0 && code < 64 ? dtype_by_onnx((int)code) : DTYPE_NONE;
    w->periodic = attr_int(node, "periodic", 1) != 0;
    node->state = w;
    return dtype_is_float(w->dtype) || dtype_is_integer(w->dtype)
               ? STATUS_OK
               : bad_node(why, node, "output_datatype %" PRId64 " is not supported", code);
}

enum status taper_shape(struct step *step, struct error *why)
{
    int64_t size = 0;
    size_t len;
    enum status s = known_ints(step, 0, &size, 1, &len, why);
    if (s != STATUS_OK)
        return s;
    if (len != 1 || size < 0)
        return bad_step(why, step, "the size must be one number that is not negative");
    return out_set(step, 0, ((const struct window *)step->node->state)->dtype, &size, 1, why);
}

enum status taper_compute(const struct step *step, struct error *why)
{
    /* Coefficients of cos(0), cos(1 x), cos(2 x) by enum window_kind. */
    static const double of[][3] = {
        [WINDOW_HANN] = {0.5, -0.5, 0},
        [WINDOW_HAMMING] = {25.0 / 46, -21.0 / 46, 0},
        [WINDOW_BLACKMAN] = {0.42, -0.5, 0.08},
    };
    (void)why;
    const struct window *w = step->node->state;
    const struct array *out = step->out[0];
    const double *c = of[step->node->op->variant];
    size_t n = array_count(out);
    double period = w->periodic || n < 2 ? (double)n : (double)(n - 1);
    for (size_t i = 0; i < n; i++) {
        double x = 2 * M_PI * (double)i / period;
        double y = c[0] + c[1] * cos(x) + c[2] * cos(2 * x);
        if (dtype_is_float(w->dtype))
            scalar_set_float(w->dtype, out->data, i, y);
        else
            scalar_set_int(w->dtype, out->data, i, scalar_truncate(y));
    }
    return STATUS_OK;
}
