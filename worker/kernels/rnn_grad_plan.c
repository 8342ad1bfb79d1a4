/* rnn_grad_plan - see rnn_grad_plan.h */
#include "worker/kernels/rnn_grad_plan.h"

#include <string.h>

#include "worker/kernels/gemm_kernel.h"
#include "worker/kernels/par.h"
#include "worker/kernels/transpose.h"
#include "worker/kernels/vector_kernel.h"

#define ITEM_ROWS 8  /* rows of an item at least: each weight is used as often from a register */
#define ROWS_MAX  64 /* at most: their gates stay in a second-level cache */
#define CHUNK     64 /* columns of a sum that a thread takes */

/* --- memory ------------------------------------------------------------------------------------
 */
/* The next `floats`, from *at on; *at may begin at NULL, and then counts. */
static float *take(char *base, size_t *at, size_t floats)
{
    float *here = base ? (void *)(base + *at) : NULL;
    *at += (floats * sizeof(float) + TENSOR_ALIGN - 1) / TENSOR_ALIGN * TENSOR_ALIGN;
    return here;
}

static size_t packed(size_t k, size_t n)
{
    return gemm_packed_bytes(k, n) / sizeof(float);
}

static void take_kept(struct rnn_pass *p, char *keep)
{
    size_t rows = p->args->steps * p->args->batch, states = rows + p->args->batch;
    for (size_t d = 0; d < p->dirs; d++) {
        struct rnn_side *s = &p->side[d];
        s->gates = take(keep, &p->keep_bytes, rows * p->width);
        s->states = take(keep, &p->keep_bytes, states * p->hidden);
        if (p->shape->cell == RNN_LSTM)
            s->cells = take(keep, &p->keep_bytes, states * p->hidden);
        if (p->shape->cell != RNN_PLAIN)
            s->extra = take(keep, &p->keep_bytes, rows * p->hidden);
    }
}

static void take_scratch(struct rnn_pass *p, char *scratch, bool back)
{
    size_t rows = p->args->steps * p->args->batch, h = p->hidden, in = p->shape->input;
    size_t state = p->args->batch * h, first = p->with_h * h, *at = &p->scratch_bytes;
    bool gru = p->shape->cell == RNN_GRU;
    for (size_t d = 0; d < p->dirs; d++) {
        struct rnn_side *s = &p->side[d];
        s->r = take(scratch, at, back ? packed(first, h) : packed(h, first));
        s->r_new = gru ? take(scratch, at, packed(h, h)) : NULL;
        s->bias_new = back ? NULL : take(scratch, at, h);
        if (!back)
            continue;
        s->d_gates = take(scratch, at, rows * p->width);
        s->d_new = gru ? take(scratch, at, rows * h) : NULL;
        s->dh = take(scratch, at, state);
        s->dc = p->shape->cell == RNN_LSTM ? take(scratch, at, state) : NULL;
        s->room = take(scratch, at, state);
    }
    p->bias = take(scratch, at, p->width);
    p->inputs =
        take(scratch, at,
             back ? MAX(packed(p->width, in), packed(rows, p->width)) : packed(in, p->width));
    p->product = back ? take(scratch, at, MAX(in, h) * p->width) : NULL;
}

void rnn_pass_set(struct rnn_pass *p, const struct rnn_shape *shape, const struct rnn_args *args,
                  void *keep, void *scratch, bool back)
{
    *p = (struct rnn_pass){.shape = shape, .args = args, .hidden = shape->hidden};
    size_t gates = RNN_GATES(shape->cell), rows = args->steps * args->batch;
    p->dirs = shape->direction == RNN_BIDIRECTIONAL ? 2 : 1;
    p->with_h = shape->cell == RNN_GRU ? 2 : gates;
    p->width = gates * shape->hidden;
    size_t each = (args->batch * p->dirs + par_slots() - 1) / par_slots();
    p->rows = MAX(1, MIN(MIN(args->batch, ROWS_MAX), MAX(each, ITEM_ROWS)));
    p->slices = (args->batch + p->rows - 1) / p->rows;
    p->items = p->slices * p->dirs;
    p->flops = 2.0 * (double)(rows * p->dirs) * (double)(p->width * p->hidden);
    take_kept(p, keep);
    take_scratch(p, scratch, back);
}

struct rnn_grad_bytes rnn_grad_bytes(const struct rnn_shape *shape, size_t steps, size_t batch)
{
    struct rnn_args args = {.steps = steps, .batch = batch};
    struct rnn_pass p, back;
    rnn_pass_set(&p, shape, &args, NULL, NULL, false);
    rnn_pass_set(&back, shape, &args, NULL, NULL, true);
    return (struct rnn_grad_bytes){p.keep_bytes, p.scratch_bytes, back.scratch_bytes};
}

/* --- steps -------------------------------------------------------------------------------------
 */
static bool reversed(const struct rnn_walk *w)
{
    return w->dir == 1 || w->pass->shape->direction == RNN_REVERSE;
}

struct rnn_walk rnn_walk_start(const struct rnn_pass *p, size_t item)
{
    struct rnn_walk w = {.pass = p, .dir = item / p->slices};
    w.first = item % p->slices * p->rows;
    w.rows = MIN(p->rows, p->args->batch - w.first);
    w.before = w.now = w.first + (reversed(&w) ? p->args->steps * p->args->batch : 0);
    return w;
}

void rnn_walk_to(struct rnn_walk *w, size_t step)
{
    size_t batch = w->pass->args->batch;
    size_t time = reversed(w) ? w->pass->args->steps - 1 - step : step;
    w->time = time * batch + w->first;
    w->before = w->time + (reversed(w) ? batch : 0);
    w->now = w->time + (reversed(w) ? 0 : batch);
}

/* --- products ----------------------------------------------------------------------------------
 */
void rnn_pass_inputs(struct rnn_pass *p, const struct rnn_weights *weights, size_t dir)
{
    struct rnn_side *s = &p->side[dir];
    size_t h = p->hidden, in = p->shape->input;
    const float *w = weights->w + dir * p->width * in, *r = weights->r + dir * p->width * h;
    const float *b = weights->bias ? weights->bias + dir * 2 * p->width : NULL;
    bool apart = p->shape->cell == RNN_GRU && p->shape->linear_before_reset;
    for (size_t i = 0; b && i < p->width; i++)
        p->bias[i] = b[i] + (apart && i >= 2 * h ? 0 : b[p->width + i]);
    if (b && apart)
        memcpy(s->bias_new, b + p->width + 2 * h, h * sizeof(float));
    else
        s->bias_new = NULL;
    gemm_pack(h, p->with_h * h, (struct matrix){r, 1, h}, 1, s->r);
    if (s->r_new)
        gemm_pack(h, h, (struct matrix){r + 2 * h * h, 1, h}, 1, s->r_new);
    gemm_pack(in, p->width, (struct matrix){w, 1, in}, 1, p->inputs);
    struct gemm g = {.m = p->args->steps * p->args->batch,
                     .n = p->width,
                     .k = in,
                     .a = {p->args->x, in, 1},
                     .packed = p->inputs,
                     .bias = b ? p->bias : NULL,
                     .act = ACT_NONE,
                     .c = s->gates,
                     .c_step = p->width};
    gemm_run(&g);
}

void rnn_pass_turn(struct rnn_pass *p, const struct rnn_weights *weights, size_t dir)
{
    struct rnn_side *s = &p->side[dir];
    size_t h = p->hidden, first = p->with_h * h;
    const float *r = weights->r + dir * p->width * h;
    gemm_pack(first, h, (struct matrix){r, h, 1}, 1, s->r);
    if (s->r_new)
        gemm_pack(h, h, (struct matrix){r + first * h, h, 1}, 1, s->r_new);
}

/* Panels of a matrix are packed by all threads. */
struct packing {
    size_t k, n, width;
    struct matrix b;
    float *to;
};

static void pack_items(void *arg, size_t slot, size_t begin, size_t end)
{
    const struct packing *p = arg;
    size_t first = begin * p->width, last = MIN(end * p->width, p->n);
    struct matrix b = p->b;
    (void)slot;
    b.data += first * b.col_step;
    gemm_pack(p->k, last - first, b, 1, p->to + first * p->k);
}

/* to [n][m] = d^T a, with a [rows][m] and d [rows][n]: as (a^T d)^T, since a is the narrower one
 * and reading it by columns is slow. */
static void turned_product(struct rnn_pass *p, size_t m, const float *a, size_t n, const float *d,
                           size_t d_step, float *to)
{
    static const size_t swap[] = {1, 0};
    size_t rows = p->args->steps * p->args->batch, dims[] = {m, n};
    struct packing packing = {rows, n, gemm_now()->width, {d, d_step, 1}, p->inputs};
    par_for((n + packing.width - 1) / packing.width, 4.0 * (double)(rows * n), pack_items,
            &packing);
    struct gemm g = {.m = m,
                     .n = n,
                     .k = rows,
                     .a = {a, 1, m},
                     .packed = p->inputs,
                     .act = ACT_NONE,
                     .c = p->product,
                     .c_step = n};
    gemm_run(&g);
    transpose_run(2, dims, swap, sizeof(float), p->product, to);
}

/* Sums over all rows, some columns each. */
struct column_sums {
    size_t rows, width;
    const float *from;
    float *to;
};

static void sum_items(void *arg, size_t slot, size_t begin, size_t end)
{
    const struct column_sums *c = arg;
    size_t first = begin * CHUNK, n = MIN(end * CHUNK, c->width) - first;
    (void)slot;
    memset(c->to + first, 0, n * sizeof(float));
    for (size_t r = 0; r < c->rows; r++)
        vector_now()->binary[BINARY_ADD](n, c->to + first, 1, c->from + r * c->width + first, 1,
                                         c->to + first);
}

static void sum_columns(const struct rnn_pass *p, size_t width, const float *from, float *to)
{
    struct column_sums c = {p->args->steps * p->args->batch, width, from, to};
    par_for((width + CHUNK - 1) / CHUNK, 2.0 * (double)(c.rows * width), sum_items, &c);
}

/* The row of GRU's new gate in R and Rb is another one than in W and Wb. */
static void sum_recurrent(struct rnn_pass *p, const struct rnn_side *s, const float *states,
                          float *dr)
{
    size_t h = p->hidden, first = p->with_h * h;
    turned_product(p, h, states, first, s->d_gates, p->width, dr);
    if (!s->r_new)
        return;
    if (p->shape->linear_before_reset)
        turned_product(p, h, states, h, s->d_new, h, dr + first * h);
    else
        turned_product(p, h, s->extra, h, s->d_gates + first, p->width, dr + first * h);
}

void rnn_pass_sums(struct rnn_pass *p, const struct rnn_weights *weights, size_t dir)
{
    const struct rnn_side *s = &p->side[dir];
    const struct rnn_grads *grads = p->grads;
    struct rnn_walk w = rnn_walk_start(p, dir * p->slices);
    size_t h = p->hidden, in = p->shape->input, rows = p->args->steps * p->args->batch;
    if (grads->dw)
        turned_product(p, in, p->args->x, p->width, s->d_gates, p->width,
                       grads->dw + dir * p->width * in);
    if (grads->dr)
        sum_recurrent(p, s, s->states + (reversed(&w) ? p->args->batch * h : 0),
                      grads->dr + dir * p->width * h);
    if (grads->dbias) {
        float *db = grads->dbias + dir * 2 * p->width;
        sum_columns(p, p->width, s->d_gates, db);
        memcpy(db + p->width, db, p->width * sizeof(float));
        if (s->d_new && p->shape->linear_before_reset)
            sum_columns(p, h, s->d_new, db + p->width + 2 * h);
    }
    if (!grads->dx)
        return;
    gemm_pack(p->width, in, (struct matrix){weights->w + dir * p->width * in, in, 1}, 1, p->inputs);
    struct gemm g = {.m = rows,
                     .n = in,
                     .k = p->width,
                     .a = {s->d_gates, p->width, 1},
                     .packed = p->inputs,
                     .accumulate = dir > 0,
                     .act = ACT_NONE,
                     .c = grads->dx,
                     .c_step = in};
    gemm_run(&g);
}
