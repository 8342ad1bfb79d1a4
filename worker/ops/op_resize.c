/* op_resize - Resize and Upsample: one table of source elements and weights per axis, one axis
 * after the other */
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "worker/ops/ops.h"
#include "worker/ops/resize.h"
#include "worker/ops/scalar.h"

enum policy { POLICY_STRETCH, POLICY_NOT_LARGER, POLICY_NOT_SMALLER };

struct resize {
    struct resize_rule rule;
    enum policy policy;
    bool by_axes;
    size_t axes_len;
    int64_t axes[TENSOR_RANK_MAX];
    size_t scales_len; /* Upsample's attribute, opset 7 */
    float scales[TENSOR_RANK_MAX];
};

/* One axis to resize, seen as [outer][axis][inner]. */
struct resize_pass {
    size_t outer, inner;
    struct resize_axis axis;
};

struct resize_plan {
    uint32_t len;
    struct resize_pass passes[TENSOR_RANK_MAX];
    size_t half;   /* floats of one of the two buffers between passes */
    bool converts; /* not FP32, and values are mixed */
    bool outside;  /* tf_crop_and_resize: some places lie outside of the input */
};

static enum status choose(struct node *node, const char *attribute, const char *text,
                          const char *const *names, size_t len, int *chosen, struct error *why)
{
    for (size_t i = 0; i < len; i++)
        if (names[i] && strcmp(text, names[i]) == 0) {
            *chosen = (int)i;
            return STATUS_OK;
        }
    return bad_node(why, node, "%s \"%.60s\" is unknown", attribute, text);
}

static enum status check_modes(struct node *node, struct resize *r, struct error *why)
{
    static const char *const modes[] = {"nearest", "linear", "cubic", "bilinear"};
    static const char *const places[] = {
        "half_pixel", "half_pixel_symmetric", "pytorch_half_pixel", "align_corners",
        "asymmetric", "tf_half_pixel_for_nn", "tf_crop_and_resize",
    };
    static const char *const roundings[] = {"round_prefer_floor", "round_prefer_ceil", "floor",
                                            "ceil"};
    static const char *const policies[] = {"stretch", "not_larger", "not_smaller"};
    bool old = node->op->variant == VARIANT_LEGACY;
    int mode = 0, place = RESIZE_ASYMMETRIC, rounding = ROUND_SIMPLE, policy = 0;
    enum status s = choose(node, "mode", attr_text(node, "mode", "nearest"), modes,
                           ARRAY_LEN(modes), &mode, why);
    if (s == STATUS_OK && !old)
        s = choose(node, "coordinate_transformation_mode",
                   attr_text(node, "coordinate_transformation_mode", "half_pixel"), places,
                   ARRAY_LEN(places), &place, why);
    if (s == STATUS_OK && !old)
        s = choose(node, "nearest_mode", attr_text(node, "nearest_mode", "round_prefer_floor"),
                   roundings, ARRAY_LEN(roundings), &rounding, why);
    if (s == STATUS_OK && !old)
        s = choose(node, "keep_aspect_ratio_policy",
                   attr_text(node, "keep_aspect_ratio_policy", "stretch"), policies,
                   ARRAY_LEN(policies), &policy, why);
    r->rule.kind = mode == 3 ? RESIZE_KIND_LINEAR : (enum resize_kind)mode;
    r->rule.place = (enum resize_place)place;
    r->rule.rounding = (enum resize_rounding)rounding;
    r->policy = (enum policy)policy;
    return s;
}

enum status resize_check(struct node *node, struct error *why)
{
    struct resize *r = region_take(node->region, sizeof *r);
    size_t len;
    node->state = r;
    enum status s = check_modes(node, r, why);
    if (s != STATUS_OK)
        return s;
    if (node->op->variant == VARIANT_LEGACY && node->opset < 9) {
        const float *scales = attr_floats(node, "scales", &len);
        if (!scales || len > TENSOR_RANK_MAX)
            return bad_node(why, node, "scales are missing, or more than %d", TENSOR_RANK_MAX);
        memcpy(r->scales, scales, len * sizeof *scales);
        r->scales_len = len;
    }
    if (node->op->variant == VARIANT_LEGACY)
        return STATUS_OK;
    r->rule.cubic = (double)attr_float(node, "cubic_coeff_a", -0.75f);
    r->rule.exclude_outside = attr_int(node, "exclude_outside", 0) != 0;
    r->rule.antialias = attr_int(node, "antialias", 0) != 0;
    r->rule.extrapolation = attr_float(node, "extrapolation_value", 0.0f);
    const int64_t *axes = attr_ints(node, "axes", &len);
    r->by_axes = axes != NULL;
    if (len > TENSOR_RANK_MAX)
        return bad_node(why, node, "%zu axes; at most %d are possible", len, TENSOR_RANK_MAX);
    for (size_t i = 0; axes && i < len; i++)
        r->axes[i] = axes[i];
    r->axes_len = len;
    return STATUS_OK;
}

/* What the inputs say about each axis of the input. */
struct wanted {
    double scale[TENSOR_RANK_MAX];
    int64_t size[TENSOR_RANK_MAX];
    double start[TENSOR_RANK_MAX], end[TENSOR_RANK_MAX]; /* of the region of interest */
};

/* Numbers of FP32 or FP64 input `i`, one for each named axis. */
static enum status known_floats(const struct step *step, uint32_t i, double *into, size_t max,
                                size_t *len, struct error *why)
{
    const struct array *a = step_in(step, i);
    *len = a ? array_count(a) : 0;
    if (!*len)
        return STATUS_OK;
    if (!dtype_is_float(a->dtype) || *len > max)
        return bad_step(why, step, "input %u is %s with %zu elements; expected floats, at most %zu",
                        i, dtype_name(a->dtype), *len, max);
    for (size_t k = 0; k < *len; k++)
        into[k] = scalar_float(a->dtype, a->data, k);
    return STATUS_OK;
}

static void keep_aspect(const struct step *step, const struct resize *r, const int64_t *axes,
                        size_t len, struct wanted *w)
{
    double scale = w->scale[axes[0]];
    for (size_t i = 1; i < len; i++)
        scale = r->policy == POLICY_NOT_LARGER ? fmin(scale, w->scale[axes[i]])
                                               : fmax(scale, w->scale[axes[i]]);
    for (size_t i = 0; i < len; i++) {
        w->scale[axes[i]] = scale;
        w->size[axes[i]] = (int64_t)floor(scale * (double)step->in[0]->dims[axes[i]] + 0.5);
    }
}

static enum status read_wanted(const struct step *step, struct wanted *w, struct error *why)
{
    const struct resize *r = step->node->state;
    const struct array *x = step->in[0];
    bool old = step->node->op->variant == VARIANT_LEGACY;
    int64_t axes[TENSOR_RANK_MAX], sizes[TENSOR_RANK_MAX];
    double roi[2 * TENSOR_RANK_MAX], scales[TENSOR_RANK_MAX];
    size_t len = r->by_axes ? r->axes_len : x->rank, roi_len = 0, scales_len = 0, sizes_len = 0;
    for (size_t i = 0; i < len; i++) {
        axes[i] = r->by_axes ? r->axes[i] : (int64_t)i;
        if (!axis_ok(&axes[i], x->rank))
            return bad_step(why, step, "axis %" PRId64 " is outside of rank %u", axes[i], x->rank);
    }
    for (uint32_t k = 0; k < x->rank; k++) {
        w->scale[k] = w->end[k] = 1;
        w->start[k] = 0;
        w->size[k] = x->dims[k];
    }
    enum status s = known_floats(step, old ? 1 : 2, scales, TENSOR_RANK_MAX, &scales_len, why);
    if (s == STATUS_OK && !old)
        s = known_floats(step, 1, roi, 2 * TENSOR_RANK_MAX, &roi_len, why);
    if (s == STATUS_OK && !old)
        s = known_ints(step, 3, sizes, TENSOR_RANK_MAX, &sizes_len, why);
    if (s != STATUS_OK)
        return s;
    for (size_t i = 0; i < r->scales_len; i++)
        scales[i] = (double)r->scales[i];
    scales_len = MAX(scales_len, r->scales_len);
    if ((scales_len == len) == (sizes_len == len && len) && len)
        return bad_step(why, step, "expected %zu scales, or as many sizes; got %zu and %zu", len,
                        scales_len, sizes_len);
    bool crops = r->rule.place == RESIZE_TF_CROP;
    if (crops && roi_len != 2 * len)
        return bad_step(why, step, "roi has %zu numbers; expected %zu", roi_len, 2 * len);
    for (size_t i = 0; i < len; i++) {
        int64_t k = axes[i];
        double in = (double)x->dims[k];
        w->start[k] = crops ? roi[i] : 0;
        w->end[k] = crops ? roi[len + i] : 1;
        w->scale[k] = sizes_len ? (double)sizes[i] / in : scales[i];
        double size = sizes_len ? (double)sizes[i]
                                : floor(in * (crops ? w->end[k] - w->start[k] : 1) * scales[i]);
        if (!(w->scale[k] > 0) || !(size >= 0 && size < 0x1p40))
            return bad_step(why, step, "axis %" PRId64 ": scale %g of %" PRId64 " is not possible",
                            k, w->scale[k], x->dims[k]);
        w->size[k] = (int64_t)size;
    }
    if (sizes_len && r->policy != POLICY_STRETCH && len)
        keep_aspect(step, r, axes, len, w);
    return STATUS_OK;
}

/* A pass for each axis that changes, the last axis first. */
static enum status make_passes(struct step *step, const struct wanted *w, struct error *why)
{
    const struct resize *r = step->node->state;
    const struct array *x = step->in[0];
    struct resize_plan *p = region_take(step->region, sizeof *p);
    size_t dims[TENSOR_RANK_MAX], largest = 0, bytes;
    step->params = p;
    for (uint32_t k = 0; k < x->rank; k++)
        dims[k] = (size_t)x->dims[k];
    for (uint32_t k = x->rank; k-- > 0;) {
        bool same = w->size[k] == x->dims[k] && fabs(w->scale[k] - 1) < 1e-12;
        if (same && (r->rule.place != RESIZE_TF_CROP || (w->start[k] <= 0 && w->end[k] >= 1)))
            continue;
        struct resize_pass *pass = &p->passes[p->len++];
        *pass = (struct resize_pass){.outer = 1, .inner = 1};
        for (uint32_t i = 0; i < x->rank; i++)
            *(i < k ? &pass->outer : &pass->inner) *= i == k ? 1 : dims[i];
        if (!resize_axis_make(&pass->axis, &r->rule, step->region, x->dims[k], w->size[k],
                              w->scale[k], w->start[k], w->end[k]))
            return bad_step(why, step, "axis %u cannot go from %" PRId64 " to %" PRId64, k,
                            x->dims[k], w->size[k]);
        p->outside |= pass->axis.outside != NULL;
        dims[k] = (size_t)w->size[k];
        int64_t now[TENSOR_RANK_MAX];
        for (uint32_t i = 0; i < x->rank; i++)
            now[i] = (int64_t)dims[i];
        if (!array_size(DTYPE_FP32, now, x->rank, &bytes))
            return bad_step(why, step, "the output is too large");
        largest = MAX(largest, bytes / sizeof(float));
    }
    p->half = MAX(largest, array_count(x));
    p->converts = x->dtype != DTYPE_FP32 && r->rule.kind != RESIZE_KIND_NEAREST;
    step->scratch_bytes = 2 * p->half * sizeof(float);
    if (x->dtype != DTYPE_FP32)
        step->scratch_bytes = 2 * p->half * MAX(sizeof(float), dtype_bytes(x->dtype));
    return STATUS_OK;
}

enum status resize_shape(struct step *step, struct error *why)
{
    const struct array *x = step->in[0];
    struct wanted w;
    if (!dtype_bytes(x->dtype))
        return bad_step(why, step, "%s is not a type of this operator", dtype_name(x->dtype));
    enum status s = read_wanted(step, &w, why);
    if (s == STATUS_OK)
        s = make_passes(step, &w, why);
    return s == STATUS_OK ? out_set(step, 0, x->dtype, w.size, x->rank, why) : s;
}

/* FP32, through the passes; `from` and `to` may lie in scratch's two halves. */
static void run_passes(const struct step *step, const void *from, void *to, size_t width)
{
    const struct resize_plan *p = step->params;
    char *half[2] = {step->scratch, (char *)step->scratch + p->half * width};
    for (uint32_t i = 0; i < p->len; i++) {
        const struct resize_pass *pass = &p->passes[i];
        void *into = i + 1 == p->len ? to : from == half[0] ? half[1] : half[0];
        if (pass->axis.taps == 1)
            resize_pick(&pass->axis, pass->outer, pass->inner * width, from, into);
        else
            resize_mix(&pass->axis, pass->outer, pass->inner, from, into);
        from = into;
    }
    if (!p->len)
        memcpy(to, from, array_count(step->out[0]) * width);
}

/* What lies outside of the input, along any axis, becomes the extrapolation value. */
static void extrapolate(const struct step *step)
{
    const struct resize_plan *p = step->params;
    const struct array *out = step->out[0];
    double value = (double)((const struct resize *)step->node->state)->rule.extrapolation;
    for (uint32_t i = 0; p->outside && i < p->len; i++) {
        const struct resize_axis *a = &p->passes[i].axis;
        size_t inner = p->passes[i].inner; /* passes go from the last axis on: it is final */
        for (size_t e = 0; a->outside && e < array_count(out); e++)
            if (a->outside[e / inner % a->out]) {
                if (dtype_is_float(out->dtype))
                    scalar_set_float(out->dtype, out->data, e, value);
                else
                    scalar_set_int(out->dtype, out->data, e, scalar_truncate(value));
            }
    }
}

enum status resize_compute(const struct step *step, struct error *why)
{
    (void)why;
    const struct resize_plan *p = step->params;
    const struct array *x = step->in[0], *out = step->out[0];
    if (!out->bytes)
        return STATUS_OK;
    if (!p->converts) {
        run_passes(step, x->data, out->data, dtype_bytes(x->dtype));
    } else {
        float *first = step->scratch, *last = first + (p->len % 2 ? p->half : 0);
        for (size_t i = 0; i < array_count(x); i++)
            first[i] = dtype_is_float(x->dtype) ? (float)scalar_float(x->dtype, x->data, i)
                                                : (float)scalar_int(x->dtype, x->data, i);
        run_passes(step, first, last, sizeof(float));
        for (size_t i = 0; i < array_count(out); i++)
            if (dtype_is_float(out->dtype))
                scalar_set_float(out->dtype, out->data, i, (double)last[i]);
            else
                scalar_set_int(out->dtype, out->data, i, scalar_truncate((double)last[i]));
    }
    extrapolate(step);
    return STATUS_OK;
}

void resize_rows(const struct rows_step *s, const struct rows_at *in, struct rows_at *out)
{
    const struct array *x = s->step->in[0], *o = s->step->out[0];
    uint32_t first = 0;
    for (uint32_t i = 1; i < s->step->in_len; i++)
        if (in[i].rows == ROWS_ALONG)
            return;
    while (first < x->rank && x->dims[first] == o->dims[first])
        first++;
    rows_beside(s, in[0], first, x->rank, &out[0]);
}
