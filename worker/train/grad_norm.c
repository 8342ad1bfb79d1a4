/* grad_norm - Softmax, reductions, BatchNormalization and LayerNormalization */
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "worker/kernels/grad.h"
#include "worker/kernels/par.h"
#include "worker/kernels/rows.h"
#include "worker/ops/broadcast.h"
#include "worker/train/grads.h"

struct softmax_pass {
    size_t outer, cols, inner; /* elements before, along and behind the axis */
};

enum status softmax_setup(struct pass *pass, struct error *why)
{
    const struct step *step = &pass->step;
    const struct array *x = step->in[0];
    uint32_t axis = (uint32_t) * (const int64_t *)step->params;
    uint32_t end = step->node->opset < 13 ? x->rank : axis + 1; /* up to 12: all axes from it on */
    struct softmax_pass *p = region_take(step->region, sizeof *p);
    (void)why;
    p->outer = dims_span(x, 0, axis);
    p->cols = dims_span(x, axis, end);
    p->inner = dims_span(x, end, x->rank);
    pass->state = p;
    return STATUS_OK;
}

void softmax_backward(struct pass *pass)
{
    const struct softmax_pass *p = pass->state;
    const float *y = pass->step.out[0]->data, *dy = pass->dout[0]->data;
    float *dx = pass->din[0]->data;
    if (p->inner == 1) {
        grad_softmax(p->outer, p->cols, y, dy, dx);
        return;
    }
    for (size_t i = 0; i < p->outer * p->inner; i++) {
        size_t first = i / p->inner * p->cols * p->inner + i % p->inner;
        double sum = 0;
        for (size_t c = 0, at = first; c < p->cols; c++, at += p->inner)
            sum += (double)y[at] * (double)dy[at];
        for (size_t c = 0, at = first; c < p->cols; c++, at += p->inner)
            dx[at] = y[at] * (dy[at] - (float)sum);
    }
}

/* --- sums and means ----------------------------------------------------------------------------
 */
struct reduce_pass {
    struct broadcast b; /* of the output, with ones where axes were reduced, under the input */
    float scale;
};

enum status reduce_setup(struct pass *pass, struct error *why)
{
    struct step *step = &pass->step;
    const struct array *x = step->in[0];
    struct reduce_pass *p = region_take(step->region, sizeof *p);
    int64_t axes[TENSOR_RANK_MAX], dims[TENSOR_RANK_MAX];
    size_t len = 0;
    const int64_t *given = attr_ints(step->node, "axes", &len);
    pass->state = p;
    for (size_t i = 0; i < MIN(len, TENSOR_RANK_MAX); i++)
        axes[i] = given[i];
    if (step_in(step, 1)) {
        enum status s = known_ints(step, 1, axes, TENSOR_RANK_MAX, &len, why);
        if (s != STATUS_OK)
            return s;
    }
    bool all = !len && !attr_int(step->node, "noop_with_empty_axes", 0);
    for (uint32_t k = 0; k < x->rank; k++)
        dims[k] = all ? 1 : x->dims[k];
    for (size_t i = 0; i < len; i++)
        if (axis_ok(&axes[i], x->rank)) /* as op->shape has checked */
            dims[axes[i]] = 1;
    const int64_t *lists[1] = {dims};
    broadcast_loops(&p->b, x->dims, x->rank, lists, &x->rank, 1);
    size_t count = array_count(step->out[0]);
    bool mean = strcmp(pass->grad->name, "ReduceMean") == 0;
    p->scale = mean ? (float)count / (float)array_count(x) : 1;
    return STATUS_OK;
}

void reduce_backward(struct pass *pass)
{
    const struct reduce_pass *p = pass->state;
    const float *dy = pass->dout[0]->data;
    float *dx = pass->din[0]->data;
    size_t rows = p->b.dims[p->b.rank - 2], cols = p->b.dims[p->b.rank - 1];
    size_t row_step = p->b.steps[0][p->b.rank - 2], col_step = p->b.steps[0][p->b.rank - 1];
    for (size_t outer = 0; outer < p->b.outer; outer++) {
        size_t at[BROADCAST_MAX];
        broadcast_at(&p->b, outer, at);
        for (size_t r = 0; r < rows; r++)
            for (size_t c = 0; c < cols; c++)
                *dx++ = p->scale * dy[at[0] + r * row_step + c * col_step];
    }
}

/* --- batch normalisation -----------------------------------------------------------------------
 * y = gain h + bias with h = (x - mean) / sqrt(variance + epsilon) over all pixels of a channel;
 * with r = gain / sqrt(variance + epsilon) and N pixels
 *   dgain = sum dy h, dbias = sum dy, dx = r (dy - dbias / N - h dgain / N).
 * Where the running statistics are frozen they are used as in inference, and dx = r dy.
 * S. Ioffe, C. Szegedy, Batch Normalization, 2015, section 3. */
enum { X, GAIN, BIAS, MEAN, VARIANCE };

struct norm_pass {
    size_t images, channels, plane;
    size_t lanes; /* of the layout: 8 or 1 */
    float epsilon, momentum;
    const struct pass *pass;
};

enum status batch_norm_setup(struct pass *pass, struct error *why)
{
    struct step *step = &pass->step;
    const struct array *x = step->in[X];
    struct norm_pass *p = region_take(step->region, sizeof *p);
    if (x->rank < 2)
        return bad_step(why, step, "no gradient of rank %u", x->rank);
    p->images = (size_t)x->dims[0];
    p->channels = (size_t)x->dims[1];
    p->plane = dims_span(x, 2, x->rank);
    p->lanes = x->layout == LAYOUT_BLOCKED ? LANES : 1;
    p->epsilon = attr_float(step->node, "epsilon", 1e-5f);
    p->momentum = attr_float(step->node, "momentum", 0.9f);
    p->pass = pass;
    pass->keep_bytes = 2 * p->channels * sizeof(float); /* mean and 1 / deviation of the batch */
    pass->state = p;
    return STATUS_OK;
}

/* First pixel of channel c of image n; the next ones are `lanes` apart. */
static size_t channel_at(const struct norm_pass *p, size_t n, size_t c)
{
    size_t blocks = (p->channels + p->lanes - 1) / p->lanes;
    return (n * blocks + c / p->lanes) * p->plane * p->lanes + c % p->lanes;
}

static void statistics(const struct norm_pass *p, size_t c, double *mean, double *variance)
{
    const float *x = p->pass->step.in[X]->data;
    double sum = 0, squares = 0, count = (double)(p->images * p->plane);
    for (size_t n = 0; n < p->images; n++)
        for (size_t i = 0, at = channel_at(p, n, c); i < p->plane; i++, at += p->lanes)
            sum += (double)x[at];
    for (size_t n = 0; n < p->images; n++)
        for (size_t i = 0, at = channel_at(p, n, c); i < p->plane; i++, at += p->lanes) {
            double d = (double)x[at] - sum / count;
            squares += d * d;
        }
    *mean = sum / count;
    *variance = squares / count;
}

static void forward_channels(void *arg, size_t slot, size_t begin, size_t end)
{
    const struct norm_pass *p = arg;
    const struct step *step = &p->pass->step;
    float *kept = p->pass->keep, *running[2] = {step->in[MEAN]->data, step->in[VARIANCE]->data};
    const float *x = step->in[X]->data, *gain = step->in[GAIN]->data, *bias = step->in[BIAS]->data;
    float *y = step->out[0]->data;
    (void)slot;
    for (size_t c = begin; c < end; c++) {
        double mean = (double)running[0][c], variance = (double)running[1][c];
        if (p->pass->run->learns && !p->pass->holds) {
            double old = (double)p->momentum;
            statistics(p, c, &mean, &variance);
            running[0][c] = (float)((double)running[0][c] * old + mean * (1 - old));
            running[1][c] = (float)((double)running[1][c] * old + variance * (1 - old));
        }
        kept[2 * c] = (float)mean;
        kept[2 * c + 1] = (float)(1 / sqrt(variance + (double)p->epsilon));
        for (size_t n = 0; n < p->images; n++)
            for (size_t i = 0, at = channel_at(p, n, c); i < p->plane; i++, at += p->lanes)
                y[at] = (x[at] - kept[2 * c]) * kept[2 * c + 1] * gain[c] + bias[c];
    }
}

enum status batch_norm_forward(struct pass *pass, struct error *why)
{
    struct norm_pass *p = pass->state;
    struct array *y = pass->step.out[0];
    (void)why;
    par_for(p->channels, 8.0 * (double)array_count(y), forward_channels, p);
    if (p->lanes == LANES && p->channels % LANES)
        layout_clear_tail(array_maps(y), y->data);
    return STATUS_OK;
}

static void backward_channels(void *arg, size_t slot, size_t begin, size_t end)
{
    const struct norm_pass *p = arg;
    struct array *const *din = p->pass->din;
    const float *kept = p->pass->keep, *x = p->pass->step.in[X]->data;
    const float *gain = p->pass->step.in[GAIN]->data, *dy = p->pass->dout[0]->data;
    double count = (double)(p->images * p->plane);
    (void)slot;
    for (size_t c = begin; c < end; c++) {
        float mean = kept[2 * c], by = kept[2 * c + 1];
        double dgain = 0, dbias = 0;
        for (size_t n = 0; n < p->images; n++)
            for (size_t i = 0, at = channel_at(p, n, c); i < p->plane; i++, at += p->lanes) {
                dgain += (double)dy[at] * (double)((x[at] - mean) * by);
                dbias += (double)dy[at];
            }
        if (din[GAIN])
            ((float *)din[GAIN]->data)[c] = (float)dgain;
        if (din[BIAS])
            ((float *)din[BIAS]->data)[c] = (float)dbias;
        float *dx = din[X] ? din[X]->data : NULL, r = gain[c] * by;
        bool holds = p->pass->holds;
        float off = holds ? 0 : (float)(dbias / count), slope = holds ? 0 : (float)(dgain / count);
        for (size_t n = 0; n < p->images && dx; n++)
            for (size_t i = 0, at = channel_at(p, n, c); i < p->plane; i++, at += p->lanes)
                dx[at] = r * (dy[at] - off - (x[at] - mean) * by * slope);
    }
}

void batch_norm_backward(struct pass *pass)
{
    struct norm_pass *p = pass->state;
    struct array *dx = pass->din[X];
    par_for(p->channels, 16.0 * (double)array_count(pass->step.in[X]), backward_channels, p);
    if (dx && p->lanes == LANES && p->channels % LANES)
        layout_clear_tail(array_maps(dx), dx->data);
}

/* --- layer normalisation -----------------------------------------------------------------------
 * As above along each row, where gain and bias differ from value to value: with g = dy gain
 *   dx = (g - mean(g) - h mean(g h)) / sqrt(variance + epsilon). */
enum status layer_norm_setup(struct pass *pass, struct error *why)
{
    struct step *step = &pass->step;
    const struct array *x = step->in[X];
    struct norm_pass *p = region_take(step->region, sizeof *p);
    int64_t axis = attr_int(step->node, "axis", -1);
    if (!axis_ok(&axis, x->rank) || step_out(step, 1) || step_out(step, 2))
        return bad_step(why, step, "no gradient of more outputs than one");
    p->images = dims_span(x, 0, (uint32_t)axis);
    p->plane = dims_span(x, (uint32_t)axis, x->rank);
    p->epsilon = attr_float(step->node, "epsilon", 1e-5f);
    p->pass = pass;
    pass->keep_bytes = 2 * p->images * sizeof(float);
    pass->state = p;
    for (uint32_t i = GAIN; i < step->in_len; i++)
        if (step->in[i] && array_count(step->in[i]) != p->plane)
            return bad_step(why, step, "no gradient where gain or bias is broadcast");
    return STATUS_OK;
}

static void row_statistics(const float *x, size_t n, float epsilon, float *mean, float *by)
{
    double sum = 0, squares = 0;
    for (size_t i = 0; i < n; i++)
        sum += (double)x[i];
    for (size_t i = 0; i < n; i++) {
        double d = (double)x[i] - sum / (double)n;
        squares += d * d;
    }
    *mean = (float)(sum / (double)n);
    *by = (float)(1 / sqrt(squares / (double)n + (double)epsilon));
}

static void backward_rows(void *arg, size_t slot, size_t begin, size_t end)
{
    const struct norm_pass *p = arg;
    const struct step *step = &p->pass->step;
    const float *gain = step->in[GAIN]->data;
    float *kept = p->pass->keep;
    (void)slot;
    for (size_t r = begin; r < end; r++) {
        const float *x = (const float *)step->in[X]->data + r * p->plane;
        const float *dy = (const float *)p->pass->dout[0]->data + r * p->plane;
        float mean, by, *dx = p->pass->din[X] ? p->pass->din[X]->data : NULL;
        row_statistics(x, p->plane, p->epsilon, &mean, &by);
        kept[2 * r] = mean;
        kept[2 * r + 1] = by;
        double sum = 0, slope = 0, n = (double)p->plane;
        for (size_t i = 0; i < p->plane; i++) {
            sum += (double)(dy[i] * gain[i]);
            slope += (double)(dy[i] * gain[i]) * (double)((x[i] - mean) * by);
        }
        for (size_t i = 0; i < p->plane && dx; i++)
            dx[r * p->plane + i] =
                by * (dy[i] * gain[i] - (float)(sum / n) - (x[i] - mean) * by * (float)(slope / n));
    }
}

void layer_norm_backward(struct pass *pass)
{
    struct norm_pass *p = pass->state;
    const struct step *step = &pass->step;
    const float *x = step->in[X]->data, *dy = pass->dout[0]->data, *kept = pass->keep;
    struct array *dgain = pass->din[GAIN], *dbias = step->in_len > BIAS ? pass->din[BIAS] : NULL;
    par_for(p->images, 16.0 * (double)(p->images * p->plane), backward_rows, p);
    if (dgain)
        memset(dgain->data, 0, dgain->bytes);
    if (dbias)
        memset(dbias->data, 0, dbias->bytes);
    for (size_t r = 0; r < p->images; r++, x += p->plane, dy += p->plane)
        for (size_t i = 0; i < p->plane; i++) {
            if (dgain)
                ((float *)dgain->data)[i] += dy[i] * (x[i] - kept[2 * r]) * kept[2 * r + 1];
            if (dbias)
                ((float *)dbias->data)[i] += dy[i];
        }
}
