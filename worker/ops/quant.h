/* quant - what the quantised operators share: parameters per tensor, axis or block, and exact
 * products of bytes */
#ifndef CONVOY_WORKER_OPS_QUANT_H
#define CONVOY_WORKER_OPS_QUANT_H

#include "worker/ops/op.h"

/* Round half to even and limit to what integer type `t` can hold; NaN becomes 0. */
int64_t quant_round(enum dtype t, double x);

/* A zero point: element `i` of one per channel, the only element, or 0 when left out. */
int32_t quant_zero(const struct array *zero, size_t i);

/* Whether `a` (NULL: left out) holds one number, or `channels` of them. */
bool quant_per(const struct array *a, size_t channels);

/* Bytes (INT8 or UINT8) less their zero point, from element `at` on, `step` apart. */
void quant_widen(const struct array *a, size_t at, size_t step, size_t n, int32_t zero,
                 int16_t *to);

/* Exact sum of n products, modulo 2^32. */
int32_t quant_dot(size_t n, const int16_t *a, const int16_t *b);

static inline bool quant_is_byte(enum dtype t)
{
    return t == DTYPE_INT8 || t == DTYPE_UINT8;
}

#endif
