/* window - kernel_shape, strides, dilations, pads and auto_pad, as convolution and pooling share
 * them */
#ifndef CONVOY_WORKER_OPS_WINDOW_H
#define CONVOY_WORKER_OPS_WINDOW_H

#include "worker/ops/op.h"

enum auto_pad { AUTO_PAD_NOTSET, AUTO_PAD_VALID, AUTO_PAD_SAME_UPPER, AUTO_PAD_SAME_LOWER };

/* Attributes as the model gives them; per spatial axis. */
struct window {
    uint32_t kernel_len; /* 0: not given (Conv takes it from the weights) */
    uint32_t strides_len, dilations_len, pads_len;
    int64_t kernel[2], strides[2], dilations[2];
    int64_t pads[4]; /* all begins, then all ends */
    enum auto_pad auto_pad;
};

/* The same as kernels take it: index 0 is the height, 1 the width; 1-D data has a height of 1. */
struct window_2d {
    size_t kernel[2], stride[2], dilation[2], pad_begin[2], pad_end[2];
};

/* Reads the attributes; more than two spatial axes are refused. */
enum status window_check(struct node *node, struct window *w, struct error *why);

/* Resolve for an input of rank 3 or 4 and this kernel (one number per spatial axis). */
enum status window_resolve(const struct step *step, const struct window *w, const int64_t *kernel,
                           struct window_2d *out, struct error *why);

#endif
