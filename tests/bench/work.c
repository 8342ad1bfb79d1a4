/* work - the layers of layers.def; see work.h */
#include "tests/bench/work.h"

#include <math.h>
#include <stdlib.h>

/* Along an axis of one pixel nothing is strided or dilated. */
#define ALONG(size, value) ((size) > 1 ? (value) : 1)
#define OUT(size, kernel, stride, pad, dilation)                                                   \
    (((size) + 2 * (pad) - (ALONG(size, dilation) * ((kernel)-1) + 1)) / ALONG(size, stride) + 1)

#define CONV(goal, name, batch, c, h, w, k, kh, kw, s, ph, pw, d, g)                               \
    {WORK_CONV,                                                                                    \
     #goal,                                                                                        \
     #name,                                                                                        \
     batch,                                                                                        \
     {c,                                                                                           \
      h,                                                                                           \
      w,                                                                                           \
      k,                                                                                           \
      {kh, kw},                                                                                    \
      {ALONG(h, s), ALONG(w, s)},                                                                  \
      {ph, pw},                                                                                    \
      {ALONG(h, d), ALONG(w, d)},                                                                  \
      g,                                                                                           \
      {OUT(h, kh, s, ph, d), OUT(w, kw, s, pw, d)}}},

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
    const struct conv_work *c = &self->conv;
    return self->batch * c->k * c->out[0] * c->out[1];
}

double work_flops(const struct work *self)
{
    const struct conv_work *c = &self->conv;
    size_t sum = c->c / c->groups * c->kernel[0] * c->kernel[1];
    return 2.0 * (double)(work_outputs(self) * sum);
}

float *work_numbers(size_t n, float scale)
{
    float *values = xaligned(n * sizeof *values);
    for (size_t i = 0; i < n; i++)
        values[i] = ((float)(i * 7919 % 201) * 0.01f - 1.0f) * scale;
    return values;
}

struct conv_data conv_data_new(const struct work *w)
{
    const struct conv_work *c = &w->conv;
    size_t sum = c->c / c->groups * c->kernel[0] * c->kernel[1];
    return (struct conv_data){
        .weights = work_numbers(c->k * sum, 1.0f / sqrtf((float)sum)),
        .bias = work_numbers(c->k, 1),
        .x = work_numbers(w->batch * c->c * c->h * c->w, 1),
    };
}

void conv_data_free(struct conv_data *self)
{
    free(self->weights);
    free(self->bias);
    free(self->x);
}
