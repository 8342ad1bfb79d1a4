/* op_spectrum - DFT, STFT and MelWeightMatrix
 *
 * Transforms are computed in double precision: lengths of powers of two by the usual butterflies,
 * other lengths by the definition. */
#include <complex.h>
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "worker/kernels/par.h"
#include "worker/ops/ops.h"
#include "worker/ops/scalar.h"

#define TRANSFORM_MAX ((int64_t)1 << 24) /* points */

struct dft {
    int64_t axis; /* of the attribute, up to opset 19 */
    bool inverse, onesided;
};

/* [outer][points][inner] complex or real numbers. */
struct transform {
    size_t outer, inner;
    size_t in, points, out; /* along the axis: given, after padding or cutting, kept */
    bool real;              /* the input has one part */
};

static bool power_of_two(size_t n)
{
    return n && (n & (n - 1)) == 0;
}

static double complex root(size_t k, size_t n, bool inverse)
{
    double angle = 2 * M_PI * (double)k / (double)n;
    return cos(angle) + (inverse ? 1 : -1) * sin(angle) * I;
}

/* In place, radix 2. */
static void butterflies(double complex *x, size_t n, bool inverse)
{
    for (size_t i = 1, j = 0; i < n; i++) {
        size_t bit = n >> 1;
        for (; j & bit; bit >>= 1)
            j ^= bit;
        j ^= bit;
        if (i < j) {
            double complex old = x[i];
            x[i] = x[j];
            x[j] = old;
        }
    }
    for (size_t len = 2; len <= n; len <<= 1)
        for (size_t k = 0; k < len / 2; k++) {
            double complex w = root(k, len, inverse);
            for (size_t i = k; i < n; i += len) {
                double complex far = x[i + len / 2] * w;
                x[i + len / 2] = x[i] - far;
                x[i] += far;
            }
        }
}

/* x[n] -> the same place; `aside` has room for 2 n numbers when n is no power of two. */
static void transform(double complex *x, double complex *aside, size_t n, bool inverse)
{
    if (power_of_two(n)) {
        butterflies(x, n, inverse);
    } else {
        double complex *roots = aside + n;
        for (size_t k = 0; k < n; k++)
            roots[k] = root(k, n, inverse);
        for (size_t k = 0; k < n; k++) {
            aside[k] = 0;
            for (size_t i = 0, at = 0; i < n; i++, at = at + k < n ? at + k : at + k - n)
                aside[k] += x[i] * roots[at];
        }
        memcpy(x, aside, n * sizeof *x);
    }
    for (size_t i = 0; inverse && i < n; i++)
        x[i] /= (double)n;
}

enum status dft_check(struct node *node, struct error *why)
{
    (void)why;
    struct dft *d = region_take(node->region, sizeof *d);
    d->axis = node->op->variant == VARIANT_LEGACY ? attr_int(node, "axis", 1) : -2;
    d->inverse = attr_int(node, "inverse", 0) != 0;
    d->onesided = attr_int(node, "onesided", 0) != 0;
    node->state = d;
    return STATUS_OK;
}

static enum status check_points(const struct step *step, int64_t points, struct error *why)
{
    if (points < 1 || points > TRANSFORM_MAX)
        return bad_step(why, step, "a transform of %" PRId64 " points is not possible", points);
    return STATUS_OK;
}

enum status dft_shape(struct step *step, struct error *why)
{
    const struct array *x = step->in[0];
    struct dft d = *(const struct dft *)step->node->state;
    struct transform *t = region_take(step->region, sizeof *t);
    int64_t points = 0, dims[TENSOR_RANK_MAX];
    size_t len = 0, axis_len = 0;
    enum status s = known_ints(step, 1, &points, 1, &len, why);
    if (s == STATUS_OK)
        s = known_ints(step, 2, &d.axis, 1, &axis_len, why);
    if (s != STATUS_OK)
        return s;
    if ((x->dtype != DTYPE_FP32 && x->dtype != DTYPE_FP64) || x->rank < 2 ||
        (x->dims[x->rank - 1] != 1 && x->dims[x->rank - 1] != 2))
        return bad_step(why, step, "expected FP32 or FP64 with 1 or 2 parts on the last axis");
    if (!axis_ok(&d.axis, x->rank) || d.axis == x->rank - 1)
        return bad_step(why, step, "axis %" PRId64 " is not one of the signal's", d.axis);
    points = len ? points : x->dims[d.axis];
    s = check_points(step, points, why);
    if (s != STATUS_OK)
        return s;
    t->real = x->dims[x->rank - 1] == 1;
    if (d.onesided && (d.inverse || !t->real))
        return bad_step(why, step, "onesided is for real signals, forwards");
    t->in = (size_t)x->dims[d.axis];
    t->points = (size_t)points;
    t->out = d.onesided ? t->points / 2 + 1 : t->points;
    t->outer = dims_span(x, 0, (uint32_t)d.axis);
    t->inner = dims_span(x, (uint32_t)d.axis + 1, x->rank - 1);
    step->params = t;
    step->scratch_bytes = 3 * t->points * sizeof(double complex);
    memcpy(dims, x->dims, sizeof dims);
    dims[d.axis] = (int64_t)t->out;
    dims[x->rank - 1] = 2;
    return out_set(step, 0, x->dtype, dims, x->rank, why);
}

static void put_complex(const struct array *a, size_t i, double complex x)
{
    scalar_set_float(a->dtype, a->data, 2 * i, creal(x));
    scalar_set_float(a->dtype, a->data, 2 * i + 1, cimag(x));
}

enum status dft_compute(const struct step *step, struct error *why)
{
    (void)why;
    const struct array *in = step->in[0], *out = step->out[0];
    const struct transform *t = step->params;
    const struct dft *d = step->node->state;
    double complex *x = step->scratch;
    for (size_t row = 0; row < t->outer * t->inner; row++) {
        size_t o = row / t->inner, i = row % t->inner;
        for (size_t k = 0; k < t->points; k++) {
            size_t at = (o * t->in + k) * t->inner + i;
            x[k] = 0;
            if (k < t->in && t->real)
                x[k] = scalar_float(in->dtype, in->data, at);
            else if (k < t->in)
                x[k] = scalar_float(in->dtype, in->data, 2 * at) +
                       scalar_float(in->dtype, in->data, 2 * at + 1) * I;
        }
        transform(x, x + t->points, t->points, d->inverse);
        for (size_t k = 0; k < t->out; k++)
            put_complex(out, (o * t->out + k) * t->inner + i, x[k]);
    }
    return STATUS_OK;
}

enum { STFT_SIGNAL, STFT_STEP, STFT_WINDOW, STFT_LENGTH };

struct frames {
    size_t batch, in, step, points, count, out;
    bool real;
};

enum status stft_check(struct node *node, struct error *why)
{
    (void)why;
    bool *onesided = region_take(node->region, sizeof *onesided);
    *onesided = attr_int(node, "onesided", 1) != 0;
    node->state = onesided;
    return STATUS_OK;
}

/* signal: [batch][samples][1 or 2] or [batch][samples]. */
enum status stft_shape(struct step *step, struct error *why)
{
    const struct array *x = step->in[STFT_SIGNAL], *window = step_in(step, STFT_WINDOW);
    struct frames *f = region_take(step->region, sizeof *f);
    int64_t hop = 0, points = 0;
    size_t hop_len, len = 0;
    enum status s = known_ints(step, STFT_STEP, &hop, 1, &hop_len, why);
    if (s == STATUS_OK)
        s = known_ints(step, STFT_LENGTH, &points, 1, &len, why);
    if (s != STATUS_OK)
        return s;
    if ((x->dtype != DTYPE_FP32 && x->dtype != DTYPE_FP64) || x->rank < 2 || x->rank > 3 ||
        (x->rank == 3 && x->dims[2] != 1 && x->dims[2] != 2) ||
        (window && (window->rank != 1 || window->dtype != x->dtype)))
        return bad_step(why, step,
                        "expected a signal of floats [batch,samples,1 or 2] and a window "
                        "of its type");
    points = len ? points : window ? window->dims[0] : 0;
    s = check_points(step, points, why);
    if (s != STATUS_OK)
        return s;
    if (hop < 1 || (window && window->dims[0] != points) || points > x->dims[1])
        return bad_step(why, step,
                        "frames of %" PRId64 " samples every %" PRId64 " of %" PRId64
                        " are not possible",
                        points, hop, x->dims[1]);
    f->real = x->rank == 2 || x->dims[2] == 1;
    f->batch = (size_t)x->dims[0];
    f->in = (size_t)x->dims[1];
    f->step = (size_t)hop;
    f->points = (size_t)points;
    f->count = (f->in - f->points) / f->step + 1;
    f->out = *(const bool *)step->node->state && f->real ? f->points / 2 + 1 : f->points;
    step->params = f;
    step->scratch_bytes = 3 * f->points * sizeof(double complex);
    int64_t dims[4] = {x->dims[0], (int64_t)f->count, (int64_t)f->out, 2};
    return out_set(step, 0, x->dtype, dims, 4, why);
}

enum status stft_compute(const struct step *step, struct error *why)
{
    (void)why;
    const struct array *in = step->in[STFT_SIGNAL], *window = step_in(step, STFT_WINDOW);
    const struct frames *f = step->params;
    double complex *x = step->scratch;
    for (size_t i = 0; i < f->batch * f->count; i++) {
        size_t first = i / f->count * f->in + i % f->count * f->step;
        for (size_t k = 0; k < f->points; k++) {
            size_t at = first + k;
            double by = window ? scalar_float(window->dtype, window->data, k) : 1;
            x[k] = f->real ? scalar_float(in->dtype, in->data, at)
                           : scalar_float(in->dtype, in->data, 2 * at) +
                                 scalar_float(in->dtype, in->data, 2 * at + 1) * I;
            x[k] *= by;
        }
        transform(x, x + f->points, f->points, false);
        for (size_t k = 0; k < f->out; k++)
            put_complex(step->out[0], i * f->out + k, x[k]);
    }
    return STATUS_OK;
}

void stft_rows(const struct rows_step *s, const struct rows_at *in, struct rows_at *out)
{
    for (uint32_t i = 1; i < s->step->in_len; i++)
        if (in[i].rows != ROWS_NONE)
            return;
    rows_beside(s, in[0], 1, s->step->in[0]->rank, &out[0]);
}

enum { MEL_BINS, MEL_POINTS, MEL_RATE, MEL_LOW, MEL_HIGH };

enum status mel_check(struct node *node, struct error *why)
{
    enum dtype *t = region_take(node->region, sizeof *t);
    int64_t code = attr_int(node, "output_datatype", 1);
    *t = code > 0 && code < 64 ? dtype_by_onnx((int)code) : DTYPE_NONE;
    node->state = t;
    return dtype_is_float(*t) || dtype_is_integer(*t)
               ? STATUS_OK
               : bad_node(why, node, "output_datatype %" PRId64 " is not supported", code);
}

static double edge(const struct step *step, uint32_t i)
{
    const struct array *a = step->in[i];
    return dtype_is_float(a->dtype) ? scalar_float(a->dtype, a->data, 0)
                                    : (double)scalar_int(a->dtype, a->data, 0);
}

enum status mel_shape(struct step *step, struct error *why)
{
    int64_t bins = 0, points = 0, rate = 0;
    size_t len[3];
    enum status s = known_ints(step, MEL_BINS, &bins, 1, &len[0], why);
    if (s == STATUS_OK)
        s = known_ints(step, MEL_POINTS, &points, 1, &len[1], why);
    if (s == STATUS_OK)
        s = known_ints(step, MEL_RATE, &rate, 1, &len[2], why);
    for (uint32_t i = MEL_LOW; i <= MEL_HIGH && s == STATUS_OK; i++)
        if (!dtype_bytes(step->in[i]->dtype) || array_count(step->in[i]) != 1)
            return bad_step(why, step, "input %u must be one number", i);
    if (s != STATUS_OK)
        return s;
    if (!len[0] || !len[1] || !len[2] || bins < 1 || points < 1 || rate < 1 || bins > INT32_MAX ||
        points > TRANSFORM_MAX)
        return bad_step(why, step,
                        "%" PRId64 " bins, %" PRId64 " points, %" PRId64
                        " samples a second are not possible",
                        bins, points, rate);
    int64_t dims[2] = {points / 2 + 1, bins};
    return out_set(step, 0, *(const enum dtype *)step->node->state, dims, 2, why);
}

static double to_mel(double hertz)
{
    return 2595 * log10(1 + hertz / 700);
}

/* The spectrum line at which bin `i` of bins + 2 edges lies. */
static double line_of(const struct step *step, int64_t i, int64_t bins)
{
    double points = (double)scalar_int(step->in[MEL_POINTS]->dtype, step->in[MEL_POINTS]->data, 0);
    double rate = (double)scalar_int(step->in[MEL_RATE]->dtype, step->in[MEL_RATE]->data, 0);
    double low = to_mel(edge(step, MEL_LOW)), high = to_mel(edge(step, MEL_HIGH));
    double mel = low + (double)i * (high - low) / (double)(bins + 2);
    return floor((points + 1) * 700 * (pow(10, mel / 2595) - 1) / rate);
}

enum status mel_compute(const struct step *step, struct error *why)
{
    (void)why;
    const struct array *out = step->out[0];
    int64_t lines = out->dims[0], bins = out->dims[1];
    for (int64_t b = 0; b < bins; b++) {
        double low = line_of(step, b, bins), mid = line_of(step, b + 1, bins);
        double high = line_of(step, b + 2, bins);
        for (int64_t l = 0; l < lines; l++) {
            double x = (double)l, y = 0;
            if (low == mid && x == mid)
                y = 1;
            else if (x >= low && x <= mid && mid > low)
                y = (x - low) / (mid - low);
            else if (x >= mid && x < high)
                y = (high - x) / (high - mid);
            size_t at = (size_t)(l * bins + b);
            if (dtype_is_float(out->dtype))
                scalar_set_float(out->dtype, out->data, at, y);
            else
                scalar_set_int(out->dtype, out->data, at, scalar_truncate(y));
        }
    }
    return STATUS_OK;
}
