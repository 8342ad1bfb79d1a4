/* rnn_grad_body - the rnn_grad family, compiled once per instruction set as RNN_GRAD_KERNEL */
#include "worker/kernels/rnn_grad_kernel.h"
#include "worker/kernels/simd.h"

/* Values i.. of a row of n: whole registers, and what is left over. */
INLINE vf get(const float *from, size_t i, size_t n)
{
    return i + VF <= n ? vf_load(from + i) : vf_load_n(from + i, n - i);
}

INLINE void put(float *to, size_t i, size_t n, vf value)
{
    if (i + VF <= n)
        vf_store(to + i, value);
    else
        vf_store_n(to + i, value, n - i);
}

static void slope(struct activation act, size_t n, const float *y, float *d)
{
    const vf one = vf_set(1.0f), zero = vf_set(0.0f);
    for (size_t i = 0; i < n && act.op == UNARY_SIGMOID; i += VF) {
        vf value = get(y, i, n);
        put(d, i, n, vf_mul(get(d, i, n), vf_mul(value, vf_sub(one, value))));
    }
    for (size_t i = 0; i < n && act.op == UNARY_TANH; i += VF) {
        vf value = get(y, i, n), by = get(d, i, n);
        put(d, i, n, vf_mul(by, vf_sub(one, vf_mul(value, value))));
    }
    for (size_t i = 0; i < n && act.op == UNARY_RELU; i += VF)
        put(d, i, n, vf_if_greater(get(y, i, n), zero, get(d, i, n), zero));
    if (act.op == UNARY_SIGMOID || act.op == UNARY_TANH || act.op == UNARY_RELU)
        return;
    for (size_t i = 0; i < n; i++)
        d[i] *= rnn_slope(act, y[i]);
}

static void add_product(size_t n, const float *a, const float *b, float *sum)
{
    for (size_t i = 0; i < n; i += VF)
        put(sum, i, n, vf_fma(get(a, i, n), get(b, i, n), get(sum, i, n)));
}

static void lstm_cell(size_t n, const float *gates, const float *old, float *c)
{
    const float *in = gates, *forget = gates + 2 * n, *new = gates + 3 * n;
    for (size_t i = 0; i < n; i += VF) {
        vf kept = vf_mul(get(forget, i, n), get(old, i, n));
        put(c, i, n, vf_fma(get(in, i, n), get(new, i, n), kept));
    }
}

static void lstm_back(size_t n, const float *gates, const float *old, const float *out, float *dc,
                      float *d)
{
    const float *in = gates, *forget = gates + 2 * n, *new = gates + 3 * n;
    for (size_t i = 0; i < n; i += VF) {
        vf by = vf_add(get(dc, i, n), get(out, i, n));
        put(d, i, n, vf_mul(by, get(new, i, n)));
        put(d + 2 * n, i, n, vf_mul(by, get(old, i, n)));
        put(d + 3 * n, i, n, vf_mul(by, get(in, i, n)));
        put(dc, i, n, vf_mul(by, get(forget, i, n)));
    }
}

static void gru_mix(size_t n, const float *z, const float *new, const float *old, float *h)
{
    for (size_t i = 0; i < n; i += VF) {
        vf value = get(new, i, n);
        put(h, i, n, vf_fma(get(z, i, n), vf_sub(get(old, i, n), value), value));
    }
}

static void gru_back(size_t n, const float *z, const float *new, const float *old, float *dh,
                     float *dz, float *dnew)
{
    const vf one = vf_set(1.0f);
    for (size_t i = 0; i < n; i += VF) {
        vf by = get(dh, i, n), gate = get(z, i, n);
        put(dz, i, n, vf_mul(by, vf_sub(get(old, i, n), get(new, i, n))));
        put(dnew, i, n, vf_mul(by, vf_sub(one, gate)));
        put(dh, i, n, vf_mul(by, gate));
    }
}

const struct rnn_grad_kernel RNN_GRAD_KERNEL = {
    .slope = slope,
    .add_product = add_product,
    .lstm_cell = lstm_cell,
    .lstm_back = lstm_back,
    .gru_mix = gru_mix,
    .gru_back = gru_back,
};
