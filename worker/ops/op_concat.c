/* op_concat - Concat and Split */
#include <inttypes.h>
#include <string.h>

#include "worker/ops/broadcast.h"
#include "worker/ops/ops.h"

enum status concat_check(struct node *node, struct error *why)
{
    int64_t *axis = region_take(node->region, sizeof *axis);
    if (node->opset >= 4 && !attr_find(node, "axis"))
        return bad_node(why, node, "axis is missing");
    *axis = attr_int(node, "axis", 1);
    node->state = axis;
    return STATUS_OK;
}

/* Channels in whole blocks lie one behind the other in the blocked layout too. */
void concat_layouts(const struct step *step, enum layout *wants)
{
    int64_t axis = *(const int64_t *)step->node->state;
    bool any = false;
    for (uint32_t i = 0; i < step->in_len; i++) {
        const struct array *a = step->in[i];
        if (!a || a->dtype != DTYPE_FP32 || a->rank < 3 || a->rank > 4 || a->known ||
            !axis_ok(&axis, a->rank) || axis != 1 || a->dims[1] % LANES)
            return;
        any |= a->layout == LAYOUT_BLOCKED;
    }
    for (uint32_t i = 0; i < step->in_len && any; i++)
        wants[i] = LAYOUT_BLOCKED;
}

enum status concat_shape(struct step *step, struct error *why)
{
    const struct array *first = step->in[0];
    int64_t axis = *(const int64_t *)step->node->state, dims[TENSOR_RANK_MAX];
    char text[2][128];
    if (!first || !axis_ok(&axis, first->rank))
        return bad_step(why, step, "axis %" PRId64 " is outside of the input's rank", axis);
    memcpy(dims, first->dims, sizeof dims);
    dims[axis] = 0;
    for (uint32_t i = 0; i < step->in_len; i++) {
        const struct array *a = step->in[i];
        bool fits = a && a->rank == first->rank && a->dtype == first->dtype;
        for (uint32_t k = 0; fits && k < a->rank; k++)
            fits = k == axis || a->dims[k] == first->dims[k];
        if (!fits)
            return bad_step(why, step, "input %u is %s %s; it does not fit the first, %s %s", i,
                            a ? dtype_name(a->dtype) : "left out",
                            a ? dims_text(text[0], sizeof text[0], a->dims, a->rank) : "",
                            dtype_name(first->dtype),
                            dims_text(text[1], sizeof text[1], first->dims, first->rank));
        dims[axis] += a->dims[axis];
    }
    int64_t *resolved = region_take(step->region, sizeof *resolved);
    *resolved = axis;
    step->params = resolved;
    if (first->layout == LAYOUT_BLOCKED)
        return out_blocked(step, 0, dims, first->rank, why);
    return out_set(step, 0, first->dtype, dims, first->rank, why);
}

enum status concat_compute(const struct step *step, struct error *why)
{
    (void)why;
    const struct array *out = step->out[0];
    uint32_t axis = (uint32_t) * (const int64_t *)step->params;
    size_t outer = dims_span(out, 0, axis), at = 0;
    size_t row = outer ? out->bytes / outer : 0; /* blocked channels are whole blocks */
    for (uint32_t i = 0; i < step->in_len; i++) {
        size_t span = outer ? step->in[i]->bytes / outer : 0;
        for (size_t o = 0; o < outer && span; o++)
            memcpy((char *)out->data + o * row + at, (const char *)step->in[i]->data + o * span,
                   span);
        at += span;
    }
    return STATUS_OK;
}

void concat_rows(const struct rows_step *s, const struct rows_at *in, struct rows_at *out)
{
    int64_t axis = *(const int64_t *)s->step->params;
    int rows = rows_axis(s, s->step->in[0], in[0]);
    for (uint32_t i = 0; i < s->step->in_len; i++)
        if (rows < 0 || rows == axis || rows_axis(s, s->step->in[i], in[i]) != rows)
            return;
    out[0] = rows_on_axis(s->step->out[0], (uint32_t)rows);
}

struct split {
    int64_t axis;
    int64_t parts;    /* num_outputs, or 0 */
    size_t sizes_len; /* attribute of old opsets */
    const int64_t *sizes;
};

enum status split_check(struct node *node, struct error *why)
{
    (void)why;
    struct split *p = region_take(node->region, sizeof *p);
    p->axis = attr_int(node, "axis", 0);
    if (node->opset < 13)
        p->sizes = attr_ints(node, "split", &p->sizes_len);
    if (node->opset >= 18)
        p->parts = attr_int(node, "num_outputs", 0);
    node->state = p;
    return STATUS_OK;
}

enum status split_shape(struct step *step, struct error *why)
{
    const struct split *p = step->node->state;
    const struct array *in = step->in[0];
    uint32_t len = step->out_len;
    int64_t axis = p->axis, dims[TENSOR_RANK_MAX], total = 0;
    int64_t *sizes = region_array(step->region, len + 1, sizeof *sizes);
    size_t given = p->sizes_len;
    if (!axis_ok(&axis, in->rank))
        return bad_step(why, step, "axis %" PRId64 " is outside of rank %u", axis, in->rank);
    if (given && given == len)
        memcpy(sizes, p->sizes, len * sizeof *sizes);
    if (step_in(step, 1)) {
        enum status s = known_ints(step, 1, sizes, len, &given, why);
        if (s != STATUS_OK)
            return s;
    }
    if (!given) { /* equal parts; since opset 18 the last one may be smaller */
        int64_t part = (in->dims[axis] + (int64_t)len - 1) / (int64_t)len;
        for (uint32_t i = 0; i < len; i++)
            sizes[i] = MIN(part, MAX(0, in->dims[axis] - part * (int64_t)i));
        if (step->node->opset < 18 && in->dims[axis] % (int64_t)len)
            sizes[0] = -1;
    }
    for (uint32_t i = 0; i < len; i++)
        total = sizes[i] < 0 || sizes[i] > in->dims[axis] ? INT64_MIN / 2 : total + sizes[i];
    if ((given && given != len) || (p->parts && p->parts != len) || total != in->dims[axis])
        return bad_step(why, step,
                        "axis %" PRId64 " of size %" PRId64 " cannot be split into %u parts "
                        "that way",
                        axis, in->dims[axis], len);
    sizes[len] = axis;
    step->params = sizes;
    memcpy(dims, in->dims, sizeof dims);
    for (uint32_t i = 0; i < len; i++) {
        dims[axis] = sizes[i];
        enum status s = out_set(step, i, in->dtype, dims, in->rank, why);
        if (s != STATUS_OK)
            return s;
    }
    return STATUS_OK;
}

enum status split_compute(const struct step *step, struct error *why)
{
    (void)why;
    const struct array *in = step->in[0];
    const int64_t *sizes = step->params;
    uint32_t axis = (uint32_t)sizes[step->out_len];
    size_t outer = dims_span(in, 0, axis), at = 0;
    size_t width = dims_span(in, axis + 1, in->rank) * element_bytes(in->dtype);
    size_t row = (size_t)in->dims[axis] * width;
    for (uint32_t i = 0; i < step->out_len; i++) {
        size_t span = (size_t)sizes[i] * width;
        for (size_t o = 0; o < outer && span && step->out[i]; o++)
            memcpy((char *)step->out[i]->data + o * span, (const char *)in->data + o * row + at,
                   span);
        at += span;
    }
    return STATUS_OK;
}

void split_rows(const struct rows_step *s, const struct rows_at *in, struct rows_at *out)
{
    const int64_t *sizes = s->step->params;
    int rows = rows_axis(s, s->step->in[0], in[0]);
    if (rows < 0 || rows == sizes[s->step->out_len] ||
        (s->step->in_len > 1 && in[1].rows == ROWS_ALONG))
        return;
    for (uint32_t i = 0; i < s->step->out_len; i++)
        if (s->step->out[i])
            out[i] = rows_on_axis(s->step->out[i], (uint32_t)rows);
}
