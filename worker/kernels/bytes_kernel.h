/* bytes_kernel - what an implementation of the bytes family provides; see bytes.h, bytes_conv.h */
#ifndef CONVOY_WORKER_KERNELS_BYTES_KERNEL_H
#define CONVOY_WORKER_KERNELS_BYTES_KERNEL_H

#include "worker/kernels/bytes.h"

#define BYTES_PANEL 64 /* output channels whose weights lie together */
#define BYTES_BLOCK 16 /* a panel has as many of these as its channels need */

/* Input bytes that lie side by side and meet weights that do so, four by four. */
struct bytes_run {
    size_t x;   /* from a pixel's first byte */
    size_t w;   /* groups of four from the panel's first */
    size_t len; /* groups of four */
};

/* From sums to bytes. Kernels know UINT8 only: INT8 is it, less 128, which `flip` does. */
struct bytes_out {
    const float *scales;
    int16_t zero;
    uint8_t low, high, flip; /* flip: 0 or 0x80, put over the finished byte */
    bool bare; /* zero 0, low 0, high 255, flip 0, and scaled sums far below 2^31: packing does all
                */
};

/* Pixels by one panel: sum = start[c] - w_zeros[c] x_sums[p] + products over all runs, of UINT8
 * with INT8. weights [group of four][blocks of channels * 16][4]: channels past the last have
 * zeros, as start and scales have. */
struct bytes_panel {
    const uint8_t *x;
    const size_t *x_at; /* pixels: each one's first byte */
    void *y;            /* uint8_t, or int32_t when out is NULL */
    const size_t *y_at; /* pixels: elements */
    size_t pixels;
    const struct bytes_run *runs;
    size_t runs_len;
    const int8_t *weights;
    size_t channels; /* 1..BYTES_PANEL */
    const int32_t *start;
    const int32_t *w_zeros, *x_sums; /* NULL: all weights have zero point 0 */
    const struct bytes_out *out;
};

struct bytes_kernel {
    void (*dots)(size_t rows, size_t cols, size_t k, const int16_t *a, const int16_t *b, int32_t *c,
                 size_t c_step);
    void (*from_fp32)(struct bytes_scale s, size_t n, const float *x, void *q);
    void (*to_fp32)(struct bytes_scale s, size_t n, const void *q, float *y);
    void (*panel)(const struct bytes_panel *p);
    /* The same for a channel by itself: weights are int16_t [run][channels], any number of
     * channels, zero points subtracted; a run is one tap. */
    void (*depthwise)(const struct bytes_panel *p, const int16_t *weights);
    /* to[i * planes + k] = from[k * plane + i] with `flip` put over it, i < n. */
    void (*interleave)(size_t n, size_t planes, size_t plane, const uint8_t *from, uint8_t flip,
                       uint8_t *to);
    const char *name;
};

#define KERNEL(function, needs) extern const struct bytes_kernel function;
#include "worker/kernels/bytes.def"
#undef KERNEL

/* The implementation now chosen. */
const struct bytes_kernel *bytes_now(void);

#endif
