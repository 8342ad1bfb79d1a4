/* half - FP16 and BF16, which are stored and never computed with, to FP32 and back
 *
 * Rounds to nearest even; NaN stays NaN, what is too large becomes infinity. x and y do not
 * overlap. Any n including 0. Never allocates, never fails. */
#ifndef CONVOY_WORKER_KERNELS_HALF_H
#define CONVOY_WORKER_KERNELS_HALF_H

#include "common/tensor.h"

/* True for DTYPE_FP16 and DTYPE_BF16, the types below. */
bool dtype_is_half(enum dtype dtype);

void half_to_fp32(enum dtype from, size_t n, const uint16_t *x, float *y);
void half_from_fp32(enum dtype to, size_t n, const float *x, uint16_t *y);

#endif
