/* bytes - quantised values: exact products, from FP32, to FP32
 *
 * Integers of 8 and 16 bits stand for (q - zero) * scale. Every instruction set gives the same
 * bytes. Buffers do not overlap. Any sizes including 0. Never allocates, never fails. */
#ifndef CONVOY_WORKER_KERNELS_BYTES_H
#define CONVOY_WORKER_KERNELS_BYTES_H

#include "common/tensor.h"

/* c(i, j) = sum over p < k of a(i, p) b(j, p), modulo 2^32, i < rows, j < cols. Numbers are bytes
 * less their zero points: -255 to 255. Rows of a and b are k apart, those of c c_step. */
void bytes_dots(size_t rows, size_t cols, size_t k, const int16_t *a, const int16_t *b, int32_t *c,
                size_t c_step);

/* One scale and zero point for all of these. */
struct bytes_scale {
    enum dtype type; /* INT8, UINT8, INT16, UINT16 */
    float scale;
    int32_t zero; /* a value of that type */
};

/* q[i] = x[i] / scale, rounded half to even, + zero, limited to what the type holds; NaN: 0. */
void bytes_from_fp32(struct bytes_scale s, size_t n, const float *x, void *q);

/* y[i] = (q[i] - zero) * scale. */
void bytes_to_fp32(struct bytes_scale s, size_t n, const void *q, float *y);

/* Whether the two above take that type. */
bool bytes_has(enum dtype type);

#endif
