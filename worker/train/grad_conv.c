/* grad_conv - Conv: forward with weights that change, and its gradients */
#include <string.h>

#include "worker/kernels/conv_grad.h"
#include "worker/ops/window.h"
#include "worker/train/grads.h"

struct conv_pass {
    struct conv_shape shape, back; /* of the gradient by the input */
    struct maps in, out;
    struct conv_plan *plan, *back_plan; /* the second NULL where that gradient is not wanted */
    size_t turned_bytes, spread_bytes;  /* parts of back_scratch */
};

static size_t rounded(size_t bytes)
{
    return (bytes + TENSOR_ALIGN - 1) / TENSOR_ALIGN * TENSOR_ALIGN;
}

static bool spreads(const struct conv_pass *c)
{
    return c->shape.stride[0] * c->shape.stride[1] > 1;
}

static enum status read_shape(struct pass *pass, struct conv_pass *c, struct error *why)
{
    struct step *step = &pass->step;
    const struct array *x = step->in[0], *w = step->in[1];
    struct window window;
    struct window_3d win;
    memset(&window, 0, sizeof window);
    if (x->rank > 4)
        return bad_step(why, step, "no gradient of three axes");
    enum status s = window_check(step->node, &window, why);
    if (s == STATUS_OK)
        s = window_resolve(step, &window, &w->dims[2], &win, why);
    if (s != STATUS_OK)
        return s;
    c->shape.channels_in = (size_t)x->dims[1];
    c->shape.channels_out = (size_t)w->dims[0];
    c->shape.groups = (size_t)attr_int(step->node, "group", 1);
    memcpy(c->shape.kernel, &win.kernel[1], sizeof c->shape.kernel);
    memcpy(c->shape.stride, &win.stride[1], sizeof c->shape.stride);
    memcpy(c->shape.dilation, &win.dilation[1], sizeof c->shape.dilation);
    memcpy(c->shape.pad_begin, &win.pad_begin[1], sizeof c->shape.pad_begin);
    memcpy(c->shape.pad_end, &win.pad_end[1], sizeof c->shape.pad_end);
    c->in = array_maps(x);
    c->out = array_maps(step->out[0]);
    c->shape.winograd = conv_winograd_tile(&c->shape, x->layout, LAYOUT_BLOCKED, c->in.h, c->in.w);
    return STATUS_OK;
}

enum status conv_setup(struct pass *pass, struct error *why)
{
    struct step *step = &pass->step;
    struct conv_pass *c = region_take(step->region, sizeof *c);
    pass->state = c;
    enum status s = read_shape(pass, c, why);
    if (s != STATUS_OK)
        return s;
    c->plan = conv_plan_new(&c->shape, NULL, NULL, pass->relu ? ACT_RELU : ACT_NONE,
                            step->in[0]->layout, LAYOUT_BLOCKED);
    step->node->kernel = conv_plan_name(c->plan);
    step->scratch_bytes = conv_scratch_bytes(c->plan, c->in);
    if (!pass->back)
        return STATUS_OK;
    pass->back_scratch_bytes = conv_grad_weights_scratch(&c->shape, step->in[0]->layout, c->in);
    if (!pass->din[0])
        return STATUS_OK;
    if (!conv_grad_shape(&c->shape, c->in, &c->back))
        return bad_step(why, step, "no gradient with pads larger than the kernel");
    c->back_plan =
        conv_plan_new(&c->back, NULL, NULL, ACT_NONE, LAYOUT_BLOCKED, step->in[0]->layout);
    struct maps spread = conv_grad_spread_maps(&c->shape, c->out);
    c->turned_bytes = rounded(step->in[1]->bytes);
    c->spread_bytes =
        spreads(c) ? rounded(layout_elements(LAYOUT_BLOCKED, spread) * sizeof(float)) : 0;
    size_t bytes = c->turned_bytes + c->spread_bytes + conv_scratch_bytes(c->back_plan, spread);
    pass->back_scratch_bytes = MAX(pass->back_scratch_bytes, bytes);
    return STATUS_OK;
}

enum status conv_forward(struct pass *pass, struct error *why)
{
    const struct step *step = &pass->step;
    const struct conv_pass *c = pass->state;
    const struct array *bias = step_in(step, 2);
    (void)why;
    conv_plan_pack(c->plan, step->in[1]->data, bias ? bias->data : NULL);
    conv_run(c->plan, c->in, step->in[0]->data, NULL, step->out[0]->data, step->scratch);
    return STATUS_OK;
}

void conv_backward(struct pass *pass)
{
    const struct step *step = &pass->step;
    const struct conv_pass *c = pass->state;
    const float *dy = pass->dout[0]->data;
    struct array *dw = pass->din[1], *db = step->in_len > 2 ? pass->din[2] : NULL;
    if (dw || db)
        conv_grad_weights(&c->shape, step->in[0]->layout, c->in, step->in[0]->data, dy,
                          dw ? dw->data : NULL, db ? db->data : NULL, pass->back_scratch);
    if (!pass->din[0])
        return;
    char *at = pass->back_scratch;
    float *turned = pass->back_scratch, *spread = (void *)(at + c->turned_bytes);
    conv_grad_turn(&c->shape, step->in[1]->data, turned);
    conv_plan_pack(c->back_plan, turned, NULL);
    if (spreads(c))
        conv_grad_spread(&c->shape, c->out, dy, spread);
    conv_run(c->back_plan, conv_grad_spread_maps(&c->shape, c->out), spreads(c) ? spread : dy, NULL,
             pass->din[0]->data, at + c->turned_bytes + c->spread_bytes);
}

void conv_release(struct pass *pass)
{
    struct conv_pass *c = pass->state;
    if (!c)
        return;
    conv_plan_destroy(&c->plan);
    conv_plan_destroy(&c->back_plan);
}
