/* conv_winograd_weights - weights to Winograd's points, and gradients back
 *
 * U = G w G^T of each pair of channels, in double, or U = G w of kernels of one row. Packed they
 * lie [chunk][point][panel of the chunk][plane][8][width]. Backward, dw = G^T dU G. */
#include <math.h>
#include <string.h>

#include "worker/kernels/conv_winograd.h"
#include "worker/kernels/par.h"

#define COST_POINT 16.0 /* of a pair of channels, in flops, for par_for: scattered addresses */

struct job {
    const struct conv_shape *s;
    struct winograd_points p;
    double g[WINOGRAD_REACH_MAX][3];
    size_t width, panels, planes, taps, points;
    const float *from;
    float *to;
};

/* Row i of G is 1, p, p^2 of point p over the product of its distances to the other points. */
static void weight_transform(size_t tile, double g[WINOGRAD_REACH_MAX][3])
{
    const double a = sqrt(0.5), b = sqrt(2.0), na = -1.5, nb = 6; /* 2 a^2 (a^2 - b^2), ... */
    const double g4[][3] = {{1, 0, 0},
                            {1 / na, a / na, a * a / na},
                            {1 / na, -a / na, a * a / na},
                            {1 / nb, b / nb, b * b / nb},
                            {1 / nb, -b / nb, b * b / nb},
                            {0, 0, 1}};
    const double c = 0.375, d = 1.375, nc = 2 * c * (c * c - d * d), nd = 2 * d * (d * d - c * c);
    const double g3[][3] = {{1 / nc, c / nc, c * c / nc},
                            {-1 / nc, c / nc, -c * c / nc},
                            {1 / nd, d / nd, d * d / nd},
                            {-1 / nd, d / nd, -d * d / nd},
                            {0, 0, 1}};
    const double g2[][3] = {{1, 0, 0}, {0.5, 0.5, 0.5}, {0.5, -0.5, 0.5}, {0, 0, 1}};
    const double(*from)[3] = tile == 4 ? g4 : tile == 3 ? g3 : g2;
    memcpy(g, from, (tile + 2) * sizeof *g);
}

static void describe(struct job *job, const struct conv_shape *s, size_t width)
{
    *job = (struct job){.s = s, .width = width, .taps = s->kernel[0] * 3};
    job->panels = (s->channels_out + width - 1) / width;
    job->planes = (s->channels_in + LANES - 1) / LANES;
    job->points = conv_winograd_points(s);
    weight_transform(s->winograd, job->g);
    job->p.reach = s->winograd + 2;
    job->p.flat = conv_winograd_flat(s);
    job->p.g = (const double(*)[3])job->g;
}

size_t conv_winograd_points(const struct conv_shape *s)
{
    return (s->winograd + 2) * (conv_winograd_flat(s) ? 1 : s->winograd + 2);
}

/* All inputs of one panel of outputs. */
static void pack_items(void *arg, size_t slot, size_t begin, size_t end)
{
    const struct job *job = arg;
    size_t in = job->s->channels_in, width = job->width, chunk = WINOGRAD_CHUNK / width;
    size_t panel_floats = job->planes * LANES * width;
    struct winograd_points p = job->p;
    (void)slot;
    for (size_t panel = begin; panel < end; panel++) {
        size_t first = panel / chunk * chunk, panels = MIN(chunk, job->panels - first);
        size_t outputs = MIN(width, job->s->channels_out - panel * width);
        float *to = job->to + first * job->points * panel_floats + (panel - first) * panel_floats;
        p.step = panels * panel_floats;
        for (size_t c = 0; c < job->planes * LANES; c++, to += width) {
            float w[9][CONV_WIDTH_MAX] = {{0}};
            const float *from = job->from + (panel * width * in + c) * job->taps;
            for (size_t k = 0; k < outputs && c < in; k++)
                for (size_t t = 0; t < job->taps; t++)
                    w[t][k] = from[k * in * job->taps + t];
            conv_now()->winograd_weights(&p, (const float(*)[CONV_WIDTH_MAX])w, to);
        }
    }
}

void conv_winograd_pack(struct conv_plan *p, const float *weights)
{
    struct job job;
    describe(&job, &p->shape, p->kernel->width);
    job.from = weights;
    job.to = p->weights;
    double pairs = (double)(job.panels * job.width * job.planes * LANES);
    par_for(job.panels, COST_POINT * pairs * (double)job.points, pack_items, &job);
}

/* One panel of outputs and one plane of inputs. */
static void unpack_items(void *arg, size_t slot, size_t begin, size_t end)
{
    const struct job *job = arg;
    size_t in = job->s->channels_in, width = job->width;
    struct winograd_points p = job->p;
    p.step = job->panels * job->planes * LANES * width;
    (void)slot;
    for (size_t i = begin; i < end; i++) {
        size_t first = i / job->planes * width, channel = i % job->planes * LANES;
        size_t outputs = MIN(width, job->s->channels_out - first);
        for (size_t c = 0; c < MIN(LANES, in - channel); c++) {
            float w[9][CONV_WIDTH_MAX];
            conv_now()->winograd_weights_grad(&p, job->from + (i * LANES + c) * width, w);
            float *to = job->to + (first * in + channel + c) * job->taps;
            for (size_t k = 0; k < outputs; k++)
                for (size_t t = 0; t < job->taps; t++)
                    to[k * in * job->taps + t] = w[t][k];
        }
    }
}

void conv_winograd_weights_grad(const struct conv_shape *s, size_t width, const float *points,
                                float *dw)
{
    struct job job;
    describe(&job, s, width);
    job.from = points;
    job.to = dw;
    double pairs = (double)(job.panels * width * job.planes * LANES);
    par_for(job.panels * job.planes, COST_POINT * pairs * (double)job.points, unpack_items, &job);
}
