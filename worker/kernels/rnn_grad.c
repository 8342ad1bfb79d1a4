/* rnn_grad - a recurrent layer that learns; see rnn_grad.h
 *
 * An item is some rows of the batch in one direction, walked through all steps: its products are
 * with W and R packed, which all items share, and its gates follow row by row. Items are
 * independent. What sums over steps stands behind them, as large products shared by all threads.
 * State t lies in front of time t, so that those before and those after each step are one matrix
 * each. */
#include "worker/kernels/rnn_grad.h"

#include <math.h>
#include <string.h>

#include "worker/kernels/par.h"
#include "worker/kernels/rnn_grad_kernel.h"
#include "worker/kernels/rnn_grad_plan.h"
#include "worker/kernels/vector_kernel.h"

/* clang-format off */
#include "worker/kernels/pick.h"
struct rnn_grad_entry { unsigned needs; const struct rnn_grad_kernel *kernel; };
static const struct rnn_grad_entry rnn_grad_list[] = {
#include "worker/kernels/rnn_grad.def"
};
PICK(rnn_grad)
/* clang-format on */

/* --- slopes ------------------------------------------------------------------------------------
 */
bool rnn_grad_known(struct activation act)
{
    static const enum unary known[] = {
        UNARY_RELU,         UNARY_TANH,     UNARY_SIGMOID,     UNARY_AFFINE,
        UNARY_LEAKY_RELU,   UNARY_ELU,      UNARY_SOFTSIGN,    UNARY_THRESHOLDED_RELU,
        UNARY_HARD_SIGMOID, UNARY_SOFTPLUS, UNARY_SCALED_TANH,
    };
    for (size_t i = 0; i < ARRAY_LEN(known); i++)
        if (act.op == known[i])
            return true;
    return false;
}

float rnn_slope(struct activation act, float y)
{
    float outside = 1 - fabsf(y);
    switch (act.op) {
    case UNARY_RELU:
    case UNARY_THRESHOLDED_RELU:
        return y > 0 ? 1 : 0;
    case UNARY_TANH:
        return 1 - y * y;
    case UNARY_SIGMOID:
        return y * (1 - y);
    case UNARY_AFFINE:
        return act.a;
    case UNARY_LEAKY_RELU:
        return y >= 0 ? 1 : act.a;
    case UNARY_ELU:
        return y >= 0 ? 1 : y + act.a;
    case UNARY_SOFTSIGN:
        return outside * outside;
    case UNARY_SOFTPLUS:
        return 1 - expf(-y);
    case UNARY_HARD_SIGMOID:
        return y > 0 && y < 1 ? act.a : 0;
    default: /* SCALED_TANH */
        return act.b * (act.a - y * y / act.a);
    }
}

static void multiply(size_t n, const float *a, const float *b, float *to)
{
    vector_now()->binary[BINARY_MUL](n, a, 1, b, 1, to);
}

static void add(size_t n, const float *a, float *to)
{
    vector_now()->binary[BINARY_ADD](n, to, 1, a, 1, to);
}

/* --- forward -----------------------------------------------------------------------------------
 */
static void forward_lstm(const struct rnn_walk *w, size_t row)
{
    const struct rnn_pass *p = w->pass;
    const struct activation *act = p->shape->acts[w->dir];
    size_t n = p->hidden, at = w->now + row;
    float *gates = p->side[w->dir].gates + (w->time + row) * 4 * n;
    const float *old = p->side[w->dir].cells + (w->before + row) * n;
    float *c = p->side[w->dir].cells + at * n, *h = p->side[w->dir].states + at * n;
    float *out = p->side[w->dir].extra + (w->time + row) * n;
    vector_apply(act[0], 3 * n, gates, gates);
    vector_apply(act[1], n, gates + 3 * n, gates + 3 * n);
    rnn_grad_now()->lstm_cell(n, gates, old, c);
    vector_apply(act[2], n, c, out);
    multiply(n, gates + n, out, h);
}

static void forward_plain(const struct rnn_walk *w, size_t row)
{
    const struct rnn_pass *p = w->pass;
    float *gates = p->side[w->dir].gates + (w->time + row) * p->hidden;
    vector_apply(p->shape->acts[w->dir][0], p->hidden, gates, gates);
    memcpy(p->side[w->dir].states + (w->now + row) * p->hidden, gates, p->hidden * sizeof(float));
}

/* z and r, and what Rn is multiplied with where the reset comes first. */
static void forward_gru(const struct rnn_walk *w, size_t row)
{
    const struct rnn_pass *p = w->pass;
    size_t n = p->hidden;
    float *gates = p->side[w->dir].gates + (w->time + row) * 3 * n;
    const float *old = p->side[w->dir].states + (w->before + row) * n;
    vector_apply(p->shape->acts[w->dir][0], 2 * n, gates, gates);
    if (!p->shape->linear_before_reset)
        multiply(n, gates + n, old, p->side[w->dir].extra + (w->time + row) * n);
}

static void forward_gru_new(const struct rnn_walk *w, size_t row)
{
    const struct rnn_pass *p = w->pass;
    size_t n = p->hidden;
    float *gates = p->side[w->dir].gates + (w->time + row) * 3 * n, *new = gates + 2 * n;
    const float *old = p->side[w->dir].states + (w->before + row) * n;
    if (p->shape->linear_before_reset)
        rnn_grad_now()->add_product(n, gates + n, p->side[w->dir].extra + (w->time + row) * n, new);
    vector_apply(p->shape->acts[w->dir][1], n, new, new);
    rnn_grad_now()->gru_mix(n, gates, new, old, p->side[w->dir].states + (w->now + row) * n);
}

/* x W of a step, h R on top of it, and the gates behind them. */
static void forward_step(const struct rnn_walk *w)
{
    const struct rnn_pass *p = w->pass;
    const struct rnn_side *s = &p->side[w->dir];
    size_t n = p->hidden;
    struct gemm g = {.m = w->rows, .n = p->width, .k = p->shape->input, .act = ACT_NONE};
    g.a = (struct matrix){p->args->x + w->time * g.k, g.k, 1};
    g.packed = s->w;
    g.bias = s->bias;
    g.c = s->gates + w->time * p->width;
    g.c_step = p->width;
    gemm_run_serial(&g);
    g.n = p->with_h * n;
    g.k = n;
    g.a = (struct matrix){s->states + w->before * n, n, 1};
    g.packed = s->r;
    g.bias = NULL;
    g.accumulate = true;
    gemm_run_serial(&g);
    for (size_t i = 0; i < w->rows; i++)
        p->forward(w, i);
    if (p->shape->cell != RNN_GRU)
        return;
    g.n = n;
    g.packed = s->r_new;
    if (p->shape->linear_before_reset) {
        g.c = s->extra + w->time * n;
        g.c_step = n;
        g.accumulate = false;
        g.bias = s->bias_new;
    } else {
        g.a.data = s->extra + w->time * n;
        g.c += 2 * n;
    }
    gemm_run_serial(&g);
    for (size_t i = 0; i < w->rows; i++)
        forward_gru_new(w, i);
}

static void start(const struct rnn_walk *w, const float *from, float *states)
{
    size_t n = w->rows * w->pass->hidden;
    const struct rnn_args *args = w->pass->args;
    if (!from)
        memset(states, 0, n * sizeof(float));
    else
        memcpy(states, from + (w->dir * args->batch + w->first) * w->pass->hidden,
               n * sizeof(float));
}

static void finish(const struct rnn_walk *w, const float *states, float *to)
{
    size_t n = w->pass->hidden;
    if (to)
        memcpy(to + (w->dir * w->pass->args->batch + w->first) * n, states,
               w->rows * n * sizeof(float));
}

static void forward_items(void *arg, size_t slot, size_t begin, size_t end)
{
    const struct rnn_pass *p = arg;
    const struct rnn_args *args = p->args;
    size_t n = p->hidden;
    (void)slot;
    for (size_t i = begin; i < end; i++) {
        struct rnn_walk w = rnn_walk_start(p, i);
        const struct rnn_side *s = &p->side[w.dir];
        start(&w, args->h0, s->states + w.before * n);
        if (s->cells)
            start(&w, args->c0, s->cells + w.before * n);
        for (size_t step = 0; step < args->steps; step++) {
            rnn_walk_to(&w, step);
            forward_step(&w);
            size_t y = (w.time - w.first) * p->dirs + w.dir * args->batch + w.first;
            if (args->y)
                memcpy(args->y + y * n, s->states + w.now * n, w.rows * n * sizeof(float));
        }
        finish(&w, s->states + w.now * n, args->h);
        if (s->cells)
            finish(&w, s->cells + w.now * n, args->c);
    }
}

void rnn_grad_forward(const struct rnn_shape *shape, const struct rnn_weights *weights,
                      const struct rnn_args *args, void *keep, void *scratch)
{
    struct rnn_pass p;
    rnn_pass_set(&p, shape, args, keep, scratch, false);
    p.forward = shape->cell == RNN_LSTM  ? forward_lstm
                : shape->cell == RNN_GRU ? forward_gru
                                         : forward_plain;
    for (size_t d = 0; d < p.dirs; d++)
        rnn_pass_pack(&p, weights, d);
    if (args->steps)
        par_for(p.items, p.flops, forward_items, &p);
}

/* --- backward ----------------------------------------------------------------------------------
 */
static void backward_lstm(const struct rnn_walk *w, size_t row)
{
    const struct rnn_pass *p = w->pass;
    const struct rnn_side *s = &p->side[w->dir];
    const struct rnn_grad_kernel *kernel = rnn_grad_now();
    const struct activation *act = p->shape->acts[w->dir];
    size_t n = p->hidden, at = (w->time + row) * 4 * n;
    const float *gates = s->gates + at, *out = s->extra + (w->time + row) * n;
    float *d = s->d_gates + at, *dh = s->dh + (w->first + row) * n;
    float *dc = s->dc + (w->first + row) * n, *more = s->room + (w->first + row) * n;
    multiply(n, dh, out, d + n);
    multiply(n, dh, gates + n, more);
    kernel->slope(act[2], n, out, more);
    kernel->lstm_back(n, gates, s->cells + (w->before + row) * n, more, dc, d);
    kernel->slope(act[0], 3 * n, gates, d);
    kernel->slope(act[1], n, gates + 3 * n, d + 3 * n);
}

static void backward_plain(const struct rnn_walk *w, size_t row)
{
    const struct rnn_pass *p = w->pass;
    const struct rnn_side *s = &p->side[w->dir];
    size_t n = p->hidden, at = (w->time + row) * n;
    memcpy(s->d_gates + at, s->dh + (w->first + row) * n, n * sizeof(float));
    rnn_grad_now()->slope(p->shape->acts[w->dir][0], n, s->gates + at, s->d_gates + at);
}

static void backward_gru(const struct rnn_walk *w, size_t row)
{
    const struct rnn_pass *p = w->pass;
    const struct rnn_side *s = &p->side[w->dir];
    const struct activation *act = p->shape->acts[w->dir];
    size_t n = p->hidden, at = (w->time + row) * 3 * n;
    const float *gates = s->gates + at, *new = gates + 2 * n;
    float *d = s->d_gates + at, *dh = s->dh + (w->first + row) * n;
    rnn_grad_now()->gru_back(n, gates, new, s->states + (w->before + row) * n, dh, d, d + 2 * n);
    rnn_grad_now()->slope(act[1], n, new, d + 2 * n);
    if (!p->shape->linear_before_reset)
        return;
    multiply(n, d + 2 * n, s->extra + (w->time + row) * n, d + n);
    multiply(n, d + 2 * n, gates + n, s->d_new + (w->time + row) * n);
    rnn_grad_now()->slope(act[0], 2 * n, gates, d);
}

/* Where the reset comes first: by r, from the gradient by r h. */
static void backward_gru_reset(const struct rnn_walk *w, size_t row)
{
    const struct rnn_pass *p = w->pass;
    const struct rnn_side *s = &p->side[w->dir];
    size_t n = p->hidden, at = (w->time + row) * 3 * n, here = (w->first + row) * n;
    multiply(n, s->room + here, s->states + (w->before + row) * n, s->d_gates + at + n);
    rnn_grad_now()->add_product(n, s->room + here, s->gates + at + n, s->dh + here);
    rnn_grad_now()->slope(p->shape->acts[w->dir][0], 2 * n, s->gates + at, s->d_gates + at);
}

static void backward_step(const struct rnn_walk *w)
{
    const struct rnn_pass *p = w->pass;
    const struct rnn_side *s = &p->side[w->dir];
    size_t n = p->hidden;
    for (size_t i = 0; i < w->rows; i++)
        p->backward(w, i);
    struct gemm g = {.m = w->rows, .n = n, .k = n, .packed = s->r_new, .act = ACT_NONE};
    g.c_step = n;
    bool resets = p->shape->cell == RNN_GRU && !p->shape->linear_before_reset;
    if (resets) {
        g.a = (struct matrix){s->d_gates + w->time * p->width + 2 * n, p->width, 1};
        g.c = s->room + w->first * n;
        gemm_run_serial(&g);
        for (size_t i = 0; i < w->rows; i++)
            backward_gru_reset(w, i);
    }
    g.c = s->dh + w->first * n;
    g.accumulate = p->shape->cell == RNN_GRU;
    if (g.accumulate && !resets) {
        g.a = (struct matrix){s->d_new + w->time * n, n, 1};
        gemm_run_serial(&g);
    }
    g.a = (struct matrix){s->d_gates + w->time * p->width, p->width, 1};
    g.k = p->with_h * n;
    g.packed = s->r;
    gemm_run_serial(&g);
}

static void backward_items(void *arg, size_t slot, size_t begin, size_t end)
{
    const struct rnn_pass *p = arg;
    const struct rnn_args *args = p->args;
    const struct rnn_grads *grads = p->grads;
    size_t n = p->hidden;
    (void)slot;
    for (size_t i = begin; i < end; i++) {
        struct rnn_walk w = rnn_walk_start(p, i);
        const struct rnn_side *s = &p->side[w.dir];
        start(&w, grads->dh, s->dh + w.first * n);
        if (s->dc)
            start(&w, grads->dc, s->dc + w.first * n);
        for (size_t step = args->steps; step-- > 0;) {
            rnn_walk_to(&w, step);
            size_t y = (w.time - w.first) * p->dirs + w.dir * args->batch + w.first;
            if (grads->dy)
                add(w.rows * n, grads->dy + y * n, s->dh + w.first * n);
            backward_step(&w);
        }
        finish(&w, s->dh + w.first * n, grads->dh0);
        if (s->dc)
            finish(&w, s->dc + w.first * n, grads->dc0);
    }
}

void rnn_grad_backward(const struct rnn_shape *shape, const struct rnn_weights *weights,
                       const struct rnn_args *args, const struct rnn_grads *grads, void *keep,
                       void *scratch)
{
    struct rnn_pass p;
    rnn_pass_set(&p, shape, args, keep, scratch, true);
    p.grads = grads;
    p.backward = shape->cell == RNN_LSTM  ? backward_lstm
                 : shape->cell == RNN_GRU ? backward_gru
                                          : backward_plain;
    for (size_t d = 0; d < p.dirs; d++)
        rnn_pass_turn(&p, weights, d);
    par_for(p.items, p.flops, backward_items, &p);
    for (size_t d = 0; d < p.dirs; d++)
        rnn_pass_sums(&p, weights, d);
}
