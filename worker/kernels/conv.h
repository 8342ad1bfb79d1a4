/* conv - 2-D convolution as ONNX Conv defines it, with the activation fused
 *
 * out[n][k][y][x] = act(bias[k] + sum over c, r, s of
 *   in[n][c][y * stride0 + r * dilation0 - pad0][x * stride1 + s * dilation1 - pad1] w[k][c][r][s])
 * with c over the channels of k's group and zeros outside the map. 1-D convolution is h = 1 and
 * kernel height 1. A plan holds the packed weights; it does not depend on batch or map size, is
 * made once, and is then only read: any number of threads may run it at once with scratch of their
 * own. Running never allocates and never fails. A sum's order depends on the plan alone. */
#ifndef CONVOY_WORKER_KERNELS_CONV_H
#define CONVOY_WORKER_KERNELS_CONV_H

#include "worker/kernels/activation.h"
#include "worker/kernels/layout.h"

/* Index 0 is the height, 1 the width. */
struct conv_shape {
    size_t channels_in;
    size_t channels_out;
    size_t groups;       /* divides both */
    size_t kernel[2];    /* at least 1 */
    size_t stride[2];    /* at least 1 */
    size_t dilation[2];  /* at least 1 */
    size_t pad_begin[2]; /* zeros before the first row, column */
    size_t pad_end[2];
    size_t winograd; /* 0, or what conv_winograd_tile() says */
    size_t pool[2]; /* 0: none. 1, 2 or 4 down and 1 or 2 across: windows of that size side by side,
                     * of which the largest value is written, behind the activation; only of one
                     * group, to blocked maps, and with nothing added */
};

struct conv_plan;

/* Pack `weights` [channels_out][channels_in / groups][kernel0][kernel1] and bias (channels_out, or
 * NULL); neither is needed afterwards. Any pair of layouts works. Fastest: blocked to blocked, and
 * plain to blocked for a first layer of few channels. */
struct conv_plan *conv_plan_new(const struct conv_shape *shape, const float *weights,
                                const float *bias, struct activation act, enum layout in,
                                enum layout out);

/* Pack other weights and bias into a plan: for training, where they change between runs. `weights`
 * of conv_plan_new may then be NULL. Takes no memory. */
void conv_plan_pack(struct conv_plan *p, const float *weights, const float *bias);

/* Whether Winograd's F(T x T, 3 x 3), or F(T, 3) for one row, which multiply fewer times, can
 * compute that layer and pays for maps of h x w: T, 2 to 4, for shape->winograd; else 0. Its errors
 * are about ten times those of the direct sum: near 1e-6 of a typical output. Depends on the layer
 * and one row's shape, never on batch or threads. */
size_t conv_winograd_tile(const struct conv_shape *shape, enum layout in, enum layout out, size_t h,
                          size_t w);

/* Output size along one axis for an input of `in`, before any pooling; 0 when the kernel does not
 * fit. */
size_t conv_out_size(const struct conv_shape *shape, size_t axis, size_t in);

/* Bytes of scratch that a run on maps of that size needs with the threads now set. */
size_t conv_scratch_bytes(const struct conv_plan *self, struct maps m);

/* Convolve `m` (m.c is channels_in). `add`, in the output's layout and not the output itself, is
 * added before the activation; NULL: nothing. `scratch` is aligned to TENSOR_ALIGN. */
void conv_run(const struct conv_plan *self, struct maps m, const float *in, const float *add,
              float *out, void *scratch);

/* Which way this plan computes, for profiles: "conv_avx2 direct". */
const char *conv_plan_name(const struct conv_plan *self);

void conv_plan_destroy(struct conv_plan **self_p);

#endif
