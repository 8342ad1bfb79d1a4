/* spec_infer - what the parts of spec_shapes share; nobody else includes it */
#ifndef CONVOY_WORKER_TRAIN_SPEC_INFER_H
#define CONVOY_WORKER_TRAIN_SPEC_INFER_H

#include "worker/train/spec.h"

#define SHAPE_TEXT_MAX 160

/* What a family makes of `in`, the shape of its first input. */
typedef enum status infer_fn(const struct spec *spec, struct spec_layer *layer,
                             const struct spec_shape *in, struct error *why);

infer_fn spec_infer_recurrent, spec_infer_attention;

/* Add the parameter `role` of these dims; layout and onnx_dims are the caller's where the model
 * does not hold it as Keras does. */
struct spec_param *spec_add_param(struct spec_layer *layer, const struct spec_call *call,
                                  const char *role, const char *initializer, uint32_t rank,
                                  const int64_t *dims);

/* Rows must have `rank` axes; `axes` says which. */
enum status spec_expect_rank(const struct spec_shape *in, uint32_t rank, const char *axes,
                             struct error *why);

/* The last axis must have a size. */
enum status spec_last_axis(const struct spec_shape *in, int64_t *size, struct error *why);

#endif
