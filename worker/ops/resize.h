/* resize - the arithmetic of Resize along one axis: which elements, with which weights */
#ifndef CONVOY_WORKER_OPS_RESIZE_H
#define CONVOY_WORKER_OPS_RESIZE_H

#include "worker/ops/region.h"

enum resize_kind { RESIZE_KIND_NEAREST, RESIZE_KIND_LINEAR, RESIZE_KIND_CUBIC };

/* Where output element x lies in the input: ONNX's coordinate_transformation_mode. */
enum resize_place {
    RESIZE_HALF_PIXEL,
    RESIZE_HALF_PIXEL_SYMMETRIC,
    RESIZE_PYTORCH_HALF_PIXEL,
    RESIZE_ALIGN_CORNERS,
    RESIZE_ASYMMETRIC,
    RESIZE_TF_HALF_PIXEL,
    RESIZE_TF_CROP,
};

enum resize_rounding {
    ROUND_PREFER_FLOOR,
    ROUND_PREFER_CEIL,
    ROUND_FLOOR,
    ROUND_CEIL,
    ROUND_SIMPLE, /* up to opset 10: down, or up when the axis shrinks */
};

struct resize_rule {
    enum resize_kind kind;
    enum resize_place place;
    enum resize_rounding rounding;
    double cubic; /* the a of Keys' cubic */
    bool exclude_outside, antialias;
    float extrapolation;
};

/* out[o] = sum over t of in[index[o * taps + t]] weight[o * taps + t]. */
struct resize_axis {
    size_t in, out, taps;
    const uint32_t *index; /* always inside of the input */
    const float *weight;
    const bool *outside; /* RESIZE_TF_CROP: o lies outside of the input; NULL: none does */
};

/* False where that is not possible: no input, or sizes out of bounds (4 Mi weights an axis). */
bool resize_axis_make(struct resize_axis *axis, const struct resize_rule *rule,
                      struct region *region, int64_t in, int64_t out, double scale, double start,
                      double end);

/* Arrays are [outer][axis][inner]. resize_pick copies pieces of `width` bytes (inner elements) by
 * the first index; resize_mix sums FP32 taps in their order. */
void resize_pick(const struct resize_axis *axis, size_t outer, size_t width, const void *from,
                 void *to);
void resize_mix(const struct resize_axis *axis, size_t outer, size_t inner, const float *from,
                float *to);

#endif
