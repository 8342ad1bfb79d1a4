/* conv_grad - gradients of a convolution (conv.h) by its weights and bias, and by its input
 *
 * dw[k][c][r][s] = sum over n, y, x of
 *   dy[n][k][y][x] in[n][c][y stride0 + r dilation0 - pad0][x stride1 + s dilation1 - pad1]
 * db[k]          = sum over n, y, x of dy[n][k][y][x]
 * Sums go in the order n, y, x. The gradient by the input is itself a convolution, of dy with the
 * kernels turned by half a turn and inputs and outputs exchanged, where dy's pixels lie `stride`
 * apart with zeros between. dy is blocked. Running never allocates, never fails. */
#ifndef CONVOY_WORKER_KERNELS_CONV_GRAD_H
#define CONVOY_WORKER_KERNELS_CONV_GRAD_H

#include "worker/kernels/conv.h"

/* `m` are the input's maps; shape->pool is not used. dw or db may be NULL. Scratch is aligned to
 * TENSOR_ALIGN. */
size_t conv_grad_weights_scratch(const struct conv_shape *shape, enum layout in, struct maps m);
void conv_grad_weights(const struct conv_shape *shape, enum layout layout, struct maps m,
                       const float *in, const float *dy, float *dw, float *db, void *scratch);

/* The convolution that computes the gradient by the input, for maps m of it. False when a pad is
 * larger than the kernel reaches, which is not supported. */
bool conv_grad_shape(const struct conv_shape *shape, struct maps m, struct conv_shape *back);

/* That convolution's weights [channels_in][channels_out / groups][kernel]. */
void conv_grad_turn(const struct conv_shape *shape, const float *weights, float *turned);

/* dy's maps with zeros between pixels: what that convolution reads; equal to dy's with stride 1. */
struct maps conv_grad_spread_maps(const struct conv_shape *shape, struct maps dy);
void conv_grad_spread(const struct conv_shape *shape, struct maps m, const float *dy,
                      float *spread);

#endif
