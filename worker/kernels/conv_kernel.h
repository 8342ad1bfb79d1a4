/* conv_kernel - what an implementation of the conv family provides; see conv.h
 *
 * Pixels of the input lie in "planes": a plane holds `inner` channels of one map, interleaved.
 * Blocked maps are planes of 8 channels, plain maps planes of 1. Weights are packed
 * [block of 8 outputs][plane][kernel row][kernel column][inner][8 outputs], so that the innermost
 * loop reads them in order and each input value is broadcast against 8 outputs. */
#ifndef CONVOY_WORKER_KERNELS_CONV_KERNEL_H
#define CONVOY_WORKER_KERNELS_CONV_KERNEL_H

#include "worker/kernels/conv.h"

#define CONV_PIXELS 6 /* output pixels of the largest tile, by 2 blocks: 12 accumulators */

/* A tile: neighbouring pixels of one output row, by 1, 2 or 4 blocks of 8 output channels. Each
 * output is bias + its products in the order plane, kernel row, kernel column, channel. */
struct conv_tile {
    size_t planes;
    size_t rows;          /* of the kernel */
    size_t cols;          /* of the kernel */
    size_t plane_step;    /* elements from plane to plane of the input */
    size_t row_step;      /* elements from kernel row to kernel row: dilation included */
    size_t col_step;      /* elements from kernel column to kernel column */
    size_t pixel_step;    /* elements from output pixel to output pixel: stride included */
    const float *in;      /* first pixel, first tap */
    const float *weights; /* first block */
    size_t weight_step;   /* elements from block to block of the weights */
    const float *bias;    /* 8 per block */
    bool accumulate;      /* start from what out holds instead */
    float low, high;      /* clamp on the sums; infinities: none */
    float *out;           /* first pixel of the first block, [pixel][8] */
    size_t out_step;      /* elements from block to block of the output */
};

typedef void conv_tile_fn(const struct conv_tile *t);

/* Shapes of tiles by blocks at once. */
enum conv_blocks { CONV_BLOCKS_1, CONV_BLOCKS_2, CONV_BLOCKS_4, CONV_BLOCKS_KINDS };

struct conv_kernel {
    const char *name;
    /* [inner is 8][stride is 1][blocks][pixels - 1]; NULL where that shape needs too many
     * registers: with 4 blocks more than 3 pixels. */
    conv_tile_fn *tile[2][2][CONV_BLOCKS_KINDS][CONV_PIXELS];
    /* [pixels - 1]: depthwise; one plane of 8 channels, each with its own weights [row][col][8] */
    conv_tile_fn *depthwise[CONV_PIXELS];
};

#define KERNEL(function, needs) extern const struct conv_kernel function;
#include "worker/kernels/conv.def"
#undef KERNEL

/* The implementation now chosen. */
const struct conv_kernel *conv_now(void);

#endif
