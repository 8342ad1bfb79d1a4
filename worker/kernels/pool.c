/* pool - windows clipped to the map, rows given to threads; see pool.h */
#include "worker/kernels/pool.h"

#include "worker/kernels/par.h"
#include "worker/kernels/pool_kernel.h"

/* clang-format off */
#include "worker/kernels/pick.h"
struct pool_entry { unsigned needs; const struct pool_kernel *kernel; };
static const struct pool_entry pool_list[] = {
#include "worker/kernels/pool.def"
};
PICK(pool)
/* clang-format on */

/* A window's positions along one axis, as indices of the kernel. */
struct clip {
    size_t first;  /* first position inside the map */
    size_t count;  /* positions inside the map */
    size_t padded; /* positions inside the padded map */
};

struct job {
    const struct pool_shape *shape;
    struct maps m;
    enum layout layout;
    pool_span_fn *span;
    size_t out_h, out_w;
    const float *in;
    float *out;
};

size_t pool_out_size(const struct pool_shape *shape, size_t axis, size_t in)
{
    size_t stride = shape->stride[axis], before = shape->pad_begin[axis];
    size_t extent = (shape->kernel[axis] - 1) * shape->dilation[axis] + 1;
    size_t padded = in + before + shape->pad_end[axis];
    if (padded < extent)
        return 0;
    size_t room = padded - extent;
    size_t out = (shape->ceil_mode ? (room + stride - 1) / stride : room / stride) + 1;
    /* a window that would start past the map and its first padding is dropped */
    return shape->ceil_mode && (out - 1) * stride >= in + before ? out - 1 : out;
}

/* How many k >= 0 have k * dilation < limit, at most kernel. */
static size_t positions_below(const struct pool_shape *s, size_t axis, size_t limit)
{
    return MIN(s->kernel[axis], (limit + s->dilation[axis] - 1) / s->dilation[axis]);
}

static struct clip clip_window(const struct pool_shape *s, size_t axis, size_t in, size_t at)
{
    size_t start = at * s->stride[axis], before = s->pad_begin[axis]; /* in the padded map */
    size_t end = in + before;
    struct clip c = {.first = positions_below(s, axis, before > start ? before - start : 0)};
    size_t inside = positions_below(s, axis, end > start ? end - start : 0);
    c.count = inside > c.first ? inside - c.first : 0;
    end += s->pad_end[axis];
    c.padded = positions_below(s, axis, end > start ? end - start : 0);
    return c;
}

/* Positions of one axis from `at` on that have the same window as it: many in the middle, one at
 * the edges. */
static size_t same_windows(const struct pool_shape *s, size_t axis, size_t in, size_t out,
                           size_t at, struct clip c)
{
    size_t extent = (s->kernel[axis] - 1) * s->dilation[axis] + 1;
    if (c.count < s->kernel[axis])
        return 1;
    size_t last = (in + s->pad_begin[axis] - extent) / s->stride[axis]; /* last whole window */
    return MAX(at + 1, MIN(last + 1, out)) - at;
}

/* Output rows y.., whose windows have the same rows, `lines` of them. */
static void run_lines(const struct job *job, const float *map, size_t y, size_t lines,
                      struct clip rows, float *out)
{
    const struct pool_shape *s = job->shape;
    size_t lanes = job->layout == LAYOUT_BLOCKED ? LANES : 1;
    size_t top = y * s->stride[0] + rows.first * s->dilation[0] - s->pad_begin[0];
    for (size_t x = 0, n; x < job->out_w; x += n) {
        struct clip cols = clip_window(s, 1, job->m.w, x);
        size_t left = x * s->stride[1] + cols.first * s->dilation[1] - s->pad_begin[1];
        size_t counted = s->count_pad ? rows.padded * cols.padded : rows.count * cols.count;
        bool empty = !rows.count || !cols.count;
        n = same_windows(s, 1, job->m.w, job->out_w, x, cols);
        struct pool_span span = {
            .rows = rows.count,
            .cols = cols.count,
            .row_step = s->dilation[0] * job->m.w * lanes,
            .col_step = s->dilation[1] * lanes,
            .pixel_step = s->stride[1] * lanes,
            .pixels = n,
            .lines = lines,
            .line_step = s->stride[0] * job->m.w * lanes,
            .out_step = job->out_w * lanes,
            .divisor = (float)MAX(counted, 1),
            .in = empty ? map : map + (top * job->m.w + left) * lanes,
            .out = out + (y * job->out_w + x) * lanes,
        };
        job->span(&span);
    }
}

/* An item is one map: a channel of an image, or a block of eight. */
static void run_items(void *arg, size_t slot, size_t begin, size_t end)
{
    const struct job *job = arg;
    size_t lanes = job->layout == LAYOUT_BLOCKED ? LANES : 1;
    (void)slot;
    for (size_t i = begin; i < end; i++) {
        const float *map = job->in + i * job->m.h * job->m.w * lanes;
        float *out = job->out + i * job->out_h * job->out_w * lanes;
        for (size_t y = 0, n; y < job->out_h; y += n) {
            struct clip rows = clip_window(job->shape, 0, job->m.h, y);
            n = same_windows(job->shape, 0, job->m.h, job->out_h, y, rows);
            run_lines(job, map, y, n, rows, out);
        }
    }
}

void pool_run(const struct pool_shape *shape, enum layout layout, struct maps m, const float *in,
              float *out)
{
    struct job job = {.shape = shape, .m = m, .layout = layout, .in = in, .out = out};
    job.span = pool_now()->span[shape->kind][layout];
    job.out_h = pool_out_size(shape, 0, m.h);
    job.out_w = pool_out_size(shape, 1, m.w);
    size_t items = m.n * (layout == LAYOUT_BLOCKED ? layout_blocks(m.c) : m.c);
    double values = (double)layout_elements(layout, (struct maps){m.n, m.c, job.out_h, job.out_w});
    double taps = (double)(shape->kernel[0] * shape->kernel[1]);
    par_for(items, 4 * values * taps, run_items, &job);
}

static void run_global(void *arg, size_t slot, size_t begin, size_t end)
{
    const struct job *job = arg;
    bool blocked = job->layout == LAYOUT_BLOCKED;
    size_t lanes = blocked ? LANES : 1, per_image = (job->m.c + lanes - 1) / lanes;
    size_t pixels = job->m.h * job->m.w;
    (void)slot;
    for (size_t i = begin; i < end; i++) {
        size_t channel = i % per_image * lanes;
        pool_now()->global[job->shape->kind][job->layout](
            pixels, MIN(lanes, job->m.c - channel), job->in + i * pixels * lanes,
            job->out + i / per_image * job->m.c + channel);
    }
}

void pool_global(enum pool_kind kind, enum layout layout, struct maps m, const float *in,
                 float *out)
{
    struct pool_shape shape = {.kind = kind};
    struct job job = {.shape = &shape, .m = m, .layout = layout, .in = in, .out = out};
    size_t lanes = layout == LAYOUT_BLOCKED ? LANES : 1;
    double values = (double)layout_elements(layout, m);
    par_for(m.n * ((m.c + lanes - 1) / lanes), values, run_global, &job);
}
