/* grad, the reference: plain loops; never tuned */
#include <math.h>
#include <string.h>

#include "worker/kernels/grad_kernel.h"

#define WIDTH LANES

static void tile(const struct grad_tile *t, size_t taps)
{
    for (size_t tap = 0; tap < taps; tap++)
        for (size_t k = 0; k < WIDTH; k++) {
            float sum = t->adds ? t->sums[tap * WIDTH + k] : 0;
            for (size_t n = 0; n < t->images; n++)
                for (size_t y = 0; y < t->rows; y++)
                    for (size_t x = 0; x < t->cols; x++)
                        sum += t->out[n * t->out_image + (y * t->cols + x) * LANES + k] *
                               t->in[n * t->in_image + y * t->in_row + x * t->in_pixel + tap];
            t->sums[tap * WIDTH + k] = sum;
        }
}

/* Channel k of the window whose first position is row `top`, column `left`, which may be padding.
 */
static void max_window(const struct grad_pool *p, size_t top, size_t left, size_t k, float y,
                       float dy)
{
    for (size_t r = 0; r < p->kernel[0]; r++)
        for (size_t s = 0; s < p->kernel[1]; s++) {
            size_t row = top + r * p->dilation[0], col = left + s * p->dilation[1];
            size_t at = (row * p->in_size[1] + col) * LANES + k;
            if (row < p->in_size[0] && col < p->in_size[1] && !(p->x[at] < y)) {
                p->dx[at] += dy;
                return;
            }
        }
}

static void max_pool(const struct grad_pool *p)
{
    memset(p->dx, 0, p->in_size[0] * p->in_size[1] * LANES * sizeof(float));
    for (size_t r = 0; r < p->out_size[0]; r++)
        for (size_t c = 0; c < p->out_size[1]; c++)
            for (size_t k = 0; k < LANES; k++) {
                size_t at = (r * p->out_size[1] + c) * LANES + k;
                if (!p->relu || p->y[at] > 0)
                    max_window(p, r * p->stride[0] - p->pad[0], c * p->stride[1] - p->pad[1], k,
                               p->y[at], p->dy[at]);
            }
}

static void lanes(size_t n, const float *x, float *sums)
{
    for (size_t k = 0; k < LANES; k++) {
        sums[k] = 0;
        for (size_t i = 0; i < n; i++)
            sums[k] += x[i * LANES + k];
    }
}

static void products(size_t n, const float *a, const float *b, size_t step, float *sums)
{
    for (size_t k = 0; k < LANES; k++)
        for (size_t i = 0; i < n; i++)
            sums[k] += a[i * LANES + k] * b[i * step + k];
}

static void relu(size_t n, const float *y, const float *dy, float *dx)
{
    for (size_t i = 0; i < n; i++)
        dx[i] = y[i] > 0 ? dy[i] : 0;
}

static double squares(size_t n, const float *g)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += (double)g[i] * (double)g[i];
    return sum;
}

static float clipped(const struct update *u, float g)
{
    float value = g * u->scale;
    return u->limit > 0 ? fminf(u->limit, fmaxf(-u->limit, value)) : value;
}

static void sgd(const struct update *u, size_t n, float *w, const float *g, float *m, float *v)
{
    (void)v;
    for (size_t i = 0; i < n; i++) {
        float grad = clipped(u, g[i]) + u->decay * w[i];
        m[i] = u->beta1 * m[i] + grad;
        w[i] -= u->rate * (u->nesterov ? grad + u->beta1 * m[i] : m[i]);
    }
}

static void move_by_moments(const struct update *u, float grad, float *w, float *m, float *v)
{
    *m = u->beta1 * *m + (1 - u->beta1) * grad;
    *v = u->beta2 * *v + (1 - u->beta2) * grad * grad;
    *w -= u->rate * *m * u->correct1 / (sqrtf(*v * u->correct2) + u->epsilon);
}

static void adam(const struct update *u, size_t n, float *w, const float *g, float *m, float *v)
{
    for (size_t i = 0; i < n; i++)
        move_by_moments(u, clipped(u, g[i]) + u->decay * w[i], w + i, m + i, v + i);
}

static void adamw(const struct update *u, size_t n, float *w, const float *g, float *m, float *v)
{
    for (size_t i = 0; i < n; i++) {
        w[i] -= u->rate * u->decay * w[i];
        move_by_moments(u, clipped(u, g[i]), w + i, m + i, v + i);
    }
}

static void rmsprop(const struct update *u, size_t n, float *w, const float *g, float *m, float *v)
{
    for (size_t i = 0; i < n; i++) {
        float grad = clipped(u, g[i]) + u->decay * w[i];
        v[i] = u->beta2 * v[i] + (1 - u->beta2) * grad * grad;
        m[i] = u->beta1 * m[i] + u->rate * grad / (sqrtf(v[i]) + u->epsilon);
        w[i] -= m[i];
    }
}

const struct grad_kernel grad_ref = {
    .width = WIDTH,
    .taps = 8,
    .tile = tile,
    .max_pool = max_pool,
    .lanes = lanes,
    .products = products,
    .relu = relu,
    .squares = squares,
    .update = {[UPDATE_SGD] = sgd,
               [UPDATE_ADAM] = adam,
               [UPDATE_ADAMW] = adamw,
               [UPDATE_RMSPROP] = rmsprop},
};
