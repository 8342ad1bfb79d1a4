/* op_norm_more - InstanceNormalization, GroupNormalization, RMSNormalization, LpNormalization,
 * MeanVarianceNormalization, LRN */
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "worker/kernels/par.h"
#include "worker/ops/ops.h"
#include "worker/ops/scalar.h"

struct norm {
    float epsilon;
    int64_t groups; /* GroupNormalization */
    bool by_group;  /* its scale and bias are one per group: opset 18 */
    int64_t axis;   /* RMSNormalization, LpNormalization */
    int64_t p;      /* LpNormalization: 1 or 2 */
};

/* What shape() decided: `items` pieces of `len` elements are normalised, each by itself. */
struct pieces {
    size_t items, len;
    size_t channels, map; /* of a piece: InstanceNormalization and GroupNormalization */
};

static enum status only_fp32(const struct step *step, struct error *why)
{
    for (uint32_t i = 0; i < step->in_len; i++)
        if (step->in[i] && step->in[i]->dtype != DTYPE_FP32)
            return bad_step(why, step, "input %u is %s; expected FP32", i,
                            dtype_name(step->in[i]->dtype));
    return STATUS_OK;
}

enum status group_norm_check(struct node *node, struct error *why)
{
    struct norm *n = region_take(node->region, sizeof *n);
    node->state = n;
    n->epsilon = attr_float(node, "epsilon", 1e-5f);
    if (node->op->variant == NORM_INSTANCE) {
        attr_ignore(node, "consumed_inputs");
        return STATUS_OK;
    }
    attr_ignore(node, "stash_type"); /* sums are FP32 or better anyway */
    n->groups = attr_int(node, "num_groups", 0);
    n->by_group = node->opset < 21;
    return n->groups > 0
               ? STATUS_OK
               : bad_node(why, node, "num_groups is %" PRId64 "; expected 1 or more", n->groups);
}

enum status group_norm_shape(struct step *step, struct error *why)
{
    const struct array *x = step->in[0];
    const struct norm *n = step->node->state;
    struct pieces *p = region_take(step->region, sizeof *p);
    enum status s = only_fp32(step, why);
    if (s != STATUS_OK)
        return s;
    int64_t channels = x->rank > 1 ? x->dims[1] : 0;
    int64_t groups = n->groups ? n->groups : channels;
    if (x->rank < 2 || groups < 1 || channels % groups)
        return bad_step(why, step, "%" PRId64 " channels do not divide into %" PRId64 " groups",
                        channels, groups);
    int64_t expected = n->by_group && n->groups ? groups : channels;
    for (uint32_t i = 1; i < 3; i++)
        if (step->in[i]->rank != 1 || step->in[i]->dims[0] != expected)
            return bad_step(why, step, "input %u must have %" PRId64 " elements", i, expected);
    p->channels = (size_t)(channels / groups);
    p->map = dims_span(x, 2, x->rank);
    p->len = p->channels * p->map;
    p->items = (size_t)x->dims[0] * (size_t)groups;
    step->params = p;
    return shape_same(step, why);
}

static void moments(const float *x, size_t len, double *mean, double *variance)
{
    double sum = 0, squares = 0;
    for (size_t i = 0; i < len; i++)
        sum += (double)x[i];
    *mean = sum / (double)len;
    for (size_t i = 0; i < len; i++)
        squares += ((double)x[i] - *mean) * ((double)x[i] - *mean);
    *variance = squares / (double)len;
}

static void group_norm_items(void *arg, size_t slot, size_t begin, size_t end)
{
    const struct step *step = arg;
    const struct norm *n = step->node->state;
    const struct pieces *p = step->params;
    const float *scale = step->in[1]->data, *bias = step->in[2]->data;
    size_t groups = (size_t)step->in[0]->dims[1] / p->channels;
    (void)slot;
    for (size_t i = begin; i < end; i++) {
        const float *x = (const float *)step->in[0]->data + i * p->len;
        float *y = (float *)step->out[0]->data + i * p->len;
        double mean, variance;
        moments(x, p->len, &mean, &variance);
        double by = 1 / sqrt(variance + (double)n->epsilon);
        for (size_t c = 0; c < p->channels; c++) {
            size_t at = i % groups * (n->by_group && n->groups ? 1 : p->channels);
            at += n->by_group && n->groups ? 0 : c;
            float gain = (float)((double)scale[at] * by);
            float shift = (float)((double)bias[at] - mean * (double)scale[at] * by);
            for (size_t k = c * p->map; k < (c + 1) * p->map; k++)
                y[k] = x[k] * gain + shift;
        }
    }
}

enum status group_norm_compute(const struct step *step, struct error *why)
{
    (void)why;
    const struct pieces *p = step->params;
    par_for(p->items, (double)(p->items * p->len) * 4, group_norm_items, (void *)(uintptr_t)step);
    return STATUS_OK;
}

/* Parameters are the same for all rows, and rows are input 0's first axis. */
void group_norm_rows(const struct rows_step *s, const struct rows_at *in, struct rows_at *out)
{
    for (uint32_t i = 1; i < s->step->in_len; i++)
        if (in[i].rows != ROWS_NONE)
            return;
    rows_beside(s, in[0], 1, s->step->in[0]->rank, &out[0]);
}

enum status rms_norm_check(struct node *node, struct error *why)
{
    (void)why;
    struct norm *n = region_take(node->region, sizeof *n);
    node->state = n;
    n->axis = attr_int(node, "axis", -1);
    n->epsilon = attr_float(node, "epsilon", 1e-5f);
    attr_ignore(node, "stash_type"); /* sums are FP32 or better anyway */
    return STATUS_OK;
}

enum status rms_norm_shape(struct step *step, struct error *why)
{
    const struct array *x = step->in[0];
    int64_t axis = ((const struct norm *)step->node->state)->axis;
    struct pieces *p = region_take(step->region, sizeof *p);
    enum status s = only_fp32(step, why);
    if (s != STATUS_OK)
        return s;
    if (!axis_ok(&axis, x->rank))
        return bad_step(why, step, "axis %" PRId64 " is outside of rank %u", axis, x->rank);
    p->items = dims_span(x, 0, (uint32_t)axis);
    p->len = dims_span(x, (uint32_t)axis, x->rank);
    if (array_count(step->in[1]) != p->len)
        return bad_step(why, step, "scale has %zu elements; expected %zu", array_count(step->in[1]),
                        p->len);
    step->params = p;
    return shape_same(step, why);
}

enum status rms_norm_compute(const struct step *step, struct error *why)
{
    (void)why;
    const struct pieces *p = step->params;
    const float *scale = step->in[1]->data;
    double epsilon = (double)((const struct norm *)step->node->state)->epsilon;
    for (size_t i = 0; i < p->items; i++) {
        const float *x = (const float *)step->in[0]->data + i * p->len;
        float *y = (float *)step->out[0]->data + i * p->len;
        double squares = 0;
        for (size_t k = 0; k < p->len; k++)
            squares += (double)x[k] * (double)x[k];
        float by = (float)(1 / sqrt(squares / (double)p->len + epsilon));
        for (size_t k = 0; k < p->len; k++)
            y[k] = x[k] * by * scale[k];
    }
    return STATUS_OK;
}

void rms_norm_rows(const struct rows_step *s, const struct rows_at *in, struct rows_at *out)
{
    uint32_t rank = s->step->in[0]->rank;
    int64_t axis = ((const struct norm *)s->step->node->state)->axis;
    if (axis_ok(&axis, rank) && in[1].rows == ROWS_NONE)
        rows_beside(s, in[0], (uint32_t)axis, rank, &out[0]);
}

enum status lp_norm_check(struct node *node, struct error *why)
{
    struct norm *n = region_take(node->region, sizeof *n);
    node->state = n;
    n->axis = attr_int(node, "axis", -1);
    n->p = attr_int(node, "p", 2);
    return n->p == 1 || n->p == 2 ? STATUS_OK
                                  : bad_node(why, node, "p is %" PRId64 "; expected 1 or 2", n->p);
}

enum status lp_norm_shape(struct step *step, struct error *why)
{
    const struct array *x = step->in[0];
    int64_t axis = ((const struct norm *)step->node->state)->axis;
    if (!dtype_is_float(x->dtype))
        return bad_step(why, step, "%s is not a type of this operator", dtype_name(x->dtype));
    if (!axis_ok(&axis, x->rank))
        return bad_step(why, step, "axis %" PRId64 " is outside of rank %u", axis, x->rank);
    return shape_same(step, why);
}

enum status lp_norm_compute(const struct step *step, struct error *why)
{
    (void)why;
    const struct array *x = step->in[0], *y = step->out[0];
    const struct norm *n = step->node->state;
    int64_t axis = n->axis < 0 ? n->axis + x->rank : n->axis;
    size_t inner = dims_span(x, (uint32_t)axis + 1, x->rank), len = (size_t)x->dims[axis];
    for (size_t row = 0; row < dims_span(x, 0, (uint32_t)axis) * inner; row++) {
        size_t base = row / inner * len * inner + row % inner;
        double sum = 0;
        for (size_t i = 0; i < len; i++) {
            double v = scalar_float(x->dtype, x->data, base + i * inner);
            sum += n->p == 1 ? fabs(v) : v * v;
        }
        double norm = n->p == 1 ? sum : sqrt(sum);
        for (size_t i = 0; i < len; i++)
            scalar_set_float(y->dtype, y->data, base + i * inner,
                             norm > 0 || isnan(norm)
                                 ? scalar_float(x->dtype, x->data, base + i * inner) / norm
                                 : 0);
    }
    return STATUS_OK;
}

struct axes {
    size_t len;
    int64_t axis[TENSOR_RANK_MAX];
};

enum status mvn_check(struct node *node, struct error *why)
{
    struct axes *a = region_take(node->region, sizeof *a);
    const int64_t *given = attr_ints(node, "axes", &a->len);
    node->state = a;
    if (a->len > TENSOR_RANK_MAX)
        return bad_node(why, node, "%zu axes; at most %d are possible", a->len, TENSOR_RANK_MAX);
    if (given)
        memcpy(a->axis, given, a->len * sizeof *given);
    else
        *a = (struct axes){3, {0, 2, 3}};
    return STATUS_OK;
}

enum status mvn_shape(struct step *step, struct error *why)
{
    const struct array *x = step->in[0];
    struct axes a = *(const struct axes *)step->node->state;
    bool *marks = region_array(step->region, TENSOR_RANK_MAX, sizeof *marks);
    enum status s = only_fp32(step, why);
    for (size_t i = 0; i < a.len && s == STATUS_OK; i++) {
        if (!axis_ok(&a.axis[i], x->rank))
            return bad_step(why, step, "axis %" PRId64 " is outside of rank %u", a.axis[i],
                            x->rank);
        marks[a.axis[i]] = true;
    }
    step->params = marks;
    size_t groups = 1; /* mean and variance of each, and how many */
    for (uint32_t k = 0; k < x->rank; k++)
        groups *= marks[k] ? 1 : (size_t)x->dims[k];
    step->scratch_bytes = 2 * groups * sizeof(double);
    return s == STATUS_OK ? shape_same(step, why) : s;
}

/* Which group element `i` belongs to. */
static size_t group_of(const struct array *x, const bool *marks, size_t i)
{
    size_t group = 0, span = 1;
    for (uint32_t k = x->rank; k-- > 0; i /= (size_t)x->dims[k])
        if (!marks[k]) {
            group += i % (size_t)x->dims[k] * span;
            span *= (size_t)x->dims[k];
        }
    return group;
}

enum status mvn_compute(const struct step *step, struct error *why)
{
    (void)why;
    const struct array *x = step->in[0];
    const bool *marks = step->params;
    const float *from = step->in[0]->data;
    float *to = step->out[0]->data;
    size_t n = array_count(x), groups = 1;
    for (uint32_t k = 0; k < x->rank; k++)
        groups *= marks[k] ? 1 : (size_t)x->dims[k];
    double *mean = step->scratch, *squares = mean + groups, each = (double)n / (double)groups;
    memset(mean, 0, 2 * groups * sizeof *mean);
    for (size_t i = 0; i < n; i++)
        mean[group_of(x, marks, i)] += (double)from[i] / each;
    for (size_t i = 0; i < n; i++) {
        double d = (double)from[i] - mean[group_of(x, marks, i)];
        squares[group_of(x, marks, i)] += d * d / each;
    }
    for (size_t i = 0; i < n; i++) {
        size_t g = group_of(x, marks, i);
        to[i] = (float)(((double)from[i] - mean[g]) / (sqrt(squares[g]) + 1e-9));
    }
    return STATUS_OK;
}

struct lrn {
    float alpha, beta, bias;
    int64_t size;
};

enum status lrn_check(struct node *node, struct error *why)
{
    struct lrn *l = region_take(node->region, sizeof *l);
    node->state = l;
    l->alpha = attr_float(node, "alpha", 1e-4f);
    l->beta = attr_float(node, "beta", 0.75f);
    l->bias = attr_float(node, "bias", 1.0f);
    l->size = attr_int(node, "size", 0);
    return l->size > 0 ? STATUS_OK
                       : bad_node(why, node, "size is %" PRId64 "; expected 1 or more", l->size);
}

enum status lrn_shape(struct step *step, struct error *why)
{
    enum status s = only_fp32(step, why);
    if (s == STATUS_OK && step->in[0]->rank < 2)
        return bad_step(why, step, "the input has rank %u; expected 2 or more", step->in[0]->rank);
    return s == STATUS_OK ? shape_same(step, why) : s;
}

static void lrn_items(void *arg, size_t slot, size_t begin, size_t end)
{
    const struct step *step = arg;
    const struct array *x = step->in[0];
    const struct lrn *l = step->node->state;
    int64_t channels = x->dims[1], before = (l->size - 1) / 2, after = l->size - 1 - before;
    size_t map = dims_span(x, 2, x->rank);
    (void)slot;
    for (size_t i = begin; i < end; i++) {
        int64_t c = (int64_t)i % channels;
        int64_t first = MAX(0, c - MIN(before, c)), last = MIN(channels - 1 - c, after) + c;
        const float *image = (const float *)x->data + (i - (size_t)c) * map;
        float *to = (float *)step->out[0]->data + i * map;
        for (size_t k = 0; k < map; k++) {
            float squares = 0;
            for (int64_t j = first; j <= last; j++)
                squares += image[(size_t)j * map + k] * image[(size_t)j * map + k];
            to[k] = image[(size_t)c * map + k] /
                    powf(l->bias + l->alpha / (float)l->size * squares, l->beta);
        }
    }
}

enum status lrn_compute(const struct step *step, struct error *why)
{
    (void)why;
    const struct array *x = step->in[0];
    par_for(dims_span(x, 0, 2), (double)array_count(x) * 64, lrn_items, (void *)(uintptr_t)step);
    return STATUS_OK;
}
