/* op_unique - Unique: the different values of an array, or slices along an axis */
#include <inttypes.h>
#include <string.h>

#include "worker/ops/ops.h"
#include "worker/ops/scalar.h"
#include "worker/ops/sort.h"

struct unique {
    bool flat; /* no axis: of all elements */
    int64_t axis;
    bool sorted;
};

/* The input as [outer][len][inner]: items i are compared in all their outer * inner elements. */
struct items {
    const struct array *x;
    size_t outer, len, inner;
    const int64_t *first; /* group -> its first item, while groups are put in order */
};

enum status unique_check(struct node *node, struct error *why)
{
    (void)why;
    struct unique *u = region_take(node->region, sizeof *u);
    u->flat = attr_find(node, "axis") == NULL;
    u->axis = attr_int(node, "axis", 0);
    u->sorted = attr_int(node, "sorted", 1) != 0;
    node->state = u;
    return STATUS_OK;
}

static bool find_items(const struct step *step, struct items *it)
{
    const struct array *x = step->in[0];
    const struct unique *u = step->node->state;
    int64_t axis = u->axis;
    *it = (struct items){.x = x, .outer = 1, .len = array_count(x), .inner = 1};
    if (u->flat)
        return true;
    if (!axis_ok(&axis, x->rank))
        return false;
    it->outer = dims_span(x, 0, (uint32_t)axis);
    it->len = (size_t)x->dims[axis];
    it->inner = dims_span(x, (uint32_t)axis + 1, x->rank);
    return true;
}

enum status unique_shape(struct step *step, struct error *why)
{
    struct items it;
    enum dtype t = step->in[0]->dtype;
    if (!dtype_is_float(t) && !dtype_is_integer(t) && t != DTYPE_BOOL && t != DTYPE_BYTES)
        return bad_step(why, step, "%s is not a type of this operator", dtype_name(t));
    if (!find_items(step, &it))
        return bad_step(why, step, "axis %" PRId64 " is outside of rank %u",
                        ((const struct unique *)step->node->state)->axis, step->in[0]->rank);
    step->scratch_bytes = 4 * it.len * sizeof(int64_t);
    step->late = true;
    return STATUS_OK;
}

/* NaN is larger than all, and one NaN differs from the next. */
static int compare_elements(const struct array *x, size_t i, size_t k)
{
    if (x->dtype == DTYPE_BYTES)
        return text_compare(((const struct text *)x->data)[i], ((const struct text *)x->data)[k]);
    if (dtype_is_float(x->dtype)) {
        double a = scalar_float(x->dtype, x->data, i), b = scalar_float(x->dtype, x->data, k);
        if (a != a || b != b)
            return a != a ? 1 : -1;
        return a < b ? -1 : a > b;
    }
    int64_t a = scalar_int(x->dtype, x->data, i), b = scalar_int(x->dtype, x->data, k);
    if (x->dtype == DTYPE_UINT64)
        return (uint64_t)a < (uint64_t)b ? -1 : (uint64_t)a > (uint64_t)b;
    return a < b ? -1 : a > b;
}

static int compare_items(const struct items *it, int64_t a, int64_t b)
{
    for (size_t o = 0; o < it->outer; o++)
        for (size_t i = 0; i < it->inner; i++) {
            size_t base = o * it->len * it->inner + i;
            int c = a == b ? 0
                           : compare_elements(it->x, base + (size_t)a * it->inner,
                                              base + (size_t)b * it->inner);
            if (c)
                return c;
        }
    return 0;
}

static bool item_before(const void *arg, int64_t a, int64_t b)
{
    int c = compare_items(arg, a, b);
    return c ? c < 0 : a < b;
}

static bool seen_before(const void *arg, int64_t a, int64_t b)
{
    const struct items *it = arg;
    return it->first[a] < it->first[b];
}

/* What is found: item -> group, and group -> first item and number of items. */
struct groups {
    size_t len;
    int64_t *of, *first, *count, *order;
};

static void find_groups(const struct step *step, struct items *it, struct groups *g)
{
    const struct unique *u = step->node->state;
    g->order = step->scratch; /* items first, groups then */
    g->of = g->order + it->len;
    g->first = g->of + it->len;
    g->count = g->first + it->len;
    g->len = 0;
    for (size_t i = 0; i < it->len; i++)
        g->order[i] = (int64_t)i;
    sort_first(g->order, it->len, it->len, item_before, it);
    for (size_t i = 0; i < it->len; i++) {
        if (i == 0 || compare_items(it, g->order[i - 1], g->order[i]) != 0) {
            g->first[g->len] = g->order[i];
            g->count[g->len++] = 0;
        }
        g->count[g->len - 1]++;
        g->of[g->order[i]] = (int64_t)g->len - 1;
    }
    for (size_t i = 0; i < g->len; i++)
        g->order[i] = (int64_t)i;
    it->first = g->first;
    if (!u->sorted)
        sort_first(g->order, g->len, g->len, seen_before, it);
}

static enum status make_outputs(const struct step *step, const struct items *it, size_t groups,
                                struct error *why)
{
    const struct array *x = step->in[0];
    const struct unique *u = step->node->state;
    int64_t dims[TENSOR_RANK_MAX] = {(int64_t)groups}, axis = u->axis;
    int64_t len = (int64_t)it->len, count = (int64_t)groups;
    if (!u->flat && axis_ok(&axis, x->rank)) {
        memcpy(dims, x->dims, sizeof dims);
        dims[axis] = count;
    }
    enum status s = out_make(step, 0, x->dtype, dims, u->flat ? 1 : x->rank, why);
    for (uint32_t i = 1; i < 4 && s == STATUS_OK; i++)
        s = out_make(step, i, DTYPE_INT64, i == 2 ? &len : &count, 1, why);
    return s;
}

enum status unique_compute(const struct step *step, struct error *why)
{
    struct items it;
    struct groups g;
    bool found = find_items(step, &it);
    assert(found);
    find_groups(step, &it, &g);
    enum status s = make_outputs(step, &it, g.len, why);
    if (s != STATUS_OK)
        return s;
    const struct array *y = step_out(step, 0), *first = step_out(step, 1);
    const struct array *inverse = step_out(step, 2), *counts = step_out(step, 3);
    size_t width = it.inner * element_bytes(it.x->dtype);
    for (size_t place = 0; place < g.len; place++) {
        size_t group = (size_t)g.order[place], item = (size_t)g.first[group];
        for (size_t o = 0; y && width && o < it.outer; o++)
            memcpy((char *)y->data + (o * g.len + place) * width,
                   (const char *)it.x->data + (o * it.len + item) * width, width);
        if (first)
            ((int64_t *)first->data)[place] = (int64_t)item;
        if (counts)
            ((int64_t *)counts->data)[place] = g.count[group];
        g.first[group] = (int64_t)place; /* from here on: group -> its place in the output */
    }
    for (size_t i = 0; inverse && i < it.len; i++)
        ((int64_t *)inverse->data)[i] = g.first[g.of[i]];
    return STATUS_OK;
}
