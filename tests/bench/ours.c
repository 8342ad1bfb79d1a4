/* ours - the kernels as a contender: worker/kernels through its public headers, blocked maps */
#include "tests/bench/contender.h"

#include <stdlib.h>
#include <string.h>

#include "worker/kernels/conv.h"
#include "worker/kernels/cpu.h"

struct ours_conv {
    struct conv_plan *plan;
    struct maps in, out;
    float *x, *y; /* as the plan wants them */
    void *scratch;
};

/* A network's first layer reads plain maps, all others blocked ones. */
static enum layout layout_in(const struct conv_work *c)
{
    return c->c < LANES ? LAYOUT_PLAIN : LAYOUT_BLOCKED;
}

static void *conv_open(const struct work *w, size_t *times)
{
    const struct conv_work *c = &w->conv;
    enum layout layout = layout_in(c);
    struct ours_conv *self = xcalloc(1, sizeof *self);
    struct conv_data data = conv_data_new(w);
    struct conv_shape shape = {
        .channels_in = c->c,
        .channels_out = c->k,
        .groups = c->groups,
        .kernel = {c->kernel[0], c->kernel[1]},
        .stride = {c->stride[0], c->stride[1]},
        .dilation = {c->dilation[0], c->dilation[1]},
        .pad_begin = {c->pad[0], c->pad[1]},
        .pad_end = {c->pad[0], c->pad[1]},
    };
    shape.winograd =
        !kernels_strict() && conv_suits_winograd(&shape, layout, LAYOUT_BLOCKED, c->h, c->w);
    self->in = (struct maps){w->batch, c->c, c->h, c->w};
    self->out = (struct maps){w->batch, c->k, c->out[0], c->out[1]};
    self->plan = conv_plan_new(&shape, data.weights, data.bias, ACT_RELU, layout, LAYOUT_BLOCKED);
    self->x = xaligned(layout_elements(layout, self->in) * sizeof(float));
    self->y = xaligned(layout_elements(LAYOUT_BLOCKED, self->out) * sizeof(float));
    self->scratch = xaligned(conv_scratch_bytes(self->plan, self->in));
    if (layout == LAYOUT_BLOCKED)
        layout_to_blocked(self->in, data.x, self->x);
    else
        memcpy(self->x, data.x, layout_elements(layout, self->in) * sizeof(float));
    conv_data_free(&data);
    *times = 1;
    return self;
}

static void conv_work_run(void *arg)
{
    const struct ours_conv *self = arg;
    conv_run(self->plan, self->in, self->x, NULL, self->y, self->scratch);
}

static void conv_output(void *arg, float *y)
{
    const struct ours_conv *self = arg;
    layout_to_plain(self->out, self->y, y);
}

static void conv_close(void *arg)
{
    struct ours_conv *self = arg;
    conv_plan_destroy(&self->plan);
    free(self->x);
    free(self->y);
    free(self->scratch);
    free(self);
}

const struct contender ours = {"ours", conv_open, conv_work_run, conv_output, conv_close};
