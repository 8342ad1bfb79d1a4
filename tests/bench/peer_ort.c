/* peer_ort - onnxruntime as a contender: the models of one layer each that layer_models.py wrote */
#include "tests/bench/contender.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/bench/ort.h"

#define CHAINED    8 /* layers in a chain, as in layer_models.py */
#define VALUES_MAX 3

static const char *folder;
static int session_threads;

/* Inputs and outputs of a session; their data is ours. */
struct ort_layer {
    struct ort_session *session;
    struct tensor in[VALUES_MAX], out[VALUES_MAX];
    size_t in_len, out_len;
};

void onnxruntime_start(const char *library, const char *models, int threads)
{
    ort_start(library);
    folder = models;
    session_threads = threads;
}

static struct tensor tensor(const char *name, enum dtype dtype, uint32_t rank, const size_t *dims)
{
    struct tensor t = {.name = name, .dtype = dtype, .rank = rank, .bytes = dtype_bytes(dtype)};
    for (uint32_t i = 0; i < rank; i++) {
        t.dims[i] = (int64_t)dims[i];
        t.bytes *= dims[i];
    }
    return t;
}

/* Takes `data` over. */
static void add_input(struct ort_layer *self, const char *name, uint32_t rank, const size_t *dims,
                      float **data)
{
    struct tensor t = tensor(name, DTYPE_FP32, rank, dims);
    t.data = *data;
    *data = NULL;
    self->in[self->in_len++] = t;
}

static void add_output_of(struct ort_layer *self, const char *name, enum dtype dtype, uint32_t rank,
                          const size_t *dims)
{
    struct tensor t = tensor(name, dtype, rank, dims);
    t.data = xaligned(t.bytes);
    self->out[self->out_len++] = t;
}

static void add_output(struct ort_layer *self, const char *name, uint32_t rank, const size_t *dims)
{
    add_output_of(self, name, DTYPE_FP32, rank, dims);
}

/* Open the model of the layer alone, or of a chain of it where layer_models.py thought that better.
 */
static void *layer_start(struct ort_layer *self, const struct work *w, size_t *times)
{
    char *path = xasprintf("%s/%s.onnx", folder, w->name);
    *times = 1;
    if (access(path, R_OK) != 0) {
        free(path);
        path = xasprintf("%s/%s.chain.onnx", folder, w->name);
        *times = CHAINED;
    }
    self->session = ort_open(path, session_threads);
    ort_bind(self->session, self->in, self->in_len, self->out, self->out_len);
    free(path);
    return self;
}

static void layer_run(void *arg)
{
    const struct ort_layer *self = arg;
    ort_run(self->session);
}

static void layer_output(void *arg, float *y)
{
    const struct ort_layer *self = arg;
    memcpy(y, self->out[0].data, self->out[0].bytes);
}

static void layer_close(void *arg)
{
    struct ort_layer *self = arg;
    ort_close(&self->session);
    for (size_t i = 0; i < self->in_len; i++)
        free(self->in[i].data);
    for (size_t i = 0; i < self->out_len; i++)
        free(self->out[i].data);
    free(self);
}

static void *conv_open(const struct work *w, size_t *times)
{
    const struct conv_work *c = &w->conv;
    struct ort_layer *self = xcalloc(1, sizeof *self);
    struct work_data data = work_data_new(w);
    add_input(self, "x", 4, (const size_t[]){w->batch, c->c, c->h, c->w}, &data.x);
    add_output(self, "y", 4, (const size_t[]){w->batch, c->k, c->out[0], c->out[1]});
    work_data_free(&data);
    return layer_start(self, w, times);
}

static void *qconv_open(const struct work *w, size_t *times)
{
    const struct conv_work *c = &w->conv;
    const size_t y[] = {w->batch, c->k, c->out[0], c->out[1]};
    struct ort_layer *self = xcalloc(1, sizeof *self);
    struct work_data data = work_data_new(w);
    struct tensor x = tensor("x", DTYPE_UINT8, 4, (const size_t[]){w->batch, c->c, c->h, c->w});
    x.data = data.q_x;
    data.q_x = NULL;
    self->in[self->in_len++] = x;
    add_output_of(self, "y", DTYPE_UINT8, 4, y);
    work_data_free(&data);
    return layer_start(self, w, times);
}

static void qconv_output(void *arg, float *y)
{
    const struct ort_layer *self = arg;
    const uint8_t *from = self->out[0].data;
    for (size_t i = 0; i < self->out[0].bytes; i++)
        y[i] = from[i];
}

static void *rnn_open(const struct work *w, size_t *times)
{
    const struct rnn_work *r = &w->rnn;
    const size_t state[] = {1, w->batch, r->hidden};
    struct ort_layer *self = xcalloc(1, sizeof *self);
    struct work_data data = work_data_new(w);
    add_input(self, "x", 3, (const size_t[]){r->steps, w->batch, r->input}, &data.x);
    add_input(self, "h0", 3, state, &data.h0);
    add_output(self, "y", 4, (const size_t[]){r->steps, 1, w->batch, r->hidden});
    add_output(self, "h", 3, state);
    if (r->cell == CELL_LSTM) {
        add_input(self, "c0", 3, state, &data.c0);
        add_output(self, "c", 3, state);
    }
    work_data_free(&data);
    return layer_start(self, w, times);
}

static void *dense_open(const struct work *w, size_t *times)
{
    struct ort_layer *self = xcalloc(1, sizeof *self);
    struct work_data data = work_data_new(w);
    add_input(self, "x", 2, (const size_t[]){w->batch, w->dense.in}, &data.x);
    add_output(self, "y", 2, (const size_t[]){w->batch, w->dense.out});
    work_data_free(&data);
    return layer_start(self, w, times);
}

const struct contender onnxruntime_conv = {"onnxruntime", WORK_CONV,    conv_open,
                                           layer_run,     layer_output, layer_close};
const struct contender onnxruntime_qconv = {"onnxruntime", WORK_QCONV,   qconv_open,
                                            layer_run,     qconv_output, layer_close};
const struct contender onnxruntime_rnn = {"onnxruntime", WORK_RNN,     rnn_open,
                                          layer_run,     layer_output, layer_close};
const struct contender onnxruntime_dense = {"onnxruntime", WORK_DENSE,   dense_open,
                                            layer_run,     layer_output, layer_close};
