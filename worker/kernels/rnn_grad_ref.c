/* rnn_grad, the reference: plain loops; never tuned */
#include "worker/kernels/rnn_grad_kernel.h"

static void slope(struct activation act, size_t n, const float *y, float *d)
{
    for (size_t i = 0; i < n; i++)
        d[i] *= rnn_slope(act, y[i]);
}

static void add_product(size_t n, const float *a, const float *b, float *sum)
{
    for (size_t i = 0; i < n; i++)
        sum[i] += a[i] * b[i];
}

static void lstm_cell(size_t n, const float *gates, const float *old, float *c)
{
    for (size_t i = 0; i < n; i++)
        c[i] = gates[2 * n + i] * old[i] + gates[i] * gates[3 * n + i];
}

static void lstm_back(size_t n, const float *gates, const float *old, const float *out, float *dc,
                      float *d)
{
    for (size_t i = 0; i < n; i++) {
        float by = dc[i] + out[i];
        d[i] = by * gates[3 * n + i];
        d[2 * n + i] = by * old[i];
        d[3 * n + i] = by * gates[i];
        dc[i] = by * gates[2 * n + i];
    }
}

static void gru_mix(size_t n, const float *z, const float *new, const float *old, float *h)
{
    for (size_t i = 0; i < n; i++)
        h[i] = (1 - z[i]) * new[i] + z[i] * old[i];
}

static void gru_back(size_t n, const float *z, const float *new, const float *old, float *dh,
                     float *dz, float *dnew)
{
    for (size_t i = 0; i < n; i++) {
        dz[i] = dh[i] * (old[i] - new[i]);
        dnew[i] = dh[i] * (1 - z[i]);
        dh[i] *= z[i];
    }
}

const struct rnn_grad_kernel rnn_grad_ref = {
    .slope = slope,
    .add_product = add_product,
    .lstm_cell = lstm_cell,
    .lstm_back = lstm_back,
    .gru_mix = gru_mix,
    .gru_back = gru_back,
};
