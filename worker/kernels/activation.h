/* activation - the list of unary functions, and one of them with its parameters
 *
 * unary.def gives formula and parameters. ACT_NONE is y = x. */
#ifndef CONVOY_WORKER_KERNELS_ACTIVATION_H
#define CONVOY_WORKER_KERNELS_ACTIVATION_H

#include "common/base.h"

enum unary {
#define UNARY(NAME, name, formula) UNARY_##NAME,
#include "worker/kernels/unary.def"
#undef UNARY
    UNARY_COUNT
};

/* A unary function with its two parameters; what a and b mean stands in unary.def. */
struct activation {
    enum unary op;
    float a;
    float b;
};

#define ACT_NONE ((struct activation){UNARY_IDENTITY, 0, 0})
#define ACT_RELU ((struct activation){UNARY_RELU, 0, 0})

/* Whether y = min(high, max(low, x)), which kernels apply in registers; then sets both bounds. */
bool activation_is_clamp(struct activation act, float *low, float *high);

#endif
