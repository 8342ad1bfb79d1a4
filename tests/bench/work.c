/* work - the layers of layers.def; see work.h */
#include "tests/bench/work.h"

#include <math.h>
#include <stdlib.h>

/* Along an axis of one pixel nothing is strided or dilated. */
#define ALONG(size, value) ((size) > 1 ? (value) : 1)
#define OUT(size, kernel, stride, pad, dilation)                                                   \
    (((size) + 2 * (pad) - (ALONG(size, dilation) * ((kernel)-1) + 1)) / ALONG(size, stride) + 1)

#define CONV_OF(kind, goal, name, batch, c, h, w, k, kh, kw, s, ph, pw, d, g)                      \
    {kind,                                                                                         \
     goal,                                                                                         \
     name,                                                                                         \
     batch,                                                                                        \
     {.conv = {c,                                                                                  \
               h,                                                                                  \
               w,                                                                                  \
               k,                                                                                  \
               {kh, kw},                                                                           \
               {ALONG(h, s), ALONG(w, s)},                                                         \
               {ph, pw},                                                                           \
               {ALONG(h, d), ALONG(w, d)},                                                         \
               g,                                                                                  \
               {OUT(h, kh, s, ph, d), OUT(w, kw, s, pw, d)}}}},
#define CONV(goal, name, ...)  CONV_OF(WORK_CONV, #goal, #name, __VA_ARGS__)
#define QCONV(goal, name, ...) CONV_OF(WORK_QCONV, #goal, #name, __VA_ARGS__)
#define FP32                   false
#define BF16                   true
#define RNN(goal, name, batch, cell, steps, input, hidden, weights)                                \
    {WORK_RNN, #goal, #name, batch, {.rnn = {CELL_##cell, steps, input, hidden, weights}}},
#define DENSE(goal, name, batch, in, out) {WORK_DENSE, #goal, #name, batch, {.dense = {in, out}}},

static const struct work list[] = {
#include "tests/bench/layers.def"
};

const struct work *work_list(size_t *len)
{
    *len = ARRAY_LEN(list);
    return list;
}

size_t work_outputs(const struct work *self)
{
    switch (self->kind) {
    case WORK_CONV:
    case WORK_QCONV:
        return self->batch * self->conv.k * self->conv.out[0] * self->conv.out[1];
    case WORK_RNN:
        return self->batch * self->rnn.steps * self->rnn.hidden;
    case WORK_DENSE:
        return self->batch * self->dense.out;
    }
    return 0;
}

/* Products in one value of the output. */
static size_t sum_length(const struct work *self)
{
    switch (self->kind) {
    case WORK_CONV:
    case WORK_QCONV:
        return self->conv.c / self->conv.groups * self->conv.kernel[0] * self->conv.kernel[1];
    case WORK_RNN:
        return WORK_GATES(self->rnn.cell) * (self->rnn.input + self->rnn.hidden);
    case WORK_DENSE:
        return self->dense.in;
    }
    return 0;
}

double work_flops(const struct work *self)
{
    return 2.0 * (double)(work_outputs(self) * sum_length(self));
}

/* Winograd's errors, and those of a sequence, stay well below the first; another layer's do not.
 * The second: weights of eight bits. Products of bytes are exact. */
double work_tolerance(const struct work *self)
{
    if (self->kind == WORK_QCONV)
        return 0;
    return self->kind == WORK_RNN && self->rnn.bf16 ? 2e-2 : 1e-3;
}

float *work_numbers(size_t n, float scale)
{
    float *values = xaligned(n * sizeof *values);
    for (size_t i = 0; i < n; i++)
        values[i] = ((float)(i * 7919 % 201) * 0.01f - 1.0f) * scale;
    return values;
}

static struct work_data conv_data(const struct work *w)
{
    const struct conv_work *c = &w->conv;
    size_t sum = sum_length(w);
    return (struct work_data){
        .weights = work_numbers(c->k * sum, 1.0f / sqrtf((float)sum)),
        .bias = work_numbers(c->k, 1),
        .x = work_numbers(w->batch * c->c * c->h * c->w, 1),
    };
}

static struct work_data qconv_data(const struct work *w)
{
    const struct conv_work *c = &w->conv;
    size_t sum = sum_length(w), x_len = w->batch * c->c * c->h * c->w;
    struct work_data d = {
        .q_x = xcalloc(x_len, 1),
        .q_weights = xcalloc(c->k * sum, 1),
        .q_bias = xcalloc(c->k, sizeof *d.q_bias),
        .q_scales = xcalloc(c->k, sizeof *d.q_scales),
    };
    for (size_t i = 0; i < x_len; i++)
        d.q_x[i] = (uint8_t)(i * 7919 % 251);
    for (size_t i = 0; i < c->k * sum; i++)
        d.q_weights[i] = (int8_t)((int)(i * 7919 % 255) - 127);
    for (size_t i = 0; i < c->k; i++) {
        d.q_bias[i] = (int32_t)(i * 7919 % 2001) - 1000;
        d.q_scales[i] =
            WORK_X_SCALE * (1.0f / sqrtf((float)sum) * (1.0f + (float)(i % 8) * 0.125f));
    }
    return d;
}

static struct work_data rnn_data(const struct work *w)
{
    const struct rnn_work *r = &w->rnn;
    size_t columns = WORK_GATES(r->cell) * r->hidden;
    float scale = 1.0f / sqrtf((float)r->hidden);
    return (struct work_data){
        .weights = work_numbers(columns * r->input, scale),
        .recurrent = work_numbers(columns * r->hidden, scale),
        .bias = work_numbers(2 * columns, scale),
        .x = work_numbers(w->batch * r->steps * r->input, 1),
        .h0 = work_numbers(w->batch * r->hidden, 1),
        .c0 = work_numbers(w->batch * r->hidden, 1),
    };
}

static struct work_data dense_data(const struct work *w)
{
    const struct dense_work *d = &w->dense;
    return (struct work_data){
        .weights = work_numbers(d->out * d->in, 1.0f / sqrtf((float)d->in)),
        .x = work_numbers(w->batch * d->in, 1),
    };
}

struct work_data work_data_new(const struct work *w)
{
    switch (w->kind) {
    case WORK_CONV:
        return conv_data(w);
    case WORK_QCONV:
        return qconv_data(w);
    case WORK_RNN:
        return rnn_data(w);
    case WORK_DENSE:
        return dense_data(w);
    }
    return (struct work_data){0};
}

void work_data_free(struct work_data *self)
{
    free(self->weights);
    free(self->bias);
    free(self->x);
    free(self->recurrent);
    free(self->h0);
    free(self->c0);
    free(self->q_x);
    free(self->q_weights);
    free(self->q_bias);
    free(self->q_scales);
    *self = (struct work_data){0};
}
