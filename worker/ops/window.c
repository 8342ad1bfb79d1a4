/* window - see window.h */
#include "worker/ops/window.h"

#include <inttypes.h>
#include <string.h>

#define WINDOW_MAX ((int64_t)1 << 24) /* of any size, stride or pad: keeps sums of them exact */

static enum status numbers(struct node *node, const char *name, int64_t *into, size_t max,
                           int64_t least, uint32_t *len, struct error *why)
{
    size_t n;
    const int64_t *given = attr_ints(node, name, &n);
    if (n > max)
        return bad_node(why, node, "%s has %zu numbers: at most %d are supported", name, n,
                        (int)max);
    for (size_t i = 0; i < n; i++) {
        if (given[i] < least || given[i] > WINDOW_MAX)
            return bad_node(why, node, "%s has %" PRId64 "; expected %" PRId64 " to %" PRId64, name,
                            given[i], least, WINDOW_MAX);
        into[i] = given[i];
    }
    *len = (uint32_t)n;
    return STATUS_OK;
}

enum status window_check(struct node *node, struct window *w, struct error *why)
{
    static const char *const names[] = {"NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER"};
    const char *auto_pad = attr_text(node, "auto_pad", "NOTSET");
    enum status s = numbers(node, "kernel_shape", w->kernel, SPATIAL_MAX, 1, &w->kernel_len, why);
    if (s == STATUS_OK)
        s = numbers(node, "strides", w->strides, SPATIAL_MAX, 1, &w->strides_len, why);
    if (s == STATUS_OK)
        s = numbers(node, "dilations", w->dilations, SPATIAL_MAX, 1, &w->dilations_len, why);
    if (s == STATUS_OK)
        s = numbers(node, "pads", w->pads, 2 * SPATIAL_MAX, 0, &w->pads_len, why);
    if (s != STATUS_OK)
        return s;
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (strcmp(auto_pad, names[i]) == 0) {
            w->auto_pad = (enum auto_pad)i;
            return STATUS_OK;
        }
    return bad_node(why, node,
                    "auto_pad is \"%.40s\"; expected NOTSET, VALID, SAME_UPPER or "
                    "SAME_LOWER",
                    auto_pad);
}

/* SAME: as many outputs as strides fit into the input; the odd pixel goes to the named side. */
static void same_pads(const struct window_3d *w, uint32_t at, int64_t in, bool upper,
                      struct window_3d *out)
{
    int64_t stride = (int64_t)w->stride[at];
    int64_t extent = (int64_t)((w->kernel[at] - 1) * w->dilation[at] + 1);
    int64_t total = MAX(0, ((in + stride - 1) / stride - 1) * stride + extent - in);
    int64_t small = total / 2;
    out->pad_begin[at] = (size_t)(upper ? small : total - small);
    out->pad_end[at] = (size_t)(upper ? total - small : small);
}

enum status window_resolve(const struct step *step, const struct window *w, const int64_t *kernel,
                           struct window_3d *out, struct error *why)
{
    const struct array *in = step->in[0];
    if (in->rank < 3 || in->rank > 2 + SPATIAL_MAX)
        return bad_step(why, step, "input of rank %u; expected 3 (1-D), 4 (2-D) or 5 (3-D)",
                        in->rank);
    uint32_t axes = in->rank - 2;
    if ((w->kernel_len && w->kernel_len != axes) || (w->strides_len && w->strides_len != axes) ||
        (w->dilations_len && w->dilations_len != axes) || (w->pads_len && w->pads_len != 2 * axes))
        return bad_step(why, step,
                        "kernel_shape, strides, dilations or pads do not have the input's "
                        "%u spatial axes",
                        axes);
    *out = (struct window_3d){{1, 1, 1}, {1, 1, 1}, {1, 1, 1}, {0}, {0}};
    for (uint32_t i = 0; i < axes; i++) {
        uint32_t at = SPATIAL_MAX - axes + i;
        if (kernel[i] < 1 || kernel[i] > WINDOW_MAX)
            return bad_step(why, step, "kernel size %" PRId64 " is not possible", kernel[i]);
        out->kernel[at] = (size_t)kernel[i];
        out->stride[at] = w->strides_len ? (size_t)w->strides[i] : 1;
        out->dilation[at] = w->dilations_len ? (size_t)w->dilations[i] : 1;
        if (w->auto_pad == AUTO_PAD_NOTSET && w->pads_len) {
            out->pad_begin[at] = (size_t)w->pads[i];
            out->pad_end[at] = (size_t)w->pads[axes + i];
        } else if (w->auto_pad == AUTO_PAD_SAME_UPPER || w->auto_pad == AUTO_PAD_SAME_LOWER) {
            same_pads(out, at, in->dims[2 + i], w->auto_pad == AUTO_PAD_SAME_UPPER, out);
        }
    }
    return STATUS_OK;
}

void window_sizes(const struct array *x, size_t sizes[SPATIAL_MAX])
{
    uint32_t axes = x->rank - 2;
    for (uint32_t i = 0; i < SPATIAL_MAX; i++)
        sizes[i] = i + axes < SPATIAL_MAX ? 1 : (size_t)x->dims[2 + i - (SPATIAL_MAX - axes)];
}
