/* work - the layers of layers.def, and the numbers that every contender computes them on */
#ifndef CONVOY_TESTS_BENCH_WORK_H
#define CONVOY_TESTS_BENCH_WORK_H

#include "common/base.h"

enum work_kind { WORK_CONV };

/* Convolution of [batch][c][h][w] with weights [k][c / groups][kh][kw], bias and ReLU. Index 0 is
 * the height, 1 the width; padding is the same on both sides. */
struct conv_work {
    size_t c, h, w, k;
    size_t kernel[2], stride[2], pad[2], dilation[2];
    size_t groups;
    size_t out[2]; /* the output's map */
};

struct work {
    enum work_kind kind;
    const char *goal; /* of goals.def, or "none" */
    const char *name; /* the ONNX model is <name>.onnx */
    size_t batch;
    struct conv_work conv;
};

/* Every work there is; `len` says how many. */
const struct work *work_list(size_t *len);

/* Operations, a multiplication and an addition counted as two, by the direct algorithm. */
double work_flops(const struct work *self);

/* Values of the output. */
size_t work_outputs(const struct work *self);

/* n numbers between -scale and scale, which kernels.py knows as well; free() them. */
float *work_numbers(size_t n, float scale);

/* Weights, bias and input of a convolution. */
struct conv_data {
    float *weights, *bias, *x;
};
struct conv_data conv_data_new(const struct work *w);
void conv_data_free(struct conv_data *self);

#endif
