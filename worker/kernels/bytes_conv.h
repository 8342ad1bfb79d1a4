/* bytes_conv - quantised convolution and product, with exact sums
 *
 * sum[n][k][y][x] = bias[k] + sum over c, r, s of (in[n][c][..][..] - x_zero) (w[k][c][r][s] -
 * w_zero[k]) as conv.h says, modulo 2^32, with x_zero outside the map. What is written is the sum
 * itself (y_type INT32), or round_half_to_even(fp32(sum) * scale[k]) + y_zero, limited to low..high
 * with products in FP32. Every instruction set gives the same bytes, for any batch, map, threads.
 *
 * Maps are LAYOUT_LAST, [n][h][w][c]; a first layer may read plain ones. A product of rows [m][k]
 * and columns [k][n] is the convolution of a map of m x 1 pixels by a kernel of 1 x 1. */
#ifndef CONVOY_WORKER_KERNELS_BYTES_CONV_H
#define CONVOY_WORKER_KERNELS_BYTES_CONV_H

#include "common/tensor.h"
#include "worker/kernels/conv.h"

/* Elements of `width` bytes, 1 or 4, from [n][c][h][w] to [n][h][w][c], and back. */
void bytes_to_last(struct maps m, size_t width, const void *plain, void *last);
void bytes_to_plain(struct maps m, size_t width, const void *last, void *plain);

/* Bytes behind a map in LAYOUT_LAST that must be readable; what they hold is no matter. */
#define BYTES_SLACK 4

struct bytes_conv_numbers {
    enum dtype x_type, w_type; /* INT8 or UINT8 */
    enum dtype y_type;         /* INT8, UINT8 or INT32 */
    int32_t x_zero;
    const int32_t *w_zeros; /* channels_out, or NULL: 0 */
    const int32_t *bias;    /* channels_out, or NULL */
    const float *scales;    /* channels_out; of y_type INT8 and UINT8, as all below */
    int32_t y_zero;
    int32_t low, high; /* in y_type: what an activation leaves of it */
};

struct bytes_conv;

/* Pack weights [channels_out][channels_in / groups][kernel0][kernel1]; nothing that is passed is
 * needed afterwards. `in` is LAYOUT_LAST, or LAYOUT_PLAIN where bytes_conv_reads_plain(). */
struct bytes_conv *bytes_conv_new(const struct conv_shape *shape,
                                  const struct bytes_conv_numbers *numbers, const void *weights,
                                  enum layout in);

/* Whether that layer is better given plain maps: few channels under a wide kernel. */
bool bytes_conv_reads_plain(const struct conv_shape *shape);

/* Bytes of scratch that a run on maps of that size needs with the threads now set. */
size_t bytes_conv_scratch_bytes(const struct bytes_conv *self, struct maps m);

/* Convolve `m` (m.c is channels_in). `scratch` is aligned to TENSOR_ALIGN. */
void bytes_conv_run(const struct bytes_conv *self, struct maps m, const void *in, void *out,
                    void *scratch);

/* Which way it computes, for profiles: "bytes_vnni direct". */
const char *bytes_conv_name(const struct bytes_conv *self);

void bytes_conv_destroy(struct bytes_conv **self_p);

#endif
