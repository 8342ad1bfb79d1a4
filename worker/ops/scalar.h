/* scalar - single elements of any numeric type, for what is not worth a kernel
 *
 * Integers travel as int64_t (UINT64 bit for bit), floats as double. */
#ifndef CONVOY_WORKER_OPS_SCALAR_H
#define CONVOY_WORKER_OPS_SCALAR_H

#include "common/tensor.h"

bool dtype_is_float(enum dtype dtype);   /* FP32, FP64, FP16, BF16 */
bool dtype_is_integer(enum dtype dtype); /* signed and unsigned; not BOOL */

/* Element `i` of an integer or BOOL array. */
int64_t scalar_int(enum dtype dtype, const void *data, size_t i);
/* Keeps the low bits that fit; BOOL: 0 or 1. */
void scalar_set_int(enum dtype dtype, void *data, size_t i, int64_t x);

double scalar_float(enum dtype dtype, const void *data, size_t i);
/* Rounds to nearest even. */
void scalar_set_float(enum dtype dtype, void *data, size_t i, double x);

/* Towards zero; what does not fit becomes the nearest limit, NaN becomes 0. */
int64_t scalar_truncate(double x);

#endif
