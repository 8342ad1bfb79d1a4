/* conv_kernel - what an implementation of the conv family provides; see conv.h
 *
 * Pixels of the input lie in "planes": a plane holds `inner` channels of one map, interleaved.
 * Blocked maps are planes of 8 channels, plain maps planes of 1. Weights are packed
 * [panel of `width` outputs][plane][kernel row][kernel column][inner][width], so that the
 * innermost loop reads them in order and each input value is broadcast against `width` outputs. */
#ifndef CONVOY_WORKER_KERNELS_CONV_KERNEL_H
#define CONVOY_WORKER_KERNELS_CONV_KERNEL_H

#include "worker/kernels/conv.h"

#define CONV_WIDTH_MAX                                                                             \
    16 /* outputs of a panel: one register, which is 1 or 2 blocks of layout.h                     \
        */

/* A tile: neighbouring pixels of one output row, by 1, 2 or 4 panels of outputs. Each output is
 * bias + its products in the order plane, kernel row, kernel column, channel. */
struct conv_tile {
    size_t planes;
    size_t rows;          /* of the kernel */
    size_t cols;          /* of the kernel */
    size_t plane_step;    /* elements from plane to plane of the input */
    size_t row_step;      /* elements from kernel row to kernel row: dilation included */
    size_t col_step;      /* elements from kernel column to kernel column */
    size_t pixel_step;    /* elements from output pixel to output pixel: stride included */
    const float *in;      /* first pixel, first tap */
    const float *weights; /* first panel */
    size_t weight_step;   /* elements from panel to panel of the weights */
    size_t weight_skip;   /* elements of kernel rows that are left out, behind each plane */
    const float *bias;    /* `width` per panel */
    bool accumulate;      /* start from what out holds instead */
    const float *ahead;   /* weights of a panel that will be wanted soon: fetched meanwhile */
    size_t ahead_panels;  /* there are from `ahead` on, weight_step apart; 0: fetch nothing */
    float low, high;      /* clamp on the sums; infinities: none */
    float *out;           /* first pixel of the first block, [pixel][8] */
    const float *add;     /* like out, added to the sums before the clamp; NULL: nothing */
    size_t out_step;      /* elements from block to block of the output */
    size_t out_blocks;    /* blocks there are from `out` on: the last panel may have half of it */
};

/* Rows y..y_end-1 of a depthwise convolution of one block of 8 channels; index 0 is the height.
 * Padding is not read: taps that fall on it are left out. */
struct conv_depthwise {
    size_t in_size[2];
    size_t out_w;
    size_t kernel[2], stride[2], dilation[2];
    size_t pad[2];        /* before the first row, column */
    const float *in;      /* [in_size0][in_size1][8] */
    const float *weights; /* [kernel0][kernel1][8] */
    const float *bias;    /* [8] */
    float low, high;      /* clamp on the sums; infinities: none */
    float *out;           /* [rows][out_w][8] of the whole block */
    size_t y, y_end;
};

/* Neighbouring tiles of one row of tiles and one block of 8 channels, between pixels and the points
 * of Winograd's F(T x T, 3 x 3), T = outputs: a tile reads (T + 2)^2 pixels, T apart from the next,
 * has as many points, and makes T x T pixels.
 * Source: A. Lavin, S. Gray, Fast Algorithms for Convolutional Neural Networks, 2015. */
struct conv_winograd {
    size_t outputs; /* of a tile along an axis: 2, 3 or 4 */
    bool flat;      /* F(T, 3): tiles of one row, T + 2 pixels and points */
    size_t tiles;
    float *pixels;   /* first pixel of the first tile, [8]; of the input or of the output */
    size_t row_step; /* elements from row to row of pixels */
    float *points;   /* [points, row by row][tile][8] */
    size_t point_step;
    const float *bias; /* [8], output only, like the clamp */
    float low, high;
};

/* Of a plan of F(T x T, 3 x 3): how weights of `width` outputs become points. */
struct winograd_points {
    size_t reach;         /* points of a tile along an axis: T + 2 */
    bool flat;            /* a kernel of one row: 3 taps, not 9, and points of one row */
    const double (*g)[3]; /* G, [reach][3] */
    size_t step;          /* elements from point to point */
};

struct conv_kernel {
    const char *name;
    size_t width;       /* outputs of a panel: 8 or 16 */
    size_t pixels;      /* of the largest tile of 1 or 2 panels */
    size_t pixels_of_4; /* of the largest tile of 4 panels; 0: there is none */
    /* `inner` is 1 or 8, `panels` 1, 2 or 4 */
    void (*tile)(const struct conv_tile *t, size_t inner, size_t panels, size_t pixels);
    void (*depthwise)(const struct conv_depthwise *d);
    /* points = B^T pixels B, and pixels = clamp(A^T points A + bias); NULL: not provided */
    void (*winograd_in)(const struct conv_winograd *w);
    void (*winograd_out)(const struct conv_winograd *w);
    /* points = A pixels A^T, where pixels are T x T of a gradient by the output */
    void (*winograd_out_grad)(const struct conv_winograd *w);
    /* points = G w G^T, and w = G^T points G, in double; w is [tap][output] */
    void (*winograd_weights)(const struct winograd_points *p, const float (*w)[CONV_WIDTH_MAX],
                             float *points);
    void (*winograd_weights_grad)(const struct winograd_points *p, const float *points,
                                  float (*w)[CONV_WIDTH_MAX]);
};

#define KERNEL(function, needs) extern const struct conv_kernel function;
#include "worker/kernels/conv.def"
#undef KERNEL

/* The implementation now chosen. */
const struct conv_kernel *conv_now(void);

#endif
