/* ours - the kernels as contenders: worker/kernels through its public headers, blocked maps */
#include "tests/bench/contender.h"

#include <stdlib.h>
#include <string.h>

#include "worker/kernels/bytes_conv.h"
#include "worker/kernels/conv.h"
#include "worker/kernels/cpu.h"
#include "worker/kernels/gemm.h"
#include "worker/kernels/rnn.h"

/* --- convolution -------------------------------------------------------------------------------
 */
struct ours_conv {
    struct conv_plan *plan;
    struct maps in, out;
    float *x, *y; /* as the plan wants them */
    void *scratch;
};

static struct conv_shape conv_shape_of(const struct conv_work *c)
{
    return (struct conv_shape){
        .channels_in = c->c,
        .channels_out = c->k,
        .groups = c->groups,
        .kernel = {c->kernel[0], c->kernel[1]},
        .stride = {c->stride[0], c->stride[1]},
        .dilation = {c->dilation[0], c->dilation[1]},
        .pad_begin = {c->pad[0], c->pad[1]},
        .pad_end = {c->pad[0], c->pad[1]},
    };
}

static struct conv_plan *plan_conv(const struct conv_work *c, enum layout layout,
                                   const struct work_data *data)
{
    struct conv_shape shape = conv_shape_of(c);
    shape.winograd = conv_winograd_tile(&shape, layout, LAYOUT_BLOCKED, c->h, c->w);
    return conv_plan_new(&shape, data->weights, data->bias, ACT_RELU, layout, LAYOUT_BLOCKED);
}

static void *conv_open(const struct work *w, size_t *times)
{
    const struct conv_work *c = &w->conv;
    /* a network's first layer reads plain maps, all others blocked ones */
    enum layout layout = c->c < LANES ? LAYOUT_PLAIN : LAYOUT_BLOCKED;
    struct ours_conv *self = xcalloc(1, sizeof *self);
    struct work_data data = work_data_new(w);
    self->in = (struct maps){w->batch, c->c, c->h, c->w};
    self->out = (struct maps){w->batch, c->k, c->out[0], c->out[1]};
    self->plan = plan_conv(c, layout, &data);
    self->x = xaligned(layout_elements(layout, self->in) * sizeof(float));
    self->y = xaligned(layout_elements(LAYOUT_BLOCKED, self->out) * sizeof(float));
    self->scratch = xaligned(conv_scratch_bytes(self->plan, self->in));
    if (layout == LAYOUT_BLOCKED)
        layout_to_blocked(self->in, data.x, self->x);
    else
        memcpy(self->x, data.x, layout_elements(layout, self->in) * sizeof(float));
    work_data_free(&data);
    *times = 1;
    return self;
}

static void conv_work_run(void *arg)
{
    const struct ours_conv *self = arg;
    conv_run(self->plan, self->in, self->x, NULL, self->y, self->scratch);
}

static void conv_output(void *arg, float *y)
{
    const struct ours_conv *self = arg;
    layout_to_plain(self->out, self->y, y);
}

static void conv_close(void *arg)
{
    struct ours_conv *self = arg;
    conv_plan_destroy(&self->plan);
    free(self->x);
    free(self->y);
    free(self->scratch);
    free(self);
}

const struct contender ours_conv = {"ours",        WORK_CONV,   conv_open,
                                    conv_work_run, conv_output, conv_close};

/* --- convolution of bytes ----------------------------------------------------------------------
 */
struct ours_qconv {
    struct bytes_conv *plan;
    struct maps in, out;
    uint8_t *x, *y; /* [n][h][w][c], or x plain */
    void *scratch;
};

static void *qconv_open(const struct work *w, size_t *times)
{
    const struct conv_work *c = &w->conv;
    struct conv_shape shape = conv_shape_of(c);
    bool plain = bytes_conv_reads_plain(&shape);
    struct ours_qconv *self = xcalloc(1, sizeof *self);
    struct work_data data = work_data_new(w);
    struct bytes_conv_numbers numbers = {
        .x_type = DTYPE_UINT8,
        .w_type = DTYPE_INT8,
        .y_type = DTYPE_UINT8,
        .bias = data.q_bias,
        .scales = data.q_scales,
        .high = 255,
    };
    size_t plane = c->h * c->w, x_len = w->batch * c->c * plane;
    self->in = (struct maps){w->batch, c->c, c->h, c->w};
    self->out = (struct maps){w->batch, c->k, c->out[0], c->out[1]};
    self->plan =
        bytes_conv_new(&shape, &numbers, data.q_weights, plain ? LAYOUT_PLAIN : LAYOUT_LAST);
    self->x = xaligned(x_len + BYTES_SLACK);
    self->y = xaligned(work_outputs(w) + BYTES_SLACK);
    self->scratch = xaligned(bytes_conv_scratch_bytes(self->plan, self->in));
    if (plain)
        memcpy(self->x, data.q_x, x_len);
    else
        bytes_to_last(self->in, 1, data.q_x, self->x);
    work_data_free(&data);
    *times = 1;
    return self;
}

static void qconv_run(void *arg)
{
    const struct ours_qconv *self = arg;
    bytes_conv_run(self->plan, self->in, self->x, self->y, self->scratch);
}

static void qconv_output(void *arg, float *y)
{
    const struct ours_qconv *self = arg;
    size_t n = self->out.n * self->out.c * self->out.h * self->out.w;
    uint8_t *plain = xaligned(n);
    bytes_to_plain(self->out, 1, self->y, plain);
    for (size_t i = 0; i < n; i++)
        y[i] = plain[i];
    free(plain);
}

static void qconv_close(void *arg)
{
    struct ours_qconv *self = arg;
    bytes_conv_destroy(&self->plan);
    free(self->x);
    free(self->y);
    free(self->scratch);
    free(self);
}

const struct contender ours_qconv = {"ours",    WORK_QCONV,   qconv_open,
                                     qconv_run, qconv_output, qconv_close};

/* --- recurrent ---------------------------------------------------------------------------------
 */
struct ours_rnn {
    struct rnn_plan *plan;
    struct work_data data;
    struct rnn_args args;
    size_t outputs;
    void *scratch;
};

static void *rnn_open(const struct work *w, size_t *times)
{
    const struct rnn_work *r = &w->rnn;
    struct ours_rnn *self = xcalloc(1, sizeof *self);
    struct work_data data = work_data_new(w);
    struct rnn_shape shape = {
        .cell = r->cell == CELL_LSTM ? RNN_LSTM : RNN_GRU,
        .direction = RNN_FORWARD,
        .input = r->input,
        .hidden = r->hidden,
        .linear_before_reset = true,
        .weight_type = r->bf16 ? RNN_BF16 : RNN_FP32,
    };
    rnn_default_activations(&shape);
    self->plan =
        rnn_plan_new(&shape, &(struct rnn_weights){data.weights, data.recurrent, data.bias, NULL});
    self->outputs = work_outputs(w);
    self->data = data;
    self->args = (struct rnn_args){
        .steps = r->steps,
        .batch = w->batch,
        .x = data.x,
        .h0 = data.h0,
        .c0 = r->cell == CELL_LSTM ? data.c0 : NULL,
        .y = xaligned(self->outputs * sizeof(float)),
        .h = xaligned(w->batch * r->hidden * sizeof(float)),
        .c = r->cell == CELL_LSTM ? xaligned(w->batch * r->hidden * sizeof(float)) : NULL,
    };
    self->scratch = xaligned(rnn_scratch_bytes(self->plan, r->steps, w->batch));
    *times = 1;
    return self;
}

static void rnn_work_run(void *arg)
{
    const struct ours_rnn *self = arg;
    rnn_run(self->plan, &self->args, self->scratch);
}

static void rnn_output(void *arg, float *y)
{
    const struct ours_rnn *self = arg;
    memcpy(y, self->args.y, self->outputs * sizeof *y);
}

static void rnn_close(void *arg)
{
    struct ours_rnn *self = arg;
    rnn_plan_destroy(&self->plan);
    work_data_free(&self->data);
    free(self->args.y);
    free(self->args.h);
    free(self->args.c);
    free(self->scratch);
    free(self);
}

const struct contender ours_rnn = {"ours", WORK_RNN, rnn_open, rnn_work_run, rnn_output, rnn_close};

/* --- dense -------------------------------------------------------------------------------------
 */
struct ours_dense {
    struct work_data data;
    float *packed;
    struct gemm gemm;
};

static void *dense_open(const struct work *w, size_t *times)
{
    const struct dense_work *d = &w->dense;
    struct ours_dense *self = xcalloc(1, sizeof *self);
    self->data = work_data_new(w);
    self->packed = xaligned(gemm_packed_bytes(d->in, d->out));
    gemm_pack(d->in, d->out, (struct matrix){self->data.weights, 1, d->in}, 1, self->packed);
    self->gemm = (struct gemm){
        .m = w->batch,
        .n = d->out,
        .k = d->in,
        .a = {self->data.x, d->in, 1},
        .packed = self->packed,
        .act = ACT_NONE,
        .c = xaligned(work_outputs(w) * sizeof(float)),
        .c_step = d->out,
    };
    *times = 1;
    return self;
}

static void dense_run(void *arg)
{
    const struct ours_dense *self = arg;
    gemm_run(&self->gemm);
}

static void dense_output(void *arg, float *y)
{
    const struct ours_dense *self = arg;
    memcpy(y, self->gemm.c, self->gemm.m * self->gemm.n * sizeof *y);
}

static void dense_close(void *arg)
{
    struct ours_dense *self = arg;
    work_data_free(&self->data);
    free(self->packed);
    free(self->gemm.c);
    free(self);
}

const struct contender ours_dense = {"ours",    WORK_DENSE,   dense_open,
                                     dense_run, dense_output, dense_close};
