/* op_conv_nd - Conv with three spatial axes and ConvTranspose: patches times packed weights
 *
 * Both work on slices of window positions, so that scratch stays small; a slice depends on the
 * layer's shape alone, and so does the order of each sum. */
#include <inttypes.h>
#include <stdlib.h>

#include "worker/kernels/gemm.h"
#include "worker/kernels/par.h"
#include "worker/kernels/vector.h"
#include "worker/ops/conv_nd.h"
#include "worker/ops/ops.h"
#include "worker/ops/patches.h"

#define SLICE_FLOATS ((size_t)1 << 18) /* of a slice of the matrix: 1 MiB */

/* One group of one image: rows [positions][k] times packed [k][n]. */
struct product_nd {
    struct patches patches;
    size_t groups, k, n;
    size_t slice;         /* positions at once */
    size_t packed_floats; /* of one group's weights */
    const float *packed;  /* all groups'; NULL: packed in scratch in each run */
};

static size_t aligned_floats(size_t floats)
{
    size_t unit = TENSOR_ALIGN / sizeof(float);
    return (floats + unit - 1) / unit * unit;
}

static void pack_groups(const struct product_nd *p, const float *weights, bool k_inside,
                        float *packed)
{
    for (size_t g = 0; g < p->groups; g++) {
        /* [n][k], or [k][n] */
        struct matrix b = {weights + g * p->n * p->k, k_inside ? 1 : p->n, k_inside ? p->k : 1};
        gemm_pack(p->k, p->n, b, 1, packed + g * p->packed_floats);
    }
}

/* The weights, once per node when they are constant; scratch for those and for `wide` floats per
 * position. */
static enum status place_weights(struct step *step, struct product_nd *p, bool k_inside,
                                 size_t wide, struct error *why)
{
    struct node *n = step->node;
    p->packed_floats = aligned_floats(gemm_packed_bytes(p->k, p->n) / sizeof(float));
    p->slice = MAX(16, SLICE_FLOATS / MAX(wide, 1));
    p->slice = MIN(p->slice, MAX(1, patches_positions(&p->patches)));
    if (p->groups * p->packed_floats > ARRAY_BYTES_MAX / sizeof(float) ||
        wide > ARRAY_BYTES_MAX / sizeof(float) / p->slice)
        return bad_step(why, step, "the kernel is too large");
    step->scratch_bytes = p->slice * wide * sizeof(float);
    if (!step->in[1]->fixed) {
        step->scratch_bytes =
            (aligned_floats(p->slice * wide) + p->groups * p->packed_floats) * sizeof(float);
        return STATUS_OK;
    }
    if (!n->packed) {
        void *copy;
        const float *weights = pack_data(step, 1, &copy);
        n->packed = region_take(n->region, MAX(p->groups * p->packed_floats * sizeof(float), KIB));
        pack_groups(p, weights, k_inside, n->packed);
        free(copy);
    }
    p->packed = n->packed;
    return STATUS_OK;
}

static const float *weights_of(const struct step *step, const struct product_nd *p, bool k_inside,
                               size_t wide)
{
    if (p->packed)
        return p->packed;
    float *packed = (float *)step->scratch + aligned_floats(p->slice * wide);
    pack_groups(p, step->in[1]->data, k_inside, packed);
    return packed;
}

enum status conv_nd_infer(struct step *step, const struct window_3d *window, struct error *why)
{
    const struct array *x = step->in[0], *w = step->in[1];
    struct product_nd *p = region_take(step->region, sizeof *p);
    int64_t dims[2 + SPATIAL_MAX] = {x->dims[0], w->dims[0]};
    p->patches.channels = (size_t)w->dims[1];
    p->groups = (size_t)(x->dims[1] / w->dims[1]);
    p->patches.window = *window;
    window_sizes(x, p->patches.map);
    for (uint32_t i = 0; i < SPATIAL_MAX; i++) {
        p->patches.out[i] = patches_out(&p->patches, i);
        dims[2 + i] = (int64_t)p->patches.out[i];
        if (!p->patches.out[i])
            return bad_step(why, step, "the kernel is larger than the padded input");
    }
    p->k = patches_row(&p->patches);
    p->n = (size_t)w->dims[0] / p->groups;
    step->params = p;
    enum status s = place_weights(step, p, true, p->k + p->n, why);
    step->node->kernel = "gemm of patches";
    return s == STATUS_OK ? out_set(step, 0, DTYPE_FP32, dims, 5, why) : s;
}

/* Rows of the matrix of one slice, filled by all threads. */
struct fill {
    const struct patches *patches;
    const float *maps;
    float *rows;
    size_t first;
};

static void fill_rows_of(void *arg, size_t slot, size_t begin, size_t end)
{
    static const float zero = 0;
    const struct fill *f = arg;
    (void)slot;
    patches_gather(f->patches, sizeof(float), f->maps, &zero, f->first + begin, f->first + end,
                   f->rows + begin * patches_row(f->patches));
}

static void conv_slice(const struct step *step, const struct product_nd *p, const float *packed,
                       size_t image, size_t g, size_t first, size_t count)
{
    const struct array *bias = step_in(step, 2);
    size_t positions = patches_positions(&p->patches);
    float *rows = step->scratch, *sums = rows + p->slice * p->k;
    size_t maps = (image * p->groups + g) * patches_maps(&p->patches);
    struct fill f = {&p->patches, (const float *)step->in[0]->data + maps, rows, first};
    par_for(count, (double)(count * p->k), fill_rows_of, &f);
    struct gemm product = {.m = count,
                           .n = p->n,
                           .k = p->k,
                           .a = {rows, p->k, 1},
                           .packed = packed + g * p->packed_floats,
                           .bias = bias ? (const float *)bias->data + g * p->n : NULL,
                           .act = step->node->act,
                           .c = sums,
                           .c_step = p->n};
    gemm_run(&product);
    float *out = (float *)step->out[0]->data + (image * p->groups + g) * p->n * positions + first;
    for (size_t k = 0; k < p->n; k++)
        for (size_t i = 0; i < count; i++)
            out[k * positions + i] = sums[i * p->n + k];
}

enum status conv_nd_compute(const struct step *step, struct error *why)
{
    (void)why;
    const struct product_nd *p = step->params;
    const float *packed = weights_of(step, p, true, p->k + p->n);
    size_t positions = patches_positions(&p->patches);
    for (size_t image = 0; image < (size_t)step->in[0]->dims[0]; image++)
        for (size_t g = 0; g < p->groups; g++)
            for (size_t i = 0; i < positions; i += p->slice)
                conv_slice(step, p, packed, image, g, i, MIN(p->slice, positions - i));
    return STATUS_OK;
}

/* ConvTranspose: each input position times the weights gives a patch of the output. */
struct transpose_state {
    struct window window;
    int64_t group;
    uint32_t extra_len, shape_len;
    int64_t extra[SPATIAL_MAX]; /* output_padding */
    int64_t shape[SPATIAL_MAX]; /* output_shape */
};

static enum status spatial_numbers(struct node *node, const char *name, int64_t *into,
                                   uint32_t *len, struct error *why)
{
    size_t n;
    const int64_t *given = attr_ints(node, name, &n);
    if (n > SPATIAL_MAX)
        return bad_node(why, node, "%s has %zu numbers; at most %d are supported", name, n,
                        SPATIAL_MAX);
    for (size_t i = 0; i < n; i++) {
        if (given[i] < 0 || given[i] > INT32_MAX)
            return bad_node(why, node, "%s has %" PRId64, name, given[i]);
        into[i] = given[i];
    }
    *len = (uint32_t)n;
    return STATUS_OK;
}

enum status conv_transpose_check(struct node *node, struct error *why)
{
    struct transpose_state *t = region_take(node->region, sizeof *t);
    node->state = t;
    t->group = attr_int(node, "group", 1);
    if (t->group < 1 || t->group > INT32_MAX)
        return bad_node(why, node, "group is %" PRId64 "; expected 1 or more", t->group);
    enum status s = window_check(node, &t->window, why);
    if (s == STATUS_OK)
        s = spatial_numbers(node, "output_padding", t->extra, &t->extra_len, why);
    if (s == STATUS_OK)
        s = spatial_numbers(node, "output_shape", t->shape, &t->shape_len, why);
    return s;
}

/* Size of the output along spatial axis `i` of `axes`, and the pads when they follow from it. */
static enum status out_size(const struct step *step, struct patches *p, uint32_t i, uint32_t axes,
                            struct error *why)
{
    const struct transpose_state *t = step->node->state;
    struct window_3d *w = &p->window;
    uint32_t at = SPATIAL_MAX - axes + i;
    int64_t extra = t->extra_len ? t->extra[i] : 0, in = (int64_t)p->out[at];
    int64_t stride = (int64_t)w->stride[at];
    if (in > ((int64_t)1 << 40) / stride)
        return bad_step(why, step, "the output is too large");
    int64_t whole =
        stride * (in - 1) + extra + (int64_t)((w->kernel[at] - 1) * w->dilation[at] + 1);
    bool same =
        t->window.auto_pad == AUTO_PAD_SAME_UPPER || t->window.auto_pad == AUTO_PAD_SAME_LOWER;
    int64_t size = whole - (int64_t)(w->pad_begin[at] + w->pad_end[at]);
    if (t->shape_len || same) {
        size = t->shape_len ? t->shape[i] : in * stride;
        int64_t total = MAX(0, whole - size);
        bool upper = t->window.auto_pad == AUTO_PAD_SAME_UPPER;
        w->pad_begin[at] = (size_t)(upper ? total / 2 : total - total / 2);
        w->pad_end[at] = (size_t)total - w->pad_begin[at];
    }
    if (size < 1)
        return bad_step(why, step, "the pads leave nothing of axis %u", i);
    p->map[at] = (size_t)size;
    return STATUS_OK;
}

enum status conv_transpose_shape(struct step *step, struct error *why)
{
    const struct transpose_state *t = step->node->state;
    const struct array *x = step->in[0], *w = step->in[1], *bias = step_in(step, 2);
    struct product_nd *p = region_take(step->region, sizeof *p);
    char text[2][128];
    if (x->dtype != DTYPE_FP32 || w->dtype != DTYPE_FP32 || (bias && bias->dtype != DTYPE_FP32))
        return bad_step(why, step, "inputs are %s and %s; expected FP32", dtype_name(x->dtype),
                        dtype_name(w->dtype));
    if (x->rank < 3 || x->rank != w->rank || x->dims[1] != w->dims[0] || x->dims[1] % t->group ||
        w->dims[0] < 1 || w->dims[1] < 1 || w->dims[1] > INT64_MAX / t->group ||
        (bias && (bias->rank != 1 || bias->dims[0] != w->dims[1] * t->group)))
        return bad_step(why, step, "input %s does not fit weights %s in %" PRId64 " groups",
                        dims_text(text[0], sizeof text[0], x->dims, x->rank),
                        dims_text(text[1], sizeof text[1], w->dims, w->rank), t->group);
    enum status s = window_resolve(step, &t->window, &w->dims[2], &p->patches.window, why);
    uint32_t axes = x->rank - 2;
    if (s != STATUS_OK)
        return s;
    if ((t->extra_len && t->extra_len != axes) || (t->shape_len && t->shape_len != axes))
        return bad_step(why, step, "output_padding or output_shape do not have %u numbers", axes);
    window_sizes(x, p->patches.out);
    p->patches.map[0] = p->patches.map[1] = 1;
    p->patches.channels = (size_t)w->dims[1];
    int64_t dims[2 + SPATIAL_MAX] = {x->dims[0], w->dims[1] * t->group};
    for (uint32_t i = 0; i < axes && s == STATUS_OK; i++) {
        s = out_size(step, &p->patches, i, axes, why);
        dims[2 + i] = (int64_t)p->patches.map[SPATIAL_MAX - axes + i];
    }
    p->groups = (size_t)t->group;
    p->k = (size_t)x->dims[1] / p->groups;
    p->n = patches_row(&p->patches);
    step->params = p;
    if (s == STATUS_OK)
        s = place_weights(step, p, false, p->n, why);
    step->packed = p->packed != NULL;
    step->node->kernel = "gemm to patches";
    return s == STATUS_OK ? out_set(step, 0, DTYPE_FP32, dims, x->rank, why) : s;
}

/* Channels take their patches, each in the order of positions. */
struct spread {
    const struct patches *patches;
    const float *rows;
    size_t first, end;
    float *maps;
};

static void spread_channels(void *arg, size_t slot, size_t begin, size_t end)
{
    const struct spread *s = arg;
    (void)slot;
    for (size_t c = begin; c < end; c++)
        patches_scatter(s->patches, c, s->rows, s->first, s->end, s->maps);
}

static void transpose_group(const struct step *step, const struct product_nd *p,
                            const float *packed, size_t image, size_t g)
{
    const struct array *bias = step_in(step, 2);
    size_t positions = patches_positions(&p->patches), maps = patches_maps(&p->patches);
    size_t map = maps / p->patches.channels;
    float *out = (float *)step->out[0]->data + (image * p->groups + g) * maps;
    for (size_t c = 0; c < p->patches.channels; c++)
        for (size_t i = 0; i < map; i++)
            out[c * map + i] =
                bias ? ((const float *)bias->data)[g * p->patches.channels + c] : 0.0f;
    for (size_t i = 0; i < positions; i += p->slice) {
        size_t count = MIN(p->slice, positions - i);
        const float *x = step->in[0]->data;
        struct gemm product = {
            .m = count,
            .n = p->n,
            .k = p->k,
            .a = {x + (image * p->groups + g) * p->k * positions + i, 1, positions},
            .packed = packed + g * p->packed_floats,
            .c = step->scratch,
            .c_step = p->n};
        gemm_run(&product);
        struct spread s = {&p->patches, step->scratch, i, i + count, out};
        par_for(p->patches.channels, (double)(count * p->n), spread_channels, &s);
    }
    vec_unary(step->node->act, maps, out, out);
}

enum status conv_transpose_compute(const struct step *step, struct error *why)
{
    (void)why;
    const struct product_nd *p = step->params;
    const float *packed = weights_of(step, p, false, p->n);
    for (size_t image = 0; image < (size_t)step->in[0]->dims[0]; image++)
        for (size_t g = 0; g < p->groups; g++)
            transpose_group(step, p, packed, image, g);
    return STATUS_OK;
}
