/* op_affine - AffineGrid: the places at which GridSample reads an image turned, scaled and shifted
 */
#include <inttypes.h>

#include "worker/ops/ops.h"
#include "worker/ops/scalar.h"

#define AFFINE_AXES 3 /* of an image, at most */

enum status affine_check(struct node *node, struct error *why)
{
    int64_t *corners = region_take(node->region, sizeof *corners);
    *corners = attr_int(node, "align_corners", 0);
    node->state = corners;
    return *corners == 0 || *corners == 1
               ? STATUS_OK
               : bad_node(why, node, "align_corners is %" PRId64 "; expected 0 or 1", *corners);
}

/* theta: [n][axes][axes + 1], size: n, channels, then `axes` sizes; gives [n][sizes...][axes]. */
enum status affine_shape(struct step *step, struct error *why)
{
    const struct array *theta = step->in[0];
    int64_t size[AFFINE_AXES + 2], dims[AFFINE_AXES + 2];
    char text[128];
    size_t len;
    enum status s = known_ints(step, 1, size, AFFINE_AXES + 2, &len, why);
    if (s != STATUS_OK)
        return s;
    uint32_t axes = len == AFFINE_AXES + 2 ? 3 : 2;
    bool fits = len == axes + 2 && theta->rank == 3 && theta->dims[0] == size[0] &&
                theta->dims[1] == axes && theta->dims[2] == axes + 1;
    if (!fits || (theta->dtype != DTYPE_FP32 && theta->dtype != DTYPE_FP64))
        return bad_step(why, step,
                        "theta is %s %s for %zu sizes; expected floats [n, 2, 3] and 4 sizes, or "
                        "[n, 3, 4] and 5, with the same n",
                        dtype_name(theta->dtype),
                        dims_text(text, sizeof text, theta->dims, theta->rank), len);
    dims[0] = size[0];
    for (uint32_t k = 0; k < axes; k++)
        dims[k + 1] = size[k + 2];
    dims[axes + 1] = axes;
    return out_set(step, 0, theta->dtype, dims, axes + 2, why);
}

/* Where element `i` of `count` lies in -1..1; a single one lies in the middle. */
static double affine_place(size_t i, int64_t count, bool corners)
{
    if (corners)
        return count > 1 ? 2 * (double)i / (double)(count - 1) - 1 : 0;
    return (2 * (double)i + 1) / (double)count - 1;
}

enum status affine_compute(const struct step *step, struct error *why)
{
    (void)why;
    const struct array *theta = step->in[0], *out = step->out[0];
    bool corners = *(const int64_t *)step->node->state != 0;
    uint32_t axes = out->rank - 2;
    size_t places = array_count(out) / axes, inner = dims_span(out, 1, axes + 1);
    for (size_t p = 0; p < places; p++) {
        double at[AFFINE_AXES];
        size_t rest = p % inner, row = p / inner * axes;
        for (uint32_t k = 0; k < axes; k++) { /* x, the last axis of an image, comes first */
            size_t count = (size_t)out->dims[axes - k];
            at[k] = affine_place(rest % count, out->dims[axes - k], corners);
            rest /= count;
        }
        for (uint32_t r = 0; r < axes; r++) {
            size_t from = (row + r) * (axes + 1);
            double sum = 0;
            for (uint32_t k = 0; k < axes; k++)
                sum += scalar_float(theta->dtype, theta->data, from + k) * at[k];
            sum += scalar_float(theta->dtype, theta->data, from + axes);
            scalar_set_float(out->dtype, out->data, p * axes + r, sum);
        }
    }
    return STATUS_OK;
}
