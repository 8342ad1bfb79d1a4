/* work - the layers of layers.def, and the numbers that every contender computes them on */
#ifndef CONVOY_TESTS_BENCH_WORK_H
#define CONVOY_TESTS_BENCH_WORK_H

#include "common/base.h"

enum work_kind { WORK_CONV, WORK_QCONV, WORK_RNN, WORK_DENSE };

/* Convolution of [batch][c][h][w] with weights [k][c / groups][kh][kw], bias and ReLU. Index 0 is
 * the height, 1 the width; padding is the same on both sides. WORK_QCONV: UINT8 by INT8, zero
 * points 0, scales of each output channel; ReLU is what UINT8 leaves. */
struct conv_work {
    size_t c, h, w, k;
    size_t kernel[2], stride[2], pad[2], dilation[2];
    size_t groups;
    size_t out[2]; /* the output's map */
};

/* x [steps][batch][input] to y [steps][batch][hidden], weights and bias as in ONNX; a GRU resets
 * behind its product. */
enum work_cell { CELL_GRU, CELL_LSTM };
struct rnn_work {
    enum work_cell cell;
    size_t steps, input, hidden;
    bool bf16; /* our weights */
};
#define WORK_GATES(cell) ((cell) == CELL_LSTM ? (size_t)4 : (size_t)3)

/* y [batch][out] = x [batch][in] times the transposed weights [out][in]. */
struct dense_work {
    size_t in, out;
};

struct work {
    enum work_kind kind;
    const char *goal; /* of goals.def, or "none" */
    const char *name; /* the ONNX model is <name>.onnx */
    size_t batch;
    union {
        struct conv_work conv;
        struct rnn_work rnn;
        struct dense_work dense;
    };
};

/* Every work there is; `len` says how many. */
const struct work *work_list(size_t *len);

/* Operations, a multiplication and an addition counted as two, by the direct algorithm. */
double work_flops(const struct work *self);

/* Values of the output y. */
size_t work_outputs(const struct work *self);

/* How far two contenders' outputs may be apart, as a part of the largest value. */
double work_tolerance(const struct work *self);

/* n numbers between -scale and scale, which layer_models.py knows as well; free() them. */
float *work_numbers(size_t n, float scale);

/* What a layer computes on, in ONNX's layouts. What a kind has not is NULL. */
struct work_data {
    float *weights, *bias, *x;
    float *recurrent, *h0, *c0; /* RNN; bias is [2][gates * hidden] then */
    uint8_t *q_x;               /* QCONV */
    int8_t *q_weights;
    int32_t *q_bias;
    float *q_scales; /* of an output channel's sums: WORK_X_SCALE times its weights' scale */
};
#define WORK_X_SCALE 0.01f /* QCONV; that of y is 1 */
struct work_data work_data_new(const struct work *w);
void work_data_free(struct work_data *self);

#endif
