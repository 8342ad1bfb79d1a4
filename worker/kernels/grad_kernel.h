/* grad_kernel - what an implementation of the grad family provides; see grad.h, conv_grad.h and
 * update.h */
#ifndef CONVOY_WORKER_KERNELS_GRAD_KERNEL_H
#define CONVOY_WORKER_KERNELS_GRAD_KERNEL_H

#include "worker/kernels/conv_grad.h"
#include "worker/kernels/grad.h"
#include "worker/kernels/update.h"

#define GRAD_WIDTH_MAX 16
#define GRAD_TAPS_MAX  24

/* sums[tap][output] = sum over images and pixels of out[pixel][output] in[pixel + tap], for `width`
 * outputs, one or two blocks of 8, and taps that lie side by side. */
struct grad_tile {
    size_t images, rows, cols;   /* of the output */
    const float *out;            /* gradient of the output, blocked */
    size_t out_image, out_block; /* elements from one to the next; rows lie without gaps */
    bool half;                   /* there is no second block */
    const float *in;             /* first pixel, first tap */
    size_t in_image, in_row, in_pixel;
    bool adds;   /* to what sums holds, which then comes first */
    float *sums; /* [taps][width] */
};

/* Gradient of a window's input: out = first largest input of each window gets the gradient. Eight
 * channels of one image. */
struct grad_pool {
    size_t in_size[2], out_size[2];
    size_t kernel[2], stride[2], pad[2], dilation[2];
    bool relu;  /* only where y > 0 */
    bool apart; /* no two windows overlap, and no input between them is left out */
    const float *x, *y, *dy;
    float *dx; /* all of it is written */
};

struct grad_kernel {
    size_t width; /* outputs of a tile */
    size_t taps;  /* most taps of a tile: a multiple of 8 */
    /* 1 to 8, 16 or 24 taps, at most `taps` */
    void (*tile)(const struct grad_tile *t, size_t taps);
    void (*max_pool)(const struct grad_pool *p);
    /* sums[8] = sum of n pixels */
    void (*lanes)(size_t n, const float *x, float *sums);
    /* sums[8] += sum of a[pixel] b[pixel], b's pixels `step` elements apart */
    void (*products)(size_t n, const float *a, const float *b, size_t step, float *sums);
    void (*relu)(size_t n, const float *y, const float *dy, float *dx);
    double (*squares)(size_t n, const float *g); /* partial sums in fp32 */
    void (*update[UPDATE_COUNT])(const struct update *u, size_t n, float *w, const float *g,
                                 float *m, float *v);
};

#define KERNEL(function, needs) extern const struct grad_kernel function;
#include "worker/kernels/grad.def"
#undef KERNEL

/* The implementation now chosen. */
const struct grad_kernel *grad_now(void);

#endif
