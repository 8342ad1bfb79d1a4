/* quant_conv - what ConvInteger and QLinearConv share: their operands, and the way that maps of
 * three axes take; see op_quant_conv.c */
#ifndef CONVOY_WORKER_OPS_QUANT_CONV_H
#define CONVOY_WORKER_OPS_QUANT_CONV_H

#include "worker/ops/window.h"

/* Where the operands stand; ConvInteger has no scales. */
enum { INT_X, INT_W, INT_X_ZERO, INT_W_ZERO };
enum {
    LIN_X,
    LIN_X_SCALE,
    LIN_X_ZERO,
    LIN_W,
    LIN_W_SCALE,
    LIN_W_ZERO,
    LIN_Y_SCALE,
    LIN_Y_ZERO,
    LIN_BIAS
};

/* NULL where left out; ConvInteger has neither scales nor y_zero. */
struct quant_operands {
    const struct array *x, *w, *x_zero, *w_zero, *x_scale, *w_scale, *y_scale, *y_zero, *bias;
};
struct quant_operands quant_operands(const struct step *step);

/* What the sums of output channel `k` are multiplied with, in FP32. */
float quant_scale(const struct quant_operands *o, size_t k);

/* shape() and run() for maps of three axes, once the inputs are known to fit together. */
enum status quant_conv_nd_shape(struct step *step, const struct window_3d *window, int64_t groups,
                                struct error *why);
void quant_conv_nd_compute(const struct step *step);

#endif
