/* op_quant_conv - ConvInteger and QLinearConv: exact sums over windows of bytes */
#include <inttypes.h>
#include <string.h>

#include "worker/kernels/par.h"
#include "worker/ops/ops.h"
#include "worker/ops/patches.h"
#include "worker/ops/quant.h"
#include "worker/ops/scalar.h"

#define SLICE 64 /* window positions at once */

/* Where the operands stand; ConvInteger has no scales. */
enum { INT_X, INT_W, INT_X_ZERO, INT_W_ZERO };
enum {
    LIN_X,
    LIN_X_SCALE,
    LIN_X_ZERO,
    LIN_W,
    LIN_W_SCALE,
    LIN_W_ZERO,
    LIN_Y_SCALE,
    LIN_Y_ZERO,
    LIN_BIAS
};

struct operands {
    const struct array *x, *w, *x_zero, *w_zero, *x_scale, *w_scale, *y_scale, *y_zero, *bias;
};

static struct operands operands_of(const struct step *step)
{
    struct operands o = {.x = NULL};
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

struct quant_conv_state {
    struct window window;
    int64_t group;
};

struct quant_conv {
    struct patches patches; /* of one group */
    size_t groups, k, n;    /* n: output channels of a group */
};

enum status quant_conv_check(struct node *node, struct error *why)
{
    struct quant_conv_state *c = region_take(node->region, sizeof *c);
    node->state = c;
    c->group = attr_int(node, "group", 1);
    if (c->group < 1 || c->group > INT32_MAX)
        return bad_node(why, node, "group is %" PRId64 "; expected 1 or more", c->group);
    return window_check(node, &c->window, why);
}

static enum status check_operands(const struct step *step, const struct operands *o, int64_t group,
                                  struct error *why)
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

enum status quant_conv_shape(struct step *step, struct error *why)
{
    const struct quant_conv_state *c = step->node->state;
    struct operands o = operands_of(step);
    struct quant_conv *q = region_take(step->region, sizeof *q);
    enum status s = check_operands(step, &o, c->group, why);
    if (s == STATUS_OK)
        s = window_resolve(step, &c->window, &o.w->dims[2], &q->patches.window, why);
    if (s != STATUS_OK)
        return s;
    uint32_t rank = o.x->rank, axes = rank - 2;
    int64_t dims[2 + SPATIAL_MAX] = {o.x->dims[0], o.w->dims[0]};
    q->groups = (size_t)c->group;
    q->patches.channels = (size_t)o.w->dims[1];
    q->n = (size_t)o.w->dims[0] / q->groups;
    window_sizes(o.x, q->patches.map);
    for (uint32_t i = 0; i < SPATIAL_MAX; i++) {
        q->patches.out[i] = patches_out(&q->patches, i);
        if (!q->patches.out[i])
            return bad_step(why, step, "the kernel is larger than the padded input");
        if (i + axes >= SPATIAL_MAX)
            dims[2 + i + axes - SPATIAL_MAX] = (int64_t)q->patches.out[i];
    }
    q->k = patches_row(&q->patches);
    step->params = q;
    /* all weights widened; rows of bytes and the same widened, for each thread */
    step->scratch_bytes = (size_t)o.w->dims[0] * q->k * sizeof(int16_t) +
                          par_slots() * SLICE * q->k * (sizeof(int16_t) + 1);
    return out_set(step, 0, o.y_zero ? o.y_zero->dtype : DTYPE_INT32, dims, rank, why);
}

struct conv_job {
    struct operands o;
    const struct quant_conv *q;
    const int16_t *weights;
    char *rows; /* scratch of all threads */
    struct array *out;
};

static void put(const struct conv_job *j, size_t channel, size_t at, int32_t sum)
{
    const struct operands *o = &j->o;
    if (!o->y_scale) {
        ((int32_t *)j->out->data)[at] = sum;
        return;
    }
    const float *w_scale = o->w_scale->data;
    double by = (double)*(const float *)o->x_scale->data *
                (double)w_scale[array_count(o->w_scale) > 1 ? channel : 0] /
                (double)*(const float *)o->y_scale->data;
    sum += o->bias ? ((const int32_t *)o->bias->data)[channel] : 0;
    double y = __builtin_nearbyint((double)sum * by) + quant_zero(o->y_zero, 0);
    scalar_set_int(j->out->dtype, j->out->data, at, quant_round(j->out->dtype, y));
}

/* An item is a slice of positions of one group of one image. */
static void conv_items(void *arg, size_t slot, size_t begin, size_t end)
{
    const struct conv_job *j = arg;
    const struct quant_conv *q = j->q;
    size_t positions = patches_positions(&q->patches), slices = (positions + SLICE - 1) / SLICE;
    char *own = j->rows + slot * SLICE * q->k * (sizeof(int16_t) + 1);
    int16_t *wide = (int16_t *)(void *)own;
    struct array bytes = {.dtype = j->o.x->dtype, .data = own + SLICE * q->k * sizeof(int16_t)};
    int32_t zero = quant_zero(j->o.x_zero, 0);
    char pad = (char)zero;
    for (size_t i = begin; i < end; i++) {
        size_t first = i % slices * SLICE, last = MIN(first + SLICE, positions);
        size_t piece = i / slices, group = piece % q->groups;
        const char *maps = (const char *)j->o.x->data + piece * patches_maps(&q->patches);
        patches_gather(&q->patches, 1, maps, &pad, first, last, bytes.data);
        quant_widen(&bytes, 0, 1, (last - first) * q->k, zero, wide);
        for (size_t c = 0; c < q->n; c++)
            for (size_t p = first; p < last; p++)
                put(j, group * q->n + c, (piece * q->n + c) * positions + p,
                    quant_dot(q->k, wide + (p - first) * q->k,
                              j->weights + (group * q->n + c) * q->k));
    }
}

enum status quant_conv_compute(const struct step *step, struct error *why)
{
    (void)why;
    const struct quant_conv *q = step->params;
    struct operands o = operands_of(step);
    int16_t *weights = step->scratch;
    size_t channels = (size_t)o.w->dims[0], positions = patches_positions(&q->patches);
    for (size_t c = 0; c < channels; c++)
        quant_widen(o.w, c * q->k, 1, q->k, quant_zero(o.w_zero, c), weights + c * q->k);
    struct conv_job job = {o, q, weights, (char *)(weights + channels * q->k), step->out[0]};
    size_t items = (size_t)o.x->dims[0] * q->groups * ((positions + SLICE - 1) / SLICE);
    par_for(items, 2.0 * (double)array_count(step->out[0]) * (double)q->k, conv_items, &job);
    return STATUS_OK;
}
