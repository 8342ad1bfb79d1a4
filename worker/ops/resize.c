/* resize - see resize.h */
#include "worker/ops/resize.h"

#include <math.h>
#include <string.h>

#include "worker/kernels/par.h"

#define TAPS_MAX  4096       /* of one output element: antialiasing of a strong reduction */
#define TABLE_MAX (4u << 20) /* weights of one axis: made while planning, so bounded */

/* One axis while its table is made. */
struct maker {
    const struct resize_rule *rule;
    double in, out, scale, start, end;
};

/* Divided in FP32, as all others do: a place on a pixel's edge must fall on the same side. */
static double place_of(const struct maker *m, double x)
{
    double exact = m->scale * m->in; /* the output's size before it was rounded */
    float at = (float)x, scale = (float)m->scale;
    switch (m->rule->place) {
    case RESIZE_HALF_PIXEL:
        return (double)((at + 0.5f) / scale - 0.5f);
    case RESIZE_HALF_PIXEL_SYMMETRIC:
        return m->in / 2 * (1 - m->out / exact) + (x + 0.5) / m->scale - 0.5;
    case RESIZE_PYTORCH_HALF_PIXEL:
        return m->out > 1 ? (double)((at + 0.5f) / scale - 0.5f) : 0;
    case RESIZE_ALIGN_CORNERS:
        return exact > 1 ? x * (m->in - 1) / (exact - 1) : 0;
    case RESIZE_TF_HALF_PIXEL:
        return (double)((at + 0.5f) / scale);
    case RESIZE_TF_CROP:
        return m->out > 1
                   ? m->start * (m->in - 1) + x * (m->end - m->start) * (m->in - 1) / (m->out - 1)
                   : 0.5 * (m->start + m->end) * (m->in - 1);
    default:
        return (double)(at / scale);
    }
}

static double nearest(const struct maker *m, double x)
{
    switch (m->rule->rounding) {
    case ROUND_PREFER_FLOOR:
        return ceil(x - 0.5);
    case ROUND_PREFER_CEIL:
        return floor(x + 0.5);
    case ROUND_CEIL:
        return ceil(x);
    case ROUND_SIMPLE:
        return m->scale < 1 ? ceil(x) : floor(x);
    default:
        return floor(x);
    }
}

static double weight_of(const struct resize_rule *rule, double distance)
{
    double x = fabs(distance), a = rule->cubic;
    if (rule->kind == RESIZE_KIND_LINEAR)
        return fmax(0, 1 - x);
    if (x <= 1)
        return ((a + 2) * x - (a + 3)) * x * x + 1;
    return x < 2 ? ((a * x - 5 * a) * x + 8 * a) * x - 4 * a : 0;
}

/* Taps around x with their weights, which add up to 1. */
static void mix_taps(const struct maker *m, double x, size_t taps, uint32_t *index, float *weight)
{
    const struct resize_rule *r = m->rule;
    bool smooths = r->antialias && m->scale < 1;
    size_t half = taps / 2;
    double before = (double)half - 1;
    double by = smooths ? m->scale : 1, first = floor(x) - before, sum = 0;
    double each[TAPS_MAX];
    for (size_t t = 0; t < taps; t++) {
        double at = first + (double)t;
        bool outside = at < 0 || at > m->in - 1;
        each[t] = outside && r->exclude_outside ? 0 : weight_of(r, (at - x) * by);
        sum += each[t];
        index[t] = (uint32_t)fmin(fmax(at, 0), m->in - 1);
    }
    for (size_t t = 0; t < taps; t++)
        weight[t] = (float)(each[t] / sum);
}

static size_t taps_of(const struct maker *m)
{
    size_t plain = m->rule->kind == RESIZE_KIND_NEAREST  ? 1
                   : m->rule->kind == RESIZE_KIND_LINEAR ? 2
                                                         : 4;
    if (plain == 1 || !m->rule->antialias || m->scale >= 1)
        return plain;
    return 2 * (size_t)ceil((double)plain / 2 / m->scale) + 2;
}

bool resize_axis_make(struct resize_axis *axis, const struct resize_rule *rule,
                      struct region *region, int64_t in, int64_t out, double scale, double start,
                      double end)
{
    struct maker m = {rule, (double)in, (double)out, scale, start, end};
    if (in < 1 || in > INT32_MAX || out < 0 || out > INT32_MAX || scale < 2e-3 / 2)
        return false;
    size_t taps = taps_of(&m), len = (size_t)out * taps;
    if (taps > TAPS_MAX || len > TABLE_MAX)
        return false;
    uint32_t *index = region_array(region, len, sizeof *index);
    float *weight = region_array(region, len, sizeof *weight);
    bool *outside = NULL;
    *axis = (struct resize_axis){(size_t)in, (size_t)out, taps, index, weight, NULL};
    if (rule->place == RESIZE_TF_CROP)
        axis->outside = outside = region_array(region, (size_t)out, sizeof *outside);
    for (int64_t o = 0; o < out; o++) {
        double x = place_of(&m, (double)o);
        if (outside)
            outside[o] = x < 0 || x > m.in - 1;
        if (taps == 1) {
            index[o] = (uint32_t)fmin(fmax(nearest(&m, x), 0), m.in - 1);
            weight[o] = 1;
            continue;
        }
        if (rule->kind == RESIZE_KIND_LINEAR && !rule->exclude_outside && !rule->antialias)
            x = fmin(fmax(x, 0), m.in - 1);
        mix_taps(&m, x, taps, index + (size_t)o * taps, weight + (size_t)o * taps);
    }
    return true;
}

void resize_pick(const struct resize_axis *axis, size_t outer, size_t width, const void *from,
                 void *to)
{
    char *next = to;
    for (size_t i = 0; i < outer; i++)
        for (size_t o = 0; o < axis->out; o++, next += width)
            memcpy(next, (const char *)from + (i * axis->in + axis->index[o]) * width, width);
}

struct mix {
    const struct resize_axis *axis;
    size_t inner;
    const float *from;
    float *to;
};

/* Rows of neighbours: each tap adds to all of them. */
static void mix_rows(const struct mix *m, const float *from, float *to)
{
    const struct resize_axis *a = m->axis;
    for (size_t o = 0; o < a->out; o++, to += m->inner) {
        const uint32_t *index = a->index + o * a->taps;
        const float *weight = a->weight + o * a->taps;
        for (size_t i = 0; i < m->inner; i++)
            to[i] = from[index[0] * m->inner + i] * weight[0];
        for (size_t t = 1; t < a->taps; t++) {
            const float *row = from + index[t] * m->inner;
            for (size_t i = 0; i < m->inner; i++)
                to[i] += row[i] * weight[t];
        }
    }
}

static void mix_items(void *arg, size_t slot, size_t begin, size_t end)
{
    const struct mix *m = arg;
    (void)slot;
    for (size_t i = begin; i < end; i++)
        mix_rows(m, m->from + i * m->axis->in * m->inner, m->to + i * m->axis->out * m->inner);
}

void resize_mix(const struct resize_axis *axis, size_t outer, size_t inner, const float *from,
                float *to)
{
    struct mix m = {axis, inner, from, to};
    par_for(outer, (double)(outer * axis->out * inner * axis->taps) * 2, mix_items, &m);
}
