/* layout - how activations lie in memory, and the way from one layout to the other
 *
 * LAYOUT_PLAIN is [n][c][h][w]. LAYOUT_BLOCKED is [n][ceil(c/8)][h][w][8]: channel k sits in block
 * k/8, lane k%8 (NCHW8c). Lanes past the last channel hold zeros; whoever writes a blocked buffer
 * writes them. LAYOUT_LAST is [n][h][w][c], of bytes and sums of bytes, with a few elements behind
 * it (bytes_conv.h). 1-D data is h = 1. */
#ifndef CONVOY_WORKER_KERNELS_LAYOUT_H
#define CONVOY_WORKER_KERNELS_LAYOUT_H

#include "common/base.h"

#define LANES 8 /* channels in a block: one 256-bit register of fp32 */

enum layout { LAYOUT_PLAIN, LAYOUT_BLOCKED, LAYOUT_LAST };

/* A batch of feature maps. */
struct maps {
    size_t n; /* images */
    size_t c; /* channels */
    size_t h;
    size_t w;
};

static inline size_t layout_blocks(size_t channels)
{
    return (channels + LANES - 1) / LANES;
}

/* Elements (not bytes) of `m` in that layout. */
size_t layout_elements(enum layout layout, struct maps m);

/* Copy fp32 maps `in` (plain) to `out` (blocked), or back. Buffers do not overlap. */
void layout_to_blocked(struct maps m, const float *in, float *out);
void layout_to_plain(struct maps m, const float *in, float *out);

/* Write zeros into the lanes past the last channel: after an elementwise function with f(0) != 0
 * ran over a whole blocked buffer. */
void layout_clear_tail(struct maps m, float *blocked);

#endif
