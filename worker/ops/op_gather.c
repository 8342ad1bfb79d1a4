/* op_gather - Gather */
#include <inttypes.h>
#include <string.h>

#include "worker/ops/ops.h"
#include "worker/ops/scalar.h"

enum status gather_check(struct node *node, struct error *why)
{
    (void)why;
    int64_t *axis = region_take(node->region, sizeof *axis);
    *axis = attr_int(node, "axis", 0);
    node->state = axis;
    return STATUS_OK;
}

enum status gather_shape(struct step *step, struct error *why)
{
    const struct array *data = step->in[0], *index = step->in[1];
    int64_t axis = *(const int64_t *)step->node->state, dims[2 * TENSOR_RANK_MAX];
    uint32_t rank = 0;
    if (index->dtype != DTYPE_INT64 && index->dtype != DTYPE_INT32)
        return bad_step(why, step, "indices are %s; expected INT64 or INT32",
                        dtype_name(index->dtype));
    if (!axis_ok(&axis, data->rank))
        return bad_step(why, step, "axis %" PRId64 " is outside of rank %u", axis, data->rank);
    for (uint32_t k = 0; k < axis; k++)
        dims[rank++] = data->dims[k];
    for (uint32_t k = 0; k < index->rank; k++)
        dims[rank++] = index->dims[k];
    for (uint32_t k = (uint32_t)axis + 1; k < data->rank; k++)
        dims[rank++] = data->dims[k];
    int64_t *resolved = region_take(step->region, sizeof *resolved);
    *resolved = axis;
    step->params = resolved;
    return out_set(step, 0, data->dtype, dims, rank, why);
}

enum status gather_compute(const struct step *step, struct error *why)
{
    const struct array *data = step->in[0], *index = step->in[1];
    uint32_t axis = (uint32_t) * (const int64_t *)step->params;
    size_t outer = dims_span(data, 0, axis), count = array_count(index);
    size_t width = dims_span(data, axis + 1, data->rank) * element_bytes(data->dtype);
    int64_t size = data->dims[axis];
    const char *from = data->data;
    char *to = step->out[0]->data;
    for (size_t i = 0; i < count; i++) {
        int64_t at = scalar_int(index->dtype, index->data, i);
        if (at < -size || at >= size)
            return bad_step(why, step,
                            "index %" PRId64 " (element %zu of \"%.100s\") is outside of -%" PRId64
                            "..%" PRId64,
                            at, i, index->name, size, size - 1);
        if (at < 0)
            at += size;
        for (size_t o = 0; o < outer && width; o++)
            memcpy(to + (o * count + i) * width, from + (o * (size_t)size + (size_t)at) * width,
                   width);
    }
    return STATUS_OK;
}

/* Rows of indices pick from data that is the same for all; or data's own rows stay whole. */
void gather_rows(const struct rows_step *s, const struct rows_at *in, struct rows_at *out)
{
    const struct array *data = s->step->in[0], *index = s->step->in[1];
    uint32_t axis = (uint32_t) * (const int64_t *)s->step->params;
    int rows = rows_axis(s, data, in[0]);
    if (in[0].rows == ROWS_NONE && in[1].rows == ROWS_ALONG) {
        out[0] = (struct rows_at){ROWS_ALONG, dims_span(data, 0, axis) * in[1].outer};
    } else if (in[1].rows == ROWS_NONE && rows >= 0 && (uint32_t)rows != axis) {
        uint32_t at = (uint32_t)rows < axis ? (uint32_t)rows : (uint32_t)rows - 1 + index->rank;
        out[0] = rows_on_axis(s->step->out[0], at);
    }
}
