/* op_conv - Conv; three spatial axes go to op_conv_nd.c */
#include "worker/kernels/conv.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "worker/ops/broadcast.h"
#include "worker/ops/conv_nd.h"
#include "worker/ops/ops.h"
#include "worker/ops/window.h"

/* Below this many channels a plain input is cheaper to read than to convert. */
#define PLAIN_CHANNELS_MAX 7

struct conv_state {
    struct window window;
    int64_t group;
    size_t pool[2]; /* a MaxPool that graph/optimise put behind it; 0: none */
};

#define RESIDUAL 3 /* input that graph/optimise puts behind ONNX's: what is added to the result */

/* Packed weights: one plan per pair of layouts and set of pads (auto_pad depends on the map). */
struct packed {
    struct packed *next;
    struct conv_shape shape;
    bool apart; /* without the activation, which follows after what is added */
    enum layout in;
    struct conv_plan *plan;
};

/* What one plan of the graph runs: `plan` is NULL when the weights are computed by the model. */
struct conv_choice {
    const struct conv_plan *plan;
    struct conv_shape shape;
    bool apart;           /* what is added has other dims: it is done behind the convolution */
    struct array product; /* the convolution's own result then */
    uint64_t sums;        /* outputs before pooling */
    size_t scratch;       /* bytes of the kernel's scratch; behind it the arrays of apart */
};

enum status conv_check(struct node *node, struct error *why)
{
    struct conv_state *c = region_take(node->region, sizeof *c);
    node->state = c;
    c->group = attr_int(node, "group", 1);
    if (c->group < 1 || c->group > INT32_MAX)
        return bad_node(why, node, "group is %" PRId64 "; expected 1 or more", c->group);
    return window_check(node, &c->window, why);
}

bool conv_take_pool(struct node *node, const size_t size[2])
{
    struct conv_state *c = node->state;
    bool fits = c->group == 1 && size[0] <= 4 && size[0] != 3 && size[1] <= 2 && !c->pool[0];
    if (fits)
        memcpy(c->pool, size, sizeof c->pool);
    return fits;
}

uint64_t conv_sums(const struct step *step)
{
    const struct conv_state *c = step->node->state;
    const struct conv_choice *choice = step->params;
    return c->pool[0] && choice ? choice->sums : array_count(step->out[0]);
}

static bool constant_weights(const struct step *step)
{
    const struct array *bias = step_in(step, 2);
    return step->in[1]->fixed && (!bias || bias->fixed);
}

void conv_layouts(const struct step *step, enum layout *wants)
{
    const struct array *x = step->in[0];
    if (x->dtype != DTYPE_FP32 || x->rank < 3 || x->rank > 4)
        return;
    if (x->layout == LAYOUT_BLOCKED || x->dims[1] > PLAIN_CHANNELS_MAX)
        wants[0] = LAYOUT_BLOCKED;
    const struct array *z = step_in(step, RESIDUAL), *w = step->in[1];
    if (z && z->dtype == DTYPE_FP32 && z->rank == x->rank && w->rank == x->rank &&
        z->dims[1] == w->dims[0])
        wants[RESIDUAL] = LAYOUT_BLOCKED;
}

/* Dims of x, w and bias against each other. */
static enum status check_dims(const struct step *step, struct error *why)
{
    const struct array *x = step->in[0], *w = step->in[1], *bias = step_in(step, 2);
    int64_t group = ((const struct conv_state *)step->node->state)->group;
    char text[2][128];
    if (x->dtype != DTYPE_FP32 || w->dtype != DTYPE_FP32 || (bias && bias->dtype != DTYPE_FP32))
        return bad_step(why, step, "inputs are %s and %s; expected FP32", dtype_name(x->dtype),
                        dtype_name(w->dtype));
    if (x->rank != w->rank || x->rank < 3)
        return bad_step(why, step, "input %s and weights %s do not have the same rank of 3 to 5",
                        dims_text(text[0], sizeof text[0], x->dims, x->rank),
                        dims_text(text[1], sizeof text[1], w->dims, w->rank));
    if (w->dims[0] < 1 || w->dims[0] % group || w->dims[1] < 1 || w->dims[1] > INT64_MAX / group ||
        x->dims[1] != w->dims[1] * group)
        return bad_step(why, step, "input %s does not fit weights %s in %" PRId64 " groups",
                        dims_text(text[0], sizeof text[0], x->dims, x->rank),
                        dims_text(text[1], sizeof text[1], w->dims, w->rank), group);
    if (bias && (bias->rank != 1 || bias->dims[0] != w->dims[0]))
        return bad_step(why, step, "bias has shape %s; expected [%" PRId64 "]",
                        dims_text(text[0], sizeof text[0], bias->dims, bias->rank), w->dims[0]);
    return STATUS_OK;
}

static void unpack(void *list)
{
    for (struct packed *p = list; p;) {
        struct packed *next = p->next;
        conv_plan_destroy(&p->plan);
        p = next; /* the region owns the link itself */
    }
}

static struct conv_plan *pack(const struct step *step, const struct conv_choice *c)
{
    void *copies[2];
    const float *weights = pack_data(step, 1, &copies[0]), *bias = pack_data(step, 2, &copies[1]);
    struct activation act = c->apart ? ACT_NONE : step->node->act;
    struct conv_plan *plan =
        conv_plan_new(&c->shape, weights, bias, act, step->in[0]->layout, LAYOUT_BLOCKED);
    free(copies[0]);
    free(copies[1]);
    return plan;
}

/* The packed weights for this shape and these layouts, made once per node. */
static const struct conv_plan *packed_plan(struct step *step, const struct conv_choice *c)
{
    struct node *n = step->node;
    for (const struct packed *p = n->packed; p; p = p->next)
        if (memcmp(&p->shape, &c->shape, sizeof c->shape) == 0 && p->apart == c->apart &&
            p->in == step->in[0]->layout)
            return p->plan;
    struct packed *p = region_take(n->region, sizeof *p);
    *p = (struct packed){n->packed, c->shape, c->apart, step->in[0]->layout, pack(step, c)};
    n->packed = p;
    n->unpack = unpack;
    return p->plan;
}

static void kernel_shape(const struct step *step, const struct window_3d *win, struct conv_shape *s)
{
    memset(s, 0, sizeof *s); /* compared by bytes */
    s->channels_in = (size_t)step->in[0]->dims[1];
    s->channels_out = (size_t)step->in[1]->dims[0];
    s->groups = (size_t)((const struct conv_state *)step->node->state)->group;
    memcpy(s->kernel, &win->kernel[1], sizeof s->kernel);
    memcpy(s->stride, &win->stride[1], sizeof s->stride);
    memcpy(s->dilation, &win->dilation[1], sizeof s->dilation);
    memcpy(s->pad_begin, &win->pad_begin[1], sizeof s->pad_begin);
    memcpy(s->pad_end, &win->pad_end[1], sizeof s->pad_end);
    memcpy(s->pool, ((const struct conv_state *)step->node->state)->pool, sizeof s->pool);
    struct maps m = array_maps(step->in[0]);
    s->winograd = conv_winograd_tile(s, step->in[0]->layout, LAYOUT_BLOCKED, m.h, m.w);
}

/* What is added while the kernel writes has the result's dims and layout; else the convolution goes
 * to scratch first, and the output has the dims of both. */
static enum status place_residual(struct step *step, struct conv_choice *c, struct error *why)
{
    const struct array *z = step_in(step, RESIDUAL);
    struct array *out = step->out[0];
    int64_t dims[TENSOR_RANK_MAX];
    uint32_t rank;
    if (!z)
        return STATUS_OK;
    if (z->dtype != DTYPE_FP32)
        return bad_step(why, step, "what is added is %s; expected FP32", dtype_name(z->dtype));
    if (z->layout == LAYOUT_BLOCKED && z->rank == out->rank &&
        memcmp(z->dims, out->dims, z->rank * sizeof z->dims[0]) == 0)
        return STATUS_OK;
    c->apart = true;
    c->product = *out;
    struct array *both[2] = {&c->product, (struct array *)(uintptr_t)z};
    enum status s = broadcast_dims(step, both, 2, dims, &rank, why);
    return s == STATUS_OK ? out_set(step, 0, DTYPE_FP32, dims, rank, why) : s;
}

/* Elements of the result in its own layout, and of it and what is added as plain maps. */
static void apart_floats(const struct step *step, const struct conv_choice *c, size_t floats[3])
{
    size_t unit = TENSOR_ALIGN / sizeof(float);
    floats[0] = array_stored(&c->product);
    floats[1] = array_count(&c->product);
    floats[2] = array_count(step->in[RESIDUAL]);
    for (int i = 0; i < 3; i++)
        floats[i] = (floats[i] + unit - 1) / unit * unit;
}

static size_t apart_bytes(const struct step *step, const struct conv_choice *c)
{
    size_t floats[3];
    if (!c->apart)
        return 0;
    apart_floats(step, c, floats);
    return (floats[0] + floats[1] + floats[2]) * sizeof(float);
}

/* The convolution is in scratch: add the rest. */
static void add_apart(const struct step *step, const struct conv_choice *c)
{
    size_t floats[3];
    struct array product = c->product, z = *step->in[RESIDUAL];
    float *at = (void *)((char *)step->scratch + c->scratch);
    apart_floats(step, c, floats);
    product.data = at + floats[0];
    layout_to_plain(array_maps(&product), at, product.data);
    if (z.layout == LAYOUT_BLOCKED) {
        z.data = at + floats[0] + floats[1];
        layout_to_plain(array_maps(&z), step->in[RESIDUAL]->data, z.data);
    }
    struct array *out = step->out[0];
    binary_fp32(BINARY_ADD, &product, &z, out);
    vec_unary(step->node->act, array_count(out), out->data, out->data);
}

enum status conv_infer(struct step *step, struct error *why)
{
    const struct conv_state *c = step->node->state;
    struct conv_choice *choice = region_take(step->region, sizeof *choice);
    struct window_3d win;
    enum status s = check_dims(step, why);
    if (s == STATUS_OK)
        s = window_resolve(step, &c->window, &step->in[1]->dims[2], &win, why);
    if (s != STATUS_OK)
        return s;
    const struct array *x = step->in[0];
    if (c->window.kernel_len && memcmp(c->window.kernel, &step->in[1]->dims[2],
                                       c->window.kernel_len * sizeof(int64_t)) != 0)
        return bad_step(why, step, "kernel_shape differs from the weights' own dims");
    if (x->rank == 5)
        return conv_nd_infer(step, &win, why);
    kernel_shape(step, &win, &choice->shape);
    struct maps m = array_maps(x);
    int64_t dims[4] = {x->dims[0], step->in[1]->dims[0]};
    size_t size[2] = {conv_out_size(&choice->shape, 0, m.h), conv_out_size(&choice->shape, 1, m.w)};
    choice->sums = m.n * choice->shape.channels_out * size[0] * size[1];
    for (size_t i = 0; i < 2; i++)
        size[i] /= MAX(1, c->pool[i]);
    for (uint32_t i = 2; i < x->rank; i++)
        dims[i] = (int64_t)size[i - 2 + (4 - x->rank)];
    if (!size[0] || !size[1])
        return bad_step(why, step, "a window is larger than the padded input");
    step->params = choice;
    s = out_blocked(step, 0, dims, x->rank, why);
    if (s == STATUS_OK)
        s = place_residual(step, choice, why);
    if (s != STATUS_OK)
        return s;
    if (constant_weights(step)) {
        choice->plan = packed_plan(step, choice);
        step->packed = true;
        choice->scratch = conv_scratch_bytes(choice->plan, m);
        step->node->kernel = conv_plan_name(choice->plan);
    }
    choice->scratch = (choice->scratch + TENSOR_ALIGN - 1) / TENSOR_ALIGN * TENSOR_ALIGN;
    step->scratch_bytes = choice->scratch + apart_bytes(step, choice);
    return STATUS_OK;
}

enum status conv_compute(const struct step *step, struct error *why)
{
    if (step->in[0]->rank == 5)
        return conv_nd_compute(step, why);
    const struct conv_choice *choice = step->params;
    const struct array *z = choice->apart ? NULL : step_in(step, RESIDUAL);
    struct maps m = array_maps(step->in[0]);
    float *out =
        choice->apart ? (void *)((char *)step->scratch + choice->scratch) : step->out[0]->data;
    if (choice->plan) {
        conv_run(choice->plan, m, step->in[0]->data, z ? z->data : NULL, out, step->scratch);
        if (choice->apart)
            add_apart(step, choice);
        return STATUS_OK;
    }
    /* Weights that the model computes are packed anew in each run: the one case that allocates. */
    struct conv_plan *plan = pack(step, choice);
    void *scratch = xaligned(conv_scratch_bytes(plan, m));
    conv_run(plan, m, step->in[0]->data, z ? z->data : NULL, out, scratch);
    free(scratch);
    conv_plan_destroy(&plan);
    if (choice->apart)
        add_apart(step, choice);
    return STATUS_OK;
}

/* One image at a time, with weights that are the same for all. */
void conv_rows(const struct rows_step *s, const struct rows_at *in, struct rows_at *out)
{
    for (uint32_t i = 1; i < s->step->in_len; i++)
        if (in[i].rows != ROWS_NONE && i != RESIDUAL)
            return;
    const struct array *x = s->step->in[0], *z = step_in(s->step, RESIDUAL);
    if (z && (z->rank != x->rank || rows_axis(s, z, in[RESIDUAL]) != 0))
        return;
    if (rows_axis(s, x, in[0]) == 0)
        out[0] = in[0];
}
