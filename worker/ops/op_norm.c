/* op_norm - BatchNormalization (inference), LayerNormalization */
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "worker/kernels/rows.h"
#include "worker/ops/ops.h"

enum { X, SCALE, BIAS, MEAN, VARIANCE };

struct batch_norm {
    float epsilon, momentum;
    bool trains; /* by the statistics of the batch, which then move the running ones */
};

enum status batch_norm_check(struct node *node, struct error *why)
{
    struct batch_norm *b = region_take(node->region, sizeof *b);
    b->epsilon = attr_float(node, "epsilon", 1e-5f);
    b->momentum = attr_float(node, "momentum", 0.9f);
    b->trains = attr_int(node, "training_mode", 0) != 0;
    node->state = b;
    attr_ignore(node, "is_test");
    attr_ignore(node, "consumed_inputs");
    if (!b->trains && node->outputs_len > 1)
        return bad_node(why, node, "it has %u outputs; only training_mode 1 makes them",
                        node->outputs_len);
    if (attr_int(node, "spatial", 1) != 1)
        return bad_node(why, node, "spatial 0 is not supported");
    return STATUS_OK;
}

bool batch_norm_epsilon(const struct node *node, double *epsilon)
{
    const struct batch_norm *b = node->state;
    *epsilon = (double)b->epsilon;
    return !b->trains;
}

/* [n][c][rest], or in either layout. */
static struct maps maps_of(const struct array *x)
{
    if (x->layout == LAYOUT_BLOCKED)
        return array_maps(x);
    return (struct maps){x->rank ? (size_t)x->dims[0] : 1, x->rank > 1 ? (size_t)x->dims[1] : 1, 1,
                         x->rank > 2 ? dims_span(x, 2, x->rank) : 1};
}

enum status batch_norm_shape(struct step *step, struct error *why)
{
    const struct array *x = step->in[X];
    struct maps m = maps_of(x);
    char text[128];
    for (uint32_t i = 0; i < 5; i++)
        if (step->in[i]->dtype != DTYPE_FP32)
            return bad_step(why, step, "input %u is %s; expected FP32", i,
                            dtype_name(step->in[i]->dtype));
    for (uint32_t i = SCALE; i <= VARIANCE; i++)
        if (x->rank < 1 || step->in[i]->rank != 1 || (size_t)step->in[i]->dims[0] != m.c)
            return bad_step(why, step, "input %u has shape %s; expected [%zu]", i,
                            dims_text(text, sizeof text, step->in[i]->dims, step->in[i]->rank),
                            m.c);
    step->scratch_bytes = 2 * m.c * sizeof(float);
    enum status s = shape_same(step, why);
    for (uint32_t i = 1; i < 3 && s == STATUS_OK; i++)
        s = out_set(step, i, DTYPE_FP32, step->in[MEAN]->dims, 1, why);
    return s;
}

/* Mean and variance of channel `c` of plain maps. */
static void batch_statistics(const struct step *step, struct maps m, size_t c, double *mean,
                             double *variance)
{
    const float *x = step->in[X]->data;
    double sum = 0, squares = 0, count = (double)(m.n * m.w);
    for (size_t n = 0; n < m.n; n++)
        for (size_t i = 0; i < m.w; i++)
            sum += (double)x[(n * m.c + c) * m.w + i];
    for (size_t n = 0; n < m.n; n++)
        for (size_t i = 0; i < m.w; i++) {
            double d = (double)x[(n * m.c + c) * m.w + i] - sum / count;
            squares += d * d;
        }
    *mean = sum / count;
    *variance = squares / count;
}

static void move_running(const struct step *step, size_t c, double mean, double variance)
{
    double old = (double)((const struct batch_norm *)step->node->state)->momentum;
    const double now[2] = {mean, variance};
    for (uint32_t i = 0; i < 2; i++) {
        const float *running = step->in[MEAN + i]->data;
        struct array *to = step_out(step, 1 + i);
        if (to)
            ((float *)to->data)[c] = (float)((double)running[c] * old + now[i] * (1 - old));
    }
}

void batch_norm_layouts(const struct step *step, enum layout *wants)
{
    if (!((const struct batch_norm *)step->node->state)->trains)
        layouts_follow(step, wants);
}

enum status batch_norm_compute(const struct step *step, struct error *why)
{
    (void)why;
    struct maps m = maps_of(step->in[X]);
    float *scale = step->scratch, *shift = scale + m.c;
    const struct batch_norm *b = step->node->state;
    for (size_t c = 0; c < m.c; c++) {
        double mean = (double)((const float *)step->in[MEAN]->data)[c];
        double variance = (double)((const float *)step->in[VARIANCE]->data)[c];
        if (b->trains) {
            batch_statistics(step, m, c, &mean, &variance);
            move_running(step, c, mean, variance);
        }
        double by =
            (double)((const float *)step->in[SCALE]->data)[c] / sqrt(variance + (double)b->epsilon);
        scale[c] = (float)by;
        shift[c] = (float)((double)((const float *)step->in[BIAS]->data)[c] - mean * by);
    }
    rows_scale_shift(step->in[X]->layout, m, scale, shift, step->in[X]->data, step->out[0]->data);
    return STATUS_OK;
}

struct layer_norm {
    int64_t axis;
    float epsilon;
};

enum status layer_norm_check(struct node *node, struct error *why)
{
    (void)why;
    struct layer_norm *l = region_take(node->region, sizeof *l);
    l->axis = attr_int(node, "axis", -1);
    l->epsilon = attr_float(node, "epsilon", 1e-5f);
    attr_ignore(node, "stash_type"); /* sums are FP32 or better anyway */
    node->state = l;
    return STATUS_OK;
}

enum status layer_norm_shape(struct step *step, struct error *why)
{
    const struct array *x = step->in[0];
    int64_t axis = ((const struct layer_norm *)step->node->state)->axis, dims[TENSOR_RANK_MAX];
    size_t *cols = region_take(step->region, sizeof *cols);
    if (!axis_ok(&axis, x->rank))
        return bad_step(why, step, "axis %" PRId64 " is outside of rank %u", axis, x->rank);
    *cols = dims_span(x, (uint32_t)axis, x->rank);
    for (uint32_t i = 0; i < step->in_len; i++)
        if (step->in[i] &&
            (step->in[i]->dtype != DTYPE_FP32 || (i && array_count(step->in[i]) != *cols)))
            return bad_step(why, step, "input %u must be FP32 with %zu elements", i, *cols);
    step->params = cols;
    for (uint32_t k = 0; k < x->rank; k++)
        dims[k] = k < axis ? x->dims[k] : 1;
    enum status s = shape_same(step, why);
    for (uint32_t i = 1; i < 3 && s == STATUS_OK; i++)
        s = out_set(step, i, DTYPE_FP32, dims, x->rank, why);
    return s;
}

/* The optional outputs: mean and 1 / standard deviation of each row. */
static void layer_norm_statistics(const struct step *step, size_t rows, size_t cols, double epsilon)
{
    float *means = step_out(step, 1) ? step->out[1]->data : NULL;
    float *inverses = step_out(step, 2) ? step->out[2]->data : NULL;
    for (size_t r = 0; r < rows && (means || inverses); r++) {
        const float *x = (const float *)step->in[0]->data + r * cols;
        double sum = 0, squares = 0;
        for (size_t c = 0; c < cols; c++)
            sum += (double)x[c];
        double mean = sum / (double)cols;
        for (size_t c = 0; c < cols; c++)
            squares += ((double)x[c] - mean) * ((double)x[c] - mean);
        if (means)
            means[r] = (float)mean;
        if (inverses)
            inverses[r] = (float)(1 / sqrt(squares / (double)cols + epsilon));
    }
}

enum status layer_norm_compute(const struct step *step, struct error *why)
{
    (void)why;
    size_t cols = *(const size_t *)step->params;
    size_t rows = cols ? array_count(step->in[0]) / cols : 0;
    float epsilon = ((const struct layer_norm *)step->node->state)->epsilon;
    const struct array *bias = step_in(step, 2);
    if (step->out[0])
        rows_layer_norm(rows, cols, step->in[1]->data, bias ? bias->data : NULL, epsilon,
                        step->in[0]->data, step->out[0]->data);
    layer_norm_statistics(step, rows, cols, (double)epsilon);
    return STATUS_OK;
}

void layer_norm_rows(const struct rows_step *s, const struct rows_at *in, struct rows_at *out)
{
    int64_t axis = ((const struct layer_norm *)s->step->node->state)->axis;
    uint32_t rows;
    uint64_t front;
    if (!axis_ok(&axis, s->step->in[0]->rank) ||
        !rows_locate(s, s->step->in[0], in[0], &rows, &front) || rows >= axis)
        return;
    for (uint32_t i = 1; i < s->step->in_len; i++)
        if (in[i].rows != ROWS_NONE)
            return;
    out[0] = in[0];
    for (uint32_t i = 1; i < s->step->out_len; i++)
        if (s->step->out[i])
            out[i] = (struct rows_at){ROWS_ALONG, dims_span(s->step->in[0], 0, rows) * front};
}

void batch_norm_rows(const struct rows_step *s, const struct rows_at *in, struct rows_at *out)
{
    if (((const struct batch_norm *)s->step->node->state)->trains)
        return;
    for (uint32_t i = 1; i < s->step->in_len; i++)
        if (in[i].rows != ROWS_NONE)
            return;
    out[0] = in[0];
}
