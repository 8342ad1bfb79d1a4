/* op_quant_conv - ConvInteger and QLinearConv; three spatial axes go to op_quant_conv_nd.c */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "worker/kernels/bytes.h"
#include "worker/kernels/bytes_conv.h"
#include "worker/ops/ops.h"
#include "worker/ops/quant.h"
#include "worker/ops/quant_conv.h"

struct quant_conv_state {
    struct window window;
    int64_t group;
};

/* Packed weights: one plan per layout and set of pads (auto_pad depends on the map). */
struct packed {
    struct packed *next;
    struct conv_shape shape;
    enum layout in;
    struct bytes_conv *plan;
};

/* What one plan of the graph runs: `plan` is NULL when the model computes some of the numbers. */
struct choice {
    struct conv_shape shape;
    const struct bytes_conv *plan;
};

struct quant_operands quant_operands(const struct step *step)
{
    struct quant_operands o = {.x = NULL};
    if (step->node->op->variant == VARIANT_NONE) {
        o.x = step->in[INT_X];
        o.w = step->in[INT_W];
        o.x_zero = step_in(step, INT_X_ZERO);
        o.w_zero = step_in(step, INT_W_ZERO);
        return o;
    }
    o.x = step->in[LIN_X];
    o.w = step->in[LIN_W];
    o.x_zero = step->in[LIN_X_ZERO];
    o.w_zero = step->in[LIN_W_ZERO];
    o.x_scale = step->in[LIN_X_SCALE];
    o.w_scale = step->in[LIN_W_SCALE];
    o.y_scale = step->in[LIN_Y_SCALE];
    o.y_zero = step->in[LIN_Y_ZERO];
    o.bias = step_in(step, LIN_BIAS);
    return o;
}

static float float_at(const struct array *a, size_t i)
{
    float x;
    memcpy(&x, (const char *)a->data + (array_count(a) > 1 ? i : 0) * sizeof x, sizeof x);
    return x;
}

float quant_scale(const struct quant_operands *o, size_t k)
{
    return float_at(o->x_scale, 0) * float_at(o->w_scale, k) / float_at(o->y_scale, 0);
}

enum status quant_conv_check(struct node *node, struct error *why)
{
    struct quant_conv_state *c = region_take(node->region, sizeof *c);
    node->state = c;
    c->group = attr_int(node, "group", 1);
    if (c->group < 1 || c->group > INT32_MAX)
        return bad_node(why, node, "group is %" PRId64 "; expected 1 or more", c->group);
    return window_check(node, &c->window, why);
}

/* Maps of one or two axes: pixel by pixel, but for a first layer that reads them as they come. */
void quant_conv_layouts(const struct step *step, enum layout *wants)
{
    const struct quant_conv_state *c = step->node->state;
    struct quant_operands o = quant_operands(step);
    struct window_3d win;
    if (!quant_is_byte(o.x->dtype) || o.x->rank < 3 || o.x->rank > 4 || o.w->rank != o.x->rank ||
        window_resolve(step, &c->window, &o.w->dims[2], &win, NULL) != STATUS_OK)
        return;
    struct conv_shape s = {
        .channels_in = (size_t)o.x->dims[1],
        .groups = (size_t)c->group,
        .kernel = {win.kernel[1], win.kernel[2]},
        .dilation = {win.dilation[1], win.dilation[2]},
    };
    if (o.x->layout == LAYOUT_LAST || !bytes_conv_reads_plain(&s))
        wants[0] = LAYOUT_LAST; /* the input stands first in both operators */
}

static enum status check_operands(const struct step *step, const struct quant_operands *o,
                                  int64_t group, struct error *why)
{
    const struct array *x = o->x, *w = o->w;
    char text[2][128];
    bool linear = o->y_scale != NULL;
    if (!quant_is_byte(x->dtype) || !quant_is_byte(w->dtype) ||
        (o->x_zero && (o->x_zero->dtype != x->dtype || array_count(o->x_zero) != 1)) ||
        (o->w_zero && o->w_zero->dtype != w->dtype) ||
        (linear && (!quant_is_byte(o->y_zero->dtype) || array_count(o->y_zero) != 1 ||
                    o->x_scale->dtype != DTYPE_FP32 || o->w_scale->dtype != DTYPE_FP32 ||
                    o->y_scale->dtype != DTYPE_FP32 || array_count(o->x_scale) != 1 ||
                    array_count(o->y_scale) != 1)))
        return bad_step(why, step, "expected bytes with zero points of their type%s",
                        linear ? " and FP32 scales" : "");
    bool fits = x->rank == w->rank && x->rank >= 3 && w->dims[0] >= 1 && w->dims[1] >= 1 &&
                w->dims[0] % group == 0 && w->dims[1] <= INT64_MAX / group &&
                x->dims[1] == w->dims[1] * group;
    size_t channels = fits ? (size_t)w->dims[0] : 0;
    fits = fits && quant_per(o->w_zero, channels) && quant_per(o->w_scale, channels) &&
           (!o->bias || (o->bias->dtype == DTYPE_INT32 && array_count(o->bias) == channels));
    if (!fits)
        return bad_step(why, step, "input %s does not fit weights %s and their parameters",
                        dims_text(text[0], sizeof text[0], x->dims, x->rank),
                        dims_text(text[1], sizeof text[1], w->dims, w->rank));
    return STATUS_OK;
}

/* What an activation behind the layer leaves of the output's bytes: it grows with its input, so it
 * limits them to what it makes of the least and the largest. */
static void limits(const struct step *step, const struct quant_operands *o,
                   struct bytes_conv_numbers *n)
{
    enum dtype type = o->y_zero->dtype;
    struct activation act = step->node->act;
    float ends[2] = {-INFINITY, INFINITY};
    if (act.op == UNARY_RELU)
        ends[0] = 0;
    if (act.op == UNARY_CLIP) {
        ends[0] = act.a;
        ends[1] = act.b;
    }
    struct bytes_scale s = {type, float_at(o->y_scale, 0), n->y_zero};
    uint8_t q[2];
    bytes_from_fp32(s, 2, ends, q);
    n->low = type == DTYPE_INT8 ? (int8_t)q[0] : q[0];
    n->high = type == DTYPE_INT8 ? (int8_t)q[1] : q[1];
    if (act.op == UNARY_IDENTITY) {
        n->low = type == DTYPE_INT8 ? INT8_MIN : 0;
        n->high = n->low + UINT8_MAX;
    }
}

static struct bytes_conv *pack(const struct step *step, const struct conv_shape *shape)
{
    struct quant_operands o = quant_operands(step);
    size_t channels = shape->channels_out;
    int32_t *zeros = xcalloc(channels, sizeof *zeros), *bias = xcalloc(channels, sizeof *bias);
    float *scales = xcalloc(channels, sizeof *scales);
    struct bytes_conv_numbers n = {
        .x_type = o.x->dtype,
        .w_type = o.w->dtype,
        .y_type = o.y_scale ? o.y_zero->dtype : DTYPE_INT32,
        .x_zero = quant_zero(o.x_zero, 0),
        .w_zeros = zeros,
        .bias = bias,
        .scales = scales,
        .y_zero = quant_zero(o.y_zero, 0),
    };
    for (size_t k = 0; k < channels; k++) {
        zeros[k] = quant_zero(o.w_zero, k);
        if (o.bias)
            memcpy(&bias[k], (const char *)o.bias->data + k * sizeof *bias, sizeof *bias);
        if (o.y_scale)
            scales[k] = quant_scale(&o, k);
    }
    if (o.y_scale)
        limits(step, &o, &n);
    struct bytes_conv *plan = bytes_conv_new(shape, &n, o.w->data, o.x->layout);
    free(zeros);
    free(bias);
    free(scales);
    return plan;
}

static void unpack(void *list)
{
    for (struct packed *p = list; p;) {
        struct packed *next = p->next;
        bytes_conv_destroy(&p->plan);
        p = next; /* the region owns the link itself */
    }
}

/* The packed weights for this shape and layout, made once per node. */
static const struct bytes_conv *packed_plan(struct step *step, const struct conv_shape *shape)
{
    struct node *n = step->node;
    for (const struct packed *p = n->packed; p; p = p->next)
        if (memcmp(&p->shape, shape, sizeof *shape) == 0 && p->in == step->in[0]->layout)
            return p->plan;
    struct packed *p = region_take(n->region, sizeof *p);
    *p = (struct packed){n->packed, *shape, step->in[0]->layout, pack(step, shape)};
    n->packed = p;
    n->unpack = unpack;
    return p->plan;
}

/* All but the input itself. */
static bool constant_numbers(const struct step *step)
{
    for (uint32_t i = 1; i < step->in_len; i++)
        if (step->in[i] && !step->in[i]->fixed)
            return false;
    return true;
}

static void kernel_shape(const struct quant_operands *o, const struct window_3d *win, int64_t group,
                         struct conv_shape *s)
{
    memset(s, 0, sizeof *s); /* compared by bytes */
    s->channels_in = (size_t)o->x->dims[1];
    s->channels_out = (size_t)o->w->dims[0];
    s->groups = (size_t)group;
    memcpy(s->kernel, &win->kernel[1], sizeof s->kernel);
    memcpy(s->stride, &win->stride[1], sizeof s->stride);
    memcpy(s->dilation, &win->dilation[1], sizeof s->dilation);
    memcpy(s->pad_begin, &win->pad_begin[1], sizeof s->pad_begin);
    memcpy(s->pad_end, &win->pad_end[1], sizeof s->pad_end);
}

enum status quant_conv_shape(struct step *step, struct error *why)
{
    const struct quant_conv_state *c = step->node->state;
    struct quant_operands o = quant_operands(step);
    struct window_3d win;
    enum status s = check_operands(step, &o, c->group, why);
    if (s == STATUS_OK)
        s = window_resolve(step, &c->window, &o.w->dims[2], &win, why);
    if (s != STATUS_OK)
        return s;
    if (o.x->rank > 4)
        return quant_conv_nd_shape(step, &win, c->group, why);
    struct choice *choice = region_take(step->region, sizeof *choice);
    struct maps m = array_maps(o.x);
    step->params = choice;
    kernel_shape(&o, &win, c->group, &choice->shape);
    int64_t dims[4] = {o.x->dims[0], o.w->dims[0]};
    size_t size[2] = {conv_out_size(&choice->shape, 0, m.h), conv_out_size(&choice->shape, 1, m.w)};
    if (!size[0] || !size[1])
        return bad_step(why, step, "the kernel is larger than the padded input");
    for (uint32_t i = 2; i < o.x->rank; i++)
        dims[i] = (int64_t)size[i - 2 + (4 - o.x->rank)];
    if (constant_numbers(step)) {
        choice->plan = packed_plan(step, &choice->shape);
        step->packed = true;
        step->scratch_bytes = bytes_conv_scratch_bytes(choice->plan, m);
        step->node->kernel = bytes_conv_name(choice->plan);
    }
    return out_last(step, 0, o.y_scale ? o.y_zero->dtype : DTYPE_INT32, dims, o.x->rank, why);
}

enum status quant_conv_compute(const struct step *step, struct error *why)
{
    (void)why;
    const struct array *x = step->in[0];
    if (x->rank > 4) {
        quant_conv_nd_compute(step);
        return STATUS_OK;
    }
    const struct choice *choice = step->params;
    struct maps m = array_maps(x);
    if (choice->plan) {
        bytes_conv_run(choice->plan, m, x->data, step->out[0]->data, step->scratch);
        return STATUS_OK;
    }
    /* Numbers that the model computes are packed anew in each run: the one case that allocates. */
    struct bytes_conv *plan = pack(step, &choice->shape);
    void *scratch = xaligned(bytes_conv_scratch_bytes(plan, m));
    bytes_conv_run(plan, m, x->data, step->out[0]->data, scratch);
    free(scratch);
    bytes_conv_destroy(&plan);
    return STATUS_OK;
}
