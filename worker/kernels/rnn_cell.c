/* rnn_cell - one step of RNN, GRU and LSTM on some rows of the batch; formulas in rnn.h */
#include <string.h>

#include "worker/kernels/rnn_plan.h"
#include "worker/kernels/vector_kernel.h"

/* c += h * packed, or c = bias + h * packed */
static void product(const struct rnn_rows *rows, size_t hidden, const float *h, const float *packed,
                    const float *bias, size_t n, float *c, size_t c_step)
{
    struct gemm g = {
        .m = rows->n,
        .n = n,
        .k = hidden,
        .a = {h, hidden, 1},
        .packed = packed,
        .bias = bias,
        .accumulate = !bias,
        .act = ACT_NONE,
        .c = c,
        .c_step = c_step,
    };
    gemm_run_serial(&g);
}

/* f or g of a gate, after clipping its input. */
static void activate(const struct rnn_plan *p, size_t dir, size_t which, size_t n, float *x)
{
    float clip = p->shape.clip;
    if (clip > 0)
        vector_now()->unary[UNARY_CLIP](n, -clip, clip, x, x);
    vector_apply(p->shape.acts[dir][which], n, x, x);
}

/* Keep the state of rows that ended. */
static void keep(const struct rnn_rows *rows, size_t hidden, const float *from, float *to)
{
    for (size_t i = 0; i < rows->n; i++)
        if (rows->alive[i])
            memcpy(to + i * hidden, from + i * hidden, hidden * sizeof(float));
}

static void step_plain(const struct rnn_plan *p, size_t dir, struct rnn_rows *rows)
{
    size_t hidden = p->shape.hidden;
    product(rows, hidden, rows->h, p->r[dir], NULL, hidden, rows->gates, hidden);
    activate(p, dir, 0, rows->n * hidden, rows->gates);
    keep(rows, hidden, rows->gates, rows->h);
}

static void step_gru(const struct rnn_plan *p, size_t dir, struct rnn_rows *rows)
{
    const struct vector_kernel *v = vector_now();
    size_t hidden = p->shape.hidden, width = 3 * hidden;
    product(rows, hidden, rows->h, p->r[dir], NULL, 2 * hidden, rows->gates, width);
    for (size_t i = 0; i < rows->n; i++) {
        float *z = rows->gates + i * width, *r = z + hidden;
        activate(p, dir, 0, 2 * hidden, z);
        if (!p->shape.linear_before_reset)
            v->binary[BINARY_MUL](hidden, r, 1, rows->h + i * hidden, 1, rows->aside + i * hidden);
    }
    if (p->shape.linear_before_reset)
        product(rows, hidden, rows->h, p->r_new[dir], p->bias_new[dir], hidden, rows->spare,
                hidden);
    else
        product(rows, hidden, rows->aside, p->r_new[dir], NULL, hidden, rows->gates + 2 * hidden,
                width);
    for (size_t i = 0; i < rows->n; i++) {
        float *z = rows->gates + i * width, *r = z + hidden, *n = r + hidden;
        if (p->shape.linear_before_reset)
            v->add_product(hidden, r, rows->spare + i * hidden, n);
        activate(p, dir, 1, hidden, n);
        v->mix(hidden, z, n, rows->h + i * hidden, rows->next + i * hidden);
    }
    keep(rows, hidden, rows->next, rows->h);
}

/* Gates i, o, f, c in this order; the new cell goes to `cell`, the new h to `h`. */
static void lstm_row(const struct rnn_plan *p, size_t dir, float *gates, const float *old,
                     float *cell, float *h)
{
    const struct vector_kernel *v = vector_now();
    const float *peephole = p->peephole[dir];
    size_t hidden = p->shape.hidden;
    float *in = gates, *out = in + hidden, *forget = out + hidden, *new = forget + hidden;
    if (peephole) {
        v->add_product(hidden, peephole, old, in);
        v->add_product(hidden, peephole + 2 * hidden, old, forget);
        activate(p, dir, 0, hidden, in);
        activate(p, dir, 0, hidden, forget);
    } else {
        activate(p, dir, 0, 3 * hidden, gates);
    }
    if (p->shape.input_forget)
        v->unary[UNARY_AFFINE](hidden, -1, 1, in, forget);
    activate(p, dir, 1, hidden, new);
    v->two_products(hidden, forget, old, in, new, cell);
    if (peephole) {
        v->add_product(hidden, peephole + hidden, cell, out);
        activate(p, dir, 0, hidden, out);
    }
    memcpy(h, cell, hidden * sizeof(float));
    vector_apply(p->shape.acts[dir][2], hidden, h, h);
    v->binary[BINARY_MUL](hidden, out, 1, h, 1, h);
}

static void step_lstm(const struct rnn_plan *p, size_t dir, struct rnn_rows *rows)
{
    size_t hidden = p->shape.hidden, width = 4 * hidden;
    product(rows, hidden, rows->h, p->r[dir], NULL, width, rows->gates, width);
    for (size_t i = 0; i < rows->n; i++)
        lstm_row(p, dir, rows->gates + i * width, rows->c + i * hidden, rows->spare + i * hidden,
                 rows->next + i * hidden);
    keep(rows, hidden, rows->spare, rows->c);
    keep(rows, hidden, rows->next, rows->h);
}

void rnn_step(const struct rnn_plan *p, size_t dir, struct rnn_rows *rows)
{
    static void (*const steps[])(const struct rnn_plan *, size_t, struct rnn_rows *) = {
        [RNN_PLAIN] = step_plain, [RNN_GRU] = step_gru, [RNN_LSTM] = step_lstm};
    steps[p->shape.cell](p, dir, rows);
}
