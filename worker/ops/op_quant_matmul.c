/* op_quant_matmul - MatMulInteger and QLinearMatMul: exact products of bytes */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "worker/kernels/bytes.h"
#include "worker/kernels/bytes_conv.h"
#include "worker/kernels/par.h"
#include "worker/ops/broadcast.h"
#include "worker/ops/ops.h"
#include "worker/ops/quant.h"
#include "worker/ops/scalar.h"

/* Where the operands stand; MatMulInteger has no scales. */
enum { INT_A, INT_B, INT_A_ZERO, INT_B_ZERO };
enum { LIN_A, LIN_A_SCALE, LIN_A_ZERO, LIN_B, LIN_B_SCALE, LIN_B_ZERO, LIN_Y_SCALE, LIN_Y_ZERO };

struct operands {
    const struct array *a, *b, *a_zero, *b_zero, *a_scale, *b_scale, *y_scale, *y_zero;
};

static struct operands operands_of(const struct step *step)
{
    struct operands o = {.a = NULL};
    if (step->node->op->variant == VARIANT_NONE) {
        o.a = step->in[INT_A];
        o.b = step->in[INT_B];
        o.a_zero = step_in(step, INT_A_ZERO);
        o.b_zero = step_in(step, INT_B_ZERO);
        return o;
    }
    o.a = step->in[LIN_A];
    o.b = step->in[LIN_B];
    o.a_zero = step->in[LIN_A_ZERO];
    o.b_zero = step->in[LIN_B_ZERO];
    o.a_scale = step->in[LIN_A_SCALE];
    o.b_scale = step->in[LIN_B_SCALE];
    o.y_scale = step->in[LIN_Y_SCALE];
    o.y_zero = step->in[LIN_Y_ZERO];
    return o;
}

/* Products of [m][k] and [k][n], as many as the broadcast axes in front give. */
struct products {
    size_t m, n, k, count;
    int64_t dims[TENSOR_RANK_MAX]; /* in front */
    uint32_t rank;
    const int16_t *packed; /* B of all products, columns as rows, less its zero point; or NULL */
    const struct bytes_conv *conv; /* all as one convolution of 1 x 1, or NULL */
    size_t conv_scratch;           /* bytes; behind them is room for A */
};

/* A parameter of operand `x`: one number, one per row (or column) of every matrix, or, with all of
 * x's axes, one per row (or column) of each. */
static bool param_fits(const struct array *param, const struct array *x, bool columns)
{
    if (!param || array_count(param) == 1)
        return true;
    uint32_t axis = columns ? x->rank - 1 : x->rank - 2;
    if (x->rank < 2 || param->rank == 1)
        return x->rank >= 2 && param->dims[0] == x->dims[axis];
    bool fits = param->rank == x->rank;
    for (uint32_t k = 0; fits && k < x->rank; k++)
        fits = param->dims[k] == (k + 2 < x->rank || k == axis ? x->dims[k] : 1);
    return fits;
}

/* Its element for row (or column) `i` of `side` in x's matrix number `matrix`. */
static size_t param_at(const struct array *param, size_t matrix, size_t side, size_t i)
{
    if (!param || array_count(param) == 1)
        return 0;
    return param->rank == 1 ? i : matrix * side + i;
}

static enum status find_products(const struct step *step, const struct operands *o,
                                 struct products *p, struct error *why)
{
    struct array a = *o->a, b = *o->b;
    struct array *both[2] = {&a, &b};
    char text[2][128];
    bool fits = a.rank >= 1 && b.rank >= 1;
    p->m = fits && a.rank > 1 ? (size_t)a.dims[a.rank - 2] : 1;
    p->k = fits ? (size_t)a.dims[a.rank - 1] : 0;
    p->n = fits && b.rank > 1 ? (size_t)b.dims[b.rank - 1] : 1;
    fits = fits && b.dims[b.rank > 1 ? b.rank - 2 : 0] == a.dims[a.rank - 1];
    fits = fits && param_fits(o->a_zero, &a, false) && param_fits(o->b_zero, &b, true) &&
           param_fits(o->a_scale, &a, false) && param_fits(o->b_scale, &b, true);
    if (!fits)
        return bad_step(why, step, "shapes %s and %s and their parameters do not fit together",
                        dims_text(text[0], sizeof text[0], o->a->dims, o->a->rank),
                        dims_text(text[1], sizeof text[1], o->b->dims, o->b->rank));
    a.rank -= MIN(a.rank, 2);
    b.rank -= MIN(b.rank, 2);
    enum status s = broadcast_dims(step, both, 2, p->dims, &p->rank, why);
    p->count = 1;
    for (uint32_t i = 0; i < p->rank; i++)
        p->count *= (size_t)p->dims[i];
    return s;
}

/* Column by column, less the zero points: [n][k]. */
static void pack_columns(const struct operands *o, const struct products *p, size_t matrix,
                         int16_t *to)
{
    for (size_t c = 0; c < p->n; c++)
        quant_widen(o->b, matrix * p->k * p->n + c, p->n, p->k,
                    quant_zero(o->b_zero, param_at(o->b_zero, matrix, p->n, c)), to + c * p->k);
}

/* Everything but A is constant, B one matrix, and A's numbers single: rows of A are pixels. */
static bool is_conv(const struct step *step, const struct operands *o, const struct products *p)
{
    bool linear = o->y_scale != NULL;
    for (uint32_t i = 1; i < step->in_len; i++)
        if (step->in[i] && !step->in[i]->fixed)
            return false;
    return p->k && p->n && o->b->rank == 2 && quant_per(o->a_zero, 1) &&
           (!linear || (array_count(o->a_scale) == 1 && o->a_scale->dtype == DTYPE_FP32 &&
                        o->b_scale->dtype == DTYPE_FP32 && o->y_scale->dtype == DTYPE_FP32));
}

static float scale_of(const struct operands *o, size_t column)
{
    size_t at = param_at(o->b_scale, 0, 0, column);
    return *(const float *)o->a_scale->data * ((const float *)o->b_scale->data)[at] /
           *(const float *)o->y_scale->data;
}

static struct bytes_conv *conv_new(const struct operands *o, const struct products *p)
{
    int32_t *zeros = xcalloc(p->n, sizeof *zeros);
    float *scales = xcalloc(p->n, sizeof *scales);
    uint8_t *columns = xcalloc(p->n, p->k); /* [n][k] */
    const uint8_t *b = o->b->data;
    const struct conv_shape shape = {
        .channels_in = p->k,
        .channels_out = p->n,
        .groups = 1,
        .kernel = {1, 1},
        .stride = {1, 1},
        .dilation = {1, 1},
    };
    struct bytes_conv_numbers n = {
        .x_type = o->a->dtype,
        .w_type = o->b->dtype,
        .y_type = o->y_scale ? o->y_zero->dtype : DTYPE_INT32,
        .x_zero = quant_zero(o->a_zero, 0),
        .w_zeros = zeros,
        .scales = scales,
        .y_zero = quant_zero(o->y_zero, 0),
    };
    n.low = n.y_type == DTYPE_INT8 ? INT8_MIN : 0;
    n.high = n.low + UINT8_MAX;
    for (size_t c = 0; c < p->n; c++) {
        zeros[c] = quant_zero(o->b_zero, param_at(o->b_zero, 0, 0, c));
        if (o->y_scale)
            scales[c] = scale_of(o, c);
        for (size_t r = 0; r < p->k; r++)
            columns[c * p->k + r] = b[r * p->n + c];
    }
    struct bytes_conv *conv = bytes_conv_new(&shape, &n, columns, LAYOUT_LAST);
    free(zeros);
    free(scales);
    free(columns);
    return conv;
}

static void conv_drop(void *conv)
{
    struct bytes_conv *self = conv;
    bytes_conv_destroy(&self);
}

static struct maps conv_maps(const struct products *p)
{
    return (struct maps){1, p->k, 1, p->count * p->m};
}

static void place_conv(struct step *step, const struct operands *o, struct products *p)
{
    struct node *n = step->node;
    if (!n->packed) {
        n->packed = conv_new(o, p);
        n->unpack = conv_drop;
    }
    p->conv = n->packed;
    step->packed = true;
    n->kernel = bytes_conv_name(p->conv);
    p->conv_scratch = bytes_conv_scratch_bytes(p->conv, conv_maps(p));
    p->conv_scratch = (p->conv_scratch + TENSOR_ALIGN - 1) / TENSOR_ALIGN * TENSOR_ALIGN;
    step->scratch_bytes = p->conv_scratch + p->count * p->m * p->k + BYTES_SLACK;
}

/* A may end on the last byte of a page. */
static void run_conv(const struct step *step, const struct operands *o, const struct products *p)
{
    const void *a = o->a->data;
    size_t bytes = p->count * p->m * p->k;
    if (p->k % 4) {
        void *copy = (char *)step->scratch + p->conv_scratch;
        memcpy(copy, a, bytes);
        a = copy;
    }
    if (bytes)
        bytes_conv_run(p->conv, conv_maps(p), a, step->out[0]->data, step->scratch);
}

/* One constant matrix is packed once for all runs. */
static void place_columns(struct step *step, const struct operands *o, struct products *p)
{
    struct node *n = step->node;
    if (!o->b->fixed || o->b->rank > 2 || (o->b_zero && !o->b_zero->fixed))
        return;
    if (!n->packed) {
        n->packed = region_take(n->region, MAX(p->k * p->n * sizeof(int16_t), KIB));
        pack_columns(o, p, 0, n->packed);
    }
    p->packed = n->packed;
    step->packed = true;
}

enum status quant_matmul_shape(struct step *step, struct error *why)
{
    struct operands o = operands_of(step);
    struct products *p = region_take(step->region, sizeof *p);
    bool linear = o.y_scale != NULL;
    if (!quant_is_byte(o.a->dtype) || !quant_is_byte(o.b->dtype) ||
        (o.a_zero && o.a_zero->dtype != o.a->dtype) ||
        (o.b_zero && o.b_zero->dtype != o.b->dtype) ||
        (linear && (!quant_is_byte(o.y_zero->dtype) || !dtype_is_float(o.a_scale->dtype) ||
                    !dtype_is_float(o.b_scale->dtype) || !dtype_is_float(o.y_scale->dtype) ||
                    array_count(o.y_scale) != 1 || array_count(o.y_zero) != 1)))
        return bad_step(why, step, "expected bytes with zero points of their type%s",
                        linear ? " and scales of floats" : "");
    enum status s = find_products(step, &o, p, why);
    if (s != STATUS_OK)
        return s;
    int64_t dims[TENSOR_RANK_MAX + 2];
    uint32_t rank = p->rank;
    memcpy(dims, p->dims, rank * sizeof *dims);
    if (o.a->rank > 1)
        dims[rank++] = (int64_t)p->m;
    if (o.b->rank > 1)
        dims[rank++] = (int64_t)p->n;
    step->params = p;
    if (is_conv(step, &o, p)) {
        place_conv(step, &o, p);
        return out_set(step, 0, linear ? o.y_zero->dtype : DTYPE_INT32, dims, rank, why);
    }
    place_columns(step, &o, p);
    s = out_set(step, 0, linear ? o.y_zero->dtype : DTYPE_INT32, dims, rank, why);
    step->scratch_bytes = (p->m + (p->packed ? 0 : p->n)) * p->k * sizeof(int16_t);
    step->scratch_bytes += linear ? p->m * p->n * sizeof(int32_t) : 0;
    return s;
}

/* Which of the operand's matrices goes into product `i`. */
static size_t matrix_of(const struct products *p, const struct array *x, size_t i)
{
    uint32_t own = x->rank > 2 ? x->rank - 2 : 0;
    size_t at = 0, span = 1;
    for (uint32_t k = p->rank; k-- > 0; i /= (size_t)p->dims[k]) {
        uint32_t missing = p->rank - own;
        if (k < missing)
            continue;
        size_t dim = (size_t)x->dims[k - missing];
        at += dim > 1 ? i % (size_t)p->dims[k] * span : 0;
        span *= dim;
    }
    return at;
}

struct quant_job {
    struct operands o;
    const struct products *p;
    const int16_t *a, *b; /* [m][k] and [n][k] */
    struct array *out;
    int32_t *sums; /* [m][n], of QLinearMatMul */
    size_t a_matrix, b_matrix;
    size_t base; /* first output of this product */
};

static void quant_rows_of(void *arg, size_t slot, size_t begin, size_t end)
{
    const struct quant_job *j = arg;
    const struct products *p = j->p;
    const struct operands *o = &j->o;
    (void)slot;
    if (!o->y_scale) {
        bytes_dots(end - begin, p->n, p->k, j->a + begin * p->k, j->b,
                   (int32_t *)j->out->data + j->base + begin * p->n, p->n);
        return;
    }
    for (size_t r = begin; r < end; r++) {
        int32_t *sums = j->sums + r * p->n;
        size_t at = j->base + r * p->n, ra = param_at(o->a_scale, j->a_matrix, p->m, r);
        bytes_dots(1, p->n, p->k, j->a + r * p->k, j->b, sums, p->n);
        for (size_t c = 0; c < p->n; c++) {
            size_t cb = param_at(o->b_scale, j->b_matrix, p->n, c);
            float by = (float)scalar_float(o->a_scale->dtype, o->a_scale->data, ra) *
                       (float)scalar_float(o->b_scale->dtype, o->b_scale->data, cb) /
                       (float)scalar_float(o->y_scale->dtype, o->y_scale->data, 0);
            float scaled = (float)sums[c] * by;
            double y = __builtin_nearbyint((double)scaled) + quant_zero(o->y_zero, 0);
            scalar_set_int(j->out->dtype, j->out->data, at + c, quant_round(j->out->dtype, y));
        }
    }
}

enum status quant_matmul_compute(const struct step *step, struct error *why)
{
    (void)why;
    const struct products *p = step->params;
    struct operands o = operands_of(step);
    if (p->conv) {
        run_conv(step, &o, p);
        return STATUS_OK;
    }
    int32_t *sums = step->scratch;
    int16_t *a = (int16_t *)(sums + (o.y_scale ? p->m * p->n : 0)), *b = a + p->m * p->k;
    for (size_t i = 0; i < p->count; i++) {
        size_t am = matrix_of(p, o.a, i), bm = matrix_of(p, o.b, i);
        size_t a_at = am * p->m * p->k;
        for (size_t r = 0; r < p->m; r++)
            quant_widen(o.a, a_at + r * p->k, 1, p->k,
                        quant_zero(o.a_zero, param_at(o.a_zero, am, p->m, r)), a + r * p->k);
        if (!p->packed)
            pack_columns(&o, p, bm, b);
        struct quant_job job = {
            o, p, a, p->packed ? p->packed : b, step->out[0], sums, am, bm, i * p->m * p->n};
        par_for(p->m, 2.0 * (double)(p->m * p->n * p->k), quant_rows_of, &job);
    }
    return STATUS_OK;
}

/* Rows of A; all else is the same for all, and A's parameters are one. */
void quant_matmul_rows(const struct rows_step *s, const struct rows_at *in, struct rows_at *out)
{
    struct operands o = operands_of(s->step);
    uint32_t rank = o.a->rank;
    for (uint32_t i = 1; i < s->step->in_len; i++)
        if (in[i].rows != ROWS_NONE)
            return;
    if (rank > 1 && o.b->rank <= 2 && quant_per(o.a_zero, 1) && quant_per(o.a_scale, 1))
        rows_beside(s, in[0], rank - 1, rank, &out[0]);
}
