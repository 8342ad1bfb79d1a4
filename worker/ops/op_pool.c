/* op_pool - MaxPool, AveragePool, LpPool and their global forms; what the kernels do not do goes to
 * op_pool_nd.c */
#include "worker/kernels/pool.h"

#include <string.h>

#include "worker/ops/ops.h"
#include "worker/ops/pool_nd.h"
#include "worker/ops/scalar.h"

struct pool_state {
    struct window window;
    bool ceil_mode;
    bool count_pad;
    bool columns; /* places count along columns first: storage_order */
    float p;      /* LpPool */
};

static bool is_lp(const struct step *step)
{
    return step->node->op->variant == POOL_LP;
}

enum status pool_check(struct node *node, struct error *why)
{
    struct pool_state *p = region_take(node->region, sizeof *p);
    node->state = p;
    p->ceil_mode = attr_int(node, "ceil_mode", 0) != 0;
    p->count_pad = attr_int(node, "count_include_pad", 0) != 0;
    p->columns = attr_int(node, "storage_order", 0) != 0;
    p->p = node->op->variant == POOL_LP ? (float)attr_int(node, "p", 2) : 0;
    enum status s = window_check(node, &p->window, why);
    if (s == STATUS_OK && !p->window.kernel_len)
        return bad_node(why, node, "kernel_shape is missing");
    return s;
}

bool pool_tiles(const struct node *node, size_t size[2])
{
    const struct pool_state *p = node->state;
    const struct window *w = &p->window;
    bool plain = w->auto_pad == AUTO_PAD_NOTSET || w->auto_pad == AUTO_PAD_VALID;
    if (node->op->run != pool_compute || node->op->variant != POOL_MAX || w->kernel_len != 2 ||
        w->strides_len != 2 || node->outputs_len != 1 || p->ceil_mode || !plain)
        return false;
    for (uint32_t i = 0; i < 2; i++) {
        if (w->strides[i] != w->kernel[i] || w->kernel[i] < 1 ||
            (i < w->dilations_len && w->dilations[i] != 1))
            return false;
        size[i] = (size_t)w->kernel[i];
    }
    for (uint32_t i = 0; i < w->pads_len; i++)
        if (w->pads[i] != 0)
            return false;
    return true;
}

/* Pooling follows its input, where there is a kernel. */
void pool_layouts(const struct step *step, enum layout *wants)
{
    if (!step_out(step, 1) && !is_lp(step) && step->in[0]->layout == LAYOUT_BLOCKED)
        wants[0] = LAYOUT_BLOCKED;
}

static enum status out_maps(struct step *step, const int64_t *dims, enum layout layout,
                            struct error *why)
{
    uint32_t rank = step->in[0]->rank;
    if (layout == LAYOUT_BLOCKED)
        return out_blocked(step, 0, dims, rank, why);
    return out_set(step, 0, DTYPE_FP32, dims, rank, why);
}

enum status pool_infer(struct step *step, struct error *why)
{
    const struct pool_state *p = step->node->state;
    const struct array *x = step->in[0];
    struct window_3d win;
    enum status s = window_resolve(step, &p->window, p->window.kernel, &win, why);
    if (s != STATUS_OK)
        return s;
    for (unsigned i = 0; i < SPATIAL_MAX; i++) {
        size_t extent = (win.kernel[i] - 1) * win.dilation[i] + 1;
        if (win.pad_begin[i] >= extent || win.pad_end[i] >= extent)
            return bad_step(why, step, "pads must be smaller than the window");
    }
    if (x->rank == 5 || x->dtype != DTYPE_FP32 || step_out(step, 1) || is_lp(step)) {
        struct pool_nd like = {.kind = (enum pool_kind)step->node->op->variant,
                               .ceil_mode = p->ceil_mode,
                               .count_pad = p->count_pad,
                               .columns = p->columns,
                               .p = (double)p->p};
        like.patches.window = win;
        return pool_nd_infer(step, &like, why);
    }
    struct pool_shape *shape = region_take(step->region, sizeof *shape);
    shape->kind = (enum pool_kind)step->node->op->variant;
    shape->count_pad = p->count_pad;
    shape->ceil_mode = p->ceil_mode;
    memcpy(shape->kernel, &win.kernel[1], sizeof shape->kernel);
    memcpy(shape->stride, &win.stride[1], sizeof shape->stride);
    memcpy(shape->dilation, &win.dilation[1], sizeof shape->dilation);
    memcpy(shape->pad_begin, &win.pad_begin[1], sizeof shape->pad_begin);
    memcpy(shape->pad_end, &win.pad_end[1], sizeof shape->pad_end);
    struct maps m = array_maps(x);
    size_t size[2] = {pool_out_size(shape, 0, m.h), pool_out_size(shape, 1, m.w)};
    int64_t dims[4] = {x->dims[0], x->dims[1]};
    for (uint32_t i = 2; i < x->rank; i++)
        dims[i] = (int64_t)size[i - 2 + (4 - x->rank)];
    if (!size[0] || !size[1])
        return bad_step(why, step, "the window is larger than the padded input");
    step->params = shape;
    return out_maps(step, dims, x->layout, why);
}

enum status pool_compute(const struct step *step, struct error *why)
{
    (void)why;
    const struct array *x = step->in[0];
    if (x->rank == 5 || x->dtype != DTYPE_FP32 || step_out(step, 1) || is_lp(step)) {
        pool_nd_compute(step);
        return STATUS_OK;
    }
    pool_run(step->params, x->layout, array_maps(x), x->data, step->out[0]->data);
    return STATUS_OK;
}

enum status global_pool_shape(struct step *step, struct error *why)
{
    const struct array *x = step->in[0];
    int64_t dims[TENSOR_RANK_MAX] = {0, 0, 1, 1, 1, 1, 1, 1};
    if (!dtype_is_float(x->dtype) || x->rank < 3)
        return bad_step(why, step, "%s of rank %u is not supported; expected floats of rank 3 on",
                        dtype_name(x->dtype), x->rank);
    dims[0] = x->dims[0];
    dims[1] = x->dims[1];
    return out_set(step, 0, x->dtype, dims, x->rank, why);
}

enum status global_pool_compute(const struct step *step, struct error *why)
{
    (void)why;
    const struct array *x = step->in[0];
    if (x->rank > 4 || x->dtype != DTYPE_FP32) {
        pool_nd_global(step);
        return STATUS_OK;
    }
    pool_global((enum pool_kind)step->node->op->variant, x->layout, array_maps(x), x->data,
                step->out[0]->data);
    return STATUS_OK;
}
