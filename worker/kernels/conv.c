/* conv - run a direct plan: cut the output into strips, tiles into threads; see conv.h
 *
 * A strip is a rectangle of output pixels of one image and unit, small enough that the input it
 * reads stays in the second-level cache while all blocks of output channels pass over it. Where
 * the input is padded or lies in another layout, the strip's input is first gathered into planes.
 * How the work is cut changes no sum. */
#include "worker/kernels/conv.h"

#include <math.h>
#include <string.h>

#include "worker/kernels/conv_plan.h"
#include "worker/kernels/cpu.h"
#include "worker/kernels/layout_kernel.h"
#include "worker/kernels/par.h"
#include "worker/kernels/vector_kernel.h"

/* clang-format off */
#include "worker/kernels/pick.h"
struct conv_entry { unsigned needs; const struct conv_kernel *kernel; };
static const struct conv_entry conv_list[] = {
#include "worker/kernels/conv.def"
};
PICK(conv)
/* clang-format on */

#define STRIP_COLS   192 /* at most, so that long rows can be shared out */
#define CHUNK        4   /* panels of output channels that an item computes */
#define ALIGN_FLOATS (TENSOR_ALIGN / sizeof(float))
#define ITEMS_EACH   4 /* items per thread wanted, if strips can be cut so far */

/* One run; read by all threads. */
struct job {
    const struct conv_plan *plan;
    const float *in;
    const float *add; /* added to the sums; NULL: nothing */
    float *out;
    float *scratch;
    size_t planes_floats; /* scratch of one thread: gathered input, */
    size_t aside_floats;  /* and rows on their way to another layout */
    size_t h, w;          /* input map; a pointwise one is one row */
    size_t out_h, out_w;
    size_t rows, cols;   /* of a strip, the last ones may be smaller */
    size_t down, across; /* strips per map */

    size_t chunks; /* of panels per unit */
    size_t n;
};

/* The part of the output that an item computes. */
struct strip {
    size_t image;
    size_t unit;
    size_t y, y_end;
    size_t x, x_end;
};

static size_t in_span(const struct conv_shape *s, size_t axis, size_t outputs)
{
    return (outputs - 1) * s->stride[axis] + (s->kernel[axis] - 1) * s->dilation[axis] + 1;
}

static size_t strip_floats(const struct job *job, size_t rows, size_t cols)
{
    const struct conv_plan *p = job->plan;
    return p->planes * p->inner * in_span(&p->shape, 0, rows) * in_span(&p->shape, 1, cols);
}

static size_t items_of(const struct job *job)
{
    return job->n * job->plan->units * job->down * job->across * job->chunks;
}

static size_t round_up(size_t value, size_t unit)
{
    return (value + unit - 1) / unit * unit;
}

/* Half of the rows, as whole windows of the pooling. */
static size_t half_rows(const struct job *job)
{
    return round_up((job->rows + 1) / 2, job->plan->pool[0]);
}

static void cut(struct job *job)
{
    const struct conv_plan *p = job->plan;
    size_t wanted = par_slots() > 1 ? par_slots() * ITEMS_EACH : 1;
    size_t limit = kernels_l2_bytes() * 7 / 16 / sizeof(float); /* beside weights and output */
    job->cols = job->out_w;
    while (job->cols > STRIP_COLS ||
           (job->cols > 2 * p->kernel->pixels && strip_floats(job, 1, job->cols) > limit))
        job->cols = round_up((job->cols + 1) / 2, p->kernel->pixels);
    job->across = (job->out_w + job->cols - 1) / job->cols;
    job->rows = job->out_h;
    while (job->rows > p->pool[0] && strip_floats(job, job->rows, job->cols) > limit)
        job->rows = half_rows(job);
    job->down = (job->out_h + job->rows - 1) / job->rows;
    while (job->rows > p->pool[0] && items_of(job) < wanted) {
        job->rows = half_rows(job);
        job->down = (job->out_h + job->rows - 1) / job->rows;
    }
}

/* Room for a thinned input. */
static size_t thin_floats(const struct conv_plan *p, struct maps m)
{
    bool thins = p->thin[0] * p->thin[1] > 1;
    return thins ? round_up(layout_elements(LAYOUT_BLOCKED, conv_thin_maps(p, m)), ALIGN_FLOATS)
                 : 0;
}

static struct job job_for(const struct conv_plan *p, struct maps m)
{
    struct maps thin = conv_thin_maps(p, m);
    struct job job = {.plan = p, .h = thin.h, .w = thin.w, .n = m.n};
    if (p->pointwise) {
        job.h = 1;
        job.w = thin.h * thin.w;
    }
    struct maps sums = conv_sum_maps(p, m);
    job.out_h = p->pointwise ? 1 : sums.h;
    job.out_w = p->pointwise ? sums.h * sums.w : sums.w;
    job.chunks = (p->panels + CHUNK - 1) / CHUNK;
    if (!job.out_h || !job.out_w)
        return job;
    cut(&job);
    if (p->gathers)
        job.planes_floats = round_up(strip_floats(&job, job.rows, job.cols), ALIGN_FLOATS);
    if (p->scatters || p->pools)
        job.aside_floats = round_up(p->pool[0] * CHUNK * p->kernel->width * job.cols, ALIGN_FLOATS);
    return job;
}

/* Copy n pixels of one plane, from input row y and column x on, both inside the map. */
static void gather_pixels(const struct job *job, const struct strip *s, size_t plane, size_t y,
                          size_t x, size_t n, float *to)
{
    const struct conv_plan *p = job->plan;
    size_t map = job->h * job->w, at = y * job->w + x;
    size_t channel = s->unit * p->unit_in + plane * p->inner, all = p->shape.channels_in;
    const float *image =
        job->in + s->image * map * (p->in == LAYOUT_PLAIN ? all : layout_blocks(all) * LANES);
    if (p->in == LAYOUT_PLAIN && p->inner == 1) {
        memcpy(to, image + channel * map + at, n * sizeof(float));
    } else if (p->in == LAYOUT_PLAIN) {
        size_t lanes = MIN(LANES, MIN(all - channel, p->unit_in - plane * p->inner));
        layout_now()->interleave(n, lanes, map, image + channel * map + at, to);
    } else if (p->inner == LANES) {
        memcpy(to, image + (channel / LANES * map + at) * LANES, n * LANES * sizeof(float));
    } else {
        const float *from = image + (channel / LANES * map + at) * LANES + channel % LANES;
        for (size_t i = 0; i < n; i++)
            to[i] = from[i * LANES];
    }
}

/* Copy the strip's input into planes, with zeros where it lies in the padding. */
static void gather(const struct job *job, const struct strip *s, float *to)
{
    const struct conv_plan *p = job->plan;
    const struct conv_shape *shape = &p->shape;
    size_t rows = in_span(shape, 0, s->y_end - s->y), cols = in_span(shape, 1, s->x_end - s->x);
    size_t y0 = s->y * shape->stride[0], x0 = s->x * shape->stride[1];
    /* columns [left, right) of the strip lie inside the map */
    size_t left = MIN(cols, x0 < shape->pad_begin[1] ? shape->pad_begin[1] - x0 : 0);
    size_t right = job->w + shape->pad_begin[1] > x0 ? job->w + shape->pad_begin[1] - x0 : 0;
    right = MAX(left, MIN(cols, right));
    for (size_t plane = 0; plane < p->planes; plane++)
        for (size_t row = 0; row < rows; row++, to += cols * p->inner) {
            size_t y = y0 + row; /* in the padded map */
            bool inside = y >= shape->pad_begin[0] && y - shape->pad_begin[0] < job->h;
            if (!inside || left == right) {
                memset(to, 0, cols * p->inner * sizeof(float));
                continue;
            }
            memset(to, 0, left * p->inner * sizeof(float));
            memset(to + right * p->inner, 0, (cols - right) * p->inner * sizeof(float));
            gather_pixels(job, s, plane, y - shape->pad_begin[0], x0 + left - shape->pad_begin[1],
                          right - left, to + left * p->inner);
        }
}

/* Put a row that was computed aside, [block][pixel][8], where it belongs. */
static void scatter_row(const struct job *job, const struct strip *s, size_t block, size_t blocks,
                        size_t y, const float *from)
{
    const struct conv_plan *p = job->plan;
    size_t map = job->out_h * job->out_w, at = y * job->out_w + s->x, n = s->x_end - s->x;
    size_t all = p->shape.channels_out;
    for (size_t b = block; b < block + blocks; b++, from += n * LANES) {
        size_t channel = s->unit * p->unit_out + b * LANES;
        size_t lanes = MIN(LANES, MIN(all - channel, p->unit_out - b * LANES));
        if (p->out == LAYOUT_PLAIN) {
            float *to = job->out + (s->image * all + channel) * map + at;
            layout_now()->separate(n, lanes, map, from, to);
            continue;
        }
        float *image = job->out + s->image * layout_blocks(all) * LANES * map;
        for (size_t k = channel; k < channel + lanes; k++)
            for (size_t i = 0; i < n; i++)
                image[(k / LANES * map + at + i) * LANES + k % LANES] =
                    from[i * LANES + k - channel];
    }
}

/* Write the largest values of rows that were computed aside, [row][block][pixel][8], y the last. */
static void pool_rows(const struct job *job, const struct strip *s, size_t block, size_t blocks,
                      size_t y, const float *from)
{
    const struct conv_plan *p = job->plan;
    size_t n = s->x_end - s->x, w = job->out_w / p->pool[1];
    size_t map = job->out_h / p->pool[0] * w * LANES;
    size_t at = (y / p->pool[0] * w + s->x / p->pool[1]) * LANES;
    float *image = job->out + s->image * layout_blocks(p->shape.channels_out) * map + at;
    struct conv_pooling rows = {
        .pixels = n / p->pool[1],
        .in = from,
        .row_step = blocks * n * LANES,
        .out = image + block * map,
        .lines = blocks,
        .line_step = n * LANES,
        .out_step = map,
    };
    conv_pool(p, &rows);
}

/* Pixels of the next tile: as even as can be, so that no tile is thin. */
static size_t next_pixels(const struct conv_plan *p, size_t left)
{
    size_t tiles = (left + p->kernel->pixels - 1) / p->kernel->pixels;
    return (left + tiles - 1) / tiles;
}

/* *t goes by address because copying it costs as much as a small tile. */
void conv_run_row(const struct conv_plan *p, struct conv_tile *t, size_t panels, size_t pixels)
{
    const struct conv_kernel *kernel = p->kernel;
    for (size_t left = pixels, n; left > 0; left -= n) {
        n = next_pixels(p, left);
        if (panels < 4 || n <= kernel->pixels_of_4) {
            kernel->tile(t, p->inner, panels, n);
        } else { /* too many pixels for four panels at once */
            struct conv_tile second = *t;
            size_t blocks = 2 * kernel->width / LANES;
            second.weights += 2 * t->weight_step;
            second.bias += 2 * kernel->width;
            second.out += blocks * t->out_step;
            second.add = t->add ? t->add + blocks * t->out_step : NULL;
            second.out_blocks -= blocks;
            second.ahead_panels = 0;
            kernel->tile(t, p->inner, 2, n);
            kernel->tile(&second, p->inner, 2, n);
        }
        t->in += n * t->pixel_step;
        t->out += n * LANES;
        t->add = t->add ? t->add + n * LANES : NULL;
        if (t->ahead_panels) {
            t->ahead_panels--;
            t->ahead += t->weight_step;
        }
    }
}

/* Four where the row is thin. */
size_t conv_panels_at_once(const struct conv_plan *p, size_t pixels, size_t left)
{
    size_t most = p->kernel->pixels_of_4;
    bool narrow =
        next_pixels(p, pixels) <= most || (p->kernel->pixels < 7 && pixels == 7); /* 4 + 3 */
    return narrow && left >= 4 ? 4 : MIN(left, 2);
}

/* What a tile of this strip reads: steps and the strip's first pixel. `planes` holds the gathered
 * input, if any. */
static struct conv_tile tile_of(const struct job *job, const struct strip *s, const float *planes)
{
    const struct conv_plan *p = job->plan;
    const struct conv_shape *shape = &p->shape;
    size_t cols = p->gathers ? in_span(shape, 1, s->x_end - s->x) : job->w;
    size_t rows = p->gathers ? in_span(shape, 0, s->y_end - s->y) : job->h;
    struct conv_tile t = {
        .rows = shape->kernel[0],
        .cols = shape->kernel[1],
        .plane_step = rows * cols * p->inner,
        .row_step = shape->dilation[0] * cols * p->inner,
        .col_step = shape->dilation[1] * p->inner,
        .pixel_step = shape->stride[1] * p->inner,
        .in = planes,
        .weight_step = p->panel_floats,
    };
    if (!p->gathers) {
        size_t per_image = p->inner == 1 ? shape->channels_in : layout_blocks(shape->channels_in);
        size_t plane = s->image * per_image + s->unit * p->unit_in / p->inner;
        size_t y = s->y * shape->stride[0], x = s->x * shape->stride[1];
        t.in = job->in + plane * t.plane_step + (y * job->w + x) * p->inner;
    }
    return t;
}

/* A row of a block whose sums are complete, still in the cache: an activation that is no clamp.
 * Where something is added, rows on their way elsewhere get both where they arrive. */
static void finish_row(const struct job *job, size_t n, float *out)
{
    const struct conv_plan *p = job->plan;
    if (!p->clamps && !(job->add && p->scatters))
        vector_apply(p->act, n, out, out);
}

/* The kernel's rows that lie in the map for output row y; the others meet padding only. Weights of
 * the first plane begin at `weights`. */
static void take_rows(const struct job *job, struct conv_tile *t, size_t y, const float *in,
                      const float *weights)
{
    const struct conv_plan *p = job->plan;
    size_t top = y * p->shape.stride[0], pad = p->shape.pad_begin[0], step = p->shape.dilation[0];
    size_t rows = p->shape.kernel[0], first = 0, end = rows;
    assert(rows);
    if (top < pad)
        first = MIN(rows, (pad - top + step - 1) / step);
    while (end > first && top + (end - 1) * step >= pad + job->h)
        end--;
    size_t row_floats = p->panel_floats / (p->planes * rows);
    t->rows = end - first;
    t->in = in + first * t->row_step;
    t->weights = weights + first * row_floats;
    t->weight_skip = (rows - t->rows) * row_floats;
}

/* All rows of the strip for the tile's planes and `panels` panels of the unit, the first of whose
 * blocks is `block`; `in` and `out` stand at the strip's first pixel. The sums are complete if
 * `done`. */
static void run_rows(const struct job *job, const struct strip *s, struct conv_tile *t,
                     size_t block, size_t panels, const float *in, float *out, bool done)
{
    const struct conv_plan *p = job->plan;
    size_t cols = s->x_end - s->x;
    size_t in_row = p->shape.stride[0] * t->row_step / p->shape.dilation[0];
    size_t blocks = MIN(panels * p->kernel->width / LANES, t->out_blocks);
    size_t out_row = p->scatters ? 0 : p->pools ? blocks * cols * LANES : job->out_w * LANES;
    const float *weights = t->weights;
    bool adds = done && job->add && !p->scatters, clamps = done && !(job->add && p->scatters);
    t->low = clamps ? p->low : -INFINITY;
    t->high = clamps ? p->high : INFINITY;
    for (size_t y = s->y; y < s->y_end; y++, in += in_row) {
        /* of the window's rows, where it pools */
        float *row = out + (p->pools ? y % p->pool[0] : y - s->y) * out_row;
        take_rows(job, t, y, in, weights);
        t->out = row;
        t->add = adds ? job->add + (row - job->out) : NULL;
        conv_run_row(p, t, panels, cols);
        for (size_t k = 0; done && k < blocks; k++)
            finish_row(job, cols * LANES, row + k * t->out_step);
        if (p->scatters)
            scatter_row(job, s, block, blocks, y, row);
        else if (p->pools && (y + 1) % p->pool[0] == 0)
            pool_rows(job, s, block, blocks, y, out);
    }
}

/* Weights that follow on `planes` planes from `plane` on of n panels, the first of them `index`. */
static void look_ahead(const struct conv_plan *p, struct conv_tile *t, size_t index, size_t n,
                       size_t plane)
{
    size_t all = p->units * p->panels, per_plane = p->panel_floats / p->planes;
    bool same = plane + t->planes < p->planes; /* the same panels, their next planes */
    size_t next = same ? index : index + n;
    t->ahead_panels = p->far ? MIN(n, all - next) : 0;
    if (t->ahead_panels)
        t->ahead = p->weights + next * p->panel_floats + (same ? plane + t->planes : 0) * per_plane;
}

/* Panels first..last-1 of the strip. Planes go in slices whose weights stay in the second-level
 * cache while the rows pass; partial sums wait in the output, exactly. */
static void run_strip(const struct job *job, const struct strip *s, size_t first, size_t last,
                      const float *planes, float *aside)
{
    const struct conv_plan *p = job->plan;
    struct conv_tile t = tile_of(job, s, planes);
    const float *in = t.in;
    size_t cols = s->x_end - s->x, map = job->out_h * job->out_w * LANES;
    size_t unit_blocks = layout_blocks(p->unit_out), halves = p->kernel->width / LANES;
    size_t per_image = layout_blocks(p->shape.channels_out),
           per_plane = p->panel_floats / p->planes;
    bool apart = p->scatters || p->pools;
    t.out_step = apart ? cols * LANES : map;
    for (size_t panel = first, n; panel < last; panel += n) {
        n = conv_panels_at_once(p, cols, last - panel);
        size_t index = s->unit * p->panels + panel, pixel = s->y * job->out_w + s->x;
        size_t block = panel * halves; /* of the unit */
        float *out =
            job->out + (s->image * per_image + s->unit * unit_blocks + block) * map + pixel * LANES;
        t.bias = p->bias + index * p->kernel->width;
        t.out_blocks = unit_blocks - block;
        for (size_t plane = 0; plane < p->planes; plane += t.planes) {
            t.planes = MIN(p->slice, p->planes - plane);
            t.weights = p->weights + index * p->panel_floats + plane * per_plane;
            t.accumulate = plane > 0;
            look_ahead(p, &t, index, n, plane);
            run_rows(job, s, &t, block, n, in + plane * t.plane_step, apart ? aside : out,
                     plane + t.planes == p->planes);
        }
    }
}

static void run_items(void *arg, size_t slot, size_t begin, size_t end)
{
    const struct job *job = arg;
    const struct conv_plan *p = job->plan;
    size_t loaded = SIZE_MAX; /* the strip that `planes` holds */
    float *planes = job->scratch + slot * (job->planes_floats + job->aside_floats);
    float *aside = planes + job->planes_floats;
    for (size_t i = begin; i < end; i++) {
        size_t chunk = i % job->chunks, index = i / job->chunks;
        size_t y = index / job->across % job->down * job->rows;
        size_t x = index % job->across * job->cols;
        size_t unit = index / job->across / job->down;
        struct strip s = {
            .image = unit / p->units,
            .unit = unit % p->units,
            .y = y,
            .y_end = MIN(y + job->rows, job->out_h),
            .x = x,
            .x_end = MIN(x + job->cols, job->out_w),
        };
        if (p->gathers && loaded != index) {
            gather(job, &s, planes);
            loaded = index;
        }
        size_t first = chunk * CHUNK;
        run_strip(job, &s, first, MIN(first + CHUNK, p->panels), planes, aside);
    }
}

size_t conv_direct_scratch(const struct conv_plan *self, struct maps m)
{
    struct job job = job_for(self, m);
    size_t floats = (job.planes_floats + job.aside_floats) * par_slots();
    return (thin_floats(self, m) + floats) * sizeof(float);
}

/* Keep every thin[0]-th row and thin[1]-th column of blocked maps. */
struct thinning {
    const struct conv_plan *plan;
    struct maps from, to;
    const float *in;
    float *out;
};

static void thin_maps(void *arg, size_t slot, size_t begin, size_t end)
{
    const struct thinning *t = arg;
    const size_t *step = t->plan->thin;
    (void)slot;
    for (size_t i = begin; i < end; i++) {
        const float *in = t->in + i * t->from.h * t->from.w * LANES;
        float *out = t->out + i * t->to.h * t->to.w * LANES;
        for (size_t y = 0; y < t->to.h; y++)
            for (size_t x = 0; x < t->to.w; x++, out += LANES)
                memcpy(out, in + (y * step[0] * t->from.w + x * step[1]) * LANES,
                       LANES * sizeof(float));
    }
}

void conv_direct_run(const struct conv_plan *self, struct maps m, const float *in, const float *add,
                     float *out, void *scratch)
{
    const struct conv_shape *s = &self->shape;
    struct job job = job_for(self, m);
    struct thinning t = {self, m, conv_thin_maps(self, m), in, scratch};
    size_t thin = thin_floats(self, m);
    if (thin)
        par_for(m.n * layout_blocks(m.c), (double)thin * sizeof(float), thin_maps, &t);
    job.in = thin ? scratch : in;
    job.add = add;
    job.out = out;
    job.scratch = (float *)scratch + thin;
    double outputs = (double)m.n * (double)(job.out_h * job.out_w) * (double)s->channels_out;
    size_t terms = s->channels_in / s->groups * s->kernel[0] * s->kernel[1];
    par_for(items_of(&job), 2.0 * outputs * (double)terms, run_items, &job);
    if (add && self->scatters) {
        size_t all = layout_elements(self->out, conv_out_maps(self, m));
        struct operand sums = {out, 0, 1}, added = {add, 0, 1};
        vec_binary(BINARY_ADD, 1, all, sums, added, out);
        vec_unary(self->act, all, out, out);
    }
}
