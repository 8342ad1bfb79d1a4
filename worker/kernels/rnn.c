/* rnn - run a plan over a sequence; see rnn.h
 *
 * An item is some rows of the batch in one direction, walked from its first step to its last: x W
 * of some steps together, then step by step h R, panel after panel, each followed by its gates
 * while the sums are in the first-level cache. Items are independent and go to threads whole. Where
 * there are fewer items than threads, a team shares each: every member has its own hidden units,
 * so that the weights it reads stay in its core's cache, and all wait for each other once a step.
 * Nothing here changes the order of a sum. */
#include "worker/kernels/rnn.h"

#include <string.h>

#include "worker/kernels/par.h"
#include "worker/kernels/rnn_plan.h"

/* clang-format off */
#include "worker/kernels/pick.h"
struct rnn_entry { unsigned needs; const struct rnn_kernel *kernel; };
static const struct rnn_entry rnn_list[] = {
#include "worker/kernels/rnn.def"
};
PICK(rnn)
/* clang-format on */

/* Rows of an item: enough to use each weight several times while it is in a register. */
#define ITEM_ROWS 4
/* Rows of x W computed together, and of an item at most: the sums stay in a second-level cache. */
#define ROWS_MAX 64
/* Work per step that a member of a team has at least: with less, waiting for the others takes
 * longer than they save. */
#define MEMBER_FLOPS 2.5e4

/* One run; read by all threads. */
struct job {
    const struct rnn_plan *plan;
    const struct rnn_args *args;
    char *scratch;
    size_t slot_bytes;
    size_t rows;  /* rows of the batch per item, but the last of a direction */
    size_t ahead; /* rows of x W computed together */
    size_t items; /* by direction, then row */
};

/* One item as one member of a team sees it. State is the team's, the rest its own. */
struct item {
    const struct rnn_plan *plan;
    const struct rnn_args *args;
    size_t dir;
    size_t first, rows;       /* of the batch */
    size_t block, block_last; /* hidden units: from, to */
    struct par_barrier *barrier;
    size_t member, members;
    float *h[2];  /* [rows][units]: before even steps, before odd steps */
    float *c;     /* [rows][units] */
    float *reset; /* [rows][units] */
    float *gates; /* [job->ahead][width]: x W + Wb */
    float *sums;  /* [rows][panels]: h R + Rb */
};

/* Some steps of the rows that live. */
struct chunk {
    size_t steps;
    size_t begin[ROWS_MAX + 1]; /* by step: its rows are x[begin[s]].. x[begin[s + 1]] */
    const float *x[ROWS_MAX];
};

static size_t aligned(size_t bytes)
{
    return (bytes + TENSOR_ALIGN - 1) / TENSOR_ALIGN * TENSOR_ALIGN;
}

static size_t state_bytes(const struct job *job)
{
    return aligned(job->rows * job->plan->units * sizeof(float));
}

static size_t gates_bytes(const struct job *job)
{
    return aligned(job->ahead * job->plan->width * sizeof(float));
}

static size_t sums_bytes(const struct job *job)
{
    size_t panels = MAX(job->rows, RNN_PANEL_MAX);
    return aligned(panels * RNN_PANEL_MAX * job->plan->kernel->lanes * sizeof(float));
}

static struct job job_for(const struct rnn_plan *p, size_t steps, size_t batch)
{
    struct job job = {.plan = p};
    size_t threads = par_slots(), each = (batch * p->dirs + threads - 1) / threads;
    job.rows = MAX(1, MIN(MIN(batch, MAX(each, ITEM_ROWS)), ROWS_MAX));
    job.ahead = MIN(ROWS_MAX, MAX(1, steps) * job.rows);
    job.items = (batch + job.rows - 1) / job.rows * p->dirs;
    job.slot_bytes = aligned(sizeof(struct par_barrier)) + 4 * state_bytes(&job) +
                     gates_bytes(&job) + sums_bytes(&job);
    return job;
}

size_t rnn_scratch_bytes(const struct rnn_plan *self, size_t steps, size_t batch)
{
    return job_for(self, steps, batch).slot_bytes * par_slots();
}

/* Index of (direction, row) in h0, c0, h and c. */
static size_t state_at(const struct item *it, size_t row)
{
    const struct rnn_args *args = it->args;
    return args->batch_first ? row * it->plan->dirs + it->dir : it->dir * args->batch + row;
}

static size_t length_of(const struct rnn_args *args, size_t row)
{
    return args->lens ? (size_t)args->lens[row] : args->steps;
}

/* The time that step `step` of a row works on. */
static size_t time_of(const struct item *it, size_t row, size_t step)
{
    bool reverse = it->dir == 1 || it->plan->shape.direction == RNN_REVERSE;
    return reverse ? length_of(it->args, row) - 1 - step : step;
}

static const float *input_at(const struct item *it, size_t row, size_t time)
{
    const struct rnn_args *args = it->args;
    size_t at = args->batch_first ? row * args->steps + time : time * args->batch + row;
    return args->x + at * it->plan->shape.input;
}

static float *output_at(const struct item *it, size_t row, size_t time)
{
    const struct rnn_args *args = it->args;
    size_t dirs = it->plan->dirs;
    size_t at = args->batch_first ? (row * args->steps + time) * dirs + it->dir
                                  : (time * dirs + it->dir) * args->batch + row;
    return args->y ? args->y + at * it->plan->shape.hidden : NULL;
}

/* The hidden units of this member that are no padding. */
static size_t first_unit(const struct item *it)
{
    return MIN(it->block * it->plan->kernel->lanes, it->plan->shape.hidden);
}

static size_t unit_bytes(const struct item *it)
{
    size_t last = MIN(it->block_last * it->plan->kernel->lanes, it->plan->shape.hidden);
    return (last - first_unit(it)) * sizeof(float);
}

static void load_state(const struct item *it, float *to, const float *from)
{
    if (from)
        memcpy(to + first_unit(it), from + first_unit(it), unit_bytes(it));
    else
        memset(to + first_unit(it), 0, unit_bytes(it));
}

static void start_rows(const struct item *it)
{
    const struct rnn_args *args = it->args;
    size_t hidden = it->plan->shape.hidden, units = it->plan->units;
    for (size_t i = 0; i < it->rows; i++) {
        size_t at = state_at(it, it->first + i) * hidden;
        load_state(it, it->h[0] + i * units, args->h0 ? args->h0 + at : NULL);
        load_state(it, it->c + i * units, args->c0 ? args->c0 + at : NULL);
    }
}

/* Final states, and zeros behind the end of short rows. */
static void finish_rows(const struct item *it)
{
    const struct rnn_args *args = it->args;
    size_t hidden = it->plan->shape.hidden, units = it->plan->units, unit = first_unit(it);
    for (size_t i = 0; i < it->rows; i++) {
        size_t at = state_at(it, it->first + i) * hidden + unit, from = i * units + unit;
        size_t length = length_of(args, it->first + i);
        if (args->h)
            memcpy(args->h + at, it->h[length % 2] + from, unit_bytes(it));
        if (args->c && it->plan->shape.cell == RNN_LSTM)
            memcpy(args->c + at, it->c + from, unit_bytes(it));
        for (size_t t = length; args->y && t < args->steps; t++)
            memset(output_at(it, it->first + i, t) + unit, 0, unit_bytes(it));
    }
}

/* As many steps from `step` on as there is room for. */
static void fill_chunk(const struct item *it, size_t step, struct chunk *chunk)
{
    size_t n = 0;
    chunk->steps = 0;
    chunk->begin[0] = 0;
    for (; step < it->args->steps && n + it->rows <= ROWS_MAX; step++) {
        for (size_t row = it->first; row < it->first + it->rows; row++)
            if (step < length_of(it->args, row))
                chunk->x[n++] = input_at(it, row, time_of(it, row, step));
        if (n == chunk->begin[chunk->steps])
            break;
        chunk->begin[++chunk->steps] = n;
    }
}

/* A product of some panels of a sheet; *t lacks them. */
static void multiply(const struct item *it, const struct rnn_sheet *s, const void *packed,
                     const float *bias, size_t panel, struct rnn_product *t)
{
    enum rnn_weight_type type = it->plan->shape.weight_type;
    size_t values = RNN_PANEL(s->gates) * it->plan->kernel->lanes;
    size_t lines = type == RNN_BF16 ? (t->k + 1) / 2 : t->k;
    t->b = (const float *)packed + panel * lines * values;
    t->start = bias + panel * values;
    it->plan->kernel->product[type][RNN_PANEL(s->gates)](t);
}

/* x W + Wb of a chunk. */
static void multiply_inputs(const struct item *it, const struct chunk *chunk)
{
    const struct rnn_plan *p = it->plan;
    for (size_t i = 0; i < p->sheets; i++) {
        const struct rnn_sheet *s = &p->sheet[i];
        size_t panel = it->block / RNN_PANEL_BLOCKS(s->gates);
        struct rnn_product t = {
            .rows = chunk->begin[chunk->steps],
            .k = p->shape.input,
            .panels = it->block_last / RNN_PANEL_BLOCKS(s->gates) - panel,
            .a = chunk->x,
            .c = it->gates + s->at + it->block * s->gates * p->kernel->lanes,
            .c_step = p->width,
        };
        multiply(it, s, s->w[it->dir], s->bias_x[it->dir], panel, &t);
    }
}

/* One sheet of one step of `rows` rows: h R + Rb and then the gates, panel after panel. Every other
 * step goes backwards, from the panels that are still in the cache. */
static void step_sheet(const struct item *it, const struct rnn_sheet *s, size_t rows,
                       const float *const *a, const struct rnn_row *row, const float *gates,
                       bool back)
{
    const struct rnn_plan *p = it->plan;
    size_t lanes = p->kernel->lanes, wide = RNN_PANEL_BLOCKS(s->gates);
    size_t count = rows == 1 ? RNN_PANELS_WIDE : 1;
    size_t last = it->block_last / wide;
    struct rnn_product t = {.rows = rows, .k = p->shape.hidden, .a = a, .c = it->sums};
    struct rnn_update u = {
        .rows = rows,
        .x_step = p->width,
        .from_h = it->sums,
        .row = row,
        .hidden = p->shape.hidden,
        .peephole = p->peephole[it->dir],
        .units = p->units,
        .input_forget = p->shape.input_forget,
        .clip = p->shape.clip,
        .acts = p->shape.acts[it->dir],
    };
    rnn_update_fn *update =
        p->by_default[it->dir] ? p->kernel->update_default[s->phase] : p->kernel->update[s->phase];
    size_t first = it->block / wide, turns = (last - first + count - 1) / count;
    for (size_t i = 0; i < turns; i++) {
        size_t panel = first + (back ? turns - 1 - i : i) * count;
        t.panels = MIN(count, last - panel);
        t.c_step = u.h_step = t.panels * RNN_PANEL(s->gates) * lanes;
        multiply(it, s, s->r[it->dir], s->bias_h[it->dir], panel, &t);
        u.blocks = t.panels * wide;
        u.unit = panel * wide * lanes;
        u.from_x = gates + s->at + u.unit * s->gates;
        update(&u);
    }
}

/* One step of the rows that live; `gates` are theirs. */
static void run_step(const struct item *it, size_t step, const float *gates)
{
    const struct rnn_plan *p = it->plan;
    const float *a[RNN_SHEETS_MAX][ROWS_MAX];
    struct rnn_row row[ROWS_MAX];
    size_t n = 0;
    for (size_t i = 0; i < it->rows; i++) {
        if (step >= length_of(it->args, it->first + i))
            continue;
        row[n] = (struct rnn_row){
            .old = it->h[step % 2] + i * p->units,
            .h = it->h[(step + 1) % 2] + i * p->units,
            .c = it->c + i * p->units,
            .reset = it->reset + i * p->units,
            .y = output_at(it, it->first + i, time_of(it, it->first + i, step)),
        };
        a[0][n] = row[n].old;
        a[1][n] = row[n].reset;
        n++;
    }
    for (size_t i = 0; i < p->sheets; i++) {
        step_sheet(it, &p->sheet[i], n, a[i], row, gates, step % 2);
        par_wait(it->barrier, it->member, it->members);
    }
}

static void run_item(const struct item *it)
{
    struct chunk chunk;
    start_rows(it);
    par_wait(it->barrier, it->member, it->members);
    for (size_t step = 0;; step += chunk.steps) {
        fill_chunk(it, step, &chunk);
        if (!chunk.steps)
            break;
        multiply_inputs(it, &chunk);
        for (size_t s = 0; s < chunk.steps; s++)
            run_step(it, step + s, it->gates + chunk.begin[s] * it->plan->width);
    }
    finish_rows(it);
}

/* Item `index`, for one of `members`; state in the memory of `team`, the rest in that of `slot`. */
static void make_item(const struct job *job, size_t index, size_t team, size_t slot, size_t member,
                      size_t members, struct item *it)
{
    const struct rnn_plan *p = job->plan;
    size_t pieces = job->items / p->dirs, grains = p->blocks / p->grain;
    size_t first = index % pieces * job->rows, state = state_bytes(job) / sizeof(float);
    char *memory = job->scratch + team * job->slot_bytes, *own = job->scratch;
    *it = (struct item){
        .plan = p,
        .args = job->args,
        .dir = index / pieces,
        .first = first,
        .rows = MIN(job->rows, job->args->batch - first),
        .block = grains * member / members * p->grain,
        .block_last = grains * (member + 1) / members * p->grain,
        .barrier = (struct par_barrier *)memory,
        .member = member,
        .members = members,
    };
    memory += aligned(sizeof(struct par_barrier));
    it->h[0] = (float *)memory;
    it->h[1] = it->h[0] + state;
    it->c = it->h[1] + state;
    it->reset = it->c + state;
    own += (slot + 1) * job->slot_bytes - gates_bytes(job) - sums_bytes(job);
    it->gates = (float *)own;
    it->sums = (float *)(own + gates_bytes(job));
}

static void run_items(void *arg, size_t slot, size_t begin, size_t end)
{
    const struct job *job = arg;
    for (size_t i = begin; i < end; i++) {
        struct item it;
        make_item(job, i, slot, slot, 0, 1, &it);
        run_item(&it);
    }
}

/* Fewer items than members: each item's team are those members that come to it in turn. */
static void run_team(void *arg, size_t member, size_t members)
{
    const struct job *job = arg;
    if (members < job->items) {
        run_items(arg, member, job->items * member / members, job->items * (member + 1) / members);
        return;
    }
    struct item it;
    size_t index = member % job->items;
    make_item(job, index, index, member, member / job->items,
              (members - index + job->items - 1) / job->items, &it);
    run_item(&it);
}

void rnn_run(const struct rnn_plan *self, const struct rnn_args *args, void *scratch)
{
    struct job job = job_for(self, args->steps, args->batch);
    job.args = args;
    job.scratch = scratch;
    double sums = 2.0 * (double)self->width, rows = (double)(args->steps * args->batch);
    double all = sums * (double)(self->dirs * (self->shape.hidden + self->shape.input)) * rows;
    double step = sums * (double)(self->shape.hidden * job.rows);
    size_t team = MIN((size_t)(step / MEMBER_FLOPS), self->blocks / self->grain);
    size_t members = MIN(par_slots(), job.items * team);
    if (members <= job.items) {
        par_for(job.items, all, run_items, &job);
        return;
    }
    for (size_t i = 0; i < job.items; i++)
        par_barrier_init((struct par_barrier *)(job.scratch + i * job.slot_bytes));
    par_team(members, all, run_team, &job);
}
