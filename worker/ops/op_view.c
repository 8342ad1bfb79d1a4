/* op_view - Reshape, Flatten, Squeeze, Unsqueeze, Identity: other dims for the same bytes */
#include <inttypes.h>
#include <string.h>

#include "worker/ops/ops.h"

enum status view_compute(const struct step *step, struct error *why)
{
    (void)why;
    const struct array *in = step->in[0], *out = step->out[0];
    if (out && out->data != in->data && out->bytes)
        memcpy(out->data, in->data, out->bytes);
    return STATUS_OK;
}

/* The flattened order stays; shapes and axes given as inputs are parameters. */
void view_rows(const struct rows_step *s, const struct rows_at *in, struct rows_at *out)
{
    for (uint32_t i = 1; i < s->step->in_len; i++)
        if (in[i].rows == ROWS_ALONG)
            return;
    if (in[0].rows == ROWS_ALONG || in[0].rows == ROWS_NONE)
        out[0] = in[0];
}

enum status reshape_check(struct node *node, struct error *why)
{
    (void)why;
    int64_t *allow_zero = region_take(node->region, sizeof *allow_zero);
    *allow_zero = attr_int(node, "allowzero", 0);
    node->state = allow_zero;
    return STATUS_OK;
}

enum status reshape_shape(struct step *step, struct error *why)
{
    const struct array *in = step->in[0];
    int64_t dims[TENSOR_RANK_MAX];
    size_t rank;
    bool allow_zero = *(const int64_t *)step->node->state != 0;
    int64_t open = -1;
    uint64_t rest = 1, count = array_count(in);
    char text[2][128];
    enum status s = known_ints(step, 1, dims, TENSOR_RANK_MAX, &rank, why);
    if (s != STATUS_OK)
        return s;
    for (size_t i = 0; i < rank; i++) {
        if (dims[i] == 0 && !allow_zero) {
            if (i >= in->rank)
                return bad_step(why, step, "dim %zu is 0 (copy), but the input has rank %u", i,
                                in->rank);
            dims[i] = in->dims[i];
        }
        if (dims[i] < -1 || (dims[i] == -1 && open >= 0))
            return bad_step(why, step, "shape %s is not possible",
                            dims_text(text[0], sizeof text[0], dims, (uint32_t)rank));
        if (dims[i] == -1)
            open = (int64_t)i;
        else if (dims[i] && rest > UINT64_MAX / (uint64_t)dims[i])
            return bad_step(why, step, "shape is too large");
        else
            rest *= (uint64_t)dims[i];
    }
    if (open >= 0 && rest)
        dims[open] = (int64_t)(count / rest);
    if (open >= 0 && !rest)
        dims[open] = 0;
    if (open >= 0 ? rest * (uint64_t)dims[open] != count : rest != count)
        return bad_step(why, step, "%s elements of shape %s do not fit into shape %s",
                        dtype_name(in->dtype),
                        dims_text(text[0], sizeof text[0], in->dims, in->rank),
                        dims_text(text[1], sizeof text[1], dims, (uint32_t)rank));
    return out_set(step, 0, in->dtype, dims, (uint32_t)rank, why);
}

enum status flatten_check(struct node *node, struct error *why)
{
    (void)why;
    int64_t *axis = region_take(node->region, sizeof *axis);
    *axis = attr_int(node, "axis", 1);
    node->state = axis;
    return STATUS_OK;
}

enum status flatten_shape(struct step *step, struct error *why)
{
    const struct array *in = step->in[0];
    int64_t axis = *(const int64_t *)step->node->state;
    if (axis < -(int64_t)in->rank || axis > (int64_t)in->rank)
        return bad_step(why, step, "axis %" PRId64 " is outside of rank %u", axis, in->rank);
    if (axis < 0)
        axis += in->rank;
    int64_t dims[2] = {(int64_t)dims_span(in, 0, (uint32_t)axis),
                       (int64_t)dims_span(in, (uint32_t)axis, in->rank)};
    return out_set(step, 0, in->dtype, dims, 2, why);
}

/* Axes of Squeeze and Unsqueeze: an attribute up to opset 12, an input after. */
struct axes {
    bool given;
    size_t len;
    int64_t axis[TENSOR_RANK_MAX];
};

enum status squeeze_check(struct node *node, struct error *why)
{
    struct axes *a = region_take(node->region, sizeof *a);
    node->state = a;
    if (node->op->variant != VARIANT_LEGACY)
        return STATUS_OK;
    const int64_t *axes = attr_ints(node, "axes", &a->len);
    a->given = axes != NULL;
    if (a->len > TENSOR_RANK_MAX)
        return bad_node(why, node, "%zu axes; at most %d are possible", a->len, TENSOR_RANK_MAX);
    assert(axes || !a->len);
    for (size_t i = 0; i < a->len; i++)
        a->axis[i] = axes[i];
    return STATUS_OK;
}

/* Marks [axis] for each given axis of a tensor of `rank`; each may be named once. */
static enum status mark_axes(const struct step *step, uint32_t rank, bool *marks, bool *given,
                             struct error *why)
{
    struct axes a = *(const struct axes *)step->node->state;
    enum status s = STATUS_OK;
    if (step->in_len > 1 && step->in[1]) {
        s = known_ints(step, 1, a.axis, TENSOR_RANK_MAX, &a.len, why);
        a.given = true;
    }
    memset(marks, 0, TENSOR_RANK_MAX * sizeof *marks);
    for (size_t i = 0; i < a.len && s == STATUS_OK; i++) {
        if (!axis_ok(&a.axis[i], rank) || marks[a.axis[i]])
            return bad_step(why, step, "axis %" PRId64 " is outside of rank %u or named twice",
                            a.axis[i], rank);
        marks[a.axis[i]] = true;
    }
    *given = a.given;
    return s;
}

enum status squeeze_shape(struct step *step, struct error *why)
{
    const struct array *in = step->in[0];
    bool marks[TENSOR_RANK_MAX], given;
    int64_t dims[TENSOR_RANK_MAX];
    uint32_t rank = 0;
    enum status s = mark_axes(step, in->rank, marks, &given, why);
    if (s != STATUS_OK)
        return s;
    for (uint32_t i = 0; i < in->rank; i++) {
        if (given && marks[i] && in->dims[i] != 1)
            return bad_step(why, step, "axis %u has size %" PRId64 "; only 1 can be squeezed", i,
                            in->dims[i]);
        if (given ? !marks[i] : in->dims[i] != 1)
            dims[rank++] = in->dims[i];
    }
    return out_set(step, 0, in->dtype, dims, rank, why);
}

enum status unsqueeze_shape(struct step *step, struct error *why)
{
    const struct array *in = step->in[0];
    bool marks[TENSOR_RANK_MAX], given;
    int64_t dims[TENSOR_RANK_MAX];
    const struct axes *a = step->node->state;
    size_t extra = step->in_len > 1 && step->in[1] ? array_count(step->in[1]) : a->len;
    if (extra > TENSOR_RANK_MAX - in->rank)
        return bad_step(why, step, "the output would have rank %zu; at most %d are supported",
                        in->rank + extra, TENSOR_RANK_MAX);
    uint32_t rank = in->rank + (uint32_t)extra, from = 0;
    enum status s = mark_axes(step, rank, marks, &given, why);
    if (s != STATUS_OK)
        return s;
    for (uint32_t i = 0; i < rank; i++)
        dims[i] = marks[i] ? 1 : in->dims[from++];
    return out_set(step, 0, in->dtype, dims, rank, why);
}
