/* conv_plan - a convolution with its weights packed; shared by conv_plan.c and conv.c only
 *
 * A unit is what one set of tiles computes: a group, or, depthwise, a block of 8 channels. */
#ifndef CONVOY_WORKER_KERNELS_CONV_PLAN_H
#define CONVOY_WORKER_KERNELS_CONV_PLAN_H

#include "worker/kernels/conv_kernel.h"

struct conv_plan {
    struct conv_shape shape;
    const struct conv_kernel *kernel; /* what the weights are packed for */
    struct activation act;
    bool clamps;       /* act is the clamp low..high */
    bool tail_nonzero; /* act(0) is not 0: lanes past the last channel need clearing */
    bool depthwise;    /* one input channel per output channel, eight at a time */
    bool padded;       /* some padding is not 0 */
    bool pointwise;    /* 1 x 1, stride 1, no padding: a map is one long row */
    enum layout in;
    enum layout out;
    float low, high;
    size_t units;
    size_t unit_in;      /* input channels of a unit; depthwise 8 */
    size_t unit_out;     /* output channels of a unit; depthwise 8 */
    size_t inner;        /* channels per plane, 1 or 8; see conv_kernel.h */
    size_t planes;       /* per unit */
    size_t slice;        /* planes per pass over a strip */
    size_t blocks;       /* of 8 output channels, per unit */
    size_t block_floats; /* packed weights of one block */
    bool gathers;        /* input is copied into planes first: padding or another layout */
    bool scatters;       /* output rows are computed aside and then put in place */
    float *weights;      /* [unit][block][plane][row][col][inner][8], owned */
    float *bias;         /* [unit][block][8], owned */
    char name[48];
};

#endif
