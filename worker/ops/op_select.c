/* op_select - NonZero and Compress: what the data itself picks out */
#include <inttypes.h>
#include <string.h>

#include "worker/ops/ops.h"
#include "worker/ops/scalar.h"

enum status nonzero_shape(struct step *step, struct error *why)
{
    enum dtype t = step->in[0]->dtype;
    if (!dtype_is_float(t) && !dtype_is_integer(t) && t != DTYPE_BOOL)
        return bad_step(why, step, "%s is not a type of this operator", dtype_name(t));
    step->late = true;
    return STATUS_OK;
}

static bool is_zero(const struct array *x, size_t i)
{
    return dtype_is_float(x->dtype) ? scalar_float(x->dtype, x->data, i) == 0
                                    : scalar_int(x->dtype, x->data, i) == 0;
}

/* Coordinates of each element that is not 0: [rank][found]. A scalar counts as rank 1. */
enum status nonzero_compute(const struct step *step, struct error *why)
{
    const struct array *x = step->in[0];
    size_t n = array_count(x), found = 0, at = 0;
    uint32_t rank = MAX(x->rank, 1);
    for (size_t i = 0; i < n; i++)
        found += !is_zero(x, i);
    int64_t dims[2] = {rank, (int64_t)found};
    enum status s = out_make(step, 0, DTYPE_INT64, dims, 2, why);
    if (s != STATUS_OK || !step_out(step, 0))
        return s;
    int64_t *to = step->out[0]->data;
    for (size_t i = 0; i < n; i++) {
        size_t rest = i;
        if (is_zero(x, i))
            continue;
        for (uint32_t k = rank; k-- > 0;) {
            size_t dim = x->rank ? (size_t)x->dims[k] : 1;
            to[k * found + at] = (int64_t)(rest % dim);
            rest /= dim;
        }
        at++;
    }
    return STATUS_OK;
}

struct compress {
    bool flat; /* no axis: of all elements */
    int64_t axis;
};

enum status compress_check(struct node *node, struct error *why)
{
    (void)why;
    struct compress *c = region_take(node->region, sizeof *c);
    c->flat = attr_find(node, "axis") == NULL;
    c->axis = attr_int(node, "axis", 0);
    node->state = c;
    return STATUS_OK;
}

enum status compress_shape(struct step *step, struct error *why)
{
    const struct array *x = step->in[0], *condition = step->in[1];
    struct compress *c = region_take(step->region, sizeof *c);
    *c = *(const struct compress *)step->node->state;
    if (condition->dtype != DTYPE_BOOL || condition->rank != 1)
        return bad_step(why, step, "the condition is %s of rank %u; expected BOOL of rank 1",
                        dtype_name(condition->dtype), condition->rank);
    if (!c->flat && !axis_ok(&c->axis, x->rank))
        return bad_step(why, step, "axis %" PRId64 " is outside of rank %u", c->axis, x->rank);
    int64_t size = c->flat ? (int64_t)array_count(x) : x->dims[c->axis];
    if (condition->dims[0] > size)
        return bad_step(why, step, "the condition has %" PRId64 " elements, the axis %" PRId64,
                        condition->dims[0], size);
    step->params = c;
    step->late = true;
    return STATUS_OK;
}

enum status compress_compute(const struct step *step, struct error *why)
{
    const struct array *x = step->in[0], *condition = step->in[1];
    const struct compress *c = step->params;
    const uint8_t *keep = condition->data;
    uint32_t axis = (uint32_t)c->axis;
    size_t outer = c->flat ? 1 : dims_span(x, 0, axis), picked = 0;
    size_t size = c->flat ? array_count(x) : (size_t)x->dims[axis];
    size_t width = (c->flat ? 1 : dims_span(x, axis + 1, x->rank)) * element_bytes(x->dtype);
    int64_t dims[TENSOR_RANK_MAX];
    for (int64_t i = 0; i < condition->dims[0]; i++)
        picked += keep[i] != 0;
    memcpy(dims, x->dims, sizeof dims);
    dims[c->flat ? 0 : axis] = (int64_t)picked;
    enum status s = out_make(step, 0, x->dtype, dims, c->flat ? 1 : x->rank, why);
    if (s != STATUS_OK || !step_out(step, 0))
        return s;
    char *to = step->out[0]->data;
    for (size_t o = 0; width && o < outer; o++)
        for (int64_t i = 0; i < condition->dims[0]; i++)
            if (keep[i]) {
                memcpy(to, (const char *)x->data + (o * size + (size_t)i) * width, width);
                to += width;
            }
    return STATUS_OK;
}
