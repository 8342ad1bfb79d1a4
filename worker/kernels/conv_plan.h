/* conv_plan - a convolution with its weights packed; shared by the conv*.c files only
 *
 * A unit is what one set of tiles computes: a group, or, depthwise, a block of 8 channels. */
#ifndef CONVOY_WORKER_KERNELS_CONV_PLAN_H
#define CONVOY_WORKER_KERNELS_CONV_PLAN_H

#include "worker/kernels/conv_kernel.h"

enum conv_way {
    CONV_DIRECT,    /* conv.c */
    CONV_DEPTHWISE, /* conv_depthwise.c */
    CONV_WINOGRAD,  /* conv_winograd.c */
};

struct conv_plan {
    struct conv_shape shape;
    const struct conv_kernel *kernel; /* what the weights are packed for */
    enum conv_way way;
    struct activation act;
    bool clamps;       /* act is the clamp low..high */
    bool tail_nonzero; /* act(0) is not 0: lanes past the last channel need clearing */
    bool padded;       /* some padding is not 0 */
    size_t thin[2];    /* only so many-th rows and columns are read: 1 x 1 with a stride, which
                        * `shape` then has no more */
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
    size_t panels;       /* of kernel->width output channels, per unit */
    size_t panel_floats; /* packed weights of one panel */
    bool gathers;        /* input is copied into planes first: padding or another layout */
    bool scatters;       /* output rows are computed aside and then put in place */
    size_t pool[2];      /* of shape, 1 where there is none */
    bool pools;          /* rows are computed aside, and their largest values written */
    bool far;            /* weights do not stay in the second-level cache from run to run */
    float *weights;      /* Winograd as conv_winograd_weights.c says; else
                            [unit][panel][plane][row][col][inner][width], owned */
    float *bias;         /* [unit][panel][width], owned */
    char name[48];
};

/* The ways; see conv_run and conv_scratch_bytes. */
void conv_direct_run(const struct conv_plan *self, struct maps m, const float *in, const float *add,
                     float *out, void *scratch);
size_t conv_direct_scratch(const struct conv_plan *self, struct maps m);
void conv_depthwise_run(const struct conv_plan *self, struct maps m, const float *in,
                        const float *add, float *out, void *scratch);
size_t conv_depthwise_scratch(const struct conv_plan *self, struct maps m);

void conv_winograd_run(const struct conv_plan *self, struct maps m, const float *in,
                       const float *add, float *out, void *scratch);
size_t conv_winograd_scratch(const struct conv_plan *self, struct maps m);

/* Of a tile: what each pair of channels has as weights. */
size_t conv_winograd_points(const struct conv_shape *s);

/* Pack weights [channels_out][channels_in][3 or 1][3] for conv_winograd_run into p->weights. */
void conv_winograd_pack(struct conv_plan *p, const float *weights);

/* The gradient by the weights of a shape that has `winograd`, of blocked maps; see conv_grad.h. */
void conv_winograd_grad(const struct conv_shape *shape, struct maps m, const float *in,
                        const float *dy, float *dw, void *scratch);
size_t conv_winograd_grad_scratch(const struct conv_shape *shape, struct maps m);

/* One row of `pixels` pixels, in tiles, for 1, 2 or 4 panels. Moves t->in and t->out behind it. */
void conv_run_row(const struct conv_plan *p, struct conv_tile *t, size_t panels, size_t pixels);

/* Panels that tiles of such a row take at once, of those left. */
size_t conv_panels_at_once(const struct conv_plan *p, size_t pixels, size_t left);

/* The input's maps without the rows and columns that are never read, the sums', without those that
 * no window of the pooling covers, and the output's. */
struct maps conv_thin_maps(const struct conv_plan *self, struct maps m);
struct maps conv_sum_maps(const struct conv_plan *self, struct maps m);
struct maps conv_out_maps(const struct conv_plan *self, struct maps m);

/* Largest values of a row of windows of the pooling. */
struct conv_pooling {
    size_t pixels;    /* of the output */
    const float *in;  /* sums, [pixel][8] */
    size_t row_step;  /* elements from row to row of the sums */
    float *out;       /* [pixels][8] */
    size_t lines;     /* such rows: further ones, or of other blocks */
    size_t line_step; /* elements from line to line of the sums */
    size_t out_step;  /* of the output */
};
void conv_pool(const struct conv_plan *self, const struct conv_pooling *rows);

#endif
