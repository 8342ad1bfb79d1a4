/* bytes_plan - a quantised convolution, packed; private to bytes_conv.c and bytes_pack.c
 *
 * Inside, the input is UINT8: INT8 is given 128 more, and its zero point too. A lane is an output
 * channel's place in the tables: panel by panel, group by group, each panel 64 lanes. */
#ifndef CONVOY_WORKER_KERNELS_BYTES_PLAN_H
#define CONVOY_WORKER_KERNELS_BYTES_PLAN_H

#include "worker/kernels/bytes_conv.h"
#include "worker/kernels/bytes_kernel.h"

struct bytes_conv {
    const struct bytes_kernel *kernel;
    struct conv_shape shape;
    enum layout in;
    bool gathered;  /* bands of the input are copied, with padding around them, row by row */
    bool depthwise; /* one channel in and out of each group */
    bool sums;      /* INT32 is written */
    uint8_t flip;   /* put over each byte of the input: 0x80 when it is INT8 */
    int32_t x_zero;
    size_t group_in, group_out; /* channels of a group */
    size_t panels;              /* of a group */
    size_t quads;               /* groups of four in a panel */
    size_t tap_quads;           /* of one tap; gathered: of a row of taps */
    size_t lanes;
    int8_t *weights;         /* [group][panel][quad][lane][4], lanes as the panel has blocks */
    int16_t *tap_weights;    /* depthwise: [tap][channel] */
    int8_t *ones;            /* a panel of one channel of weights 1: sums of the input */
    int32_t *tap_sums;       /* [tap][lane]: weights of one tap */
    int32_t *start;          /* [lane]: where a sum over all taps starts */
    int32_t *w_zeros;        /* [lane], or NULL: all 0 */
    float *scales;           /* [lane], or NULL */
    struct bytes_out finish; /* its scales: of lane 0 */
    char name[40];
};

static inline size_t bytes_taps(const struct bytes_conv *self)
{
    return self->shape.kernel[0] * self->shape.kernel[1];
}

/* Channels of panel `panel` of a group, and their blocks. */
static inline size_t bytes_panel_channels(const struct bytes_conv *self, size_t panel)
{
    return MIN(BYTES_PANEL, self->group_out - panel * BYTES_PANEL);
}
static inline size_t bytes_blocks(size_t channels)
{
    return (channels + BYTES_BLOCK - 1) / BYTES_BLOCK;
}

/* Bytes of weights in front of that panel. */
static inline size_t bytes_panel_at(const struct bytes_conv *self, size_t group, size_t panel)
{
    size_t in_group = bytes_blocks(self->group_out) * BYTES_BLOCK;
    return (group * in_group + panel * BYTES_PANEL) * self->quads * 4;
}

#endif
