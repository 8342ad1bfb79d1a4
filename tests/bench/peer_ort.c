/* peer_ort - onnxruntime as a contender: the models of one layer each that kernels.py wrote */
#include "tests/bench/contender.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/bench/ort.h"

#define CHAINED 8 /* layers in a chain, as in kernels.py */

static const char *folder;
static int session_threads;

struct ort_layer {
    struct ort_session *session;
    struct tensor x, y;
};

void onnxruntime_start(const char *library, const char *models, int threads)
{
    ort_start(library);
    folder = models;
    session_threads = threads;
}

static struct tensor fp32(const char *name, const size_t dims[4], float *data)
{
    struct tensor t = {.name = name, .dtype = DTYPE_FP32, .rank = 4, .data = data};
    t.bytes = sizeof(float);
    for (uint32_t i = 0; i < t.rank; i++) {
        t.dims[i] = (int64_t)dims[i];
        t.bytes *= dims[i];
    }
    return t;
}

/* The model of the layer alone, or of a chain of it where kernels.py thought that better. */
static char *model_path(const char *name, size_t *times)
{
    char *path = xasprintf("%s/%s.onnx", folder, name);
    *times = 1;
    if (access(path, R_OK) != 0) {
        free(path);
        path = xasprintf("%s/%s.chain.onnx", folder, name);
        *times = CHAINED;
    }
    return path;
}

static void *layer_open(const struct work *w, size_t *times)
{
    const struct conv_work *c = &w->conv;
    struct ort_layer *self = xcalloc(1, sizeof *self);
    struct conv_data data = conv_data_new(w);
    char *path = model_path(w->name, times);
    self->x = fp32("x", (const size_t[]){w->batch, c->c, c->h, c->w}, data.x);
    self->y = fp32("y", (const size_t[]){w->batch, c->k, c->out[0], c->out[1]},
                   xaligned(work_outputs(w) * sizeof(float)));
    data.x = NULL; /* the tensor's now */
    conv_data_free(&data);
    self->session = ort_open(path, session_threads);
    ort_bind(self->session, &self->x, 1, &self->y, 1);
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
    memcpy(y, self->y.data, self->y.bytes);
}

static void layer_close(void *arg)
{
    struct ort_layer *self = arg;
    ort_close(&self->session);
    free(self->x.data);
    free(self->y.data);
    free(self);
}

const struct contender onnxruntime = {"onnxruntime", layer_open, layer_run, layer_output,
                                      layer_close};
