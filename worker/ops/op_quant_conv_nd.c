/* op_quant_conv_nd - ConvInteger and QLinearConv with three spatial axes: windows as rows, times
 * the weights; see op_quant_conv.c */
#include <string.h>

#include "worker/kernels/par.h"
#include "worker/ops/ops.h"
#include "worker/ops/patches.h"
#include "worker/ops/quant.h"
#include "worker/ops/quant_conv.h"
#include "worker/ops/scalar.h"

#define SLICE 64 /* window positions at once */

struct quant_conv {
    struct patches patches; /* of one group */
    size_t groups, k, n;    /* n: output channels of a group */
};

enum status quant_conv_nd_shape(struct step *step, const struct window_3d *window, int64_t groups,
                                struct error *why)
{
    struct quant_operands o = quant_operands(step);
    struct quant_conv *q = region_take(step->region, sizeof *q);
    q->patches.window = *window;
    uint32_t rank = o.x->rank, axes = rank - 2;
    int64_t dims[2 + SPATIAL_MAX] = {o.x->dims[0], o.w->dims[0]};
    q->groups = (size_t)groups;
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
    struct quant_operands o;
    const struct quant_conv *q;
    const int16_t *weights;
    char *rows; /* scratch of all threads */
    struct array *out;
};

static void put(const struct conv_job *j, size_t channel, size_t at, int32_t sum)
{
    const struct quant_operands *o = &j->o;
    if (!o->y_scale) {
        ((int32_t *)j->out->data)[at] = sum;
        return;
    }
    sum += o->bias ? ((const int32_t *)o->bias->data)[channel] : 0;
    float scaled = (float)sum * quant_scale(o, channel);
    double y = __builtin_nearbyint((double)scaled) + quant_zero(o->y_zero, 0);
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

void quant_conv_nd_compute(const struct step *step)
{
    const struct quant_conv *q = step->params;
    struct quant_operands o = quant_operands(step);
    int16_t *weights = step->scratch;
    size_t channels = (size_t)o.w->dims[0], positions = patches_positions(&q->patches);
    for (size_t c = 0; c < channels; c++)
        quant_widen(o.w, c * q->k, 1, q->k, quant_zero(o.w_zero, c), weights + c * q->k);
    struct conv_job job = {o, q, weights, (char *)(weights + channels * q->k), step->out[0]};
    size_t items = (size_t)o.x->dims[0] * q->groups * ((positions + SLICE - 1) / SLICE);
    par_for(items, 2.0 * (double)array_count(step->out[0]) * (double)q->k, conv_items, &job);
}
