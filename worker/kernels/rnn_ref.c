/* rnn, the reference: plain loops; never tuned */
#include <string.h>

#include "worker/kernels/rnn_kernel.h"
#include "worker/kernels/vector_kernel.h"

#define LANES 4u

/* Weight i of line p of a panel; lines hold one k each, or two in halves. */
static float weight(const uint32_t *panel, size_t columns, size_t p, size_t i, bool halves)
{
    uint32_t bits = panel[(halves ? p / 2 : p) * columns + i];
    float value;
    if (halves)
        bits = p % 2 ? bits & 0xffff0000u : bits << 16;
    memcpy(&value, &bits, sizeof(value));
    return value;
}

static void product(const struct rnn_product *t, size_t columns, bool halves)
{
    const uint32_t *all = t->b;
    size_t panel_words = columns * (halves ? (t->k + 1) / 2 : t->k);
    for (size_t row = 0; row < t->rows; row++)
        for (size_t i = 0; i < t->panels * columns; i++) {
            const uint32_t *panel = all + i / columns * panel_words;
            float sum = t->start[i];
            for (size_t p = 0; p < t->k; p++)
                sum += t->a[row][p] * weight(panel, columns, p, i % columns, halves);
            t->c[row * t->c_step + i] = sum;
        }
}

static void product_fp32_3(const struct rnn_product *t)
{
    product(t, 3 * LANES, false);
}
static void product_fp32_4(const struct rnn_product *t)
{
    product(t, 4 * LANES, false);
}
static void product_bf16_3(const struct rnn_product *t)
{
    product(t, 3 * LANES, true);
}
static void product_bf16_4(const struct rnn_product *t)
{
    product(t, 4 * LANES, true);
}

enum { F, G, H }; /* the activations by ONNX's names */

static float activate(const struct rnn_update *t, size_t which, float x)
{
    if (t->clip > 0 && which != H)
        x = MIN(t->clip, MAX(-t->clip, x));
    vector_apply(t->acts[which], 1, &x, &x);
    return x;
}

static void give(const struct rnn_update *t, const struct rnn_row *row, size_t unit, float h)
{
    row->h[unit] = h;
    if (row->y && unit < t->hidden)
        row->y[unit] = h;
}

/* x and h: the sums of one unit, its gates LANES apart. */
typedef void unit_fn(const struct rnn_update *t, const struct rnn_row *row, size_t unit,
                     const float *x, const float *h);

static void lstm(const struct rnn_update *t, const struct rnn_row *row, size_t unit, const float *x,
                 const float *h)
{
    static const float none[3];
    const float *p = t->peephole ? t->peephole + unit : none;
    size_t step = t->peephole ? t->units : 1;
    float c = row->c[unit];
    float in = activate(t, F, x[0] + h[0] + p[0] * c);
    float forget = activate(t, F, x[2 * LANES] + h[2 * LANES] + p[2 * step] * c);
    float new = activate(t, G, x[3 * LANES] + h[3 * LANES]);
    row->c[unit] = c = (t->input_forget ? 1 - in : forget) * c + in * new;
    float out = activate(t, F, x[LANES] + h[LANES] + p[step] * c);
    give(t, row, unit, out * activate(t, H, c));
}

static void plain(const struct rnn_update *t, const struct rnn_row *row, size_t unit,
                  const float *x, const float *h)
{
    give(t, row, unit, activate(t, F, x[0] + h[0]));
}

static void gru(const struct rnn_update *t, const struct rnn_row *row, size_t unit, const float *x,
                const float *h)
{
    float z = activate(t, F, x[0] + h[0]), r = activate(t, F, x[LANES] + h[LANES]);
    float new = activate(t, G, x[2 * LANES] + r * h[2 * LANES]);
    give(t, row, unit, (1 - z) * new + z * row->old[unit]);
}

static void gru_reset(const struct rnn_update *t, const struct rnn_row *row, size_t unit,
                      const float *x, const float *h)
{
    row->c[unit] = activate(t, F, x[0] + h[0]);
    row->reset[unit] = activate(t, F, x[LANES] + h[LANES]) * row->old[unit];
}

static void gru_new(const struct rnn_update *t, const struct rnn_row *row, size_t unit,
                    const float *x, const float *h)
{
    float z = row->c[unit];
    give(t, row, unit, (1 - z) * activate(t, G, x[0] + h[0]) + z * row->old[unit]);
}

static void update(const struct rnn_update *t, size_t gates, unit_fn *fn)
{
    for (size_t i = 0; i < t->rows; i++)
        for (size_t u = 0; u < t->blocks * LANES; u++) {
            size_t at = u / LANES * gates * LANES + u % LANES;
            fn(t, &t->row[i], t->unit + u, t->from_x + i * t->x_step + at,
               t->from_h + i * t->h_step + at);
        }
}

#define UPDATE(function, gates)                                                                    \
    static void function##_update(const struct rnn_update *t)                                      \
    {                                                                                              \
        update(t, gates, function);                                                                \
    }
UPDATE(lstm, 4)
UPDATE(plain, 1)
UPDATE(gru, 3)
UPDATE(gru_reset, 2)
UPDATE(gru_new, 1)

#define PHASES                                                                                     \
    {                                                                                              \
        [RNN_LSTM_ALL] = lstm_update, [RNN_PLAIN_ALL] = plain_update, [RNN_GRU_ALL] = gru_update,  \
        [RNN_GRU_RESET] = gru_reset_update, [RNN_GRU_NEW] = gru_new_update,                        \
    }

const struct rnn_kernel rnn_ref = {
    .lanes = LANES,
    .product = {[RNN_FP32] = {[3] = product_fp32_3, [4] = product_fp32_4},
                [RNN_BF16] = {[3] = product_bf16_3, [4] = product_bf16_4}},
    .update = PHASES,
    .update_default = PHASES,
};
