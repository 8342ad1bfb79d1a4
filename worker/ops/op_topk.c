/* op_topk - TopK: the largest or smallest values along an axis and where they stood */
#include <inttypes.h>
#include <string.h>

#include "worker/ops/ops.h"
#include "worker/ops/scalar.h"
#include "worker/ops/sort.h"

struct topk {
    int64_t axis, k; /* k: of the attribute, opset 1 */
    bool largest;
};

struct topk_plan {
    size_t outer, axis, inner, k;
};

enum status topk_check(struct node *node, struct error *why)
{
    (void)why;
    struct topk *t = region_take(node->region, sizeof *t);
    t->axis = attr_int(node, "axis", -1);
    t->largest = attr_int(node, "largest", 1) != 0;
    attr_ignore(node, "sorted"); /* they always are */
    if (node->op->variant == VARIANT_LEGACY)
        t->k = attr_int(node, "k", -1);
    node->state = t;
    return STATUS_OK;
}

enum status topk_shape(struct step *step, struct error *why)
{
    const struct array *x = step->in[0];
    struct topk t = *(const struct topk *)step->node->state;
    struct topk_plan *p = region_take(step->region, sizeof *p);
    int64_t dims[TENSOR_RANK_MAX];
    size_t len = 1;
    enum status s = STATUS_OK;
    if (step->node->op->variant != VARIANT_LEGACY)
        s = known_ints(step, 1, &t.k, 1, &len, why);
    if (s != STATUS_OK)
        return s;
    if (!dtype_is_float(x->dtype) && !dtype_is_integer(x->dtype))
        return bad_step(why, step, "%s is not a type of this operator", dtype_name(x->dtype));
    if (!axis_ok(&t.axis, x->rank))
        return bad_step(why, step, "axis %" PRId64 " is outside of rank %u", t.axis, x->rank);
    if (len != 1 || t.k < 0 || t.k > x->dims[t.axis])
        return bad_step(why, step, "k is %" PRId64 "; expected 0 to %" PRId64, t.k,
                        x->dims[t.axis]);
    p->outer = dims_span(x, 0, (uint32_t)t.axis);
    p->axis = (size_t)x->dims[t.axis];
    p->inner = dims_span(x, (uint32_t)t.axis + 1, x->rank);
    p->k = (size_t)t.k;
    step->params = p;
    step->scratch_bytes = 2 * p->axis * sizeof(int64_t);
    memcpy(dims, x->dims, sizeof dims);
    dims[t.axis] = t.k;
    s = out_set(step, 0, x->dtype, dims, x->rank, why);
    return s == STATUS_OK ? out_set(step, 1, DTYPE_INT64, dims, x->rank, why) : s;
}

/* A number that is ordered as the element is; NaN is the largest. */
static int64_t key_of(const struct array *x, size_t i)
{
    if (dtype_is_float(x->dtype)) {
        double v = scalar_float(x->dtype, x->data, i) + 0.0; /* -0 is 0 */
        int64_t bits;
        memcpy(&bits, &v, sizeof bits);
        if (v != v)
            return INT64_MAX;
        return bits < 0 ? (int64_t)((uint64_t)INT64_MIN - (uint64_t)bits) : bits;
    }
    int64_t v = scalar_int(x->dtype, x->data, i);
    return x->dtype == DTYPE_UINT64 ? (int64_t)((uint64_t)v ^ (uint64_t)INT64_MIN) : v;
}

static bool larger_first(const void *keys, int64_t a, int64_t b)
{
    int64_t x = ((const int64_t *)keys)[a], y = ((const int64_t *)keys)[b];
    return x != y ? x > y : a < b;
}

enum status topk_compute(const struct step *step, struct error *why)
{
    (void)why;
    const struct array *x = step->in[0], *values = step_out(step, 0), *places = step_out(step, 1);
    const struct topk_plan *p = step->params;
    bool largest = ((const struct topk *)step->node->state)->largest;
    int64_t *keys = step->scratch, *numbers = keys + p->axis;
    size_t width = dtype_bytes(x->dtype);
    for (size_t row = 0; row < p->outer * p->inner; row++) {
        size_t in = row / p->inner * p->axis * p->inner + row % p->inner;
        size_t out = row / p->inner * p->k * p->inner + row % p->inner;
        for (size_t i = 0; i < p->axis; i++) {
            int64_t key = key_of(x, in + i * p->inner);
            keys[i] = largest ? key : ~key;
            numbers[i] = (int64_t)i;
        }
        sort_first(numbers, p->axis, p->k, larger_first, keys);
        for (size_t i = 0; i < p->k; i++, out += p->inner) {
            if (values)
                memcpy((char *)values->data + out * width,
                       (const char *)x->data + (in + (size_t)numbers[i] * p->inner) * width, width);
            if (places)
                ((int64_t *)places->data)[out] = numbers[i];
        }
    }
    return STATUS_OK;
}

void topk_rows(const struct rows_step *s, const struct rows_at *in, struct rows_at *out)
{
    const struct array *x = s->step->in[0];
    int64_t axis = ((const struct topk *)s->step->node->state)->axis;
    axis = axis < 0 ? axis + x->rank : axis;
    rows_beside(s, in[0], (uint32_t)axis, (uint32_t)axis + 1, &out[0]);
    out[1] = out[0];
}
