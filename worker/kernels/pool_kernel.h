/* pool_kernel - what an implementation of the pool family provides; see pool.h */
#ifndef CONVOY_WORKER_KERNELS_POOL_KERNEL_H
#define CONVOY_WORKER_KERNELS_POOL_KERNEL_H

#include "worker/kernels/pool.h"

/* Neighbouring output pixels of one row, all with the same window. */
/* A rectangle of output pixels whose windows are all alike. */
struct pool_span {
    size_t rows;       /* of the window, inside the map */
    size_t cols;       /* of the window, inside the map */
    size_t row_step;   /* elements of the input from window row to window row */
    size_t col_step;   /* from window column to window column */
    size_t pixel_step; /* from output pixel to output pixel */
    size_t pixels;
    size_t lines;     /* output rows of so many pixels */
    size_t line_step; /* elements of the input from line to line */
    size_t out_step;  /* of the output */
    float divisor;    /* average: what the sum is divided by */
    const float *in;  /* first value of the first window */
    float *out;
};

typedef void pool_span_fn(const struct pool_span *s);

/* out[0..lanes-1] from a whole map of `pixels`: [pixels][8] if blocked, [pixels] with lanes 1. */
typedef void pool_global_fn(size_t pixels, size_t lanes, const float *in, float *out);

/* Indexed by enum pool_kind, then enum layout: a value is one channel, or eight of a block. */
struct pool_kernel {
    pool_span_fn *span[2][2];
    pool_global_fn *global[2][2];
};

#define KERNEL(function, needs) extern const struct pool_kernel function;
#include "worker/kernels/pool.def"
#undef KERNEL

/* The implementation now chosen. */
const struct pool_kernel *pool_now(void);

#endif
