/* gemm - packing, cache blocks and edges around the tiles; see gemm.h
 *
 * Work is cut into blocks of rows by columns. Within a block k goes in slices of GEMM_SLICE: the
 * slice of the block's rows is copied where their distance would crowd them into a few lines of a
 * cache, and a panel's slice stays near while the rows pass. Partial sums wait in C, exactly. So
 * each element is one sum in the order of k, whatever the block it falls in. */
#include "worker/kernels/gemm.h"

#include <math.h>
#include <string.h>

#include "worker/kernels/gemm_kernel.h"
#include "worker/kernels/par.h"
#include "worker/kernels/vector_kernel.h"

/* clang-format off */
#include "worker/kernels/pick.h"
struct gemm_entry { unsigned needs; const struct gemm_kernel *kernel; };
static const struct gemm_entry gemm_list[] = {
#include "worker/kernels/gemm.def"
};
PICK(gemm)
/* clang-format on */

#define ROW_BLOCK  128 /* 264 KiB of A per slice: a part of a second-level cache */
#define ROWS_APART 32  /* a block has at least as many, or B is read too often */
#define WIDE_BLOCK 8   /* panels: a block of few rows has a multiple of them */
#define CROWDED    256 /* rows so many values apart share few lines of a first-level cache */
#define PIECES     4   /* blocks per thread, where there are several threads */

static size_t panels_of(size_t n)
{
    return (n + gemm_now()->width - 1) / gemm_now()->width;
}

size_t gemm_packed_bytes(size_t k, size_t n)
{
    return panels_of(n) * gemm_now()->width * k * sizeof(float);
}

static void pack_panel(size_t k, size_t cols, size_t width, struct matrix b, float alpha,
                       float *packed)
{
    bool same = b.col_step == 1 && !(alpha < 1) && !(alpha > 1);
    for (size_t p = 0; p < k; p++, packed += width) {
        const float *row = b.data + p * b.row_step;
        if (same)
            memcpy(packed, row, cols * sizeof(float));
        else if (b.col_step == 1)
            for (size_t j = 0; j < cols; j++)
                packed[j] = alpha * row[j];
        else
            for (size_t j = 0; j < cols; j++)
                packed[j] = alpha * row[j * b.col_step];
        memset(packed + cols, 0, (width - cols) * sizeof(float));
    }
}

void gemm_pack(size_t k, size_t n, struct matrix b, float alpha, float *packed)
{
    size_t width = gemm_now()->width;
    for (size_t j = 0; j < n; j += width) {
        struct matrix panel = b;
        panel.data += j * b.col_step;
        pack_panel(k, MIN(width, n - j), width, panel, alpha, packed + j * k);
    }
}

/* One product cut into blocks; read by all threads. */
struct job {
    const struct gemm *g;
    const struct gemm_kernel *kernel;
    size_t row_block;  /* rows of a block */
    size_t row_blocks; /* blocks on top of each other */
    size_t col_block;  /* panels of a block */
    float low, high;   /* the activation, when it is a clamp */
    bool clamps;
};

/* A tile whose last columns are past n: through a buffer that has room for them. */
static void run_edge(const struct job *job, const struct gemm_tile *t, size_t rows, size_t cols)
{
    float room[GEMM_ROWS_MAX][GEMM_WIDTH_MAX] = {{0}}, bias[GEMM_WIDTH_MAX] = {0};
    struct gemm_tile aside = *t;
    for (size_t r = 0; t->accumulate && r < rows; r++)
        memcpy(room[r], t->c + r * t->c_step, cols * sizeof(float));
    if (t->bias) {
        memcpy(bias, t->bias, cols * sizeof(float));
        aside.bias = bias;
    }
    aside.c = room[0];
    aside.c_step = GEMM_WIDTH_MAX;
    job->kernel->tile(&aside, rows, 1);
    for (size_t r = 0; r < rows; r++)
        memcpy(t->c + r * t->c_step, room[r], cols * sizeof(float));
}

/* `rows` rows, of which t->a is the first, of panels first..last-1, k from p on. Moves *t, which is
 * passed by address because copying it costs as much as a small tile. */
static void run_rows(const struct job *job, struct gemm_tile *t, size_t rows, size_t row,
                     size_t first, size_t last, size_t p)
{
    const struct gemm *g = job->g;
    const float *bias = p == 0 ? g->bias : NULL;
    size_t width = job->kernel->width;
    size_t most = rows <= GEMM_FEW ? job->kernel->wide_panels[rows - 1] : 1;
    for (size_t panel = first, n; panel < last; panel += n) {
        size_t col = panel * width, left = g->n - col;
        for (n = most; n > 1 && (panel + n > last || left < n * width);)
            n /= 2;
        t->b = g->packed + (panel * g->k + p) * width;
        t->c = g->c + row * g->c_step + col;
        t->bias = bias ? bias + col : NULL;
        if (left >= width)
            job->kernel->tile(t, rows, n);
        else
            run_edge(job, t, rows, left);
    }
}

static struct gemm_tile tile_of(const struct job *job, size_t p, size_t k)
{
    const struct gemm *g = job->g;
    bool done = p + k == g->k;
    return (struct gemm_tile){
        .k = k,
        .b_panel = g->k * job->kernel->width,
        .accumulate = p > 0 || g->accumulate,
        .low = done ? job->low : -INFINITY,
        .high = done ? job->high : INFINITY,
        .c_step = g->c_step,
    };
}

/* Rows of the next tile: as even as can be, so that no tile is thin. */
static size_t next_rows(const struct job *job, size_t left)
{
    size_t tiles = (left + job->kernel->rows - 1) / job->kernel->rows;
    return (left + tiles - 1) / tiles;
}

/* k values from p on of some rows, GEMM_STEP apart. */
static void copy_rows(struct matrix a, size_t rows, size_t k, float *to)
{
    for (size_t r = 0; r < rows; r++, a.data += a.row_step, to += GEMM_STEP)
        if (a.col_step == 1)
            memcpy(to, a.data, k * sizeof(float));
        else
            for (size_t p = 0; p < k; p++)
                to[p] = a.data[p * a.col_step];
}

/* Many rows: slice after slice, and in each panel after panel. */
static void run_block(const struct job *job, size_t row, size_t row_end, size_t first, size_t last)
{
    const struct gemm *g = job->g;
    _Alignas(TENSOR_ALIGN) float a[ROW_BLOCK * GEMM_STEP];
    bool copies = g->a.col_step != 1 || g->a.row_step % CROWDED == 0;
    size_t p = 0;
    do {
        size_t k = MIN(GEMM_SLICE, g->k - p);
        struct gemm_tile t = tile_of(job, p, k);
        struct matrix from = g->a;
        from.data += row * from.row_step + p * from.col_step;
        if (copies) {
            copy_rows(from, row_end - row, k, a);
            from = (struct matrix){a, GEMM_STEP, 1};
        }
        for (size_t panel = first; panel < last; panel++)
            for (size_t r = row, rows; r < row_end; r += rows) {
                rows = next_rows(job, row_end - r);
                t.a = from;
                t.a.data += (r - row) * from.row_step;
                run_rows(job, &t, rows, r, panel, panel + 1, p);
            }
        p += k;
    } while (p < g->k);
}

/* Rows of one tile: whole lines of panels, each read once. */
static void run_few(const struct job *job, size_t row, size_t row_end, size_t first, size_t last)
{
    struct gemm_tile t = tile_of(job, 0, job->g->k);
    t.a = job->g->a;
    t.a.data += row * t.a.row_step;
    run_rows(job, &t, row_end - row, row, first, last, 0);
}

static void run_items(void *arg, size_t slot, size_t begin, size_t end)
{
    const struct job *job = arg;
    const struct gemm *g = job->g;
    size_t panels = panels_of(g->n), width = job->kernel->width;
    (void)slot;
    for (size_t i = begin; i < end; i++) {
        size_t row = i % job->row_blocks * job->row_block;
        size_t row_end = MIN(row + job->row_block, g->m);
        size_t first = i / job->row_blocks * job->col_block;
        size_t last = MIN(first + job->col_block, panels);
        if (row_end - row <= job->kernel->rows)
            run_few(job, row, row_end, first, last);
        else
            run_block(job, row, row_end, first, last);
        size_t cols = MIN(last * width, g->n) - first * width;
        for (size_t r = row; !job->clamps && r < row_end; r++) {
            float *c = g->c + r * g->c_step + first * width;
            vector_apply(g->act, cols, c, c);
        }
    }
}

static size_t parts(size_t whole, size_t part)
{
    return (whole + part - 1) / part;
}

/* Blocks for `threads` threads: first of rows, each of which is copied once then, and where these
 * are too few of columns as well. Even ones, so that no thread gets a thin last one. */
static struct job plan(const struct gemm *g, size_t threads)
{
    struct job job = {.g = g, .kernel = gemm_now(), .low = -INFINITY, .high = INFINITY};
    size_t pieces = threads > 1 ? threads * PIECES : 1, panels = panels_of(g->n);
    assert(!(g->bias && g->accumulate));
    job.clamps = activation_is_clamp(g->act, &job.low, &job.high);
    job.row_blocks = parts(g->m, MIN(ROW_BLOCK, MAX(parts(g->m, pieces), ROWS_APART)));
    job.row_block = job.row_blocks ? parts(g->m, job.row_blocks) : 1;
    job.col_block = MAX(1, parts(panels, parts(pieces, MAX(1, job.row_blocks))));
    if (job.row_block <= job.kernel->rows)
        job.col_block = parts(job.col_block, WIDE_BLOCK) * WIDE_BLOCK;
    return job;
}

static size_t items_of(const struct job *job)
{
    return job->row_blocks * parts(panels_of(job->g->n), job->col_block);
}

void gemm_run(const struct gemm *g)
{
    struct job job = plan(g, par_slots());
    double flops = 2.0 * (double)g->m * (double)g->n * (double)g->k;
    par_for(items_of(&job), flops, run_items, &job);
}

void gemm_run_serial(const struct gemm *g)
{
    struct job job = plan(g, 1);
    run_items(&job, 0, 0, items_of(&job));
}

static size_t matmul_pack_floats(const struct matmul *mm)
{
    return gemm_packed_bytes(mm->k, mm->n) / sizeof(float);
}

/* One packed B per thread when the batch is split over them, and one when a product is. */
size_t matmul_scratch_bytes(const struct matmul *mm)
{
    return MAX(gemm_packed_bytes(mm->k, mm->n), TENSOR_ALIGN) * par_slots();
}

struct matmul_job {
    const struct matmul *mm;
    float *scratch;
};

static void matmul_pack(const struct matmul *mm, size_t i, float *packed)
{
    struct matrix b = mm->b;
    b.data += mm->b_at[i];
    gemm_pack(mm->k, mm->n, b, mm->alpha, packed);
}

static struct gemm matmul_product(const struct matmul *mm, size_t i, float *packed)
{
    struct gemm g = {.m = mm->m,
                     .n = mm->n,
                     .k = mm->k,
                     .a = mm->a,
                     .packed = packed,
                     .act = ACT_NONE,
                     .c = mm->c + i * mm->m * mm->n,
                     .c_step = mm->n};
    g.a.data += mm->a_at[i];
    return g;
}

static void matmul_items(void *arg, size_t slot, size_t begin, size_t end)
{
    const struct matmul_job *job = arg;
    const struct matmul *mm = job->mm;
    float *packed = job->scratch + slot * matmul_pack_floats(mm);
    for (size_t i = begin; i < end; i++) {
        if (i == begin || mm->b_at[i] != mm->b_at[i - 1])
            matmul_pack(mm, i, packed);
        struct gemm g = matmul_product(mm, i, packed);
        gemm_run_serial(&g);
    }
}

void matmul_run(const struct matmul *mm, void *scratch)
{
    struct matmul_job job = {mm, scratch};
    double flops = 2.0 * (double)mm->batch * (double)mm->m * (double)mm->n * (double)mm->k;
    if (mm->batch > 1) {
        par_for(mm->batch, flops, matmul_items, &job);
    } else if (mm->batch == 1) {
        matmul_pack(mm, 0, scratch);
        struct gemm g = matmul_product(mm, 0, scratch);
        gemm_run(&g);
    }
}
