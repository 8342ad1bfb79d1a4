/* pool - max and average pooling over 2-D windows, in either layout
 *
 * Max: the largest value of the window that lies inside the map; average: their sum divided by
 * their number, or by all window positions inside the padded map when count_pad. Output layout =
 * input layout. 1-D is h = 1. Never allocates, never fails. */
#ifndef CONVOY_WORKER_KERNELS_POOL_H
#define CONVOY_WORKER_KERNELS_POOL_H

#include "worker/kernels/layout.h"

enum pool_kind {
    POOL_MAX,
    POOL_AVERAGE,
    POOL_LP, /* (sum of |x|^p)^(1/p); an operator without a kernel here */
};

/* Index 0 is the height, 1 the width. */
struct pool_shape {
    enum pool_kind kind;
    bool count_pad;     /* average: positions in the padding count */
    bool ceil_mode;     /* round the output size up; a window that starts past the end is dropped */
    size_t kernel[2];   /* at least 1 */
    size_t stride[2];   /* at least 1 */
    size_t dilation[2]; /* at least 1 */
    size_t pad_begin[2]; /* below kernel extent */
    size_t pad_end[2];
};

/* Output size along one axis for an input of `in`; 0 when the window does not fit. */
size_t pool_out_size(const struct pool_shape *shape, size_t axis, size_t in);

/* Pool `m` from in to out; out has pool_out_size() rows and columns. */
void pool_run(const struct pool_shape *shape, enum layout layout, struct maps m, const float *in,
              float *out);

/* out[n][c] = mean (or max) of each map; `in` in either layout, out plain. */
void pool_global(enum pool_kind kind, enum layout layout, struct maps m, const float *in,
                 float *out);

#endif
