/* peer_onednn - oneDNN as a contender, in the formats that it likes best; reorders are not measured
 */
#include "tests/bench/contender.h"

#include <omp.h>
#include <oneapi/dnnl/dnnl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ARGS_MAX 12
#define D(value) ((dnnl_dim_t)(value))

static dnnl_engine_t engine;
static dnnl_stream_t stream;

/* A primitive with its memory. */
struct onednn {
    dnnl_primitive_desc_t pd;
    dnnl_primitive_t primitive;
    dnnl_exec_arg_t args[ARGS_MAX];
    int args_len;
    dnnl_memory_t y;            /* one of them: the output */
    dnnl_memory_desc_t plain_y; /* that in ONNX's layout */
};

/* Every call here but the making of a primitive must succeed. */
static void must(dnnl_status_t status, const char *what)
{
    if (status == dnnl_success)
        return;
    fprintf(stderr, "peer_onednn: %s: status %d\n", what, (int)status);
    exit(1);
}

void onednn_start(int threads)
{
    omp_set_num_threads(threads);
    must(dnnl_engine_create(&engine, dnnl_cpu, 0), "engine");
    must(dnnl_stream_create(&stream, engine, dnnl_stream_default_flags), "stream");
}

static dnnl_memory_desc_t desc_of(dnnl_data_type_t type, int rank, const dnnl_dims_t dims,
                                  dnnl_format_tag_t tag)
{
    dnnl_memory_desc_t md;
    must(dnnl_memory_desc_init_by_tag(&md, rank, dims, type, tag), "memory description");
    return md;
}

static dnnl_memory_desc_t desc(int rank, const dnnl_dims_t dims, dnnl_format_tag_t tag)
{
    return desc_of(dnnl_f32, rank, dims, tag);
}

static dnnl_memory_t memory(const dnnl_memory_desc_t *md)
{
    dnnl_memory_t m;
    must(dnnl_memory_create(&m, md, engine, DNNL_MEMORY_ALLOCATE), "memory");
    return m;
}

static dnnl_memory_t add(struct onednn *self, int arg, const dnnl_memory_desc_t *md)
{
    assert(self->args_len < ARGS_MAX);
    dnnl_memory_t m = memory(md);
    self->args[self->args_len++] = (dnnl_exec_arg_t){arg, m};
    return m;
}

/* Copy from one memory to another of any format. */
static void reorder(dnnl_memory_t from, dnnl_memory_t to)
{
    const dnnl_memory_desc_t *a, *b;
    dnnl_primitive_desc_t pd;
    dnnl_primitive_t primitive;
    const dnnl_exec_arg_t args[] = {{DNNL_ARG_FROM, from}, {DNNL_ARG_TO, to}};
    must(dnnl_memory_get_memory_desc(from, &a), "memory");
    must(dnnl_memory_get_memory_desc(to, &b), "memory");
    must(dnnl_reorder_primitive_desc_create(&pd, a, engine, b, engine, NULL), "reorder");
    must(dnnl_primitive_create(&primitive, pd), "reorder");
    must(dnnl_primitive_execute(primitive, stream, 2, args), "reorder");
    must(dnnl_stream_wait(stream), "reorder");
    dnnl_primitive_destroy(primitive);
    dnnl_primitive_desc_destroy(pd);
}

/* An argument in the format `own`, filled from `values`, which lie as `plain` says. */
static void add_filled(struct onednn *self, int arg, const dnnl_memory_desc_t *own,
                       dnnl_memory_desc_t plain, const void *values)
{
    dnnl_memory_t from = memory(&plain), to = add(self, arg, own);
    void *data;
    must(dnnl_memory_get_data_handle(from, &data), "memory");
    memcpy(data, values, dnnl_memory_desc_get_size(&plain));
    reorder(from, to);
    dnnl_memory_destroy(from);
}

/* The format that the primitive chose. */
static const dnnl_memory_desc_t *chosen(const struct onednn *self, dnnl_query_t what, int index)
{
    return dnnl_primitive_desc_query_md(self->pd, what, index);
}

/* The output, which lies as `own` says; `plain` is ONNX's layout. */
static void add_output(struct onednn *self, int arg, const dnnl_memory_desc_t *own,
                       dnnl_memory_desc_t plain)
{
    self->plain_y = plain;
    self->y = add(self, arg, own);
}

/* All arguments are there. */
static void *start(struct onednn *self)
{
    must(dnnl_primitive_create(&self->primitive, self->pd), "primitive");
    return self;
}

static void onednn_run(void *arg)
{
    const struct onednn *self = arg;
    dnnl_primitive_execute(self->primitive, stream, self->args_len, self->args);
    dnnl_stream_wait(stream);
}

static void onednn_output(void *arg, float *y)
{
    struct onednn *self = arg;
    dnnl_memory_t plain = memory(&self->plain_y);
    void *data;
    reorder(self->y, plain);
    must(dnnl_memory_get_data_handle(plain, &data), "memory");
    memcpy(y, data, dnnl_memory_desc_get_size(&self->plain_y));
    dnnl_memory_destroy(plain);
}

static void onednn_close(void *arg)
{
    struct onednn *self = arg;
    for (int i = 0; i < self->args_len; i++)
        dnnl_memory_destroy(self->args[i].memory);
    dnnl_primitive_destroy(self->primitive);
    dnnl_primitive_desc_destroy(self->pd);
    free(self);
}

/* --- convolution -------------------------------------------------------------------------------
 */
struct conv_dims {
    dnnl_dims_t x, w, b, y;
    int w_rank;
};

static struct conv_dims conv_dims(const struct work *work)
{
    const struct conv_work *c = &work->conv;
    struct conv_dims d = {
        .x = {D(work->batch), D(c->c), D(c->h), D(c->w)},
        .w = {D(c->k), D(c->c), D(c->kernel[0]), D(c->kernel[1])},
        .b = {D(c->k)},
        .y = {D(work->batch), D(c->k), D(c->out[0]), D(c->out[1])},
        .w_rank = 4,
    };
    if (c->groups > 1) {
        const dnnl_dims_t grouped = {D(c->groups), D(c->k / c->groups), D(c->c / c->groups),
                                     D(c->kernel[0]), D(c->kernel[1])};
        memcpy(d.w, grouped, sizeof grouped);
        d.w_rank = 5;
    }
    return d;
}

/* The primitive's description with ReLU behind it; false when there is no such primitive. */
static bool conv_describe(struct onednn *self, const struct work *work, const struct conv_dims *d,
                          dnnl_alg_kind_t algorithm)
{
    const struct conv_work *c = &work->conv;
    const dnnl_dims_t stride = {D(c->stride[0]), D(c->stride[1])},
                      dilate = {D(c->dilation[0] - 1), D(c->dilation[1] - 1)},
                      pad = {D(c->pad[0]), D(c->pad[1])};
    dnnl_memory_desc_t x = desc(4, d->x, dnnl_format_tag_any), b = desc(1, d->b, dnnl_a),
                       w = desc(d->w_rank, d->w, dnnl_format_tag_any),
                       y = desc(4, d->y, dnnl_format_tag_any);
    dnnl_convolution_desc_t conv;
    dnnl_primitive_attr_t attr;
    dnnl_post_ops_t post;
    if (dnnl_dilated_convolution_forward_desc_init(&conv, dnnl_forward_inference, algorithm, &x, &w,
                                                   &b, &y, stride, dilate, pad,
                                                   pad) != dnnl_success)
        return false;
    must(dnnl_post_ops_create(&post), "post-ops");
    must(dnnl_post_ops_append_eltwise(post, 1, dnnl_eltwise_relu, 0, 0), "post-ops");
    must(dnnl_primitive_attr_create(&attr), "attributes");
    must(dnnl_primitive_attr_set_post_ops(attr, post), "attributes");
    bool there = dnnl_primitive_desc_create(&self->pd, &conv, attr, engine, NULL) == dnnl_success;
    dnnl_primitive_attr_destroy(attr);
    dnnl_post_ops_destroy(post);
    return there;
}

static void *conv_open(const struct work *work, dnnl_alg_kind_t algorithm)
{
    struct onednn *self = xcalloc(1, sizeof *self);
    struct conv_dims d = conv_dims(work);
    if (!conv_describe(self, work, &d, algorithm)) {
        free(self);
        return NULL;
    }
    struct work_data data = work_data_new(work);
    add_filled(self, DNNL_ARG_SRC, chosen(self, dnnl_query_src_md, 0), desc(4, d.x, dnnl_abcd),
               data.x);
    add_filled(self, DNNL_ARG_WEIGHTS, chosen(self, dnnl_query_weights_md, 0),
               desc(d.w_rank, d.w, d.w_rank == 5 ? dnnl_abcde : dnnl_abcd), data.weights);
    add_filled(self, DNNL_ARG_BIAS, chosen(self, dnnl_query_weights_md, 1), desc(1, d.b, dnnl_a),
               data.bias);
    work_data_free(&data);
    add_output(self, DNNL_ARG_DST, chosen(self, dnnl_query_dst_md, 0), desc(4, d.y, dnnl_abcd));
    return start(self);
}

static void *direct_open(const struct work *work, size_t *times)
{
    *times = 1;
    return conv_open(work, dnnl_convolution_direct);
}

static void *winograd_open(const struct work *work, size_t *times)
{
    const struct conv_work *c = &work->conv;
    bool fits = c->kernel[0] == 3 && c->kernel[1] == 3 && c->stride[0] == 1 && c->groups == 1;
    *times = 1;
    return fits ? conv_open(work, dnnl_convolution_winograd) : NULL;
}

const struct contender onednn_conv = {"onednn",   WORK_CONV,     direct_open,
                                      onednn_run, onednn_output, onednn_close};
const struct contender onednn_conv_winograd = {"onednn_winograd", WORK_CONV,     winograd_open,
                                               onednn_run,        onednn_output, onednn_close};

/* --- convolution of bytes ----------------------------------------------------------------------
 */
static void qconv_describe(struct onednn *self, const struct work *work, const struct conv_dims *d,
                           const float *scales)
{
    const struct conv_work *c = &work->conv;
    const dnnl_dims_t stride = {D(c->stride[0]), D(c->stride[1])},
                      dilate = {D(c->dilation[0] - 1), D(c->dilation[1] - 1)},
                      pad = {D(c->pad[0]), D(c->pad[1])};
    dnnl_memory_desc_t x = desc_of(dnnl_u8, 4, d->x, dnnl_format_tag_any),
                       w = desc_of(dnnl_s8, d->w_rank, d->w, dnnl_format_tag_any),
                       b = desc_of(dnnl_s32, 1, d->b, dnnl_a),
                       y = desc_of(dnnl_u8, 4, d->y, dnnl_format_tag_any);
    dnnl_convolution_desc_t conv;
    dnnl_primitive_attr_t attr;
    must(dnnl_dilated_convolution_forward_desc_init(&conv, dnnl_forward_inference,
                                                    dnnl_convolution_direct, &x, &w, &b, &y, stride,
                                                    dilate, pad, pad),
         "convolution");
    must(dnnl_primitive_attr_create(&attr), "attributes");
    must(dnnl_primitive_attr_set_output_scales(attr, D(c->k), 1 << 1, scales), "scales");
    must(dnnl_primitive_desc_create(&self->pd, &conv, attr, engine, NULL), "convolution");
    dnnl_primitive_attr_destroy(attr);
}

static void *qconv_open(const struct work *work, size_t *times)
{
    struct onednn *self = xcalloc(1, sizeof *self);
    struct conv_dims d = conv_dims(work);
    struct work_data data = work_data_new(work);
    qconv_describe(self, work, &d, data.q_scales);
    add_filled(self, DNNL_ARG_SRC, chosen(self, dnnl_query_src_md, 0),
               desc_of(dnnl_u8, 4, d.x, dnnl_abcd), data.q_x);
    add_filled(self, DNNL_ARG_WEIGHTS, chosen(self, dnnl_query_weights_md, 0),
               desc_of(dnnl_s8, d.w_rank, d.w, d.w_rank == 5 ? dnnl_abcde : dnnl_abcd),
               data.q_weights);
    add_filled(self, DNNL_ARG_BIAS, chosen(self, dnnl_query_weights_md, 1),
               desc_of(dnnl_s32, 1, d.b, dnnl_a), data.q_bias);
    work_data_free(&data);
    add_output(self, DNNL_ARG_DST, chosen(self, dnnl_query_dst_md, 0), desc(4, d.y, dnnl_abcd));
    *times = 1;
    return start(self);
}

const struct contender onednn_qconv = {"onednn",   WORK_QCONV,    qconv_open,
                                       onednn_run, onednn_output, onednn_close};

/* --- recurrent ---------------------------------------------------------------------------------
 */
/* ONNX's place of oneDNN's gates: input, forget, cell, output; update, reset, output. */
static const size_t lstm_gates[] = {0, 2, 3, 1}, gru_gates[] = {0, 1, 2};

/* From ONNX's [gate][hidden][inputs] to [inputs][gate][hidden]. */
static float *gates_inside(const struct rnn_work *r, size_t inputs, const float *weights)
{
    const size_t gates = WORK_GATES(r->cell),
                 *order = r->cell == CELL_LSTM ? lstm_gates : gru_gates;
    float *to = xaligned(inputs * gates * r->hidden * sizeof *to);
    for (size_t i = 0; i < inputs; i++)
        for (size_t g = 0; g < gates; g++)
            for (size_t h = 0; h < r->hidden; h++)
                to[(i * gates + g) * r->hidden + h] =
                    weights[(order[g] * r->hidden + h) * inputs + i];
    return to;
}

/* Four rows: an LSTM's two biases of each gate added up; a GRU's likewise, but apart for its last
 * gate. */
static float *biases_together(const struct rnn_work *r, const float *bias)
{
    size_t hidden = r->hidden;
    const float *second = bias + WORK_GATES(r->cell) * hidden;
    float *to = xaligned(4 * hidden * sizeof *to);
    for (size_t h = 0; h < hidden; h++) {
        for (size_t g = 0; g < 4 && r->cell == CELL_LSTM; g++)
            to[g * hidden + h] =
                bias[lstm_gates[g] * hidden + h] + second[lstm_gates[g] * hidden + h];
        for (size_t g = 0; g < 2 && r->cell == CELL_GRU; g++)
            to[g * hidden + h] = bias[g * hidden + h] + second[g * hidden + h];
        if (r->cell == CELL_GRU) {
            to[2 * hidden + h] = bias[2 * hidden + h];
            to[3 * hidden + h] = second[2 * hidden + h];
        }
    }
    return to;
}

struct rnn_descs {
    dnnl_memory_desc_t x, state, w, r, b, y; /* w and r: any format */
    dnnl_memory_desc_t plain_w, plain_r;
};

static struct rnn_descs rnn_descs(const struct work *work)
{
    const struct rnn_work *r = &work->rnn;
    dnnl_dim_t t = D(r->steps), n = D(work->batch), h = D(r->hidden), g = D(WORK_GATES(r->cell));
    const dnnl_dims_t x = {t, n, D(r->input)}, y = {t, n, h}, state = {1, 1, n, h},
                      w = {1, 1, D(r->input), g, h}, u = {1, 1, h, g, h}, b = {1, 1, 4, h};
    return (struct rnn_descs){
        .x = desc(3, x, dnnl_tnc),
        .state = desc(4, state, dnnl_ldnc),
        .w = desc(5, w, dnnl_format_tag_any),
        .r = desc(5, u, dnnl_format_tag_any),
        .b = desc(4, b, dnnl_ldgo),
        .y = desc(3, y, dnnl_tnc),
        .plain_w = desc(5, w, dnnl_ldigo),
        .plain_r = desc(5, u, dnnl_ldigo),
    };
}

static void rnn_describe(struct onednn *self, enum work_cell cell, const struct rnn_descs *d)
{
    dnnl_rnn_desc_t rnn;
    if (cell == CELL_LSTM)
        must(dnnl_lstm_forward_desc_init(
                 &rnn, dnnl_forward_inference, dnnl_unidirectional_left2right, &d->x, &d->state,
                 &d->state, &d->w, &d->r, &d->b, &d->y, &d->state, &d->state, dnnl_rnn_flags_undef),
             "lstm");
    else
        must(dnnl_lbr_gru_forward_desc_init(&rnn, dnnl_forward_inference,
                                            dnnl_unidirectional_left2right, &d->x, &d->state, &d->w,
                                            &d->r, &d->b, &d->y, &d->state, dnnl_rnn_flags_undef),
             "gru");
    must(dnnl_primitive_desc_create(&self->pd, &rnn, NULL, engine, NULL), "recurrent layer");
}

static void *rnn_open(const struct work *work, size_t *times)
{
    const struct rnn_work *r = &work->rnn;
    struct onednn *self = xcalloc(1, sizeof *self);
    struct rnn_descs d = rnn_descs(work);
    struct work_data data = work_data_new(work);
    float *w = gates_inside(r, r->input, data.weights),
          *u = gates_inside(r, r->hidden, data.recurrent), *b = biases_together(r, data.bias);
    rnn_describe(self, r->cell, &d);
    add_filled(self, DNNL_ARG_SRC_LAYER, &d.x, d.x, data.x);
    add_filled(self, DNNL_ARG_SRC_ITER, &d.state, d.state, data.h0);
    add_filled(self, DNNL_ARG_WEIGHTS_LAYER, chosen(self, dnnl_query_weights_md, 0), d.plain_w, w);
    add_filled(self, DNNL_ARG_WEIGHTS_ITER, chosen(self, dnnl_query_weights_md, 1), d.plain_r, u);
    add_filled(self, DNNL_ARG_BIAS, &d.b, d.b, b);
    add_output(self, DNNL_ARG_DST_LAYER, &d.y, d.y);
    add(self, DNNL_ARG_DST_ITER, &d.state);
    if (r->cell == CELL_LSTM) {
        add_filled(self, DNNL_ARG_SRC_ITER_C, &d.state, d.state, data.c0);
        add(self, DNNL_ARG_DST_ITER_C, &d.state);
    }
    free(w);
    free(u);
    free(b);
    work_data_free(&data);
    *times = 1;
    return start(self);
}

const struct contender onednn_rnn = {"onednn",   WORK_RNN,      rnn_open,
                                     onednn_run, onednn_output, onednn_close};

/* --- dense -------------------------------------------------------------------------------------
 */
static void *dense_open(const struct work *work, size_t *times)
{
    const dnnl_dim_t n = D(work->batch), in = D(work->dense.in), out = D(work->dense.out);
    const dnnl_dims_t x_dims = {n, in}, w_dims = {out, in}, y_dims = {n, out};
    dnnl_memory_desc_t x = desc(2, x_dims, dnnl_ab), y = desc(2, y_dims, dnnl_ab),
                       w = desc(2, w_dims, dnnl_format_tag_any);
    dnnl_inner_product_desc_t product;
    struct onednn *self = xcalloc(1, sizeof *self);
    struct work_data data = work_data_new(work);
    must(dnnl_inner_product_forward_desc_init(&product, dnnl_forward_inference, &x, &w, NULL, &y),
         "inner product");
    must(dnnl_primitive_desc_create(&self->pd, &product, NULL, engine, NULL), "inner product");
    add_filled(self, DNNL_ARG_SRC, &x, x, data.x);
    add_filled(self, DNNL_ARG_WEIGHTS, chosen(self, dnnl_query_weights_md, 0),
               desc(2, w_dims, dnnl_ab), data.weights);
    add_output(self, DNNL_ARG_DST, &y, y);
    work_data_free(&data);
    *times = 1;
    return start(self);
}

const struct contender onednn_dense = {"onednn",   WORK_DENSE,    dense_open,
                                       onednn_run, onednn_output, onednn_close};
