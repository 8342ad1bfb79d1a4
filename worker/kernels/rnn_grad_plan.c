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
/* Rows whose gates are summed up together: packed, they lie in a second-level cache. */
#define PIECE_ROWS  64
#define PIECE_BYTES (KIB * 512)

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
        if (!back) {
            s->w = take(scratch, at, packed(in, p->width));
            s->bias = take(scratch, at, p->width);
            s->bias_new = take(scratch, at, h);
            continue;
        }
        s->d_gates = take(scratch, at, rows * p->width);
        s->d_new = gru ? take(scratch, at, rows * h) : NULL;
        s->dh = take(scratch, at, state);
        s->dc = p->shape->cell == RNN_LSTM ? take(scratch, at, state) : NULL;
        s->room = take(scratch, at, state);
    }
    p->piece = MAX(PIECE_ROWS, MIN(rows, PIECE_BYTES / sizeof(float) / p->width));
    if (!back)
        return;
    p->bias = take(scratch, at, h);
    p->inputs = take(scratch, at, packed(p->width, in));
    p->gates = take(scratch, at, packed(p->piece, p->width));
    p->news = gru ? take(scratch, at, packed(p->piece, h)) : NULL;
    p->turned[0] = take(scratch, at, in * p->width);
    p->turned[1] = take(scratch, at, h * first);
    p->turned[2] = gru ? take(scratch, at, h * h) : NULL;
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
void rnn_pass_pack(struct rnn_pass *p, const struct rnn_weights *weights, size_t dir)
{
    struct rnn_side *s = &p->side[dir];
    size_t h = p->hidden, in = p->shape->input;
    const float *w = weights->w + dir * p->width * in, *r = weights->r + dir * p->width * h;
    const float *b = weights->bias ? weights->bias + dir * 2 * p->width : NULL;
    bool apart = p->shape->cell == RNN_GRU && p->shape->linear_before_reset;
    for (size_t i = 0; b && i < p->width; i++)
        s->bias[i] = b[i] + (apart && i >= 2 * h ? 0 : b[p->width + i]);
    if (b && apart)
        memcpy(s->bias_new, b + p->width + 2 * h, h * sizeof(float));
    else
        s->bias_new = NULL;
    gemm_pack(h, p->with_h * h, (struct matrix){r, 1, h}, 1, s->r);
    if (s->r_new)
        gemm_pack(h, h, (struct matrix){r + 2 * h * h, 1, h}, 1, s->r_new);
    s->bias = b ? s->bias : NULL;
    gemm_pack(in, p->width, (struct matrix){w, 1, in}, 1, s->w);
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

static void pack_piece(size_t rows, size_t n, const float *d, size_t d_step, float *to)
{
    struct packing p = {rows, n, gemm_now()->width, {d, d_step, 1}, to};
    par_for((n + p.width - 1) / p.width, 4.0 * (double)(rows * n), pack_items, &p);
}

/* Rows first.. of all, `rows` of them. */
struct piece {
    size_t first, rows;
};

/* to [m][n] += a^T d, with a [rows][m] and d [rows][n] packed: the transpose of what is wanted,
 * since a is the narrower one and reading it by columns is slow. */
static void add_turned(struct piece piece, size_t m, const float *a, size_t n, const float *d,
                       float *to)
{
    struct gemm g = {.m = m,
                     .n = n,
                     .k = piece.rows,
                     .a = {a + piece.first * m, 1, m},
                     .packed = d,
                     .accumulate = piece.first > 0,
                     .act = ACT_NONE,
                     .c = to,
                     .c_step = n};
    gemm_run(&g);
}

/* Sums over rows, some columns each. */
struct column_sums {
    size_t rows, width;
    const float *from;
    float *to;
    bool more;
};

static void sum_items(void *arg, size_t slot, size_t begin, size_t end)
{
    const struct column_sums *c = arg;
    size_t first = begin * CHUNK, n = MIN(end * CHUNK, c->width) - first;
    (void)slot;
    if (!c->more)
        memset(c->to + first, 0, n * sizeof(float));
    for (size_t r = 0; r < c->rows; r++)
        vector_now()->binary[BINARY_ADD](n, c->to + first, 1, c->from + r * c->width + first, 1,
                                         c->to + first);
}

static void add_columns(struct piece piece, size_t width, const float *from, float *to)
{
    struct column_sums c = {piece.rows, width, from + piece.first * width, to, piece.first > 0};
    par_for((width + CHUNK - 1) / CHUNK, 2.0 * (double)(c.rows * width), sum_items, &c);
}

/* dx = dG W; the second direction adds to the first one's. */
static void multiply_back(const struct rnn_pass *p, size_t dir, struct piece piece)
{
    size_t in = p->shape->input;
    struct gemm g = {.m = piece.rows,
                     .n = in,
                     .k = p->width,
                     .a = {p->side[dir].d_gates + piece.first * p->width, p->width, 1},
                     .packed = p->inputs,
                     .accumulate = dir > 0,
                     .act = ACT_NONE,
                     .c = p->grads->dx + piece.first * in,
                     .c_step = in};
    gemm_run(&g);
}

/* The row of GRU's new gate in R and Rb is another one than in W and Wb. */
static void add_recurrent(const struct rnn_pass *p, size_t dir, struct piece piece)
{
    const struct rnn_side *s = &p->side[dir];
    struct rnn_walk w = rnn_walk_start(p, dir * p->slices);
    size_t h = p->hidden, first = p->with_h * h;
    const float *states = s->states + (reversed(&w) ? p->args->batch * h : 0);
    add_turned(piece, h, states, first, p->gates, p->turned[1]);
    if (!s->r_new)
        return;
    bool apart = p->shape->linear_before_reset;
    const float *d = apart ? s->d_new : s->d_gates + first;
    size_t step = apart ? h : p->width;
    pack_piece(piece.rows, h, d + piece.first * step, step, p->news);
    add_turned(piece, h, apart ? states : s->extra, h, p->news, p->turned[2]);
}

static void add_piece(const struct rnn_pass *p, size_t dir, struct piece piece)
{
    const struct rnn_side *s = &p->side[dir];
    const struct rnn_grads *grads = p->grads;
    size_t in = p->shape->input;
    if (grads->dw || grads->dr)
        pack_piece(piece.rows, p->width, s->d_gates + piece.first * p->width, p->width, p->gates);
    if (grads->dw)
        add_turned(piece, in, p->args->x, p->width, p->gates, p->turned[0]);
    if (grads->dr)
        add_recurrent(p, dir, piece);
    if (grads->dx)
        multiply_back(p, dir, piece);
    if (!grads->dbias)
        return;
    float *db = grads->dbias + dir * 2 * p->width;
    add_columns(piece, p->width, s->d_gates, db);
    if (s->d_new && p->shape->linear_before_reset)
        add_columns(piece, p->hidden, s->d_new, p->bias);
}

static void turn(size_t rows, size_t cols, const float *from, float *to)
{
    static const size_t swap[] = {1, 0};
    size_t dims[] = {rows, cols};
    transpose_run(2, dims, swap, sizeof(float), from, to);
}

void rnn_pass_sums(struct rnn_pass *p, const struct rnn_weights *weights, size_t dir)
{
    const struct rnn_grads *grads = p->grads;
    size_t h = p->hidden, in = p->shape->input, rows = p->args->steps * p->args->batch;
    if (grads->dx)
        gemm_pack(p->width, in, (struct matrix){weights->w + dir * p->width * in, in, 1}, 1,
                  p->inputs);
    for (size_t first = 0; first < rows; first += p->piece)
        add_piece(p, dir, (struct piece){first, MIN(p->piece, rows - first)});
    if (grads->dw)
        turn(in, p->width, p->turned[0], grads->dw + dir * p->width * in);
    if (grads->dr) {
        float *dr = grads->dr + dir * p->width * h;
        turn(h, p->with_h * h, p->turned[1], dr);
        if (p->turned[2])
            turn(h, h, p->turned[2], dr + p->with_h * h * h);
    }
    if (grads->dbias) {
        float *db = grads->dbias + dir * 2 * p->width;
        memcpy(db + p->width, db, p->width * sizeof(float));
        if (p->shape->cell == RNN_GRU && p->shape->linear_before_reset)
            memcpy(db + p->width + 2 * h, p->bias, h * sizeof(float));
    }
}
