/* op_pool_nd - see pool_nd.h; and MaxUnpool */
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "worker/kernels/par.h"
#include "worker/ops/ops.h"
#include "worker/ops/pool_nd.h"
#include "worker/ops/scalar.h"

static size_t out_along(const struct pool_nd *p, uint32_t axis)
{
    const struct window_3d *w = &p->patches.window;
    struct pool_shape s = {.ceil_mode = p->ceil_mode,
                           .kernel = {w->kernel[axis]},
                           .stride = {w->stride[axis]},
                           .dilation = {w->dilation[axis]},
                           .pad_begin = {w->pad_begin[axis]},
                           .pad_end = {w->pad_end[axis]}};
    return pool_out_size(&s, 0, p->patches.map[axis]);
}

enum status pool_nd_infer(struct step *step, const struct pool_nd *like, struct error *why)
{
    const struct array *x = step->in[0];
    struct pool_nd *p = region_take(step->region, sizeof *p);
    uint32_t axes = x->rank - 2;
    int64_t dims[2 + SPATIAL_MAX] = {x->dims[0], x->dims[1]};
    *p = *like;
    bool whole = dtype_is_integer(x->dtype) && p->kind == POOL_MAX;
    if (!dtype_is_float(x->dtype) && !whole)
        return bad_step(why, step, "%s is not a type of this operator", dtype_name(x->dtype));
    p->patches.channels = dims_span(x, 0, 2);
    window_sizes(x, p->patches.map);
    for (uint32_t i = 0; i < SPATIAL_MAX; i++) {
        p->patches.out[i] = out_along(p, i);
        if (!p->patches.out[i])
            return bad_step(why, step, "the window is larger than the padded input");
        if (i + axes >= SPATIAL_MAX)
            dims[2 + i + axes - SPATIAL_MAX] = (int64_t)p->patches.out[i];
    }
    step->params = p;
    enum status s = out_set(step, 0, x->dtype, dims, x->rank, why);
    return s == STATUS_OK ? out_set(step, 1, DTYPE_INT64, dims, x->rank, why) : s;
}

/* One window while it is walked. */
struct sum {
    double value;
    int64_t whole;  /* the maximum of integers */
    size_t at;      /* of the maximum, in its map */
    size_t inside;  /* positions in the map */
    size_t counted; /* and in its padding */
};

static void add(const struct pool_nd *p, const struct array *x, size_t base, size_t at,
                struct sum *s)
{
    if (!dtype_is_float(x->dtype)) {
        int64_t v = scalar_int(x->dtype, x->data, base + at);
        bool less = x->dtype == DTYPE_UINT64 ? (uint64_t)s->whole < (uint64_t)v : s->whole < v;
        if (!s->inside || less) {
            s->whole = v;
            s->at = at;
        }
    } else {
        double v = scalar_float(x->dtype, x->data, base + at);
        if (p->kind == POOL_MAX && (!s->inside || v > s->value || isnan(v))) {
            s->value = v;
            s->at = at;
        } else if (p->kind == POOL_AVERAGE) {
            s->value += v;
        } else if (p->kind == POOL_LP) {
            s->value += pow(fabs(v), p->p);
        }
    }
    s->inside++;
}

/* Coordinate of tap `i` at position `o` along an axis. *counted: inside of the padded map. */
static int64_t coordinate(const struct pool_nd *p, uint32_t axis, size_t o, size_t i, bool *counted)
{
    const struct window_3d *w = &p->patches.window;
    int64_t at =
        (int64_t)(o * w->stride[axis] + i * w->dilation[axis]) - (int64_t)w->pad_begin[axis];
    int64_t size = (int64_t)p->patches.map[axis];
    *counted = at < size + (int64_t)w->pad_end[axis];
    return at >= 0 && at < size ? at : -1;
}

static struct sum walk_window(const struct pool_nd *p, const struct array *x, size_t base,
                              const size_t *o)
{
    const size_t *kernel = p->patches.window.kernel, *map = p->patches.map;
    struct sum s = {.inside = 0};
    for (size_t d = 0; d < kernel[0]; d++)
        for (size_t r = 0; r < kernel[1]; r++)
            for (size_t c = 0; c < kernel[2]; c++) {
                bool counted[SPATIAL_MAX];
                int64_t z = coordinate(p, 0, o[0], d, &counted[0]);
                int64_t y = coordinate(p, 1, o[1], r, &counted[1]);
                int64_t u = coordinate(p, 2, o[2], c, &counted[2]);
                s.counted += counted[0] && counted[1] && counted[2];
                if (z >= 0 && y >= 0 && u >= 0)
                    add(p, x, base, ((size_t)z * map[1] + (size_t)y) * map[2] + (size_t)u, &s);
            }
    return s;
}

static double result_of(const struct pool_nd *p, const struct sum *s)
{
    if (p->kind == POOL_AVERAGE)
        return s->value / (double)MAX(1, p->count_pad ? s->counted : s->inside);
    if (p->kind == POOL_LP)
        return pow(s->value, 1 / p->p);
    return s->inside ? s->value : -INFINITY;
}

/* The same place when columns come first. */
static size_t by_columns(const size_t *map, size_t at)
{
    size_t c = at % map[2], r = at / map[2] % map[1], d = at / map[2] / map[1];
    return (c * map[1] + r) * map[0] + d;
}

static void pool_maps(void *arg, size_t slot, size_t begin, size_t end)
{
    const struct step *step = arg;
    const struct pool_nd *p = step->params;
    const struct array *x = step->in[0], *y = step_out(step, 0), *places = step_out(step, 1);
    size_t positions = patches_positions(&p->patches);
    size_t map = p->patches.map[0] * p->patches.map[1] * p->patches.map[2];
    (void)slot;
    for (size_t m = begin; m < end; m++)
        for (size_t i = 0; i < positions; i++) {
            const size_t *out = p->patches.out;
            size_t o[SPATIAL_MAX] = {i / out[2] / out[1], i / out[2] % out[1], i % out[2]};
            struct sum s = walk_window(p, x, m * map, o);
            if (y && dtype_is_float(y->dtype))
                scalar_set_float(y->dtype, y->data, m * positions + i, result_of(p, &s));
            else if (y)
                scalar_set_int(y->dtype, y->data, m * positions + i, s.whole);
            if (places)
                ((int64_t *)places->data)[m * positions + i] =
                    (int64_t)(m * map + (p->columns ? by_columns(p->patches.map, s.at) : s.at));
        }
}

void pool_nd_compute(const struct step *step)
{
    const struct pool_nd *p = step->params;
    double work = (double)p->patches.channels * (double)patches_positions(&p->patches) * 16;
    par_for(p->patches.channels, work, pool_maps, (void *)(uintptr_t)step);
}

enum status global_lp_check(struct node *node, struct error *why)
{
    (void)why;
    float *p = region_take(node->region, sizeof *p);
    *p = (float)attr_int(node, "p", 2);
    node->state = p;
    return STATUS_OK;
}

void pool_nd_global(const struct step *step)
{
    const struct array *x = step->in[0], *y = step->out[0];
    struct pool_nd p = {.kind = (enum pool_kind)step->node->op->variant};
    size_t maps = dims_span(x, 0, 2), map = dims_span(x, 2, x->rank);
    if (p.kind == POOL_LP)
        p.p = (double)*(const float *)step->node->state;
    for (size_t m = 0; m < maps; m++) {
        struct sum s = {.inside = 0};
        for (size_t i = 0; i < map; i++)
            add(&p, x, m * map, i, &s);
        scalar_set_float(y->dtype, y->data, m, result_of(&p, &s));
    }
}

enum status global_lp_compute(const struct step *step, struct error *why)
{
    (void)why;
    pool_nd_global(step);
    return STATUS_OK;
}

/* MaxUnpool: the size that MaxPool's input had, unless input 2 says another. */
enum status unpool_check(struct node *node, struct error *why)
{
    struct window *w = region_take(node->region, sizeof *w);
    node->state = w;
    enum status s = window_check(node, w, why);
    return s == STATUS_OK && !w->kernel_len ? bad_node(why, node, "kernel_shape is missing") : s;
}

enum status unpool_shape(struct step *step, struct error *why)
{
    const struct array *x = step->in[0], *places = step->in[1];
    const struct window *w = step->node->state;
    int64_t dims[TENSOR_RANK_MAX];
    struct window_3d win;
    size_t len = 0;
    if (places->dtype != DTYPE_INT64 || array_count(places) != array_count(x) ||
        !dtype_is_float(x->dtype))
        return bad_step(why, step, "expected floats, and as many places of type INT64");
    enum status s = window_resolve(step, w, w->kernel, &win, why);
    if (s == STATUS_OK)
        s = known_ints(step, 2, dims, TENSOR_RANK_MAX, &len, why);
    if (s != STATUS_OK)
        return s;
    if (len && len != x->rank)
        return bad_step(why, step, "output_shape has %zu numbers; expected %u", len, x->rank);
    int64_t *pooled = region_array(step->region, TENSOR_RANK_MAX, sizeof *pooled);
    for (uint32_t k = 0; k < x->rank; k++) {
        uint32_t at = k + SPATIAL_MAX - x->rank;
        pooled[k] = x->dims[k];
        if (k >= 2)
            pooled[k] = (x->dims[k] - 1) * (int64_t)win.stride[at] + (int64_t)win.kernel[at] -
                        (int64_t)(win.pad_begin[at] + win.pad_end[at]);
        if (!len)
            dims[k] = pooled[k];
        if (pooled[k] < 0 || pooled[k] > dims[k])
            return bad_step(why, step, "axis %u of output_shape is %" PRId64 "; it takes %" PRId64,
                            k, dims[k], pooled[k]);
    }
    step->params = pooled;
    return out_set(step, 0, x->dtype, dims, x->rank, why);
}

/* Places count in the array that was pooled, which may be smaller than the output. False outside
 * of it. */
static bool unpool_place(const struct step *step, int64_t place, size_t *at)
{
    const struct array *out = step->out[0];
    const int64_t *pooled = step->params;
    size_t span = 1;
    *at = 0;
    for (uint32_t k = out->rank; k-- > 0; place /= pooled[k]) {
        if (place < 0 || pooled[k] < 1)
            return false;
        *at += (size_t)(place % pooled[k]) * span;
        span *= (size_t)out->dims[k];
    }
    return place == 0;
}

enum status unpool_compute(const struct step *step, struct error *why)
{
    const struct array *x = step->in[0], *out = step->out[0];
    const int64_t *places = step->in[1]->data;
    size_t width = dtype_bytes(x->dtype), at;
    memset(out->data, 0, out->bytes);
    for (size_t i = 0; i < array_count(x); i++) {
        if (!unpool_place(step, places[i], &at))
            return bad_step(why, step, "place %" PRId64 " (element %zu) is outside of the input",
                            places[i], i);
        memcpy((char *)out->data + at * width, (const char *)x->data + i * width, width);
    }
    return STATUS_OK;
}
