/* conv_depthwise - run a depthwise plan on blocked maps; see conv.h
 *
 * An item is some rows of one block of channels. Plain maps, which only models of a few channels
 * bring, are converted as a whole before and behind. */
#include "worker/kernels/conv_plan.h"

#include <math.h>

#include "worker/kernels/par.h"
#include "worker/kernels/vector_kernel.h"

#define ROWS_BYTES (32 * KIB) /* of output that an item computes, about */

struct job {
    const struct conv_plan *plan;
    struct maps m; /* of the output */
    struct conv_depthwise rows;
    const float *in;
    const float *add;
    float *out;
    size_t step;  /* rows of an item */
    size_t items; /* per map */
};

static void run_items(void *arg, size_t slot, size_t begin, size_t end)
{
    const struct job *job = arg;
    const struct conv_plan *p = job->plan;
    size_t blocks = p->units, width = job->m.w * LANES;
    struct conv_depthwise d = job->rows;
    (void)slot;
    for (size_t i = begin; i < end; i++) {
        size_t map = i / job->items, block = map % blocks;
        d.in = job->in + map * d.in_size[0] * d.in_size[1] * LANES;
        d.out = job->out + map * job->m.h * width;
        d.weights = p->weights + block * p->panel_floats;
        d.bias = p->bias + block * LANES;
        d.y = i % job->items * job->step;
        d.y_end = MIN(d.y + job->step, job->m.h);
        p->kernel->depthwise(&d);
        float *out = d.out + d.y * width;
        size_t n = (d.y_end - d.y) * width;
        if (job->add)
            vector_now()->binary[BINARY_ADD](n, out, 1, job->add + (out - job->out), 1, out);
        if (job->add || !p->clamps)
            vector_apply(p->act, n, out, out);
    }
}

/* Bytes of a blocked copy where the layout is plain. */
static size_t copy_bytes(enum layout layout, struct maps m)
{
    size_t bytes = layout_elements(LAYOUT_BLOCKED, m) * sizeof(float);
    return layout == LAYOUT_BLOCKED ? 0 : (bytes + TENSOR_ALIGN - 1) / TENSOR_ALIGN * TENSOR_ALIGN;
}

size_t conv_depthwise_scratch(const struct conv_plan *self, struct maps m)
{
    struct maps o = conv_out_maps(self, m);
    return copy_bytes(self->in, m) + 2 * copy_bytes(self->out, o);
}

void conv_depthwise_run(const struct conv_plan *self, struct maps m, const float *in,
                        const float *add, float *out, void *scratch)
{
    const struct conv_shape *s = &self->shape;
    struct maps o = conv_out_maps(self, m);
    char *copies = scratch;
    float *result = (void *)(copies + copy_bytes(self->in, m));
    float *added = (void *)(copies + copy_bytes(self->in, m) + copy_bytes(self->out, o));
    struct job job = {.plan = self, .m = o, .in = in, .add = add, .out = out};
    if (self->in == LAYOUT_PLAIN) {
        layout_to_blocked(m, in, scratch);
        job.in = scratch;
    }
    if (self->out == LAYOUT_PLAIN) {
        job.out = result;
        if (add)
            layout_to_blocked(o, add, added);
        job.add = add ? added : NULL;
    }
    bool clamps = !add && self->clamps;
    job.rows = (struct conv_depthwise){
        .in_size = {m.h, m.w},
        .out_w = o.w,
        .kernel = {s->kernel[0], s->kernel[1]},
        .stride = {s->stride[0], s->stride[1]},
        .dilation = {s->dilation[0], s->dilation[1]},
        .pad = {s->pad_begin[0], s->pad_begin[1]},
        .low = clamps ? self->low : -INFINITY,
        .high = clamps ? self->high : INFINITY,
    };
    job.step = MAX(1, MIN(o.h, ROWS_BYTES / (o.w * LANES * sizeof(float))));
    job.items = (o.h + job.step - 1) / job.step;
    double outputs = (double)(o.n * self->units * LANES) * (double)(o.h * o.w);
    double taps = (double)(s->kernel[0] * s->kernel[1]);
    /* loads and edges cost as much again as the products */
    par_for(o.n * self->units * job.items, 2 * 2 * outputs * taps, run_items, &job);
    if (self->out == LAYOUT_PLAIN)
        layout_to_plain(o, result, out);
}
