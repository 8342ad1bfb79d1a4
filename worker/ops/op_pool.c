/* op_pool - MaxPool, AveragePool, GlobalAveragePool, GlobalMaxPool */
#include "worker/kernels/pool.h"

#include <string.h>

#include "worker/ops/ops.h"
#include "worker/ops/window.h"

struct pool_state {
    struct window window;
    bool ceil_mode;
    bool count_pad;
};

enum status pool_check(struct node *node, struct error *why)
{
    struct pool_state *p = region_take(node->region, sizeof *p);
    node->state = p;
    p->ceil_mode = attr_int(node, "ceil_mode", 0) != 0;
    p->count_pad = attr_int(node, "count_include_pad", 0) != 0;
    if (attr_int(node, "storage_order", 0) != 0)
        return bad_node(why, node,
                        "storage_order 1 is of the Indices output, which is not supported");
    enum status s = window_check(node, &p->window, why);
    if (s == STATUS_OK && !p->window.kernel_len)
        return bad_node(why, node, "kernel_shape is missing");
    return s;
}

/* Pooling follows its input. */
void pool_layouts(const struct step *step, enum layout *wants)
{
    wants[0] = step->in[0]->layout;
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
    struct pool_shape *shape = region_take(step->region, sizeof *shape);
    struct window_2d win;
    if (x->dtype != DTYPE_FP32)
        return bad_step(why, step, "%s is not supported; expected FP32", dtype_name(x->dtype));
    enum status s = window_resolve(step, &p->window, p->window.kernel, &win, why);
    if (s != STATUS_OK)
        return s;
    shape->kind = (enum pool_kind)step->node->op->variant;
    shape->count_pad = p->count_pad;
    shape->ceil_mode = p->ceil_mode;
    memcpy(shape->kernel, win.kernel, sizeof shape->kernel);
    memcpy(shape->stride, win.stride, sizeof shape->stride);
    memcpy(shape->dilation, win.dilation, sizeof shape->dilation);
    memcpy(shape->pad_begin, win.pad_begin, sizeof shape->pad_begin);
    memcpy(shape->pad_end, win.pad_end, sizeof shape->pad_end);
    for (unsigned i = 0; i < 2; i++) {
        size_t extent = (win.kernel[i] - 1) * win.dilation[i] + 1;
        if (win.pad_begin[i] >= extent || win.pad_end[i] >= extent)
            return bad_step(why, step, "pads must be smaller than the window");
    }
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
    pool_run(step->params, x->layout, array_maps(x), x->data, step->out[0]->data);
    return STATUS_OK;
}

enum status global_pool_shape(struct step *step, struct error *why)
{
    const struct array *x = step->in[0];
    int64_t dims[4] = {0, 0, 1, 1};
    if (x->dtype != DTYPE_FP32 || x->rank < 3 || x->rank > 4)
        return bad_step(why, step, "%s of rank %u is not supported; expected FP32 of rank 3 or 4",
                        dtype_name(x->dtype), x->rank);
    dims[0] = x->dims[0];
    dims[1] = x->dims[1];
    return out_set(step, 0, DTYPE_FP32, dims, x->rank, why);
}

enum status global_pool_compute(const struct step *step, struct error *why)
{
    (void)why;
    const struct array *x = step->in[0];
    pool_global((enum pool_kind)step->node->op->variant, x->layout, array_maps(x), x->data,
                step->out[0]->data);
    return STATUS_OK;
}
