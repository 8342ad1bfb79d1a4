/* op_elements - GatherElements, GatherND, ScatterElements, ScatterND: places given by indices */
#include <inttypes.h>
#include <string.h>

#include "worker/ops/broadcast.h"
#include "worker/ops/ops.h"
#include "worker/ops/scalar.h"

/* What becomes of the value that stands where an update goes. */
enum scatter_how { SCATTER_PUT, SCATTER_ADD, SCATTER_MUL, SCATTER_MAX, SCATTER_MIN };

struct elements {
    int64_t axis; /* GatherND: batch_dims */
    enum scatter_how how;
};

enum status elements_check(struct node *node, struct error *why)
{
    static const char *const names[] = {"none", "add", "mul", "max", "min"};
    struct elements *e = region_take(node->region, sizeof *e);
    bool scatters = node->op->in_min == 3;
    node->state = e;
    if (node->op->variant == ELEMENTS_AXIS)
        e->axis = attr_int(node, "axis", 0);
    else if (!scatters)
        e->axis = attr_int(node, "batch_dims", 0);
    if (!scatters)
        return STATUS_OK;
    const char *how = attr_text(node, "reduction", "none");
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (strcmp(how, names[i]) == 0) {
            e->how = (enum scatter_how)i;
            return STATUS_OK;
        }
    return bad_node(why, node, "reduction \"%.40s\" is unknown", how);
}

static enum status check_indices(const struct step *step, struct error *why)
{
    const struct array *index = step->in[1];
    const struct elements *e = step->node->state;
    if (step->in[0]->dtype == DTYPE_BYTES && e->how != SCATTER_PUT)
        return bad_step(why, step, "texts cannot be reduced");
    if (index->dtype != DTYPE_INT64 && index->dtype != DTYPE_INT32)
        return bad_step(why, step, "indices are %s; expected INT64 or INT32",
                        dtype_name(index->dtype));
    return STATUS_OK;
}

static enum status bad_place(const struct step *step, int64_t at, size_t i, int64_t size,
                             struct error *why)
{
    return bad_step(why, step,
                    "index %" PRId64 " (element %zu of \"%.100s\") is outside of -%" PRId64
                    "..%" PRId64,
                    at, i, step->in[1]->name, size, size - 1);
}

static enum status bad_dims(const struct step *step, struct error *why)
{
    char text[3][128];
    const struct array *x = step->in[0], *index = step->in[1], *updates = step_in(step, 2);
    return bad_step(
        why, step, "data %s, indices %s%s%s do not fit together",
        dims_text(text[0], sizeof text[0], x->dims, x->rank),
        dims_text(text[1], sizeof text[1], index->dims, index->rank), updates ? ", updates " : "",
        updates ? dims_text(text[2], sizeof text[2], updates->dims, updates->rank) : "");
}

static bool same_dims(const int64_t *a, uint32_t a_rank, const int64_t *b, uint32_t b_rank)
{
    return a_rank == b_rank && memcmp(a, b, a_rank * sizeof a[0]) == 0;
}

/* GatherElements and ScatterElements: indices of data's rank, along one axis. */
enum status along_shape(struct step *step, struct error *why)
{
    const struct array *x = step->in[0], *index = step->in[1], *updates = step_in(step, 2);
    struct elements e = *(const struct elements *)step->node->state;
    enum status s = check_indices(step, why);
    if (s != STATUS_OK)
        return s;
    if (!axis_ok(&e.axis, x->rank))
        return bad_step(why, step, "axis %" PRId64 " is outside of rank %u", e.axis, x->rank);
    bool fits = index->rank == x->rank;
    for (uint32_t k = 0; fits && k < x->rank; k++)
        fits = k == e.axis || index->dims[k] <= x->dims[k];
    fits = fits && (!updates || same_dims(updates->dims, updates->rank, index->dims, index->rank));
    if (!fits || (updates && updates->dtype != x->dtype))
        return bad_dims(step, why);
    int64_t *axis = region_take(step->region, sizeof *axis);
    *axis = e.axis;
    step->params = axis;
    return updates ? out_set(step, 0, x->dtype, x->dims, x->rank, why)
                   : out_set(step, 0, x->dtype, index->dims, index->rank, why);
}

/* Walks the indices of along_shape in order. */
struct walk {
    uint32_t rank, axis;
    const int64_t *dims; /* of the indices */
    int64_t steps[TENSOR_RANK_MAX];
    int64_t at[TENSOR_RANK_MAX];
    int64_t base; /* in data, of all coordinates but the axis */
};

static void walk_start(struct walk *w, const struct step *step)
{
    *w = (struct walk){.rank = step->in[0]->rank,
                       .axis = (uint32_t) * (const int64_t *)step->params,
                       .dims = step->in[1]->dims};
    dense_steps(step->in[0]->dims, w->rank, w->steps);
}

static void walk_on(struct walk *w)
{
    for (uint32_t k = w->rank; k-- > 0;) {
        int64_t step = k == w->axis ? 0 : w->steps[k];
        w->base += step;
        if (++w->at[k] < w->dims[k])
            return;
        w->base -= step * w->at[k];
        w->at[k] = 0;
    }
}

/* Where element `i` of the indices points to in data. */
static enum status walk_place(const struct walk *w, const struct step *step, size_t i,
                              size_t *place, struct error *why)
{
    const struct array *index = step->in[1];
    int64_t at = scalar_int(index->dtype, index->data, i), size = step->in[0]->dims[w->axis];
    if (at < -size || at >= size)
        return bad_place(step, at, i, size, why);
    *place = (size_t)(w->base + (at < 0 ? at + size : at) * w->steps[w->axis]);
    return STATUS_OK;
}

enum status gather_along_compute(const struct step *step, struct error *why)
{
    const char *from = step->in[0]->data;
    char *to = step->out[0]->data;
    size_t width = element_bytes(step->in[0]->dtype), place;
    struct walk w;
    walk_start(&w, step);
    for (size_t i = 0; i < array_count(step->in[1]); i++, walk_on(&w)) {
        enum status s = walk_place(&w, step, i, &place, why);
        if (s != STATUS_OK)
            return s;
        memcpy(to + i * width, from + place * width, width);
    }
    return STATUS_OK;
}

static double combine_float(enum scatter_how how, double old, double x)
{
    switch (how) {
    case SCATTER_ADD:
        return old + x;
    case SCATTER_MUL:
        return old * x;
    case SCATTER_MAX:
        return x > old || x != x ? x : old;
    case SCATTER_MIN:
        return x < old || x != x ? x : old;
    default:
        return x;
    }
}

static int64_t combine_int(enum scatter_how how, bool is_unsigned, int64_t old, int64_t x)
{
    bool less = is_unsigned ? (uint64_t)x < (uint64_t)old : x < old;
    switch (how) {
    case SCATTER_ADD:
        return (int64_t)((uint64_t)old + (uint64_t)x);
    case SCATTER_MUL:
        return (int64_t)((uint64_t)old * (uint64_t)x);
    case SCATTER_MAX:
        return less ? old : x;
    case SCATTER_MIN:
        return less ? x : old;
    default:
        return x;
    }
}

/* `count` updates from element `from` on go to `out` from element `to` on. */
static void put(const struct step *step, size_t to, size_t from, size_t count)
{
    const struct array *updates = step->in[2], *out = step->out[0];
    enum scatter_how how = ((const struct elements *)step->node->state)->how;
    enum dtype t = out->dtype;
    size_t width = element_bytes(t);
    if (how == SCATTER_PUT) {
        memcpy((char *)out->data + to * width, (const char *)updates->data + from * width,
               count * width);
        return;
    }
    for (size_t i = 0; i < count; i++)
        if (dtype_is_float(t))
            scalar_set_float(t, out->data, to + i,
                             combine_float(how, scalar_float(t, out->data, to + i),
                                           scalar_float(t, updates->data, from + i)));
        else
            scalar_set_int(t, out->data, to + i,
                           combine_int(how, t == DTYPE_UINT64, scalar_int(t, out->data, to + i),
                                       scalar_int(t, updates->data, from + i)));
}

static void copy_data(const struct step *step)
{
    const struct array *out = step->out[0];
    if (out->bytes && out->data != step->in[0]->data)
        memcpy(out->data, step->in[0]->data, out->bytes);
}

enum status scatter_along_compute(const struct step *step, struct error *why)
{
    size_t place;
    struct walk w;
    copy_data(step);
    walk_start(&w, step);
    for (size_t i = 0; i < array_count(step->in[1]); i++, walk_on(&w)) {
        enum status s = walk_place(&w, step, i, &place, why);
        if (s != STATUS_OK)
            return s;
        put(step, place, i, 1);
    }
    return STATUS_OK;
}

/* GatherND and ScatterND: the last axis of the indices holds `depth` coordinates of a slice. */
enum status nd_shape(struct step *step, struct error *why)
{
    const struct array *x = step->in[0], *index = step->in[1], *updates = step_in(step, 2);
    const struct elements *e = step->node->state;
    int64_t dims[2 * TENSOR_RANK_MAX];
    uint32_t rank = 0;
    enum status s = check_indices(step, why);
    if (s != STATUS_OK)
        return s;
    bool fits = index->rank >= 1 && e->axis >= 0 && e->axis < index->rank && e->axis <= x->rank;
    uint32_t batch = fits ? (uint32_t)e->axis : 0;
    int64_t depth = fits ? index->dims[index->rank - 1] : 0;
    fits = fits && depth >= (updates ? 0 : 1) && depth <= (int64_t)(x->rank - batch);
    for (uint32_t k = 0; fits && k < batch; k++)
        fits = index->dims[k] == x->dims[k];
    if (!fits)
        return bad_dims(step, why);
    for (uint32_t k = 0; k + 1 < index->rank; k++)
        dims[rank++] = index->dims[k];
    for (uint32_t k = batch + (uint32_t)depth; k < x->rank; k++)
        dims[rank++] = x->dims[k];
    if (!updates)
        return out_set(step, 0, x->dtype, dims, rank, why);
    if (updates->dtype != x->dtype || !same_dims(updates->dims, updates->rank, dims, rank))
        return bad_dims(step, why);
    return out_set(step, 0, x->dtype, x->dims, x->rank, why);
}

/* First element of the slice of data that tuple `i` of the indices names. */
static enum status slice_place(const struct step *step, size_t i, size_t *place, struct error *why)
{
    const struct array *x = step->in[0], *index = step->in[1];
    const struct elements *e = step->node->state;
    uint32_t batch = (uint32_t)e->axis, depth = (uint32_t)index->dims[index->rank - 1];
    size_t per_batch = dims_span(index, batch, index->rank - 1);
    size_t at = i / MAX(per_batch, 1);
    for (uint32_t k = 0; k < depth; k++) {
        int64_t size = x->dims[batch + k], c = scalar_int(index->dtype, index->data, i * depth + k);
        if (c < -size || c >= size)
            return bad_place(step, c, i * depth + k, size, why);
        at = at * (size_t)size + (size_t)(c < 0 ? c + size : c);
    }
    *place = at * dims_span(x, batch + depth, x->rank);
    return STATUS_OK;
}

enum status gather_nd_compute(const struct step *step, struct error *why)
{
    const struct array *x = step->in[0], *index = step->in[1];
    uint32_t first = (uint32_t)(((const struct elements *)step->node->state)->axis +
                                index->dims[index->rank - 1]);
    size_t slice = dims_span(x, first, x->rank), width = element_bytes(x->dtype), place;
    for (size_t i = 0; i < dims_span(index, 0, index->rank - 1) && slice; i++) {
        enum status s = slice_place(step, i, &place, why);
        if (s != STATUS_OK)
            return s;
        memcpy((char *)step->out[0]->data + i * slice * width,
               (const char *)x->data + place * width, slice * width);
    }
    return STATUS_OK;
}

enum status scatter_nd_compute(const struct step *step, struct error *why)
{
    const struct array *x = step->in[0], *index = step->in[1];
    size_t slice = dims_span(x, (uint32_t)index->dims[index->rank - 1], x->rank), place;
    copy_data(step);
    for (size_t i = 0; i < dims_span(index, 0, index->rank - 1) && slice; i++) {
        enum status s = slice_place(step, i, &place, why);
        if (s != STATUS_OK)
            return s;
        put(step, place, i * slice, slice);
    }
    return STATUS_OK;
}
