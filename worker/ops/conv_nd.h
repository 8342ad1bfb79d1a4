/* conv_nd - Conv with three spatial axes: windows as rows, times the weights; see op_conv.c */
#ifndef CONVOY_WORKER_OPS_CONV_ND_H
#define CONVOY_WORKER_OPS_CONV_ND_H

#include "worker/ops/window.h"

/* shape() and run() of Conv, once its inputs are known to fit together. */
enum status conv_nd_infer(struct step *step, const struct window_3d *window, struct error *why);
enum status conv_nd_compute(const struct step *step, struct error *why);

#endif
