/* grad - gradients of elementwise functions and pooling; see grad.h */
#include "worker/kernels/grad.h"

#include <math.h>
#include <string.h>

#include "worker/kernels/grad_kernel.h"
#include "worker/kernels/par.h"

/* clang-format off */
#include "worker/kernels/pick.h"
struct grad_entry { unsigned needs; const struct grad_kernel *kernel; };
static const struct grad_entry grad_list[] = {
#include "worker/kernels/grad.def"
};
PICK(grad)
/* clang-format on */

#define PIECE 4096 /* elements that a thread takes at once */

/* Rough cost per element, in flops, for par_for. */
#define COST_PASS 4.0
#define COST_EXP  40.0

struct job {
    struct activation act;
    size_t n;
    const float *x, *y, *dy;
    float *dx;
};

static size_t pieces(size_t n)
{
    return (n + PIECE - 1) / PIECE;
}

static void relu_items(void *arg, size_t slot, size_t begin, size_t end)
{
    const struct job *job = arg;
    size_t first = begin * PIECE, last = MIN(end * PIECE, job->n);
    (void)slot;
    grad_now()->relu(last - first, job->y + first, job->dy + first, job->dx + first);
}

void grad_relu(size_t n, const float *y, const float *dy, float *dx)
{
    struct job job = {.n = n, .y = y, .dy = dy, .dx = dx};
    par_for(pieces(n), COST_PASS * (double)n, relu_items, &job);
}

/* --- derivatives -------------------------------------------------------------------------------
 * name(x, y, a): f'(x), with y = f(x) */
#define MAYBE       __attribute__((unused)) float
#define SLOPE(name) static float name##_slope(MAYBE x, MAYBE y, MAYBE a)

SLOPE(identity)
{
    return 1;
}
SLOPE(relu)
{
    return y > 0 ? 1 : 0;
}
SLOPE(leaky_relu)
{
    return x >= 0 ? 1 : a;
}
SLOPE(sigmoid)
{
    return y * (1 - y);
}
SLOPE(tanh)
{
    return 1 - y * y;
}
SLOPE(exp)
{
    return y;
}
SLOPE(log)
{
    return 1 / x;
}
SLOPE(sqrt)
{
    return 0.5f / y;
}
SLOPE(neg)
{
    return -1;
}
SLOPE(abs)
{
    return x > 0 ? 1.0f : x < 0 ? -1.0f : 0.0f;
}
SLOPE(reciprocal)
{
    return -y * y;
}
SLOPE(elu)
{
    return x >= 0 ? 1 : y + a;
}
SLOPE(hard_sigmoid)
{
    return y > 0 && y < 1 ? a : 0;
}
SLOPE(softsign)
{
    float by = 1 + fabsf(x);
    return 1 / (by * by);
}
SLOPE(softplus)
{
    return 1 / (1 + expf(-x));
}
SLOPE(erf)
{
    return 1.128379167f * expf(-x * x); /* 2 / sqrt(pi) */
}
/* Phi(x) + x phi(x): the normal distribution and its density */
SLOPE(gelu)
{
    float part = 0.5f * (1 + erff(x * 0.707106781f));
    return part + x * 0.398942280f * expf(-0.5f * x * x);
}
SLOPE(swish)
{
    float s = 1 / (1 + expf(-a * x));
    return s + a * x * s * (1 - s);
}

static float (*const slopes[UNARY_COUNT])(float x, float y, float a) = {
    [UNARY_IDENTITY] = identity_slope,
    [UNARY_RELU] = relu_slope,
    [UNARY_LEAKY_RELU] = leaky_relu_slope,
    [UNARY_SIGMOID] = sigmoid_slope,
    [UNARY_TANH] = tanh_slope,
    [UNARY_EXP] = exp_slope,
    [UNARY_LOG] = log_slope,
    [UNARY_SQRT] = sqrt_slope,
    [UNARY_NEG] = neg_slope,
    [UNARY_ABS] = abs_slope,
    [UNARY_RECIPROCAL] = reciprocal_slope,
    [UNARY_ELU] = elu_slope,
    [UNARY_HARD_SIGMOID] = hard_sigmoid_slope,
    [UNARY_SOFTSIGN] = softsign_slope,
    [UNARY_SOFTPLUS] = softplus_slope,
    [UNARY_ERF] = erf_slope,
    [UNARY_GELU] = gelu_slope,
    [UNARY_SWISH] = swish_slope,
};

bool grad_unary_known(enum unary op)
{
    return slopes[op] != NULL;
}

static void unary_items(void *arg, size_t slot, size_t begin, size_t end)
{
    const struct job *job = arg;
    float (*slope)(float, float, float) = slopes[job->act.op];
    (void)slot;
    for (size_t i = begin * PIECE; i < MIN(end * PIECE, job->n); i++)
        job->dx[i] = job->dy[i] * slope(job->x[i], job->y[i], job->act.a);
}

void grad_unary(struct activation act, size_t n, const float *x, const float *y, const float *dy,
                float *dx)
{
    struct job job = {act, n, x, y, dy, dx};
    assert(grad_unary_known(act.op));
    if (act.op == UNARY_RELU)
        grad_relu(n, y, dy, dx);
    else
        par_for(pieces(n), COST_EXP * (double)n, unary_items, &job);
}

/* --- pooling -----------------------------------------------------------------------------------
 */
struct pool_job {
    const struct pool_shape *shape;
    enum layout layout;
    struct maps m;
    size_t out_size[2];
    bool relu;
    const float *x, *y, *dy;
    float *dx;
};

/* Rows or columns first..first+count-1 of window `at` along an axis that lie inside the map. */
struct span {
    size_t first, step, count;
    size_t padded; /* positions inside the padded map */
};

static struct span span_of(const struct pool_shape *s, size_t axis, size_t size, size_t at)
{
    struct span span = {.step = s->dilation[axis]};
    for (size_t k = 0; k < s->kernel[axis]; k++) {
        size_t place = at * s->stride[axis] + k * s->dilation[axis];
        span.padded += place < size + s->pad_begin[axis] + s->pad_end[axis];
        if (place < s->pad_begin[axis] || place - s->pad_begin[axis] >= size)
            continue;
        if (!span.count++)
            span.first = place - s->pad_begin[axis];
    }
    return span;
}

/* One window of one channel, `lanes` elements apart. */
static void window_back(const struct pool_job *job, struct span rows, struct span cols,
                        size_t lanes, const float *x, float y, float dy, float *dx)
{
    if (job->relu && !(y > 0))
        return;
    if (job->shape->kind == POOL_AVERAGE)
        dy /= (float)(job->shape->count_pad ? rows.padded * cols.padded : rows.count * cols.count);
    for (size_t r = 0; r < rows.count; r++)
        for (size_t c = 0; c < cols.count; c++) {
            size_t row = rows.first + r * rows.step, col = cols.first + c * cols.step;
            size_t at = (row * job->m.w + col) * lanes;
            if (job->shape->kind == POOL_AVERAGE) {
                dx[at] += dy;
            } else if (!(x[at] < y)) {
                dx[at] += dy;
                return;
            }
        }
}

static void pool_plane(const struct pool_job *job, size_t lanes, const float *x, const float *y,
                       const float *dy, float *dx)
{
    for (size_t r = 0; r < job->out_size[0]; r++)
        for (size_t c = 0; c < job->out_size[1]; c++) {
            struct span rows = span_of(job->shape, 0, job->m.h, r);
            struct span cols = span_of(job->shape, 1, job->m.w, c);
            size_t at = (r * job->out_size[1] + c) * lanes;
            for (size_t k = 0; k < lanes; k++)
                window_back(job, rows, cols, lanes, x + k, y[at + k], dy[at + k], dx + k);
        }
}

static bool is_apart(const struct pool_job *job)
{
    const struct pool_shape *s = job->shape;
    size_t sizes[2] = {job->m.h, job->m.w};
    for (size_t axis = 0; axis < 2; axis++)
        if (s->stride[axis] != s->kernel[axis] || s->dilation[axis] != 1 || s->pad_begin[axis] ||
            job->out_size[axis] * s->kernel[axis] > sizes[axis])
            return false;
    return true;
}

static void pool_items(void *arg, size_t slot, size_t begin, size_t end)
{
    const struct pool_job *job = arg;
    const struct pool_shape *s = job->shape;
    size_t lanes = job->layout == LAYOUT_BLOCKED ? LANES : 1;
    size_t in = job->m.h * job->m.w * lanes, out = job->out_size[0] * job->out_size[1] * lanes;
    (void)slot;
    for (size_t i = begin; i < end; i++) {
        struct grad_pool p = {
            .in_size = {job->m.h, job->m.w},
            .out_size = {job->out_size[0], job->out_size[1]},
            .kernel = {s->kernel[0], s->kernel[1]},
            .stride = {s->stride[0], s->stride[1]},
            .pad = {s->pad_begin[0], s->pad_begin[1]},
            .dilation = {s->dilation[0], s->dilation[1]},
            .relu = job->relu,
            .apart = is_apart(job),
            .x = job->x + i * in,
            .y = job->y + i * out,
            .dy = job->dy + i * out,
            .dx = job->dx + i * in,
        };
        if (s->kind == POOL_MAX && lanes == LANES) {
            grad_now()->max_pool(&p);
            continue;
        }
        memset(p.dx, 0, in * sizeof(float));
        pool_plane(job, lanes, p.x, p.y, p.dy, p.dx);
    }
}

static size_t planes(enum layout layout, struct maps m)
{
    return m.n * (layout == LAYOUT_BLOCKED ? layout_blocks(m.c) : m.c);
}

void grad_pool(const struct pool_shape *shape, enum layout layout, struct maps m, const float *x,
               const float *y, const float *dy, bool relu_too, float *dx)
{
    struct pool_job job = {shape, layout, m, {0, 0}, relu_too, x, y, dy, dx};
    job.out_size[0] = pool_out_size(shape, 0, m.h);
    job.out_size[1] = pool_out_size(shape, 1, m.w);
    par_for(planes(layout, m), 2 * COST_PASS * (double)layout_elements(layout, m), pool_items,
            &job);
}

static void global_items(void *arg, size_t slot, size_t begin, size_t end)
{
    const struct pool_job *job = arg;
    size_t lanes = job->layout == LAYOUT_BLOCKED ? LANES : 1, plane = job->m.h * job->m.w;
    size_t blocks = planes(job->layout, job->m) / job->m.n;
    (void)slot;
    for (size_t i = begin; i < end; i++)
        for (size_t k = 0; k < lanes; k++) {
            size_t c = i % blocks * lanes + k;
            float dy = c < job->m.c ? job->dy[i / blocks * job->m.c + c] / (float)plane : 0;
            for (size_t p = 0; p < plane; p++)
                job->dx[(i * plane + p) * lanes + k] = dy;
        }
}

void grad_pool_global(enum layout layout, struct maps m, const float *dy, float *dx)
{
    struct pool_job job = {.layout = layout, .m = m, .dy = dy, .dx = dx};
    par_for(planes(layout, m), COST_PASS * (double)layout_elements(layout, m), global_items, &job);
}

/* --- softmax -----------------------------------------------------------------------------------
 */
static void softmax_items(void *arg, size_t slot, size_t begin, size_t end)
{
    const struct job *job = arg;
    size_t n = job->n;
    (void)slot;
    for (size_t i = begin; i < end; i++) {
        const float *y = job->y + i * n, *dy = job->dy + i * n;
        float sum = 0;
        for (size_t k = 0; k < n; k++)
            sum += y[k] * dy[k];
        for (size_t k = 0; k < n; k++)
            job->dx[i * n + k] = y[k] * (dy[k] - sum);
    }
}

void grad_softmax(size_t rows, size_t cols, const float *y, const float *dy, float *dx)
{
    struct job job = {.n = cols, .y = y, .dy = dy, .dx = dx};
    par_for(rows, 2 * COST_PASS * (double)rows * (double)cols, softmax_items, &job);
}
