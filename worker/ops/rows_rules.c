/* rows_rules - how rows travel through common kinds of operators; see op.h */
#include "worker/ops/op.h"

bool rows_locate(const struct rows_step *s, const struct array *a, struct rows_at at,
                 uint32_t *axis, uint64_t *front)
{
    uint64_t before = 1;
    if (at.rows != ROWS_ALONG)
        return false;
    for (uint32_t i = 0; i < a->rank; i++) {
        uint64_t dim = (uint64_t)a->dims[i];
        if (dim == 0)
            return false;
        if (before * dim > at.outer) {
            *axis = i;
            *front = at.outer / before;
            return at.outer % before == 0 && dim % (*front * (uint64_t)s->batch) == 0;
        }
        before *= dim;
    }
    return false;
}

int rows_axis(const struct rows_step *s, const struct array *a, struct rows_at at)
{
    uint32_t axis;
    uint64_t front;
    if (!rows_locate(s, a, at, &axis, &front) || front != 1 || a->dims[axis] != s->batch)
        return -1;
    return (int)axis;
}

struct rows_at rows_on_axis(const struct array *a, uint32_t axis)
{
    return (struct rows_at){ROWS_ALONG, dims_span(a, 0, axis)};
}

int rows_grown_axis(const struct rows_step *s, uint32_t i)
{
    const struct array *x = s->step->out[i], *y = s->other->out[i];
    int found = -1;
    if (x->rank != y->rank)
        return -1;
    for (uint32_t k = 0; k < x->rank; k++) {
        if (x->dims[k] == y->dims[k])
            continue;
        if (found >= 0 || x->dims[k] % s->batch || y->dims[k] % s->other_batch ||
            x->dims[k] / s->batch != y->dims[k] / s->other_batch)
            return -1;
        found = (int)k;
    }
    return found;
}

void rows_never(const struct rows_step *s, const struct rows_at *in, struct rows_at *out)
{
    (void)s;
    (void)in;
    (void)out;
}

/* Elementwise, or views: the flattened order stays. Other inputs are parameters. */
void rows_same(const struct rows_step *s, const struct rows_at *in, struct rows_at *out)
{
    for (uint32_t i = 1; i < s->step->in_len; i++)
        if (in[i].rows == ROWS_ALONG)
            return;
    for (uint32_t i = 0; i < s->step->out_len; i++)
        out[i] = in[0];
}

void rows_beside(const struct rows_step *s, struct rows_at in, uint32_t from, uint32_t to,
                 struct rows_at *out)
{
    const struct array *x = s->step->in[0], *o = s->step->out[0];
    uint32_t axis;
    uint64_t front;
    if (o && rows_locate(s, x, in, &axis, &front) && (axis < from || axis >= to) &&
        axis < o->rank && o->dims[axis] == x->dims[axis])
        *out = (struct rows_at){ROWS_ALONG, dims_span(o, 0, axis) * front};
}

void rows_broadcast(const struct rows_step *s, const struct rows_at *in, struct rows_at *out)
{
    const struct array *o = s->step->out[0];
    uint32_t found = UINT32_MAX;
    uint64_t found_front = 0;
    for (uint32_t i = 0; i < s->step->in_len; i++) {
        const struct array *a = s->step->in[i];
        uint32_t axis;
        uint64_t front;
        if (!a || in[i].rows == ROWS_NONE)
            continue;
        if (!rows_locate(s, a, in[i], &axis, &front))
            return;
        axis += o->rank - a->rank;
        if (found != UINT32_MAX && (found != axis || found_front != front))
            return;
        found = axis;
        found_front = front;
    }
    for (uint32_t i = 0; i < s->step->in_len; i++) {
        const struct array *a = s->step->in[i];
        uint32_t missing = a ? o->rank - a->rank : 0;
        if (!a || found == UINT32_MAX || found < missing)
            continue;
        int64_t dim = a->dims[found - missing];
        if (dim != (in[i].rows == ROWS_ALONG ? o->dims[found] : 1))
            return;
    }
    if (found != UINT32_MAX)
        out[0] = (struct rows_at){ROWS_ALONG, dims_span(o, 0, found) * found_front};
}
