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
 * Weights are packed [chunk][point][panel of the chunk][plane][8][width]. */
#include "worker/kernels/conv_plan.h"

#include <math.h>
#include <string.h>

#include "worker/kernels/cpu.h"
#include "worker/kernels/par.h"
#include "worker/kernels/vector_kernel.h"

#define REACH_MAX    6 /* points and inputs of a tile along an axis */
#define POINTS_MAX   (REACH_MAX * REACH_MAX)
#define CHUNK_LANES  32
#define SET_FLOATS   (4096 / sizeof(float)) /* points this far apart share a cache set */
#define ALIGN_FLOATS (TENSOR_ALIGN / sizeof(float))

struct job {
    const struct conv_plan *plan;
    struct maps m, o;
    const float *in;
    const float *add;
    float *out;
    size_t tile[2];    /* outputs of a tile down and across: T and T, or 1 and T */
    size_t reach[2];   /* inputs: what the kernel adds */
    size_t points;     /* their product */
    size_t across;     /* tiles in a row of tiles */
    size_t down;       /* rows of tiles in a map */
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

/* A kernel of one row: tiles of one row, too. */
static bool is_flat(const struct conv_shape *s)
{
    return s->kernel[0] == 1;
}

size_t conv_winograd_points(const struct conv_shape *s)
{
    return (s->winograd + 2) * (is_flat(s) ? 1 : s->winograd + 2);
}

static size_t rows_floats(const struct job *job)
{
    return round_up(job->reach[0] * (job->tile[1] * job->across + 2) * LANES, ALIGN_FLOATS);
}

/* From point to point of `planes` planes of some tiles: a little more than a multiple of what makes
 * addresses fall into the same set of a cache, for the transforms touch all points at once. */
static size_t point_step(size_t planes, size_t tiles)
{
    return round_up(planes * tiles * LANES, SET_FLOATS) + ALIGN_FLOATS;
}

static size_t out_points_floats(const struct job *job)
{
    return job->points * point_step(CHUNK_LANES / LANES, job->block_rows * job->across);
}

static struct job job_for(const struct conv_plan *p, struct maps m)
{
    struct job job = {.plan = p, .m = m, .o = conv_sum_maps(p, m)};
    job.tile[0] = is_flat(&p->shape) ? 1 : p->shape.winograd;
    job.tile[1] = p->shape.winograd;
    job.reach[0] = job.tile[0] + p->shape.kernel[0] - 1;
    job.reach[1] = job.tile[1] + 2;
    job.points = job.reach[0] * job.reach[1];
    job.across = (job.o.w + job.tile[1] - 1) / job.tile[1];
    job.down = (job.o.h + job.tile[0] - 1) / job.tile[0];
    job.rows = m.n * job.down;
    size_t row = job.points * p->planes * LANES * job.across;
    size_t out_row = job.points * CHUNK_LANES * job.across;
    size_t budget = kernels_l2_bytes() * 5 / 8 / sizeof(float);
    size_t fit = MAX(1, budget / MAX(row + out_row, 1)), threads = par_slots();
    job.blocks = (job.rows + fit - 1) / fit;
    job.shares = threads > 1 && job.blocks < 2 * threads && m.n < threads;
    if (!job.shares && job.blocks < threads)
        job.blocks = MIN(threads, job.rows);
    job.block_rows = (job.rows + job.blocks - 1) / MAX(job.blocks, 1);
    job.blocks = (job.rows + job.block_rows - 1) / MAX(job.block_rows, 1);
    job.chunk = CHUNK_LANES / p->kernel->width;
    job.chunks = (p->panels + job.chunk - 1) / job.chunk;
    job.in_floats = job.points * point_step(p->planes, job.block_rows * job.across);
    job.slot_floats =
        (job.shares ? 0 : job.in_floats) + out_points_floats(&job) + rows_floats(&job);
    return job;
}

/* Copy the input rows that row of tiles `row` reads of one block of channels, with zeros around
 * the map. */
static void copy_rows(const struct job *job, size_t row, size_t plane, float *to)
{
    const size_t *pad = job->plan->shape.pad_begin;
    size_t image = row / job->down, top = row % job->down * job->tile[0], w = job->m.w;
    size_t width = job->tile[1] * job->across + 2, left = MIN(pad[1], width),
           n = MIN(w, width - left);
    const float *map = job->in + (image * job->plan->planes + plane) * job->m.h * w * LANES;
    for (size_t i = 0; i < job->reach[0]; i++, to += width * LANES) {
        size_t y = top + i - pad[0]; /* wraps above the map */
        if (y >= job->m.h) {
            memset(to, 0, width * LANES * sizeof(float));
            continue;
        }
        memset(to, 0, left * LANES * sizeof(float));
        memcpy(to + left * LANES, map + y * w * LANES, n * LANES * sizeof(float));
        memset(to + (left + n) * LANES, 0, (width - left - n) * LANES * sizeof(float));
    }
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
    size_t rows, first = block_first(job, block, &rows), tiles = rows * job->across;
    struct conv_winograd w = {
        .outputs = job->tile[1],
        .flat = job->tile[0] == 1,
        .tiles = job->across,
        .pixels = pixels,
        .row_step = (job->tile[1] * job->across + 2) * LANES,
        .point_step = point_step(p->planes, tiles),
    };
    for (size_t plane = begin; plane < end; plane++)
        for (size_t i = 0; i < rows; i++) {
            copy_rows(job, first + i, plane, pixels);
            w.points = points + (plane * tiles + i * job->across) * LANES;
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
        .out_blocks = CHUNK_LANES / LANES,
    };
    const float *weights = p->weights + chunk * job->chunk * job->points * panel_floats;
    size_t in_step = point_step(p->planes, tiles);
    size_t out_step = point_step(CHUNK_LANES / LANES, tiles);
    for (size_t point = 0; point < job->points; point++, weights += panels * panel_floats)
        for (size_t panel = 0, n; panel < panels; panel += n) {
            bool last = point + 1 == job->points && chunk + 1 == job->chunks;
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
    size_t image = row / job->down, top = row % job->down * job->tile[0], width = job->o.w * LANES;
    size_t rows = MIN(job->tile[0], job->o.h - top);
    const struct conv_plan *p = job->plan;
    size_t map = image * layout_blocks(job->o.c) + block, each = p->pool[0] * p->pool[1];
    float *out = job->out + (map * job->o.h + top) * width / each;
    bool whole = rows == job->tile[0] && job->o.w % job->tile[1] == 0 && !p->pools;
    w->pixels = whole ? out : aside;
    w->row_step = job->across * job->tile[1] * LANES;
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
    size_t rows, first = block_first(job, block, &rows), tiles = rows * job->across;
    multiply(job, tiles, chunk, in, points);
    bool clamps = p->clamps && !job->add;
    struct conv_winograd w = {
        .outputs = job->tile[1],
        .flat = job->tile[0] == 1,
        .tiles = job->across,
        .point_step = point_step(CHUNK_LANES / LANES, tiles),
        .low = clamps ? p->low : -INFINITY,
        .high = clamps ? p->high : INFINITY,
    };
    size_t from = chunk * CHUNK_LANES / LANES;
    size_t to = MIN(from + CHUNK_LANES / LANES, layout_blocks(job->o.c));
    for (size_t b = from; b < to; b++)
        for (size_t i = 0; i < rows; i++) {
            w.points = points + ((b - from) * tiles + i * job->across) * LANES;
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
    double tiles = (double)(job.rows * job.across), channels = (double)(self->planes * LANES);
    double flops = 2 * (double)job.points * tiles * channels * (double)job.o.c;
    if (!job.shares) {
        par_for(job.blocks, flops, run_blocks, &job);
        return;
    }
    for (job.block = 0; job.block < job.blocks; job.block++) {
        par_for(self->planes, flops / 8, run_planes, &job);
        par_for(job.chunks, flops, run_chunks, &job);
    }
}

/* Row i of G is 1, p, p^2 of point p over the product of its distances to the other points. */
static void weight_transform(size_t tile, double g[REACH_MAX][3])
{
    const double a = sqrt(0.5), b = sqrt(2.0), na = -1.5, nb = 6; /* 2 a^2 (a^2 - b^2), ... */
    const double g4[][3] = {{1, 0, 0},
                            {1 / na, a / na, a * a / na},
                            {1 / na, -a / na, a * a / na},
                            {1 / nb, b / nb, b * b / nb},
                            {1 / nb, -b / nb, b * b / nb},
                            {0, 0, 1}};
    const double c = 0.375, d = 1.375, nc = 2 * c * (c * c - d * d), nd = 2 * d * (d * d - c * c);
    const double g3[][3] = {{1 / nc, c / nc, c * c / nc},
                            {-1 / nc, c / nc, -c * c / nc},
                            {1 / nd, d / nd, d * d / nd},
                            {-1 / nd, d / nd, -d * d / nd},
                            {0, 0, 1}};
    const double g2[][3] = {{1, 0, 0}, {0.5, 0.5, 0.5}, {0.5, -0.5, 0.5}, {0, 0, 1}};
    const double(*from)[3] = tile == 4 ? g4 : tile == 3 ? g3 : g2;
    memcpy(g, from, (tile + 2) * sizeof *g);
}

struct packing {
    struct conv_plan *plan;
    const float *weights;
    double g[REACH_MAX][3];
    size_t reach, points, taps;
};

/* Three values apart by `step` through row g of G, for all outputs of a panel. */
static void transform(const double g[3], const double (*w)[CONV_WIDTH_MAX], size_t step, double *to)
{
    for (size_t i = 0; i < CONV_WIDTH_MAX; i++)
        to[i] = g[0] * w[0][i] + g[1] * w[step][i] + g[2] * w[2 * step][i];
}

/* U = G w G^T of 3 x 3 kernels, or G w of one row, in double. */
static void transform_weights(const struct packing *p, const double (*w)[CONV_WIDTH_MAX],
                              double (*u)[CONV_WIDTH_MAX])
{
    double down[REACH_MAX][3][CONV_WIDTH_MAX];
    bool flat = p->taps == 3;
    for (size_t y = 0; y < p->reach && !flat; y++)
        for (size_t x = 0; x < 3; x++)
            transform(p->g[y], w + x, 3, down[y][x]);
    for (size_t y = 0; y < (flat ? 1 : p->reach); y++)
        for (size_t x = 0; x < p->reach; x++)
            transform(p->g[x], flat ? w : (const double(*)[CONV_WIDTH_MAX])down[y], 1,
                      u[y * p->reach + x]);
}

static void pack_items(void *arg, size_t slot, size_t begin, size_t end)
{
    const struct packing *p = arg;
    const struct conv_plan *plan = p->plan;
    size_t width = plan->kernel->width, chunk = CHUNK_LANES / width;
    size_t panel_floats = plan->planes * LANES * width;
    (void)slot;
    for (size_t panel = begin; panel < end; panel++) {
        size_t first = panel / chunk * chunk, panels = MIN(chunk, plan->panels - first);
        size_t outputs = plan->unit_out - MIN(panel * width, plan->unit_out);
        float *to =
            plan->weights + first * p->points * panel_floats + (panel - first) * panel_floats;
        for (size_t c = 0; c < plan->planes * LANES; c++, to += width) {
            double w[9][CONV_WIDTH_MAX] = {{0}}, u[POINTS_MAX][CONV_WIDTH_MAX];
            for (size_t i = 0; i < MIN(width, outputs) && c < plan->unit_in; i++) {
                const float *from =
                    p->weights + ((panel * width + i) * plan->unit_in + c) * p->taps;
                for (size_t t = 0; t < p->taps; t++)
                    w[t][i] = (double)from[t];
            }
            transform_weights(p, (const double(*)[CONV_WIDTH_MAX])w, u);
            for (size_t point = 0; point < p->points; point++)
                for (size_t i = 0; i < width; i++)
                    to[point * panels * panel_floats + i] = (float)u[point][i];
        }
    }
}

void conv_winograd_pack(struct conv_plan *p, const float *weights)
{
    struct packing packing = {.plan = p, .weights = weights, .taps = p->shape.kernel[0] * 3};
    packing.reach = p->shape.winograd + 2;
    packing.points = conv_winograd_points(&p->shape);
    weight_transform(p->shape.winograd, packing.g);
    double pairs = (double)(p->panels * p->kernel->width * p->planes * LANES);
    par_for(p->panels, pairs * 8 * (double)packing.points, pack_items, &packing);
}

/* Costs in multiplications per pair of channels. Meanwhile the weights are read: each pair has as
 * many floats as there are points, from a second-level cache or, between other layers, from memory.
 */
static double cost_of(const struct conv_shape *s, size_t tile, size_t out_h, size_t out_w)
{
    double c = (double)s->channels_in, k = (double)s->channels_out;
    size_t down = is_flat(s) ? out_h : (out_h + tile - 1) / tile;
    size_t across = (out_w + tile - 1) / tile;
    double tiles = (double)(down * across);
    double points = (double)((tile + 2) * (is_flat(s) ? 1 : tile + 2)),
           bytes = points * c * k * sizeof(float);
    double reading = bytes < 768 * KIB ? 2 : 14;
    return points * (fmax(1.2 * tiles, reading) + 4 * tiles * (1 / c + 1 / k));
}

size_t conv_winograd_tile(const struct conv_shape *s, enum layout in, enum layout out, size_t h,
                          size_t w)
{
    bool fits = (s->kernel[0] == 3 || is_flat(s)) && s->kernel[1] == 3 && s->stride[0] == 1 &&
                s->stride[1] == 1 && s->dilation[0] == 1 && s->dilation[1] == 1 && s->groups == 1 &&
                in == LAYOUT_BLOCKED && out == LAYOUT_BLOCKED && conv_now()->winograd_in &&
                !kernels_strict();
    size_t out_h = conv_out_size(s, 0, h), out_w = conv_out_size(s, 1, w), best = 0;
    size_t pool = MAX(1, s->pool[0]);
    out_h -= out_h % pool;
    out_w -= out_w % MAX(1, s->pool[1]);
    if (!fits || s->channels_in < 16 || s->channels_out < 16 || !out_h || !out_w)
        return 0;
    double least = (double)(3 * s->kernel[0] * out_h * out_w);
    for (size_t tile = 2; tile <= 4; tile++)
        if ((is_flat(s) ? 1 : tile) % pool == 0 && cost_of(s, tile, out_h, out_w) < least) {
            least = cost_of(s, tile, out_h, out_w);
            best = tile;
        }
    return best;
}
