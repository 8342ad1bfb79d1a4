/* conv_winograd - what the files of Winograd's F(T x T, 3 x 3) and F(T, 3) share
 *
 * conv_winograd.c runs a plan, conv_winograd_weights.c takes weights to points and gradients back,
 * conv_winograd_grad.c sums the gradient by the weights. Nobody else includes this. */
#ifndef CONVOY_WORKER_KERNELS_CONV_WINOGRAD_H
#define CONVOY_WORKER_KERNELS_CONV_WINOGRAD_H

#include "worker/kernels/conv_plan.h"

#define WINOGRAD_REACH_MAX 6  /* points and inputs of a tile along an axis */
#define WINOGRAD_CHUNK     32 /* output channels that are computed together */

/* A kernel of one row: tiles of one row, too. */
static inline bool conv_winograd_flat(const struct conv_shape *s)
{
    return s->kernel[0] == 1;
}

/* How tiles lie on an output map. */
struct winograd_grid {
    size_t tile[2];  /* outputs of a tile down and across: T and T, or 1 and T */
    size_t reach[2]; /* inputs: what the kernel adds */
    size_t points;   /* their product */
    size_t across;   /* tiles in a row of tiles */
    size_t down;     /* rows of tiles in a map */
};
struct winograd_grid conv_winograd_grid(const struct conv_shape *s, size_t out_h, size_t out_w);

/* Floats from point to point of `planes` planes of some tiles: a little more than a multiple of
 * what makes addresses fall into the same set of a cache, for the transforms touch all points at
 * once. */
size_t conv_winograd_step(size_t planes, size_t tiles);

/* Rows of one block of channels of a map, as one row of tiles reads them. */
struct winograd_rows {
    const float *map; /* [h][w][8] */
    size_t h, w;
    size_t top;          /* the first, which wraps above the map */
    size_t left;         /* pixels that are missing before each */
    size_t lines, width; /* to be filled */
};

/* Copies them to [lines][width][8], with zeros around the map. */
void conv_winograd_copy(const struct winograd_rows *r, float *to);

/* The gradient by the weights, [channels_out][channels_in][3 or 1][3], from that by the points,
 * [point][panel of `width` outputs][plane][8][width]. */
void conv_winograd_weights_grad(const struct conv_shape *s, size_t width, const float *points,
                                float *dw);

#endif
