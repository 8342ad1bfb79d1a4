/* grad - gradients of elementwise functions and pooling
 *
 * dy is the gradient of a loss by the output y = f(x), dx the one by x. Every function writes all
 * of dx; dx may be dy where they have one shape. Never allocates, never fails; the order of each
 * sum depends on shapes alone. */
#ifndef CONVOY_WORKER_KERNELS_GRAD_H
#define CONVOY_WORKER_KERNELS_GRAD_H

#include "worker/kernels/activation.h"
#include "worker/kernels/pool.h"

/* dx = y > 0 ? dy : 0: through a ReLU whose output is known. */
void grad_relu(size_t n, const float *y, const float *dy, float *dx);

/* Whether grad_unary knows the derivative of that function. */
bool grad_unary_known(enum unary op);

/* dx = dy f'(x); both x and y are given. */
void grad_unary(struct activation act, size_t n, const float *x, const float *y, const float *dy,
                float *dx);

/* Through windows, in the layout of all four. Maximum: the first largest value of a window, in the
 * order of its rows, gets the window's gradient. With `relu` only where y > 0. */
void grad_pool(const struct pool_shape *shape, enum layout layout, struct maps m, const float *x,
               const float *y, const float *dy, bool relu, float *dx);

/* Through the mean of whole maps: dy is plain [n][c], dx in either layout. */
void grad_pool_global(enum layout layout, struct maps m, const float *dy, float *dx);

/* Of [rows][cols] each: dx = y (dy - sum over the row of y dy), through a softmax by rows. */
void grad_softmax(size_t rows, size_t cols, const float *y, const float *dy, float *dx);

#endif
