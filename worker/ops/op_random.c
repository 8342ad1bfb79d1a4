/* op_random - RandomNormal, RandomUniform (and Like), Bernoulli, Multinomial
 *
 * ONNX fixes no generator. Here element i is made of splitmix64 at place i of a sequence that
 * starts at the node's seed, or at 0: a model gives the same bytes on every worker and in every
 * run, so that a job that is done again gives the same result. */
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "worker/ops/ops.h"
#include "worker/ops/scalar.h"

struct random_state {
    uint64_t seed;
    enum dtype dtype; /* DTYPE_NONE: the input's */
    double a, b;      /* mean and scale; low and high */
    uint32_t rank;    /* RandomNormal and RandomUniform: their own shape */
    int64_t dims[TENSOR_RANK_MAX];
    int64_t samples; /* Multinomial */
};

static uint64_t mix(uint64_t seed, uint64_t i)
{
    uint64_t z = seed + (i + 1) * UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

/* In [0, 1). */
static double uniform(uint64_t seed, uint64_t i)
{
    return (double)(mix(seed, i) >> 11) * 0x1p-53;
}

/* Box and Muller, two places for each number. */
static double normal(uint64_t seed, uint64_t i)
{
    return sqrt(-2 * log(1 - uniform(seed, 2 * i))) * cos(2 * M_PI * uniform(seed, 2 * i + 1));
}

static enum status read_shape(struct node *node, struct random_state *r, struct error *why)
{
    size_t len;
    const int64_t *shape = attr_ints(node, "shape", &len);
    if (!shape || len > TENSOR_RANK_MAX)
        return bad_node(why, node, "shape is missing or has more than %d numbers", TENSOR_RANK_MAX);
    memcpy(r->dims, shape, len * sizeof *shape);
    r->rank = (uint32_t)len;
    return STATUS_OK;
}

enum status random_check(struct node *node, struct error *why)
{
    struct random_state *r = region_take(node->region, sizeof *r);
    enum random_kind kind = (enum random_kind)node->op->variant;
    float seed = attr_float(node, "seed", 0);
    uint32_t bits;
    memcpy(&bits, &seed, sizeof bits);
    r->seed = (uint64_t)bits << 32;
    node->state = r;
    if (kind == RANDOM_NORMAL) {
        r->a = (double)attr_float(node, "mean", 0);
        r->b = (double)attr_float(node, "scale", 1);
    } else if (kind == RANDOM_UNIFORM) {
        r->a = (double)attr_float(node, "low", 0);
        r->b = (double)attr_float(node, "high", 1);
    } else if (kind == RANDOM_MULTINOMIAL) {
        r->samples = attr_int(node, "sample_size", 1);
    }
    bool like = node->op->in_min > 0;
    int64_t code = attr_int(node, "dtype", kind == RANDOM_MULTINOMIAL ? 6 : like ? 0 : 1);
    r->dtype = code > 0 && code < 64 ? dtype_by_onnx((int)code) : DTYPE_NONE;
    if (code && !dtype_bytes(r->dtype))
        return bad_node(why, node, "dtype %" PRId64 " of ONNX's list is not supported", code);
    return like ? STATUS_OK : read_shape(node, r, why);
}

enum status random_shape(struct step *step, struct error *why)
{
    const struct random_state *r = step->node->state;
    const struct array *x = step_in(step, 0);
    enum random_kind kind = (enum random_kind)step->node->op->variant;
    if (!x)
        return out_set(step, 0, r->dtype, r->dims, r->rank, why);
    enum dtype t = r->dtype != DTYPE_NONE ? r->dtype : x->dtype;
    bool reads = kind == RANDOM_BERNOULLI || kind == RANDOM_MULTINOMIAL;
    if ((reads && !dtype_is_float(x->dtype)) || !dtype_bytes(t) || (!reads && !dtype_is_float(t)))
        return bad_step(why, step, "%s to %s is not possible", dtype_name(x->dtype), dtype_name(t));
    if (kind != RANDOM_MULTINOMIAL)
        return out_set(step, 0, t, x->dims, x->rank, why);
    if (x->rank != 2 || x->dims[1] < 1 || r->samples < 1 || dtype_is_float(t))
        return bad_step(why, step, "expected log-probabilities [batch,classes] and integers out");
    int64_t dims[2] = {x->dims[0], r->samples};
    step->scratch_bytes = (size_t)x->dims[1] * sizeof(double);
    return out_set(step, 0, t, dims, 2, why);
}

/* Samples of one row by their running sum of exp(x). */
static void draw_row(const struct step *step, size_t row)
{
    const struct array *x = step->in[0], *out = step->out[0];
    const struct random_state *r = step->node->state;
    size_t classes = (size_t)x->dims[1], samples = (size_t)r->samples;
    double *sums = step->scratch, largest = -INFINITY, sum = 0;
    for (size_t c = 0; c < classes; c++)
        largest = fmax(largest, scalar_float(x->dtype, x->data, row * classes + c));
    for (size_t c = 0; c < classes; c++)
        sums[c] = sum += exp(scalar_float(x->dtype, x->data, row * classes + c) - largest);
    for (size_t i = 0; i < samples; i++) {
        double at = uniform(r->seed, i) * sum; /* the same for each row: rows stay independent */
        size_t c = 0;
        while (c + 1 < classes && !(at < sums[c]))
            c++;
        scalar_set_int(out->dtype, out->data, row * samples + i, (int64_t)c);
    }
}

enum status random_compute(const struct step *step, struct error *why)
{
    (void)why;
    const struct random_state *r = step->node->state;
    const struct array *x = step_in(step, 0), *out = step->out[0];
    enum random_kind kind = (enum random_kind)step->node->op->variant;
    if (x && kind == RANDOM_MULTINOMIAL) {
        for (size_t row = 0; row < (size_t)x->dims[0]; row++)
            draw_row(step, row);
        return STATUS_OK;
    }
    for (size_t i = 0; i < array_count(out); i++) {
        double y = kind == RANDOM_NORMAL ? r->a + r->b * normal(r->seed, i)
                                         : r->a + (r->b - r->a) * uniform(r->seed, i);
        if (x && kind == RANDOM_BERNOULLI)
            y = uniform(r->seed, i) <= scalar_float(x->dtype, x->data, i);
        if (dtype_is_float(out->dtype))
            scalar_set_float(out->dtype, out->data, i, y);
        else
            scalar_set_int(out->dtype, out->data, i, scalar_truncate(y));
    }
    return STATUS_OK;
}
