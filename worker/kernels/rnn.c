/* rnn - run a plan over a sequence; see rnn.h
 *
 * x W of all steps is one product before the loop; a step is then one product h R per row and a
 * few passes over the gates in the first-level cache. Directions and pieces of the batch are
 * independent and go to threads whole, so that no thread waits inside the sequence. */
#include "worker/kernels/rnn.h"

#include <string.h>

#include "worker/kernels/par.h"
#include "worker/kernels/rnn_plan.h"

/* Rows of a piece: enough to use each weight several times while it is in a register. */
#define PIECE_ROWS 4

/* One run; read by all threads. */
struct job {
    const struct rnn_plan *plan;
    const struct rnn_args *args;
    float *gates_x; /* [dirs][steps * batch][gates * hidden]: x W + bias, rows in x's order */
    float *work;    /* per slot */
    size_t slot_floats;
    size_t piece; /* rows of the batch per item */
    size_t pieces;
};

static size_t aligned(size_t floats)
{
    size_t unit = TENSOR_ALIGN / sizeof(float);
    return (floats + unit - 1) / unit * unit;
}

static size_t gates_width(const struct rnn_plan *p)
{
    return RNN_GATES(p->shape.cell) * p->shape.hidden;
}

static struct job job_for(const struct rnn_plan *p, size_t steps, size_t batch)
{
    struct job job = {.plan = p};
    size_t hidden = p->shape.hidden, threads = par_slots();
    size_t each = (batch * p->dirs + threads - 1) / threads; /* rows a thread would get */
    job.piece = MAX(1, MIN(batch, MAX(each, PIECE_ROWS)));
    job.pieces = (batch + job.piece - 1) / job.piece;
    (void)steps;
    /* gates, h, c, one more gate row for GRU, one spare row: see struct rows in rnn_cell.c */
    job.slot_floats = aligned(job.piece * (2 * gates_width(p) + 4 * hidden));
    return job;
}

static size_t gates_x_floats(const struct rnn_plan *p, size_t steps, size_t batch)
{
    return aligned(p->dirs * steps * batch * gates_width(p));
}

size_t rnn_scratch_bytes(const struct rnn_plan *self, size_t steps, size_t batch)
{
    struct job job = job_for(self, steps, batch);
    size_t floats = gates_x_floats(self, steps, batch) + par_slots() * job.slot_floats;
    return floats * sizeof(float);
}

/* x W + bias for every step and row, one direction. */
static void input_product(const struct job *job, size_t dir)
{
    const struct rnn_plan *p = job->plan;
    const struct rnn_args *args = job->args;
    size_t rows = args->steps * args->batch, width = gates_width(p);
    struct gemm g = {
        .m = rows,
        .n = width,
        .k = p->shape.input,
        .a = {args->x, p->shape.input, 1},
        .packed = p->w[dir],
        .bias = p->bias_x[dir],
        .act = ACT_NONE,
        .c = job->gates_x + dir * rows * width,
        .c_step = width,
    };
    gemm_run(&g);
}

/* Index of (direction, row) in h0, c0, h and c. */
static size_t state_at(const struct job *job, size_t dir, size_t row)
{
    const struct rnn_args *args = job->args;
    return args->batch_first ? row * job->plan->dirs + dir : dir * args->batch + row;
}

static size_t length_of(const struct rnn_args *args, size_t row)
{
    return args->lens ? (size_t)args->lens[row] : args->steps;
}

/* The time that step `step` of a row works on. */
static size_t time_of(const struct job *job, size_t dir, size_t row, size_t step)
{
    bool reverse = dir == 1 || job->plan->shape.direction == RNN_REVERSE;
    return reverse ? length_of(job->args, row) - 1 - step : step;
}

static float *output_at(const struct job *job, size_t dir, size_t row, size_t time)
{
    const struct rnn_args *args = job->args;
    size_t dirs = job->plan->dirs, hidden = job->plan->shape.hidden;
    size_t at = args->batch_first ? (row * args->steps + time) * dirs + dir
                                  : (time * dirs + dir) * args->batch + row;
    return args->y + at * hidden;
}

static void load_state(float *to, const float *from, size_t hidden)
{
    if (from)
        memcpy(to, from, hidden * sizeof(float));
    else
        memset(to, 0, hidden * sizeof(float));
}

static void start_rows(const struct job *job, size_t dir, size_t first, struct rnn_rows *rows)
{
    const struct rnn_args *args = job->args;
    size_t hidden = job->plan->shape.hidden;
    for (size_t i = 0; i < rows->n; i++) {
        size_t at = state_at(job, dir, first + i) * hidden;
        load_state(rows->h + i * hidden, args->h0 ? args->h0 + at : NULL, hidden);
        load_state(rows->c + i * hidden, args->c0 ? args->c0 + at : NULL, hidden);
    }
}

/* Final states, and zeros behind the end of short rows. */
static void finish_rows(const struct job *job, size_t dir, size_t first,
                        const struct rnn_rows *rows)
{
    const struct rnn_args *args = job->args;
    size_t hidden = job->plan->shape.hidden;
    for (size_t i = 0; i < rows->n; i++) {
        size_t at = state_at(job, dir, first + i) * hidden;
        if (args->h)
            memcpy(args->h + at, rows->h + i * hidden, hidden * sizeof(float));
        if (args->c && job->plan->shape.cell == RNN_LSTM)
            memcpy(args->c + at, rows->c + i * hidden, hidden * sizeof(float));
        for (size_t t = length_of(args, first + i); args->y && t < args->steps; t++)
            memset(output_at(job, dir, first + i, t), 0, hidden * sizeof(float));
    }
}

/* Take each living row's x W of its time into the gates. Returns how many rows still live. */
static size_t take_gates(const struct job *job, size_t dir, size_t first, size_t step,
                         struct rnn_rows *rows)
{
    const struct rnn_args *args = job->args;
    size_t width = gates_width(job->plan), alive = 0;
    const float *all = job->gates_x + dir * args->steps * args->batch * width;
    for (size_t i = 0; i < rows->n; i++) {
        size_t row = first + i;
        rows->alive[i] = step < length_of(args, row);
        float *gates = rows->gates + i * width;
        if (!rows->alive[i]) { /* computed all the same, with harmless values, and then ignored */
            memset(gates, 0, width * sizeof(float));
            continue;
        }
        size_t time = time_of(job, dir, row, step);
        size_t at = args->batch_first ? row * args->steps + time : time * args->batch + row;
        memcpy(gates, all + at * width, width * sizeof(float));
        alive++;
    }
    return alive;
}

/* Rows first.. of one direction, through the whole sequence. */
static void run_piece(const struct job *job, size_t dir, size_t first, struct rnn_rows *rows)
{
    const struct rnn_args *args = job->args;
    size_t hidden = job->plan->shape.hidden;
    start_rows(job, dir, first, rows);
    for (size_t step = 0; step < args->steps; step++) {
        if (!take_gates(job, dir, first, step, rows))
            break;
        rnn_step(job->plan, dir, rows);
        for (size_t i = 0; args->y && i < rows->n; i++)
            if (rows->alive[i])
                memcpy(output_at(job, dir, first + i, time_of(job, dir, first + i, step)),
                       rows->h + i * hidden, hidden * sizeof(float));
    }
    finish_rows(job, dir, first, rows);
}

/* An item is some rows of one direction, cut further to what struct rnn_rows holds. */
static void run_items(void *arg, size_t slot, size_t begin, size_t end)
{
    const struct job *job = arg;
    size_t hidden = job->plan->shape.hidden, width = gates_width(job->plan);
    float *work = job->work + slot * job->slot_floats;
    for (size_t item = begin; item < end; item++) {
        size_t dir = item / job->pieces, first = item % job->pieces * job->piece;
        size_t last = MIN(first + job->piece, job->args->batch);
        for (size_t n; first < last; first += n) {
            n = MIN(last - first, RNN_ROWS_MAX);
            struct rnn_rows rows = {.n = n, .gates = work};
            rows.aside = rows.gates + n * width;
            rows.h = rows.aside + n * width;
            rows.c = rows.h + n * hidden;
            rows.spare = rows.c + n * hidden;
            rows.next = rows.spare + n * hidden;
            run_piece(job, dir, first, &rows);
        }
    }
}

void rnn_run(const struct rnn_plan *self, const struct rnn_args *args, void *scratch)
{
    struct job job = job_for(self, args->steps, args->batch);
    job.args = args;
    job.gates_x = scratch;
    job.work = job.gates_x + gates_x_floats(self, args->steps, args->batch);
    for (size_t dir = 0; dir < self->dirs; dir++)
        input_product(&job, dir);
    double rows = (double)(self->dirs * args->steps * args->batch);
    double flops = 2.0 * rows * (double)gates_width(self) * (double)self->shape.hidden;
    par_for(self->dirs * job.pieces, flops, run_items, &job);
}
