/* op_gemm - Gemm and MatMul, with bias and activation fused */
#include "worker/kernels/gemm.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "worker/kernels/vector.h"
#include "worker/ops/broadcast.h"
#include "worker/ops/ops.h"
#include "worker/ops/scalar.h"

#define PRODUCTS_MAX (1 << 24) /* in one batch: bounds the list of their places */

struct gemm_state {
    float alpha, beta;
    bool trans_a, trans_b;
};

/* What shape() decided: one product with a packed right side, or a batch of products. */
struct product {
    size_t m, n, k;
    struct matrix a, b;   /* steps; data is set in the run */
    const float *packed;  /* B; NULL: packed in scratch, or `many` */
    const float *bias;    /* scaled by beta; NULL: see `c` */
    bool c;               /* C is added from input 2 in the run, broadcast */
    bool many;            /* a batch of products of activations */
    struct matmul matmul; /* offsets and sizes when many */
};

enum status gemm_check(struct node *node, struct error *why)
{
    (void)why;
    struct gemm_state *g = region_take(node->region, sizeof *g);
    g->alpha = attr_float(node, "alpha", 1.0f);
    g->beta = attr_float(node, "beta", 1.0f);
    g->trans_a = attr_int(node, "transA", 0) != 0;
    g->trans_b = attr_int(node, "transB", 0) != 0;
    attr_ignore(node, "broadcast"); /* up to opset 6; since then C always may be */
    node->state = g;
    return STATUS_OK;
}

/* Of a type that no kernel has: plain loops. */
static bool exact(const struct step *step)
{
    return step->in[0]->dtype != DTYPE_FP32;
}

static enum status one_type(const struct step *step, struct error *why)
{
    enum dtype t = step->in[0]->dtype;
    if (t != DTYPE_FP32 && t != DTYPE_FP64 && t != DTYPE_INT32 && t != DTYPE_INT64 &&
        t != DTYPE_UINT32 && t != DTYPE_UINT64)
        return bad_step(why, step, "%s is not a type of this operator", dtype_name(t));
    for (uint32_t i = 1; i < step->in_len; i++)
        if (step->in[i] && step->in[i]->dtype != t)
            return bad_step(why, step, "input %u is %s; expected %s", i,
                            dtype_name(step->in[i]->dtype), dtype_name(t));
    enum unary act = step->node->act.op;
    if (dtype_is_integer(t) && act != UNARY_IDENTITY && act != UNARY_RELU && act != UNARY_NEG &&
        act != UNARY_ABS)
        return bad_step(why, step, "%s is not a type of the function behind it", dtype_name(t));
    return STATUS_OK;
}

/* Whether an integer may be multiplied by x without rounding. */
static bool is_whole(float x)
{
    return fabsf(x) < 0x1p31f && truncf(x) == x;
}

static enum status mismatch(const struct step *step, struct error *why)
{
    char text[2][128];
    return bad_step(why, step, "shapes %s and %s cannot be multiplied",
                    dims_text(text[0], sizeof text[0], step->in[0]->dims, step->in[0]->rank),
                    dims_text(text[1], sizeof text[1], step->in[1]->dims, step->in[1]->rank));
}

/* What a packed right side depends on; of one size, so that there is no padding. */
struct packing {
    const void *data; /* the constant: it stays where it is as long as its graph */
    uint64_t k, n, row_step, col_step;
    double alpha;
};

/* Nodes with the same weights have them packed once. */
static const float *packed_once(const struct step *step, const struct product *p, float alpha)
{
    struct packing key = {step->in[1]->data, p->k,          p->n,
                          p->b.row_step,     p->b.col_step, (double)alpha};
    bool made;
    size_t bytes = MAX(gemm_packed_bytes(p->k, p->n), KIB); /* big pieces are aligned */
    float *packed = region_shared(step->node->region, &key, sizeof key, bytes, &made);
    if (made) {
        void *copy;
        struct matrix b = p->b;
        b.data = pack_data(step, 1, &copy);
        gemm_pack(p->k, p->n, b, alpha, packed);
        free(copy);
    }
    return packed;
}

/* The right side by the kernel's layout: once when it is constant, else in scratch. */
static void place_packed(struct step *step, struct product *p, float alpha)
{
    struct node *n = step->node;
    if (exact(step))
        return;
    if (!step->in[1]->fixed) {
        step->scratch_bytes = gemm_packed_bytes(p->k, p->n);
        return;
    }
    if (!n->packed)
        n->packed = (void *)(uintptr_t)packed_once(step, p, alpha);
    p->packed = n->packed;
    step->packed = true;
}

static void place_bias(struct step *step, struct product *p, float beta)
{
    const struct array *c = step_in(step, 2);
    if (!c || beta == 0)
        return;
    bool row = !exact(step) && c->known && c->rank >= 1 && (size_t)c->dims[c->rank - 1] == p->n &&
               array_count(c) == p->n;
    if (!row) {
        p->c = true;
        return;
    }
    float *scaled = region_array(step->region, p->n, sizeof *scaled);
    vec_unary((struct activation){UNARY_AFFINE, beta, 0}, p->n, c->data, scaled);
    p->bias = scaled;
}

enum status gemm_shape(struct step *step, struct error *why)
{
    const struct gemm_state *g = step->node->state;
    const struct array *a = step->in[0], *b = step->in[1], *c = step_in(step, 2);
    struct product *p = region_take(step->region, sizeof *p);
    enum status s = one_type(step, why);
    if (s != STATUS_OK)
        return s;
    if (!dtype_is_float(a->dtype) && (!is_whole(g->alpha) || !is_whole(g->beta)))
        return bad_step(why, step, "alpha %g and beta %g must be whole numbers for %s",
                        (double)g->alpha, (double)g->beta, dtype_name(a->dtype));
    if (a->rank != 2 || b->rank != 2 || a->dims[!g->trans_a] != b->dims[g->trans_b])
        return mismatch(step, why);
    p->m = (size_t)a->dims[g->trans_a];
    p->k = (size_t)a->dims[!g->trans_a];
    p->n = (size_t)b->dims[!g->trans_b];
    p->a = (struct matrix){NULL, g->trans_a ? 1 : p->k, g->trans_a ? p->m : 1};
    p->b = (struct matrix){NULL, g->trans_b ? 1 : p->n, g->trans_b ? p->k : 1};
    int64_t dims[2] = {(int64_t)p->m, (int64_t)p->n};
    for (uint32_t i = 0; c && i < c->rank; i++)
        if (c->rank > 2 || (c->dims[i] != 1 && c->dims[i] != dims[2 - c->rank + i]))
            return bad_step(why, step, "C cannot be stretched to [%zu,%zu]", p->m, p->n);
    step->params = p;
    place_packed(step, p, g->alpha);
    place_bias(step, p, g->beta);
    return out_set(step, 0, a->dtype, dims, 2, why);
}

/* Where element [i][j] of a product finds its C. */
static size_t c_place(const struct array *c, size_t i, size_t j)
{
    size_t rows = c->rank == 2 ? (size_t)c->dims[0] : 1;
    size_t cols = c->rank ? (size_t)c->dims[c->rank - 1] : 1;
    return (rows == 1 ? 0 : i) * cols + (cols == 1 ? 0 : j);
}

/* out += beta C, C stretched over out. */
static void add_c(const struct step *step, const struct product *p, float beta)
{
    const struct array *c = step->in[2], *out = step->out[0];
    float *o = out->data;
    for (size_t i = 0; i < p->m; i++)
        for (size_t j = 0; j < p->n; j++) {
            o[i * p->n + j] += beta * ((const float *)c->data)[c_place(c, i, j)];
        }
}

/* Element [i][j] of product `at`, sums in the order of k; integers wrap around. */
static void exact_element(const struct step *step, const struct product *p, size_t at, size_t i,
                          size_t j, float alpha, float beta)
{
    const struct array *a = step->in[0], *b = step->in[1], *out = step->out[0];
    const void *c = p->c ? step->in[2]->data : NULL;
    enum dtype t = out->dtype;
    size_t x = (p->many ? p->matmul.a_at[at] : 0) + i * p->a.row_step;
    size_t y = (p->many ? p->matmul.b_at[at] : 0) + j * p->b.col_step;
    size_t to = (at * p->m + i) * p->n + j;
    if (t == DTYPE_FP64) {
        double sum = 0;
        for (size_t k = 0; k < p->k; k++)
            sum += ((const double *)a->data)[x + k * p->a.col_step] *
                   ((const double *)b->data)[y + k * p->b.row_step];
        sum *= (double)alpha;
        if (c)
            sum += (double)beta * ((const double *)c)[c_place(step->in[2], i, j)];
        ((double *)out->data)[to] = sum;
        return;
    }
    uint64_t sum = 0;
    for (size_t k = 0; k < p->k; k++)
        sum += (uint64_t)scalar_int(t, a->data, x + k * p->a.col_step) *
               (uint64_t)scalar_int(t, b->data, y + k * p->b.row_step);
    sum *= (uint64_t)(int64_t)alpha;
    if (c)
        sum += (uint64_t)(int64_t)beta * (uint64_t)scalar_int(t, c, c_place(step->in[2], i, j));
    scalar_set_int(t, out->data, to, (int64_t)sum);
}

static enum status run_exact(const struct step *step, float alpha, float beta)
{
    const struct product *p = step->params;
    size_t batch = p->many ? p->matmul.batch : 1;
    for (size_t at = 0; at < batch; at++)
        for (size_t i = 0; i < p->m; i++)
            for (size_t j = 0; j < p->n; j++)
                exact_element(step, p, at, i, j, alpha, beta);
    const struct array *out = step->out[0];
    if (step->node->act.op != UNARY_IDENTITY)
        unary_plain(step->node->act, out->dtype, array_count(out), out->data, out->data);
    return STATUS_OK;
}

static void run_product(const struct step *step, const struct product *p, float alpha)
{
    struct gemm g = {.m = p->m, .n = p->n, .k = p->k, .a = p->a, .packed = p->packed};
    g.a.data = step->in[0]->data;
    g.bias = p->bias;
    g.act = p->c ? ACT_NONE : step->node->act;
    g.c = step->out[0]->data;
    g.c_step = p->n;
    if (!g.packed) {
        struct matrix b = p->b;
        b.data = step->in[1]->data;
        gemm_pack(p->k, p->n, b, alpha, step->scratch);
        g.packed = step->scratch;
    }
    gemm_run(&g);
}

enum status gemm_compute(const struct step *step, struct error *why)
{
    (void)why;
    const struct product *p = step->params;
    const struct gemm_state *g = step->node->state;
    if (exact(step))
        return run_exact(step, g->alpha, g->beta);
    run_product(step, p, g->alpha);
    if (p->c)
        add_c(step, p, g->beta);
    if (p->c && step->node->act.op != UNARY_IDENTITY)
        vec_unary(step->node->act, p->m * p->n, step->out[0]->data, step->out[0]->data);
    return STATUS_OK;
}

/* Rows on either axis of A as the product keeps them; B and C the same for all. */
void gemm_rows(const struct rows_step *s, const struct rows_at *in, struct rows_at *out)
{
    const struct gemm_state *g = s->step->node->state;
    const struct array *c = step_in(s->step, 2);
    uint32_t axis;
    uint64_t front;
    if (in[1].rows != ROWS_NONE || !rows_locate(s, s->step->in[0], in[0], &axis, &front) ||
        axis != g->trans_a || (c && (in[2].rows != ROWS_NONE || (c->rank == 2 && c->dims[0] != 1))))
        return;
    out[0] = (struct rows_at){ROWS_ALONG, front};
}

/* Offsets of each product of a batch, with the leading axes stretched. */
static enum status many_products(struct step *step, struct product *p, const struct array *a,
                                 const struct array *b, const int64_t *dims, uint32_t rank,
                                 struct error *why)
{
    uint64_t batch;
    size_t at[BROADCAST_MAX];
    struct broadcast loops;
    if (!dims_count(dims, rank - 2, &batch) || batch > PRODUCTS_MAX)
        return bad_step(why, step, "more than %d products in one batch", PRODUCTS_MAX);
    size_t *a_at = region_array(step->region, batch, sizeof *a_at);
    size_t *b_at = region_array(step->region, batch, sizeof *b_at);
    const int64_t *lead[2] = {a->dims, b->dims};
    const uint32_t ranks[2] = {a->rank - 2, b->rank - 2};
    broadcast_loops(&loops, dims, rank - 2, lead, ranks, 2);
    size_t rows = loops.dims[loops.rank - 2], cols = loops.dims[loops.rank - 1];
    for (size_t i = 0; i < batch; i++) {
        size_t r = i / cols % rows, c = i % cols;
        broadcast_at(&loops, i / (rows * cols), at);
        a_at[i] =
            (at[0] + r * loops.steps[0][loops.rank - 2] + c * loops.steps[0][loops.rank - 1]) *
            p->m * p->k;
        b_at[i] =
            (at[1] + r * loops.steps[1][loops.rank - 2] + c * loops.steps[1][loops.rank - 1]) *
            p->k * p->n;
    }
    p->many = true;
    p->matmul = (struct matmul){.batch = batch, .m = p->m, .n = p->n, .k = p->k, .alpha = 1.0f};
    p->matmul.a = p->a;
    p->matmul.b = p->b;
    p->matmul.a_at = a_at;
    p->matmul.b_at = b_at;
    step->scratch_bytes = matmul_scratch_bytes(&p->matmul);
    return STATUS_OK;
}

/* A vector counts as one row on the left, one column on the right; its axis is then dropped. */
static struct array as_matrix(const struct array *o, bool left)
{
    struct array m = *o;
    if (o->rank != 1)
        return m;
    m.rank = 2;
    m.dims[0] = left ? 1 : o->dims[0];
    m.dims[1] = left ? o->dims[0] : 1;
    return m;
}

enum status matmul_shape(struct step *step, struct error *why)
{
    struct product *p = region_take(step->region, sizeof *p);
    struct array a, b, lead_a, lead_b;
    struct array *lead[2] = {&lead_a, &lead_b};
    int64_t dims[TENSOR_RANK_MAX];
    uint32_t rank;
    enum status s = one_type(step, why);
    if (s != STATUS_OK)
        return s;
    if (!step->in[0]->rank || !step->in[1]->rank)
        return mismatch(step, why);
    a = lead_a = as_matrix(step->in[0], true);
    b = lead_b = as_matrix(step->in[1], false);
    if (a.dims[a.rank - 1] != b.dims[b.rank - 2])
        return mismatch(step, why);
    lead_a.rank -= 2;
    lead_b.rank -= 2;
    s = broadcast_dims(step, lead, 2, dims, &rank, why);
    if (s != STATUS_OK)
        return s;
    p->m = (size_t)a.dims[a.rank - 2];
    p->k = (size_t)a.dims[a.rank - 1];
    p->n = (size_t)b.dims[b.rank - 1];
    p->a = (struct matrix){NULL, p->k, 1};
    p->b = (struct matrix){NULL, p->n, 1};
    step->params = p;
    rank += 2;
    dims[rank - 2] = (int64_t)p->m;
    dims[rank - 1] = (int64_t)p->n;
    if (b.rank == 2) { /* one right side for all: one tall product */
        for (uint32_t i = 0; i + 2 < a.rank; i++)
            p->m *= (size_t)a.dims[i];
        place_packed(step, p, 1.0f);
        place_bias(step, p, 1.0f);
    } else {
        s = many_products(step, p, &a, &b, dims, rank, why);
        if (s != STATUS_OK)
            return s;
    }
    if (step->in[0]->rank == 1)
        dims[rank - 2] = dims[rank - 1];
    rank -= (step->in[0]->rank == 1 ? 1u : 0u) + (step->in[1]->rank == 1 ? 1u : 0u);
    return out_set(step, 0, a.dtype, dims, rank, why);
}

enum status matmul_compute(const struct step *step, struct error *why)
{
    (void)why;
    const struct product *p = step->params;
    if (exact(step))
        return run_exact(step, 1.0f, 1.0f);
    if (!p->many) {
        run_product(step, p, 1.0f);
        return STATUS_OK;
    }
    struct matmul mm = p->matmul;
    mm.a.data = step->in[0]->data;
    mm.b.data = step->in[1]->data;
    mm.c = step->out[0]->data;
    matmul_run(&mm, step->scratch);
    return STATUS_OK;
}

/* Rows of one side of a batch of products: the output's axis that they count, and how many elements
 * of it come in front. False unless they count whole products. */
static bool product_rows(const struct rows_step *s, uint32_t side, struct rows_at at,
                         uint32_t *axis, uint64_t *front)
{
    const struct array *x = s->step->in[side], *o = s->step->out[0];
    if (!rows_locate(s, x, at, axis, front) || *axis + 2 >= x->rank)
        return false;
    *axis += o->rank - x->rank;
    return true;
}

void matmul_rows(const struct rows_step *s, const struct rows_at *in, struct rows_at *out)
{
    const struct array *a = s->step->in[0], *b = s->step->in[1], *o = s->step->out[0];
    uint32_t axis[2] = {0, 0};
    uint64_t front[2] = {0, 0};
    if (in[1].rows == ROWS_NONE && b->rank <= 2 && rows_locate(s, a, in[0], axis, front)) {
        if (axis[0] + 1 < a->rank)
            out[0] = (struct rows_at){ROWS_ALONG, dims_span(o, 0, axis[0]) * front[0]};
        return;
    }
    if (a->rank < 2 || b->rank < 2)
        return;
    for (uint32_t i = 0; i < 2; i++)
        if (in[i].rows != ROWS_NONE && !product_rows(s, i, in[i], &axis[i], &front[i]))
            return;
    uint32_t has = in[0].rows == ROWS_NONE ? 1 : 0; /* a side that has rows */
    if (in[1 - has].rows != ROWS_NONE) {
        if (axis[0] != axis[1] || front[0] != front[1])
            return;
    } else { /* the other side must be the same for all of them */
        const struct array *other = s->step->in[1 - has];
        uint32_t missing = o->rank - other->rank;
        if (axis[has] >= missing && other->dims[axis[has] - missing] != 1)
            return;
    }
    out[0] = (struct rows_at){ROWS_ALONG, dims_span(o, 0, axis[has]) * front[has]};
}
