/* op_shape - Shape, Size, ConstantOfShape, Expand */
#include <inttypes.h>
#include <string.h>

#include "worker/ops/broadcast.h"
#include "worker/ops/ops.h"

/* Part of the dims that Shape gives, since opset 15. */
struct part {
    int64_t start, end;
};

enum status shape_check(struct node *node, struct error *why)
{
    (void)why;
    struct part *p = region_take(node->region, sizeof *p);
    *p = (struct part){0, INT64_MAX};
    if (node->opset >= 15) {
        p->start = attr_int(node, "start", 0);
        p->end = attr_int(node, "end", INT64_MAX);
    }
    node->state = p;
    return STATUS_OK;
}

static int64_t within(int64_t at, int64_t rank)
{
    if (at < 0)
        at = at < -rank ? 0 : at + rank;
    return MIN(at, rank);
}

enum status shape_shape(struct step *step, struct error *why)
{
    const struct part *p = step->node->state;
    struct part *clipped = region_take(step->region, sizeof *clipped);
    clipped->start = within(p->start, step->in[0]->rank);
    clipped->end = within(p->end, step->in[0]->rank);
    step->params = clipped;
    int64_t len = MAX(0, clipped->end - clipped->start);
    return out_set(step, 0, DTYPE_INT64, &len, 1, why);
}

enum status shape_compute(const struct step *step, struct error *why)
{
    (void)why;
    const struct part *p = step->params;
    if (p->end > p->start)
        memcpy(step->out[0]->data, step->in[0]->dims + p->start,
               (size_t)(p->end - p->start) * sizeof(int64_t));
    return STATUS_OK;
}

enum status size_shape(struct step *step, struct error *why)
{
    return out_set(step, 0, DTYPE_INT64, NULL, 0, why);
}

enum status size_compute(const struct step *step, struct error *why)
{
    (void)why;
    *(int64_t *)step->out[0]->data = (int64_t)array_count(step->in[0]);
    return STATUS_OK;
}

enum status fill_check(struct node *node, struct error *why)
{
    static const float zero = 0;
    struct tensor *value = region_take(node->region, sizeof *value);
    const struct tensor *given = attr_tensor(node, "value");
    uint64_t count = 1;
    *value =
        given ? *given : (struct tensor){.dtype = DTYPE_FP32, .data = (void *)(uintptr_t)&zero};
    node->state = value;
    if (given && (!dims_count(given->dims, given->rank, &count) || count != 1))
        return bad_node(why, node, "value must be a tensor of one element");
    return STATUS_OK;
}

enum status fill_shape(struct step *step, struct error *why)
{
    const struct tensor *value = step->node->state;
    int64_t dims[TENSOR_RANK_MAX];
    size_t rank;
    enum status s = known_ints(step, 0, dims, TENSOR_RANK_MAX, &rank, why);
    return s == STATUS_OK ? out_set(step, 0, value->dtype, dims, (uint32_t)rank, why) : s;
}

enum status fill_compute(const struct step *step, struct error *why)
{
    (void)why;
    const struct tensor *value = step->node->state;
    const struct array *out = step->out[0];
    size_t width = dtype_bytes(out->dtype), n = array_count(out);
    for (size_t i = 0; i < n; i++)
        memcpy((char *)out->data + i * width, value->data, width);
    return STATUS_OK;
}

/* The same everywhere: any axis that grows with the rows holds them. */
void fill_rows(const struct rows_step *s, const struct rows_at *in, struct rows_at *out)
{
    (void)in;
    int axis = rows_grown_axis(s, 0);
    if (axis >= 0)
        out[0] = rows_on_axis(s->step->out[0], (uint32_t)axis);
}

enum status expand_shape(struct step *step, struct error *why)
{
    struct array wanted = {.name = "shape"};
    struct array *both[2] = {step->in[0], &wanted};
    int64_t dims[TENSOR_RANK_MAX];
    size_t len;
    uint32_t rank;
    enum status s = known_ints(step, 1, wanted.dims, TENSOR_RANK_MAX, &len, why);
    if (s != STATUS_OK)
        return s;
    wanted.rank = (uint32_t)len;
    s = broadcast_dims(step, both, 2, dims, &rank, why);
    return s == STATUS_OK ? out_set(step, 0, step->in[0]->dtype, dims, rank, why) : s;
}

enum status expand_compute(const struct step *step, struct error *why)
{
    (void)why;
    const struct array *in = step->in[0], *out = step->out[0];
    int64_t from[TENSOR_RANK_MAX] = {0}, to[TENSOR_RANK_MAX], own[TENSOR_RANK_MAX];
    dense_steps(in->dims, in->rank, own);
    dense_steps(out->dims, out->rank, to);
    for (uint32_t k = 0; k < in->rank; k++)
        from[out->rank - in->rank + k] = in->dims[k] == 1 ? 0 : own[k];
    struct strided copy = {
        out->rank, out->dims, out->data, to, in->data, from, element_bytes(in->dtype)};
    strided_copy(&copy);
    return STATUS_OK;
}

void expand_rows(const struct rows_step *s, const struct rows_at *in, struct rows_at *out)
{
    const struct array *x = s->step->in[0], *o = s->step->out[0];
    uint32_t axis;
    uint64_t front;
    int grown = rows_grown_axis(s, 0);
    uint32_t missing = o->rank - x->rank;
    if (in[1].rows == ROWS_ALONG)
        return;
    if (in[0].rows == ROWS_NONE && grown >= 0) {
        if ((uint32_t)grown < missing || x->dims[(uint32_t)grown - missing] == 1)
            out[0] = rows_on_axis(o, (uint32_t)grown);
    } else if (rows_locate(s, x, in[0], &axis, &front) &&
               o->dims[axis + missing] == x->dims[axis]) {
        out[0] = (struct rows_at){ROWS_ALONG, dims_span(o, 0, axis + missing) * front};
    }
}
