/* op_slice - Slice, by attributes (to opset 9) or inputs */
#include <inttypes.h>
#include <string.h>

#include "worker/ops/broadcast.h"
#include "worker/ops/ops.h"

/* What to take of each named axis. */
struct slice {
    size_t len;
    size_t axes_len;  /* 0: axes 0, 1, ... */
    size_t steps_len; /* 0: all 1 */
    int64_t starts[TENSOR_RANK_MAX], ends[TENSOR_RANK_MAX];
    int64_t axes[TENSOR_RANK_MAX], steps[TENSOR_RANK_MAX];
};

/* The same for every axis of one input. */
struct sliced {
    int64_t start[TENSOR_RANK_MAX], step[TENSOR_RANK_MAX];
};

static enum status attribute(struct node *node, const char *name, int64_t *into, size_t *len,
                             struct error *why)
{
    const int64_t *given = attr_ints(node, name, len);
    if (*len > TENSOR_RANK_MAX)
        return bad_node(why, node, "%s has %zu numbers; at most %d are possible", name, *len,
                        TENSOR_RANK_MAX);
    for (size_t i = 0; i < *len; i++)
        into[i] = given[i];
    return STATUS_OK;
}

enum status slice_check(struct node *node, struct error *why)
{
    struct slice *p = region_take(node->region, sizeof *p);
    size_t ends;
    node->state = p;
    if (node->op->variant != VARIANT_LEGACY)
        return STATUS_OK;
    enum status s = attribute(node, "starts", p->starts, &p->len, why);
    if (s == STATUS_OK)
        s = attribute(node, "ends", p->ends, &ends, why);
    if (s == STATUS_OK)
        s = attribute(node, "axes", p->axes, &p->axes_len, why);
    if (s == STATUS_OK && (ends != p->len || (p->axes_len && p->axes_len != p->len)))
        return bad_node(why, node, "starts, ends and axes differ in length");
    return s;
}

static enum status from_inputs(const struct step *step, struct slice *p, struct error *why)
{
    size_t ends = 0;
    enum status s = known_ints(step, 1, p->starts, TENSOR_RANK_MAX, &p->len, why);
    if (s == STATUS_OK)
        s = known_ints(step, 2, p->ends, TENSOR_RANK_MAX, &ends, why);
    if (s == STATUS_OK)
        s = known_ints(step, 3, p->axes, TENSOR_RANK_MAX, &p->axes_len, why);
    if (s == STATUS_OK)
        s = known_ints(step, 4, p->steps, TENSOR_RANK_MAX, &p->steps_len, why);
    if (s == STATUS_OK && (ends != p->len || (p->axes_len && p->axes_len != p->len) ||
                           (p->steps_len && p->steps_len != p->len)))
        return bad_step(why, step, "starts, ends, axes and steps differ in length");
    return s;
}

/* One axis of `size`: clip as NumPy does. Returns how many elements are taken. */
static int64_t clip(int64_t size, int64_t *start, int64_t end, int64_t step)
{
    int64_t low = step > 0 ? 0 : -1, high = step > 0 ? size : size - 1;
    int64_t first = *start < -size ? low : *start < 0 ? *start + size : *start;
    int64_t last = end < -size ? low : end < 0 ? end + size : end;
    first = MAX(low, MIN(first, high));
    last = MAX(low, MIN(last, high));
    *start = first;
    int64_t span = step > 0 ? last - first : first - last;
    uint64_t stride =
        step > 0 ? (uint64_t)step : 0 - (uint64_t)step; /* INT64_MIN has no negation */
    return span <= 0 ? 0 : (int64_t)(((uint64_t)span - 1) / stride + 1);
}

enum status slice_shape(struct step *step, struct error *why)
{
    const struct array *in = step->in[0];
    struct slice p = *(const struct slice *)step->node->state;
    struct sliced *out = region_take(step->region, sizeof *out);
    int64_t dims[TENSOR_RANK_MAX];
    bool seen[TENSOR_RANK_MAX] = {false};
    if (step->node->op->variant != VARIANT_LEGACY) {
        enum status s = from_inputs(step, &p, why);
        if (s != STATUS_OK)
            return s;
    }
    for (uint32_t k = 0; k < in->rank; k++) {
        dims[k] = in->dims[k];
        out->step[k] = 1;
    }
    for (size_t i = 0; i < p.len; i++) {
        int64_t axis = p.axes_len ? p.axes[i] : (int64_t)i, by = p.steps_len ? p.steps[i] : 1;
        if (!axis_ok(&axis, in->rank) || seen[axis] || by == 0)
            return bad_step(why, step,
                            "axis %" PRId64 " is outside of rank %u or named twice, or "
                            "its step is 0",
                            axis, in->rank);
        seen[axis] = true;
        out->start[axis] = p.starts[i];
        dims[axis] = clip(in->dims[axis], &out->start[axis], p.ends[i], by);
        out->step[axis] = dims[axis] > 1 ? by : 1; /* a huge step takes one element */
        if (dims[axis] == 0)
            out->start[axis] = 0;
    }
    step->params = out;
    return out_set(step, 0, in->dtype, dims, in->rank, why);
}

enum status slice_compute(const struct step *step, struct error *why)
{
    (void)why;
    const struct array *in = step->in[0], *out = step->out[0];
    const struct sliced *p = step->params;
    int64_t from[TENSOR_RANK_MAX], to[TENSOR_RANK_MAX], at = 0;
    dense_steps(in->dims, in->rank, from);
    dense_steps(out->dims, out->rank, to);
    for (uint32_t k = 0; k < in->rank; k++) {
        at += p->start[k] * from[k];
        from[k] *= p->step[k];
    }
    size_t width = element_bytes(in->dtype);
    if (!array_count(out))
        return STATUS_OK;
    struct strided copy = {
        out->rank, out->dims, out->data, to, (const char *)in->data + at * (int64_t)width,
        from,      width};
    strided_copy(&copy);
    return STATUS_OK;
}

void slice_rows(const struct rows_step *s, const struct rows_at *in, struct rows_at *out)
{
    const struct array *x = s->step->in[0], *o = s->step->out[0];
    const struct sliced *p = s->step->params;
    uint32_t axis;
    uint64_t front;
    for (uint32_t i = 1; i < s->step->in_len; i++)
        if (in[i].rows == ROWS_ALONG)
            return;
    if (!rows_locate(s, x, in[0], &axis, &front) || o->dims[axis] != x->dims[axis] ||
        p->step[axis] != 1 || s->other->out[0]->dims[axis] != s->other->in[0]->dims[axis])
        return;
    out[0] = (struct rows_at){ROWS_ALONG, dims_span(o, 0, axis) * front};
}
