/* conv_winograd - run a plan of Winograd's F(T x T, 3 x 3) on blocked maps, T = 2 to 4, or of F(T,
 * 3) along rows; see conv.h
 *
 * With B, G, A the transforms (conv_winograd_body.h), a tile of T x T outputs of channel k is
 *   A^T [ sum over c of (G w[k][c] G^T) (B^T x[c] B) ] A + bias
 * where the sum is one product of matrices for each of the (T + 2)^2 points: tiles x channels by
 * channels x outputs. So each point is a pointwise convolution whose pixels are the tiles, and the
 * tiles of conv_body.h compute it. A block is some rows of tiles, of any images, small enough that
 * its points stay in the second-level cache; outputs go in chunks of panels. Each sum is over the
 * channels in their order, however the work is cut.
 *
 * Weights are packed as conv_winograd_weights.c says. */
#include "worker/kernels/conv_winograd.h"

#include <math.h>
#include <string.h>

#include "worker/kernels/cpu.h"
#include "worker/kernels/par.h"
#include "worker/kernels/vector_kernel.h"

#define SET_FLOATS   (4096 / sizeof(float)) /* points this far apart share a cache set */
#define ALIGN_FLOATS (TENSOR_ALIGN / sizeof(float))

struct job {
    const struct conv_plan *plan;
    struct maps m, o;
    const float *in;
    const float *add;
    float *out;
    struct winograd_grid grid;
    size_t rows;       /* of tiles in all maps */
    size_t block_rows; /* rows of a block */
    size_t blocks;
    size_t chunk; /* panels */
    size_t chunks;
    bool shares;        /* all threads work on one block, and then on the next */
    float *scratch;     /* [shared input points][per slot: input points, output points, rows] */
    size_t in_floats;   /* points of a block's input */
    size_t slot_floats; /* all of a slot */
    size_t block;       /* the block they share */
};

static size_t round_up(size_t value, size_t unit)
{
    return (value + unit - 1) / unit * unit;
}

static size_t rows_floats(const struct job *job)
{
    return round_up(job->grid.reach[0] * (job->grid.tile[1] * job->grid.across + 2) * LANES,
                    ALIGN_FLOATS);
}

size_t conv_winograd_step(size_t planes, size_t tiles)
{
    return round_up(planes * tiles * LANES, SET_FLOATS) + ALIGN_FLOATS;
}

struct winograd_grid conv_winograd_grid(const struct conv_shape *s, size_t out_h, size_t out_w)
{
    struct winograd_grid g = {.tile = {conv_winograd_flat(s) ? 1 : s->winograd, s->winograd}};
    g.reach[0] = g.tile[0] + s->kernel[0] - 1;
    g.reach[1] = g.tile[1] + 2;
    g.points = g.reach[0] * g.reach[1];
    g.across = (out_w + g.tile[1] - 1) / g.tile[1];
    g.down = (out_h + g.tile[0] - 1) / g.tile[0];
    return g;
}

static size_t out_points_floats(const struct job *job)
{
    return job->grid.points *
           conv_winograd_step(WINOGRAD_CHUNK / LANES, job->block_rows * job->grid.across);
}

static struct job job_for(const struct conv_plan *p, struct maps m)
{
    struct job job = {.plan = p, .m = m, .o = conv_sum_maps(p, m)};
    job.grid = conv_winograd_grid(&p->shape, job.o.h, job.o.w);
    job.rows = m.n * job.grid.down;
    size_t row = job.grid.points * p->planes * LANES * job.grid.across;
    size_t out_row = job.grid.points * WINOGRAD_CHUNK * job.grid.across;
    size_t budget = kernels_l2_bytes() * 5 / 8 / sizeof(float);
    size_t fit = MAX(1, budget / MAX(row + out_row, 1)), threads = par_slots();
    job.blocks = (job.rows + fit - 1) / fit;
    job.shares = threads > 1 && job.blocks < 2 * threads && m.n < threads;
    if (!job.shares && job.blocks < threads)
        job.blocks = MIN(threads, job.rows);
    job.block_rows = (job.rows + job.blocks - 1) / MAX(job.blocks, 1);
    job.blocks = (job.rows + job.block_rows - 1) / MAX(job.block_rows, 1);
    job.chunk = WINOGRAD_CHUNK / p->kernel->width;
    job.chunks = (p->panels + job.chunk - 1) / job.chunk;
    job.in_floats =
        job.grid.points * conv_winograd_step(p->planes, job.block_rows * job.grid.across);
    job.slot_floats =
        (job.shares ? 0 : job.in_floats) + out_points_floats(&job) + rows_floats(&job);
    return job;
}

void conv_winograd_copy(const struct winograd_rows *r, float *to)
{
    size_t left = MIN(r->left, r->width), n = MIN(r->w, r->width - left);
    for (size_t i = 0; i < r->lines; i++, to += r->width * LANES) {
        size_t y = r->top + i;
        if (y >= r->h) {
            memset(to, 0, r->width * LANES * sizeof(float));
            continue;
        }
        memset(to, 0, left * LANES * sizeof(float));
        memcpy(to + left * LANES, r->map + y * r->w * LANES, n * LANES * sizeof(float));
        memset(to + (left + n) * LANES, 0, (r->width - left - n) * LANES * sizeof(float));
    }
}

/* The input rows that row of tiles `row` reads of one block of channels. */
static void copy_rows(const struct job *job, size_t row, size_t plane, float *to)
{
    const size_t *pad = job->plan->shape.pad_begin;
    size_t map = row / job->grid.down * job->plan->planes + plane;
    struct winograd_rows rows = {
        .map = job->in + map * job->m.h * job->m.w * LANES,
        .h = job->m.h,
        .w = job->m.w,
        .top = row % job->grid.down * job->grid.tile[0] - pad[0],
        .left = pad[1],
        .lines = job->grid.reach[0],
        .width = job->grid.tile[1] * job->grid.across + 2,
    };
    conv_winograd_copy(&rows, to);
}

/* Rows of tiles of a block, and how many tiles these are. */
static size_t block_first(const struct job *job, size_t block, size_t *rows)
{
    size_t first = block * job->block_rows;
    *rows = MIN(job->block_rows, job->rows - first);
    return first;
}

/* Points of the input of one block, [point][plane][tile][8], for some of the planes. */
static void transform_planes(const struct job *job, size_t block, size_t begin, size_t end,
                             float *points, float *pixels)
{
    const struct conv_plan *p = job->plan;
    size_t rows, first = block_first(job, block, &rows), tiles = rows * job->grid.across;
    struct conv_winograd w = {
        .outputs = job->grid.tile[1],
        .flat = job->grid.tile[0] == 1,
        .tiles = job->grid.across,
        .pixels = pixels,
        .row_step = (job->grid.tile[1] * job->grid.across + 2) * LANES,
        .point_step = conv_winograd_step(p->planes, tiles),
    };
    for (size_t plane = begin; plane < end; plane++)
        for (size_t i = 0; i < rows; i++) {
            copy_rows(job, first + i, plane, pixels);
            w.points = points + (plane * tiles + i * job->grid.across) * LANES;
            p->kernel->winograd_in(&w);
        }
}

/* The products of all points for one chunk of outputs: [point][block of 8][tile][8]. */
static void multiply(const struct job *job, size_t tiles, size_t chunk, const float *in, float *out)
{
    static const float no_bias[4 * CONV_WIDTH_MAX];
    const struct conv_plan *p = job->plan;
    size_t width = p->kernel->width, panel_floats = p->planes * LANES * width;
    size_t panels = MIN(job->chunk, p->panels - chunk * job->chunk);
    struct conv_tile t = {
        .planes = p->planes,
        .rows = 1,
        .cols = 1,
        .plane_step = tiles * LANES,
        .pixel_step = LANES,
        .weight_step = panel_floats,
        .bias = no_bias,
        .low = -INFINITY,
        .high = INFINITY,
        .out_step = tiles * LANES,
        .out_blocks = WINOGRAD_CHUNK / LANES,
    };
    const float *weights = p->weights + chunk * job->chunk * job->grid.points * panel_floats;
    size_t in_step = conv_winograd_step(p->planes, tiles);
    size_t out_step = conv_winograd_step(WINOGRAD_CHUNK / LANES, tiles);
    for (size_t point = 0; point < job->grid.points; point++, weights += panels * panel_floats)
        for (size_t panel = 0, n; panel < panels; panel += n) {
            bool last = point + 1 == job->grid.points && chunk + 1 == job->chunks;
            n = conv_panels_at_once(p, tiles, panels - panel);
            t.weights = weights + panel * panel_floats;
            t.ahead = t.weights + panels * panel_floats; /* the next point, or the next chunk */
            t.ahead_panels = p->far && !last ? n : 0;
            t.in = in + point * in_step;
            t.out = out + point * out_step + panel * width * tiles;
            conv_run_row(p, &t, n, tiles);
        }
}

/* Rows of pixels that one row of tiles made, where they are in the output: what is added, and an
 * activation that is no clamp. */
static void finish(const struct job *job, size_t n, float *out)
{
    const struct conv_plan *p = job->plan;
    if (job->add)
        vector_now()->binary[BINARY_ADD](n, out, 1, job->add + (out - job->out), 1, out);
    if (job->add || !p->clamps)
        vector_apply(p->act, n, out, out);
}

/* Pixels of one row of tiles and one block of channels; through `aside` where the last tiles reach
 * beyond the map, or where the largest of them are written. */
static void write_row(const struct job *job, struct conv_winograd *w, size_t row, size_t block,
                      float *aside)
{
    size_t image = row / job->grid.down, top = row % job->grid.down * job->grid.tile[0],
           width = job->o.w * LANES;
    size_t rows = MIN(job->grid.tile[0], job->o.h - top);
    const struct conv_plan *p = job->plan;
    size_t map = image * layout_blocks(job->o.c) + block, each = p->pool[0] * p->pool[1];
    float *out = job->out + (map * job->o.h + top) * width / each;
    bool whole = rows == job->grid.tile[0] && job->o.w % job->grid.tile[1] == 0 && !p->pools;
    w->pixels = whole ? out : aside;
    w->row_step = job->grid.across * job->grid.tile[1] * LANES;
    p->kernel->winograd_out(w);
    if (p->pools) {
        finish(job, rows * w->row_step, aside);
        struct conv_pooling pooling = {
            .pixels = job->o.w / p->pool[1],
            .in = aside,
            .row_step = w->row_step,
            .out = out,
            .lines = rows / p->pool[0],
            .line_step = p->pool[0] * w->row_step,
            .out_step = job->o.w / p->pool[1] * LANES,
        };
        conv_pool(p, &pooling);
        return;
    }
    for (size_t i = 0; !whole && i < rows; i++)
        memcpy(out + i * width, aside + i * w->row_step, width * sizeof(float));
    finish(job, rows * width, out);
}

/* One chunk of a block's outputs. */
static void run_chunk(const struct job *job, size_t block, size_t chunk, const float *in,
                      float *points, float *aside)
{
    const struct conv_plan *p = job->plan;
    size_t rows, first = block_first(job, block, &rows), tiles = rows * job->grid.across;
    multiply(job, tiles, chunk, in, points);
    bool clamps = p->clamps && !job->add;
    struct conv_winograd w = {
        .outputs = job->grid.tile[1],
        .flat = job->grid.tile[0] == 1,
        .tiles = job->grid.across,
        .point_step = conv_winograd_step(WINOGRAD_CHUNK / LANES, tiles),
        .low = clamps ? p->low : -INFINITY,
        .high = clamps ? p->high : INFINITY,
    };
    size_t from = chunk * WINOGRAD_CHUNK / LANES;
    size_t to = MIN(from + WINOGRAD_CHUNK / LANES, layout_blocks(job->o.c));
    for (size_t b = from; b < to; b++)
        for (size_t i = 0; i < rows; i++) {
            w.points = points + ((b - from) * tiles + i * job->grid.across) * LANES;
            w.bias = p->bias + b * LANES;
            write_row(job, &w, first + i, b, aside);
        }
}

/* Memory of a slot behind what is shared: input points if they are its own, output points, rows. */
static float *slot_memory(const struct job *job, size_t slot)
{
    return job->scratch + (job->shares ? job->in_floats : 0) + slot * job->slot_floats;
}

static void run_blocks(void *arg, size_t slot, size_t begin, size_t end)
{
    const struct job *job = arg;
    float *in = slot_memory(job, slot), *points = in + job->in_floats;
    float *pixels = points + out_points_floats(job);
    for (size_t block = begin; block < end; block++) {
        transform_planes(job, block, 0, job->plan->planes, in, pixels);
        for (size_t chunk = 0; chunk < job->chunks; chunk++)
            run_chunk(job, block, chunk, in, points, pixels);
    }
}

static void run_planes(void *arg, size_t slot, size_t begin, size_t end)
{
    const struct job *job = arg;
    float *pixels = slot_memory(job, slot) + out_points_floats(job);
    transform_planes(job, job->block, begin, end, job->scratch, pixels);
}

static void run_chunks(void *arg, size_t slot, size_t begin, size_t end)
{
    const struct job *job = arg;
    float *points = slot_memory(job, slot);
    for (size_t chunk = begin; chunk < end; chunk++)
        run_chunk(job, job->block, chunk, job->scratch, points, points + out_points_floats(job));
}

size_t conv_winograd_scratch(const struct conv_plan *self, struct maps m)
{
    struct job job = job_for(self, m);
    return (par_slots() * job.slot_floats + job.in_floats) * sizeof(float);
}

void conv_winograd_run(const struct conv_plan *self, struct maps m, const float *in,
                       const float *add, float *out, void *scratch)
{
    struct job job = job_for(self, m);
    job.in = in;
    job.add = add;
    job.out = out;
    job.scratch = scratch;
    double tiles = (double)(job.rows * job.grid.across), channels = (double)(self->planes * LANES);
    double flops = 2 * (double)job.grid.points * tiles * channels * (double)job.o.c;
    if (!job.shares) {
        par_for(job.blocks, flops, run_blocks, &job);
        return;
    }
    for (job.block = 0; job.block < job.blocks; job.block++) {
        par_for(self->planes, flops / 8, run_planes, &job);
        par_for(job.chunks, flops, run_chunks, &job);
    }
}

/* Costs in multiplications per pair of channels. Meanwhile the weights are read: each pair has as
 * many floats as there are points, from a second-level cache or, between other layers, from memory.
 */
static double cost_of(const struct conv_shape *s, size_t tile, size_t out_h, size_t out_w)
{
    double c = (double)s->channels_in, k = (double)s->channels_out;
    size_t down = conv_winograd_flat(s) ? out_h : (out_h + tile - 1) / tile;
    size_t across = (out_w + tile - 1) / tile;
    double tiles = (double)(down * across);
    double points = (double)((tile + 2) * (conv_winograd_flat(s) ? 1 : tile + 2)),
           bytes = points * c * k * sizeof(float);
    double reading = bytes < 768 * KIB ? 2 : 14;
    return points * (fmax(1.2 * tiles, reading) + 4 * tiles * (1 / c + 1 / k));
}

size_t conv_winograd_tile(const struct conv_shape *s, enum layout in, enum layout out, size_t h,
                          size_t w)
{
    bool fits = (s->kernel[0] == 3 || conv_winograd_flat(s)) && s->kernel[1] == 3 &&
                s->stride[0] == 1 && s->stride[1] == 1 && s->dilation[0] == 1 &&
                s->dilation[1] == 1 && s->groups == 1 && in == LAYOUT_BLOCKED &&
                out == LAYOUT_BLOCKED && conv_now()->winograd_in && !kernels_strict();
    size_t out_h = conv_out_size(s, 0, h), out_w = conv_out_size(s, 1, w), best = 0;
    size_t pool = MAX(1, s->pool[0]);
    out_h -= out_h % pool;
    out_w -= out_w % MAX(1, s->pool[1]);
    if (!fits || s->channels_in < 16 || s->channels_out < 16 || !out_h || !out_w)
        return 0;
    double least = (double)(3 * s->kernel[0] * out_h * out_w);
    for (size_t tile = 2; tile <= 4; tile++)
        if ((conv_winograd_flat(s) ? 1 : tile) % pool == 0 &&
            cost_of(s, tile, out_h, out_w) < least) {
            least = cost_of(s, tile, out_h, out_w);
            best = tile;
        }
    return best;
}
