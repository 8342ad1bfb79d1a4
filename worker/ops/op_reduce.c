/* op_reduce - ReduceSum, ReduceMean, ReduceL2, ... and ArgMax, ArgMin */
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "worker/kernels/rows.h"
#include "worker/ops/ops.h"
#include "worker/ops/scalar.h"

struct reduction {
    size_t len; /* axes of the attribute; 0: all */
    int64_t axes[TENSOR_RANK_MAX];
    bool keep;
    bool noop; /* no axes: copy */
    bool last; /* ArgMax: of equal ones the last */
};

/* One pass over neighbouring axes: [outer][axis][inner]. */
struct pass {
    size_t outer, axis, inner;
};

struct passes {
    bool marks[TENSOR_RANK_MAX];
    uint32_t len;
    struct pass pass[TENSOR_RANK_MAX];
    size_t half; /* bytes of one of the two buffers between passes */
};

enum status reduce_check(struct node *node, struct error *why)
{
    struct reduction *r = region_take(node->region, sizeof *r);
    const int64_t *axes = node->op->variant != REDUCE_SUM || node->opset < 13
                              ? attr_ints(node, "axes", &r->len)
                              : NULL;
    r->keep = attr_int(node, "keepdims", 1) != 0;
    r->noop = attr_int(node, "noop_with_empty_axes", 0) != 0;
    if (r->len > TENSOR_RANK_MAX)
        return bad_node(why, node, "%zu axes; at most %d are possible", r->len, TENSOR_RANK_MAX);
    assert(axes || !r->len);
    for (size_t i = 0; i < r->len; i++)
        r->axes[i] = axes[i];
    node->state = r;
    return STATUS_OK;
}

/* Groups of reduced neighbours, last group first, each pass on what the one before left. */
static void make_passes(const struct array *in, struct passes *p)
{
    size_t dims[TENSOR_RANK_MAX];
    size_t largest = 0;
    for (uint32_t k = 0; k < in->rank; k++)
        dims[k] = (size_t)in->dims[k];
    for (uint32_t end = in->rank; end > 0;) {
        uint32_t begin = end - 1;
        if (!p->marks[begin]) {
            end--;
            continue;
        }
        while (begin > 0 && p->marks[begin - 1])
            begin--;
        struct pass *pass = &p->pass[p->len++];
        *pass = (struct pass){1, 1, 1};
        for (uint32_t k = 0; k < in->rank; k++)
            *(k < begin ? &pass->outer : k < end ? &pass->axis : &pass->inner) *= dims[k];
        for (uint32_t k = begin; k < end; k++)
            dims[k] = 1;
        largest = MAX(largest, pass->outer * pass->inner);
        end = begin;
    }
    p->half = (largest * sizeof(float) + TENSOR_ALIGN - 1) / TENSOR_ALIGN * TENSOR_ALIGN;
}

enum status reduce_shape(struct step *step, struct error *why)
{
    const struct array *in = step->in[0];
    struct reduction r = *(const struct reduction *)step->node->state;
    struct passes *p = region_take(step->region, sizeof *p);
    int64_t dims[TENSOR_RANK_MAX];
    uint32_t rank = 0;
    enum reduce kind = (enum reduce)step->node->op->variant;
    bool flags = in->dtype == DTYPE_BOOL && (kind == REDUCE_MAX || kind == REDUCE_MIN);
    if (!dtype_is_float(in->dtype) && !dtype_is_integer(in->dtype) && !flags)
        return bad_step(why, step, "%s is not a type of this operator", dtype_name(in->dtype));
    if (step_in(step, 1)) {
        enum status s = known_ints(step, 1, r.axes, TENSOR_RANK_MAX, &r.len, why);
        if (s != STATUS_OK)
            return s;
    }
    for (size_t i = 0; i < r.len; i++) {
        if (!axis_ok(&r.axes[i], in->rank))
            return bad_step(why, step, "axis %" PRId64 " is outside of rank %u", r.axes[i],
                            in->rank);
        p->marks[r.axes[i]] = true;
    }
    for (uint32_t k = 0; k < in->rank; k++) {
        p->marks[k] |= !r.len && !r.noop;
        if (!p->marks[k] || r.keep)
            dims[rank++] = p->marks[k] ? 1 : in->dims[k];
    }
    make_passes(in, p);
    step->params = p;
    if (in->dtype == DTYPE_FP32 && p->len > 1 && kind < REDUCE_KERNELS)
        step->scratch_bytes = 2 * p->half;
    return out_set(step, 0, in->dtype, dims, rank, why);
}

static void reduce_fp32(const struct step *step, const struct passes *p, enum reduce kind)
{
    const float *from = step->in[0]->data;
    for (uint32_t i = 0; i < p->len; i++) {
        char *buffer = (char *)step->scratch + (i & 1) * p->half;
        float *to = i + 1 == p->len ? step->out[0]->data : (float *)(void *)buffer;
        rows_reduce(kind, p->pass[i].outer, p->pass[i].axis, p->pass[i].inner, from, to);
        from = to;
    }
}

/* The axes of one reduction, kept ones and reduced ones each as a nest of loops. */
struct nest {
    uint32_t rank;
    size_t dims[TENSOR_RANK_MAX], steps[TENSOR_RANK_MAX]; /* outermost first */
    size_t count;
};

static void make_nests(const struct array *in, const bool *marks, struct nest *kept,
                       struct nest *reduced)
{
    *kept = *reduced = (struct nest){.count = 1};
    for (uint32_t k = 0; k < in->rank; k++) {
        struct nest *n = marks[k] ? reduced : kept;
        n->dims[n->rank] = (size_t)in->dims[k];
        n->steps[n->rank++] = dims_span(in, k + 1, in->rank);
        n->count *= (size_t)in->dims[k];
    }
}

/* Element that turn `i` of the nest stands for. */
static size_t nest_at(const struct nest *n, size_t i)
{
    size_t at = 0;
    for (uint32_t k = n->rank; k-- > 0; i /= n->dims[k])
        at += i % n->dims[k] * n->steps[k];
    return at;
}

static double float_of(const struct array *a, size_t i)
{
    if (dtype_is_float(a->dtype))
        return scalar_float(a->dtype, a->data, i);
    int64_t x = scalar_int(a->dtype, a->data, i);
    return a->dtype == DTYPE_UINT64 ? (double)(uint64_t)x : (double)x;
}

/* One output in double precision. */
static double reduce_floats(enum reduce kind, const struct array *in, size_t base,
                            const struct nest *n)
{
    double sum = kind == REDUCE_PROD  ? 1
                 : kind == REDUCE_MAX ? -INFINITY
                 : kind == REDUCE_MIN ? INFINITY
                                      : 0;
    double largest = kind == REDUCE_LOG_SUM_EXP ? reduce_floats(REDUCE_MAX, in, base, n) : 0;
    if (!isfinite(largest))
        return largest;
    for (size_t i = 0; i < n->count; i++) {
        double x = float_of(in, base + nest_at(n, i));
        switch (kind) {
        case REDUCE_PROD:
            sum *= x;
            break;
        case REDUCE_MAX:
            sum = x > sum || isnan(x) ? x : sum;
            break;
        case REDUCE_MIN:
            sum = x < sum || isnan(x) ? x : sum;
            break;
        case REDUCE_L1:
            sum += fabs(x);
            break;
        case REDUCE_L2:
        case REDUCE_SUM_SQUARE:
            sum += x * x;
            break;
        default:
            sum += kind == REDUCE_LOG_SUM_EXP ? exp(x - largest) : x;
        }
    }
    return kind == REDUCE_MEAN          ? sum / (double)n->count
           : kind == REDUCE_L2          ? sqrt(sum)
           : kind == REDUCE_LOG_SUM     ? log(sum)
           : kind == REDUCE_LOG_SUM_EXP ? log(sum) + largest
                                        : sum;
}

/* Integers wrap around; bool: MAX is or, MIN is and. */
static int64_t reduce_ints(enum reduce kind, const struct array *in, size_t base,
                           const struct nest *n)
{
    bool is_unsigned = in->dtype == DTYPE_UINT64,
         extreme = kind == REDUCE_MAX || kind == REDUCE_MIN;
    uint64_t sum = kind == REDUCE_PROD ? 1 : 0;
    for (size_t i = 0; i < n->count; i++) {
        int64_t x = scalar_int(in->dtype, in->data, base + nest_at(n, i));
        uint64_t u = (uint64_t)x;
        bool less = is_unsigned ? u < sum : x < (int64_t)sum;
        if (extreme)
            sum = i == 0 || (kind == REDUCE_MIN ? less : !less) ? u : sum;
        else if (kind == REDUCE_PROD)
            sum *= u;
        else
            sum += kind == REDUCE_SUM_SQUARE ? u * u : kind == REDUCE_L1 && x < 0 ? 0 - u : u;
    }
    if (kind == REDUCE_MEAN && n->count)
        return is_unsigned ? (int64_t)(sum / n->count) : (int64_t)sum / (int64_t)n->count;
    return (int64_t)sum;
}

/* The least (or largest) number of an integer type: MAX (or MIN) of nothing. */
static int64_t limit_of(enum dtype t, bool largest)
{
    bool is_signed = t == DTYPE_INT8 || t == DTYPE_INT16 || t == DTYPE_INT32 || t == DTYPE_INT64;
    unsigned bits = t == DTYPE_BOOL ? 1 : 8 * (unsigned)dtype_bytes(t);
    uint64_t all = UINT64_MAX >> (64 - bits);
    if (!is_signed)
        return largest ? (int64_t)all : 0;
    return largest ? (int64_t)(all >> 1) : -(int64_t)(all >> 1) - 1;
}

/* What the kernels do not do, one output at a time. */
static void reduce_plain(const struct step *step, const struct passes *p, enum reduce kind)
{
    const struct array *in = step->in[0], *out = step->out[0];
    bool whole = !dtype_is_float(in->dtype) && kind != REDUCE_L2 && kind != REDUCE_LOG_SUM &&
                 kind != REDUCE_LOG_SUM_EXP;
    struct nest kept, reduced;
    make_nests(in, p->marks, &kept, &reduced);
    for (size_t o = 0; o < kept.count; o++) {
        size_t base = nest_at(&kept, o);
        if (whole && !reduced.count && (kind == REDUCE_MAX || kind == REDUCE_MIN))
            scalar_set_int(out->dtype, out->data, o, limit_of(out->dtype, kind == REDUCE_MIN));
        else if (whole)
            scalar_set_int(out->dtype, out->data, o, reduce_ints(kind, in, base, &reduced));
        else if (dtype_is_float(out->dtype))
            scalar_set_float(out->dtype, out->data, o, reduce_floats(kind, in, base, &reduced));
        else
            scalar_set_int(out->dtype, out->data, o,
                           scalar_truncate(reduce_floats(kind, in, base, &reduced)));
    }
}

enum status reduce_compute(const struct step *step, struct error *why)
{
    (void)why;
    const struct passes *p = step->params;
    enum reduce kind = (enum reduce)step->node->op->variant;
    if (!p->len)
        memcpy(step->out[0]->data, step->in[0]->data, step->out[0]->bytes);
    else if (step->in[0]->dtype == DTYPE_FP32 && kind < REDUCE_KERNELS)
        reduce_fp32(step, p, kind);
    else
        reduce_plain(step, p, kind);
    return STATUS_OK;
}

/* Rows stay apart when their axis is not among the reduced ones. */
static void rows_kept(const struct rows_step *s, struct rows_at in, const bool *marks,
                      struct rows_at *out)
{
    const struct array *x = s->step->in[0];
    uint32_t axis;
    uint64_t front, outer = 1;
    if (!rows_locate(s, x, in, &axis, &front) || marks[axis])
        return;
    for (uint32_t k = 0; k < axis; k++)
        outer *= marks[k] ? 1 : (uint64_t)x->dims[k];
    *out = (struct rows_at){ROWS_ALONG, outer * front};
}

void reduce_rows(const struct rows_step *s, const struct rows_at *in, struct rows_at *out)
{
    const struct passes *p = s->step->params;
    if (s->step->in_len < 2 || in[1].rows != ROWS_ALONG)
        rows_kept(s, in[0], p->marks, &out[0]);
}

enum status arg_check(struct node *node, struct error *why)
{
    (void)why;
    struct reduction *r = region_take(node->region, sizeof *r);
    r->axes[0] = attr_int(node, "axis", 0);
    r->keep = attr_int(node, "keepdims", 1) != 0;
    r->last = node->opset >= 12 && attr_int(node, "select_last_index", 0) != 0;
    node->state = r;
    return STATUS_OK;
}

enum status arg_shape(struct step *step, struct error *why)
{
    const struct array *in = step->in[0];
    const struct reduction *r = step->node->state;
    struct passes *p = region_take(step->region, sizeof *p);
    int64_t axis = r->axes[0], dims[TENSOR_RANK_MAX];
    uint32_t rank = 0;
    if (!dtype_is_float(in->dtype) && !dtype_is_integer(in->dtype))
        return bad_step(why, step, "%s is not a type of this operator", dtype_name(in->dtype));
    if (!axis_ok(&axis, in->rank) || in->dims[axis] == 0)
        return bad_step(why, step, "axis %" PRId64 " is outside of rank %u or empty", axis,
                        in->rank);
    p->marks[axis] = true;
    p->len = 1;
    p->pass[0].outer = dims_span(in, 0, (uint32_t)axis);
    p->pass[0].axis = (size_t)in->dims[axis];
    p->pass[0].inner = dims_span(in, (uint32_t)axis + 1, in->rank);
    for (uint32_t k = 0; k < in->rank; k++)
        if (k != axis || r->keep)
            dims[rank++] = k == axis ? 1 : in->dims[k];
    step->params = p;
    return out_set(step, 0, DTYPE_INT64, dims, rank, why);
}

enum status arg_compute(const struct step *step, struct error *why)
{
    (void)why;
    const struct array *in = step->in[0];
    const struct reduction *r = step->node->state;
    const struct pass *p = &((const struct passes *)step->params)->pass[0];
    enum reduce kind = (enum reduce)step->node->op->variant;
    bool is_float = dtype_is_float(in->dtype);
    for (size_t i = 0; i < p->outer * p->inner; i++) {
        size_t base = i / p->inner * p->axis * p->inner + i % p->inner, best = 0;
        for (size_t k = 1; k < p->axis; k++) {
            size_t at = base + k * p->inner, old = base + best * p->inner;
            double x = is_float ? scalar_float(in->dtype, in->data, at) : 0;
            double y = is_float ? scalar_float(in->dtype, in->data, old) : 0;
            int64_t m = is_float ? 0 : scalar_int(in->dtype, in->data, at);
            int64_t n = is_float ? 0 : scalar_int(in->dtype, in->data, old);
            bool equal = is_float ? x == y : m == n;
            bool better =
                kind == REDUCE_MAX ? (is_float ? x > y : m > n) : (is_float ? x < y : m < n);
            if (better || (equal && r->last))
                best = k;
        }
        ((int64_t *)step->out[0]->data)[i] = (int64_t)best;
    }
    return STATUS_OK;
}
