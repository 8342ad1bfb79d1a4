/* op_along - CumSum and Hardmax along an axis, Det of matrices */
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "worker/ops/ops.h"
#include "worker/ops/scalar.h"

struct cumsum {
    bool exclusive, reverse;
};

/* [outer][axis][inner] */
struct along {
    uint32_t from, to; /* axes from..to-1 are the one that is meant */
    size_t outer, axis, inner;
};

static struct along *along_new(struct step *step, uint32_t from, uint32_t to)
{
    const struct array *x = step->in[0];
    struct along *a = region_take(step->region, sizeof *a);
    *a = (struct along){from, to, dims_span(x, 0, from), dims_span(x, from, to),
                        dims_span(x, to, x->rank)};
    return a;
}

enum status cumsum_check(struct node *node, struct error *why)
{
    (void)why;
    struct cumsum *c = region_take(node->region, sizeof *c);
    c->exclusive = attr_int(node, "exclusive", 0) != 0;
    c->reverse = attr_int(node, "reverse", 0) != 0;
    node->state = c;
    return STATUS_OK;
}

enum status cumsum_shape(struct step *step, struct error *why)
{
    const struct array *x = step->in[0];
    int64_t axis = 0;
    size_t len;
    enum status s = known_ints(step, 1, &axis, 1, &len, why);
    if (s != STATUS_OK)
        return s;
    if (!dtype_is_float(x->dtype) && !dtype_is_integer(x->dtype))
        return bad_step(why, step, "%s is not a type of this operator", dtype_name(x->dtype));
    if (len != 1 || !axis_ok(&axis, x->rank))
        return bad_step(why, step, "axis %" PRId64 " is outside of rank %u", axis, x->rank);
    step->params = along_new(step, (uint32_t)axis, (uint32_t)axis + 1);
    return shape_same(step, why);
}

enum status cumsum_compute(const struct step *step, struct error *why)
{
    (void)why;
    const struct array *x = step->in[0], *out = step->out[0];
    const struct cumsum *c = step->node->state;
    const struct along *a = step->params;
    enum dtype t = x->dtype;
    for (size_t row = 0; row < a->outer * a->inner; row++) {
        size_t base = row / a->inner * a->axis * a->inner + row % a->inner;
        double sum = 0;
        uint64_t whole = 0;
        for (size_t i = 0; i < a->axis; i++) {
            size_t at = base + (c->reverse ? a->axis - 1 - i : i) * a->inner;
            double before = sum;
            uint64_t whole_before = whole;
            if (dtype_is_float(t)) {
                sum += scalar_float(t, x->data, at);
                scalar_set_float(t, out->data, at, c->exclusive ? before : sum);
            } else {
                whole += (uint64_t)scalar_int(t, x->data, at);
                scalar_set_int(t, out->data, at, (int64_t)(c->exclusive ? whole_before : whole));
            }
        }
    }
    return STATUS_OK;
}

void along_rows(const struct rows_step *s, const struct rows_at *in, struct rows_at *out)
{
    const struct along *a = s->step->params;
    if (s->step->in_len < 2 || in[1].rows == ROWS_NONE)
        rows_beside(s, in[0], a->from, a->to, &out[0]);
}

enum status hardmax_check(struct node *node, struct error *why)
{
    (void)why;
    int64_t *axis = region_take(node->region, sizeof *axis);
    *axis = attr_int(node, "axis", node->op->variant == VARIANT_LEGACY ? 1 : -1);
    node->state = axis;
    return STATUS_OK;
}

/* Up to opset 12 all axes from `axis` on are one. */
enum status hardmax_shape(struct step *step, struct error *why)
{
    const struct array *x = step->in[0];
    bool legacy = step->node->op->variant == VARIANT_LEGACY;
    int64_t axis = *(const int64_t *)step->node->state;
    if (!dtype_is_float(x->dtype))
        return bad_step(why, step, "%s is not a type of this operator", dtype_name(x->dtype));
    if (!axis_ok(&axis, x->rank) && !(legacy && axis == x->rank))
        return bad_step(why, step, "axis %" PRId64 " is outside of rank %u", axis, x->rank);
    step->params = along_new(step, (uint32_t)axis, legacy ? x->rank : (uint32_t)axis + 1);
    return shape_same(step, why);
}

enum status hardmax_compute(const struct step *step, struct error *why)
{
    (void)why;
    const struct array *x = step->in[0], *out = step->out[0];
    const struct along *a = step->params;
    memset(out->data, 0, out->bytes);
    for (size_t row = 0; a->axis && row < a->outer * a->inner; row++) {
        size_t base = row / a->inner * a->axis * a->inner + row % a->inner, best = base;
        for (size_t i = 1; i < a->axis; i++)
            if (scalar_float(x->dtype, x->data, base + i * a->inner) >
                scalar_float(x->dtype, x->data, best))
                best = base + i * a->inner;
        scalar_set_float(out->dtype, out->data, best, 1);
    }
    return STATUS_OK;
}

enum status det_shape(struct step *step, struct error *why)
{
    const struct array *x = step->in[0];
    char text[128];
    if (!dtype_is_float(x->dtype) || x->rank < 2 || x->dims[x->rank - 1] != x->dims[x->rank - 2])
        return bad_step(why, step, "the input is %s %s; expected square matrices of floats",
                        dtype_name(x->dtype), dims_text(text, sizeof text, x->dims, x->rank));
    step->scratch_bytes = dims_span(x, x->rank - 2, x->rank) * sizeof(double);
    return out_set(step, 0, x->dtype, x->dims, x->rank - 2, why);
}

/* Gauss with partial pivoting. */
static double determinant(double *m, size_t n)
{
    double product = 1;
    for (size_t c = 0; c < n; c++) {
        size_t pivot = c;
        for (size_t r = c + 1; r < n; r++)
            pivot = fabs(m[r * n + c]) > fabs(m[pivot * n + c]) ? r : pivot;
        double top = m[pivot * n + c];
        product *= pivot == c ? top : -top;
        if (top == 0)
            return 0;
        for (size_t k = c; k < n; k++) {
            double old = m[c * n + k];
            m[c * n + k] = m[pivot * n + k];
            m[pivot * n + k] = old;
        }
        for (size_t r = c + 1; r < n; r++) {
            double times = m[r * n + c] / top;
            for (size_t k = c; k < n; k++)
                m[r * n + k] -= times * m[c * n + k];
        }
    }
    return product;
}

enum status det_compute(const struct step *step, struct error *why)
{
    (void)why;
    const struct array *x = step->in[0], *out = step->out[0];
    size_t n = (size_t)x->dims[x->rank - 1];
    double *m = step->scratch;
    for (size_t i = 0; i < array_count(out); i++) {
        for (size_t k = 0; k < n * n; k++)
            m[k] = scalar_float(x->dtype, x->data, i * n * n + k);
        scalar_set_float(out->dtype, out->data, i, determinant(m, n));
    }
    return STATUS_OK;
}

void det_rows(const struct rows_step *s, const struct rows_at *in, struct rows_at *out)
{
    rows_beside(s, in[0], s->step->in[0]->rank - 2, s->step->in[0]->rank, &out[0]);
}
