/* residual - what is added to a product behind it, with the activation: for shapes that the kernels
 * cannot add while they write */
#ifndef CONVOY_WORKER_OPS_RESIDUAL_H
#define CONVOY_WORKER_OPS_RESIDUAL_H

#include "worker/ops/op.h"

/* out = act(x + y) with y stretched, or x; all of them FP32 and plain, none of them the same. */
void residual_add(const struct array *x, const struct array *y, struct activation act,
                  struct array *out);

#endif
