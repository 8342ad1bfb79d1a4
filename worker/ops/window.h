/* window - kernel_shape, strides, dilations, pads and auto_pad, as convolution and pooling share
 * them */
#ifndef CONVOY_WORKER_OPS_WINDOW_H
#define CONVOY_WORKER_OPS_WINDOW_H

#include "worker/ops/op.h"

#define SPATIAL_MAX 3 /* axes that a window may move along */

enum auto_pad { AUTO_PAD_NOTSET, AUTO_PAD_VALID, AUTO_PAD_SAME_UPPER, AUTO_PAD_SAME_LOWER };

/* Attributes as the model gives them; per spatial axis. */
struct window {
    uint32_t kernel_len; /* 0: not given (Conv takes it from the weights) */
    uint32_t strides_len, dilations_len, pads_len;
    int64_t kernel[SPATIAL_MAX], strides[SPATIAL_MAX], dilations[SPATIAL_MAX];
    int64_t pads[2 * SPATIAL_MAX]; /* all begins, then all ends */
    enum auto_pad auto_pad;
};

/* The same for an input: index 0 is the depth, 1 the height, 2 the width; axes that the input does
 * not have are of size 1. Kernels of two axes take it from [1] on. */
struct window_3d {
    size_t kernel[SPATIAL_MAX], stride[SPATIAL_MAX], dilation[SPATIAL_MAX];
    size_t pad_begin[SPATIAL_MAX], pad_end[SPATIAL_MAX];
};

/* Reads the attributes; more than three spatial axes are refused. */
enum status window_check(struct node *node, struct window *w, struct error *why);

/* Resolve for an input of rank 3 to 5 and this kernel (one number per spatial axis). */
enum status window_resolve(const struct step *step, const struct window *w, const int64_t *kernel,
                           struct window_3d *out, struct error *why);

/* Sizes of the spatial axes of an input of rank 3 to 5, as window_3d counts them. */
void window_sizes(const struct array *x, size_t sizes[SPATIAL_MAX]);

#endif
