/* rows - softmax, reductions, normalisations by rows or by columns; see rows.h
 *
 * inner = 1 works on contiguous rows. Otherwise columns: a strip of STRIP neighbouring inner
 * positions is carried along axis, so that memory is read in order. */
#include "worker/kernels/rows.h"

#include <math.h>

#include "worker/kernels/par.h"
#include "worker/kernels/rows_kernel.h"
#include "worker/kernels/vector_kernel.h"

/* clang-format off */
#include "worker/kernels/pick.h"
struct rows_entry { unsigned needs; const struct rows_kernel *kernel; };
static const struct rows_entry rows_list[] = {
#include "worker/kernels/rows.def"
};
PICK(rows)
/* clang-format on */

#define STRIP 64 /* inner positions carried at once */

/* Rough cost per element, in flops, for par_for. */
#define COST_SOFTMAX 24.0
#define COST_PASS    4.0

struct job {
    size_t outer, axis, inner;
    size_t strips; /* of inner */
    enum reduce kind;
    bool log;
    float eps;
    const float *gain, *bias;
    const float *x;
    float *y;
};

static void times(size_t n, float factor, const float *x, float *y)
{
    vector_now()->binary[BINARY_MUL](n, x, 1, &factor, 0, y);
}

/* --- softmax -----------------------------------------------------------------------------------
 */
static void softmax_row(const struct job *job, const float *x, float *y)
{
    size_t n = job->axis;
    float largest = rows_now()->max(n, x);
    if (!job->log) {
        float sum = rows_now()->exp_sum(n, largest, x, y);
        times(n, 1 / sum, y, y);
        return;
    }
    float piece[STRIP], sum = rows_now()->exp_sum(MIN(STRIP, n), largest, x, piece);
    for (size_t i = STRIP; i < n; i += STRIP)
        sum += rows_now()->exp_sum(MIN(STRIP, n - i), largest, x + i, piece);
    float shift = largest + logf(sum);
    vector_now()->binary[BINARY_SUB](n, x, 1, &shift, 0, y);
}

/* `n` neighbouring columns. */
static void softmax_columns(const struct job *job, size_t n, const float *x, float *y)
{
    const struct vector_kernel *v = vector_now();
    float largest[STRIP], sum[STRIP] = {0}, piece[STRIP];
    size_t step = job->inner;
    vector_apply(ACT_NONE, n, x, largest);
    for (size_t a = 1; a < job->axis; a++)
        v->binary[BINARY_MAX](n, largest, 1, x + a * step, 1, largest);
    for (size_t a = 0; a < job->axis; a++) {
        float *to = job->log ? piece : y + a * step;
        v->binary[BINARY_SUB](n, x + a * step, 1, largest, 1, to);
        v->unary[UNARY_EXP](n, 0, 0, to, to);
        v->binary[BINARY_ADD](n, sum, 1, to, 1, sum);
    }
    if (job->log) {
        v->unary[UNARY_LOG](n, 0, 0, sum, sum);
        v->binary[BINARY_ADD](n, largest, 1, sum, 1, largest);
    }
    for (size_t a = 0; a < job->axis; a++) {
        if (job->log)
            v->binary[BINARY_SUB](n, x + a * step, 1, largest, 1, y + a * step);
        else
            v->binary[BINARY_DIV](n, y + a * step, 1, sum, 1, y + a * step);
    }
}

static void softmax_items(void *arg, size_t slot, size_t begin, size_t end)
{
    const struct job *job = arg;
    (void)slot;
    for (size_t i = begin; i < end; i++) {
        size_t first = i % job->strips * STRIP;
        size_t at = i / job->strips * job->axis * job->inner + first;
        if (job->inner == 1)
            softmax_row(job, job->x + at, job->y + at);
        else
            softmax_columns(job, MIN(STRIP, job->inner - first), job->x + at, job->y + at);
    }
}

static void run(struct job *job, double cost, par_fn *fn)
{
    job->strips = (job->inner + STRIP - 1) / STRIP;
    double elements = (double)job->outer * (double)job->axis * (double)job->inner;
    par_for(job->outer * job->strips, cost * elements, fn, job);
}

void rows_softmax(size_t outer, size_t axis, size_t inner, const float *x, float *y)
{
    struct job job = {.outer = outer, .axis = axis, .inner = inner, .x = x, .y = y};
    if (axis)
        run(&job, COST_SOFTMAX, softmax_items);
}

void rows_log_softmax(size_t outer, size_t axis, size_t inner, const float *x, float *y)
{
    struct job job = {.outer = outer, .axis = axis, .inner = inner, .log = true, .x = x, .y = y};
    if (axis)
        run(&job, COST_SOFTMAX, softmax_items);
}

/* --- reductions --------------------------------------------------------------------------------
 */
static float reduce_row(enum reduce kind, size_t n, const float *x)
{
    const struct rows_kernel *k = rows_now();
    if (kind == REDUCE_MAX || kind == REDUCE_MIN)
        return (kind == REDUCE_MAX ? k->max : k->min)(n, x);
    float sum = k->sum(n, x);
    return kind == REDUCE_MEAN ? sum / (float)n : sum;
}

static void reduce_columns(const struct job *job, size_t n, const float *x, float *y)
{
    static const enum binary joins[] = {
        [REDUCE_SUM] = BINARY_ADD,
        [REDUCE_MEAN] = BINARY_ADD,
        [REDUCE_MAX] = BINARY_MAX,
        [REDUCE_MIN] = BINARY_MIN,
    };
    static const float starts[] = {
        [REDUCE_SUM] = 0,
        [REDUCE_MEAN] = 0,
        [REDUCE_MAX] = -INFINITY,
        [REDUCE_MIN] = INFINITY,
    };
    float all[STRIP], count = (float)job->axis;
    for (size_t i = 0; i < n; i++)
        all[i] = starts[job->kind];
    for (size_t a = 0; a < job->axis; a++)
        vector_now()->binary[joins[job->kind]](n, all, 1, x + a * job->inner, 1, all);
    if (job->kind == REDUCE_MEAN)
        vector_now()->binary[BINARY_DIV](n, all, 1, &count, 0, all);
    vector_apply(ACT_NONE, n, all, y);
}

static void reduce_items(void *arg, size_t slot, size_t begin, size_t end)
{
    const struct job *job = arg;
    (void)slot;
    for (size_t i = begin; i < end; i++) {
        size_t outer = i / job->strips, first = i % job->strips * STRIP;
        const float *x = job->x + outer * job->axis * job->inner + first;
        float *y = job->y + outer * job->inner + first;
        if (job->inner == 1)
            *y = reduce_row(job->kind, job->axis, x);
        else
            reduce_columns(job, MIN(STRIP, job->inner - first), x, y);
    }
}

void rows_reduce(enum reduce kind, size_t outer, size_t axis, size_t inner, const float *x,
                 float *y)
{
    struct job job = {.outer = outer, .axis = axis, .inner = inner, .kind = kind, .x = x, .y = y};
    run(&job, COST_PASS, reduce_items);
}

/* --- normalisations ----------------------------------------------------------------------------
 */
struct channel_job {
    struct maps m;
    enum layout layout;
    const float *scale, *shift;
    const float *x;
    float *y;
};

static void scale_items(void *arg, size_t slot, size_t begin, size_t end)
{
    const struct channel_job *job = arg;
    size_t plane = job->m.h * job->m.w, blocks = layout_blocks(job->m.c);
    (void)slot;
    for (size_t i = begin; i < end; i++) {
        if (job->layout == LAYOUT_PLAIN) {
            size_t c = i % job->m.c;
            struct activation affine = {UNARY_AFFINE, job->scale[c], job->shift[c]};
            vector_apply(affine, plane, job->x + i * plane, job->y + i * plane);
            continue;
        }
        float scale[LANES] = {0}, shift[LANES] = {0};
        size_t first = i % blocks * LANES;
        for (size_t k = 0; k < LANES && first + k < job->m.c; k++) {
            scale[k] = job->scale[first + k];
            shift[k] = job->shift[first + k];
        }
        size_t at = i * plane * LANES;
        rows_now()->scale_shift(plane, scale, shift, job->x + at, job->y + at);
    }
}

void rows_scale_shift(enum layout layout, struct maps m, const float *scale, const float *shift,
                      const float *x, float *y)
{
    struct channel_job job = {m, layout, scale, shift, x, y};
    size_t items = m.n * (layout == LAYOUT_PLAIN ? m.c : layout_blocks(m.c));
    par_for(items, COST_PASS * (double)layout_elements(layout, m), scale_items, &job);
}

static void norm_items(void *arg, size_t slot, size_t begin, size_t end)
{
    const struct job *job = arg;
    size_t n = job->axis;
    (void)slot;
    for (size_t i = begin; i < end; i++) {
        const float *x = job->x + i * n;
        float mean = rows_now()->sum(n, x) / (float)n;
        float variance = rows_now()->squares(n, mean, x) / (float)n;
        rows_now()->normalise(n, mean, 1 / sqrtf(variance + job->eps), job->gain, job->bias, x,
                              job->y + i * n);
    }
}

void rows_layer_norm(size_t rows, size_t cols, const float *gain, const float *bias, float eps,
                     const float *x, float *y)
{
    struct job job = {.outer = rows,
                      .axis = cols,
                      .inner = 1,
                      .eps = eps,
                      .gain = gain,
                      .bias = bias,
                      .x = x,
                      .y = y};
    run(&job, COST_SOFTMAX, norm_items);
}
