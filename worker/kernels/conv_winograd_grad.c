/* conv_winograd_grad - a convolution's gradient by its weights, by Winograd's F(T x T, 3 x 3)
 *
 * With B, G, A the transforms of conv_winograd.c, turned around:
 *   dw[k][c] = G^T [ sum over tiles of (A dy[k] A^T) (B^T in[c] B) ] G
 * which for each of the points is one product of matrices, outputs x tiles by tiles x inputs: the
 * tiles of grad_body.h compute it, whose pixels are the tiles here. A block is some rows of tiles,
 * of any images, whose points stay near the second-level cache. Sums go on from block to block in
 * the order of the tiles, however the work is cut. */
#include "worker/kernels/conv_winograd.h"

#include <string.h>

#include "worker/kernels/conv_grad.h"
#include "worker/kernels/cpu.h"
#include "worker/kernels/grad_kernel.h"
#include "worker/kernels/par.h"

#define BLOCK_BYTES (kernels_l2_bytes() * 5 / 4)

struct job {
    const struct conv_shape *s;
    struct maps m, o;
    const float *in, *dy;
    struct winograd_grid grid;
    size_t planes, blocks;   /* of 8 channels: of an image of `in`, of dy */
    size_t panels;           /* of outputs */
    size_t rows;             /* of tiles, in all images */
    size_t block_rows;       /* of a block */
    size_t first, count;     /* rows of the block at hand */
    size_t in_step, dy_step; /* from point to point, [plane][tile][8] */
    float *in_points, *dy_points;
    float *sums;   /* [point][panel][plane][8][width] */
    float *pixels; /* a row of tiles for each slot */
};

static size_t pixels_floats(const struct winograd_grid *g)
{
    return g->reach[0] * (g->tile[1] * g->across + 2) * LANES;
}

static size_t sums_floats(const struct job *job)
{
    return job->grid.points * job->panels * job->planes * LANES * grad_now()->width;
}

static struct job job_for(const struct conv_shape *s, struct maps m)
{
    struct job job = {.s = s, .m = m, .o = m};
    job.o.c = s->channels_out;
    job.o.h = conv_out_size(s, 0, m.h);
    job.o.w = conv_out_size(s, 1, m.w);
    job.grid = conv_winograd_grid(s, job.o.h, job.o.w);
    job.planes = layout_blocks(m.c);
    job.blocks = layout_blocks(job.o.c);
    job.panels = (job.o.c + grad_now()->width - 1) / grad_now()->width;
    job.rows = m.n * job.grid.down;
    size_t row = job.grid.points * (job.planes + job.blocks) * job.grid.across * LANES;
    size_t fit = MAX(1, BLOCK_BYTES / sizeof(float) / row);
    size_t parts = (job.rows + fit - 1) / fit;
    job.block_rows = (job.rows + parts - 1) / MAX(parts, 1);
    job.in_step = conv_winograd_step(job.planes, job.block_rows * job.grid.across);
    job.dy_step = conv_winograd_step(job.blocks, job.block_rows * job.grid.across);
    return job;
}

size_t conv_winograd_grad_scratch(const struct conv_shape *shape, struct maps m)
{
    struct job job = job_for(shape, m);
    size_t points = job.grid.points * (job.in_step + job.dy_step);
    return (points + sums_floats(&job) + par_slots() * pixels_floats(&job.grid)) * sizeof(float);
}

/* Points of one row of tiles of one block of channels: item 0 to planes - 1 of `in`, others of dy.
 */
static void points_items(void *arg, size_t slot, size_t begin, size_t end)
{
    const struct job *job = arg;
    const struct winograd_grid *g = &job->grid;
    size_t all = job->planes + job->blocks, tiles = job->count * g->across;
    float *pixels = job->pixels + slot * pixels_floats(g);
    for (size_t i = begin; i < end; i++) {
        size_t plane = i % all, row = i / all, image = (job->first + row) / g->down;
        bool of_in = plane < job->planes;
        plane -= of_in ? 0 : job->planes;
        const struct maps *m = of_in ? &job->m : &job->o;
        size_t map = image * (of_in ? job->planes : job->blocks) + plane;
        struct winograd_rows rows = {
            .map = (of_in ? job->in : job->dy) + map * m->h * m->w * LANES,
            .h = m->h,
            .w = m->w,
            .top = (job->first + row) % g->down * g->tile[0] - (of_in ? job->s->pad_begin[0] : 0),
            .left = of_in ? job->s->pad_begin[1] : 0,
            .lines = of_in ? g->reach[0] : g->tile[0],
            .width = g->tile[1] * g->across + (of_in ? 2 : 0),
        };
        struct conv_winograd w = {
            .outputs = g->tile[1],
            .flat = g->tile[0] == 1,
            .tiles = g->across,
            .pixels = pixels,
            .row_step = rows.width * LANES,
            .points = of_in ? job->in_points : job->dy_points,
            .point_step = of_in ? job->in_step : job->dy_step,
        };
        w.points += (plane * tiles + row * g->across) * LANES;
        conv_winograd_copy(&rows, pixels);
        if (of_in)
            conv_now()->winograd_in(&w);
        else
            conv_now()->winograd_out_grad(&w);
    }
}

/* One panel of outputs at one point. */
static void sums_items(void *arg, size_t slot, size_t begin, size_t end)
{
    const struct job *job = arg;
    const struct grad_kernel *kernel = grad_now();
    size_t tiles = job->count * job->grid.across, blocks = kernel->width / LANES;
    (void)slot;
    for (size_t i = begin; i < end; i++) {
        size_t point = i / job->panels, first = i % job->panels * blocks;
        struct grad_tile t = {
            .images = 1,
            .rows = 1,
            .cols = tiles,
            .out = job->dy_points + point * job->dy_step + first * tiles * LANES,
            .out_block = tiles * LANES,
            .half = job->blocks - first == 1,
            .in = job->in_points + point * job->in_step,
            .in_pixel = LANES,
            .adds = job->first > 0,
            .sums = job->sums + i * job->planes * LANES * kernel->width,
        };
        for (size_t plane = 0; plane < job->planes; plane++) {
            kernel->tile(&t, LANES);
            t.in += tiles * LANES;
            t.sums += LANES * kernel->width;
        }
    }
}

void conv_winograd_grad(const struct conv_shape *shape, struct maps m, const float *in,
                        const float *dy, float *dw, void *scratch)
{
    struct job job = job_for(shape, m);
    size_t points = job.grid.points, channels = job.planes + job.blocks;
    job.in = in;
    job.dy = dy;
    job.in_points = scratch;
    job.dy_points = job.in_points + points * job.in_step;
    job.sums = job.dy_points + points * job.dy_step;
    job.pixels = job.sums + sums_floats(&job);
    for (job.first = 0; job.first < job.rows; job.first += job.count) {
        job.count = MIN(job.block_rows, job.rows - job.first);
        double values = (double)(points * job.count * job.grid.across * LANES);
        par_for(channels * job.count, values * (double)channels * 8, points_items, &job);
        par_for(points * job.panels, 2 * values * (double)(job.planes * job.o.c), sums_items, &job);
    }
    conv_winograd_weights_grad(shape, grad_now()->width, job.sums, dw);
}
