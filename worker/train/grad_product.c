/* grad_product - Gemm and MatMul
 *
 * With C = alpha A B, dA = alpha dC B^T and dB = alpha A^T dC, where A is m x k and B k x n after
 * the transpositions that Gemm asks for. A is one tall matrix where B has two dims. */
#include <inttypes.h>
#include <string.h>

#include "worker/kernels/gemm.h"
#include "worker/ops/broadcast.h"
#include "worker/train/grads.h"

struct product_pass {
    size_t batch, m, n, k;
    bool trans_a, trans_b;
    float alpha, beta;
    struct matmul da, db;       /* data is set when run */
    size_t *a_at, *b_at, *c_at; /* element offsets of each product */
};

static struct matrix matrix_of(size_t rows, size_t cols, bool turned)
{
    return turned ? (struct matrix){NULL, 1, rows} : (struct matrix){NULL, cols, 1};
}

static struct matrix turn(struct matrix m)
{
    return (struct matrix){m.data, m.col_step, m.row_step};
}

/* The two products; a stored matrix that Gemm reads transposed gets its gradient as stored. */
static void plan(struct pass *pass, struct product_pass *p)
{
    struct matrix a = matrix_of(p->m, p->k, p->trans_a), b = matrix_of(p->k, p->n, p->trans_b);
    struct matrix c = matrix_of(p->m, p->n, false);
    p->da = (struct matmul){.batch = p->batch, .m = p->m, .n = p->k, .k = p->n, .alpha = p->alpha};
    p->da.a = c, p->da.a_at = p->c_at, p->da.b = turn(b), p->da.b_at = p->b_at;
    if (p->trans_a) {
        p->da.m = p->k, p->da.n = p->m;
        p->da.a = b, p->da.a_at = p->b_at, p->da.b = turn(c), p->da.b_at = p->c_at;
    }
    p->db = (struct matmul){.batch = p->batch, .m = p->k, .n = p->n, .k = p->m, .alpha = p->alpha};
    p->db.a = turn(a), p->db.a_at = p->a_at, p->db.b = c, p->db.b_at = p->c_at;
    if (p->trans_b) {
        p->db.m = p->n, p->db.n = p->k;
        p->db.a = turn(c), p->db.a_at = p->c_at, p->db.b = a, p->db.b_at = p->a_at;
    }
    size_t bytes[2] = {matmul_scratch_bytes(&p->da), matmul_scratch_bytes(&p->db)};
    pass->back_scratch_bytes = MAX(bytes[0], bytes[1]);
    pass->state = p;
}

static void places(struct pass *pass, struct product_pass *p)
{
    size_t **lists[] = {&p->a_at, &p->b_at, &p->c_at};
    size_t sizes[] = {p->m * p->k, p->k * p->n, p->m * p->n};
    for (int i = 0; i < 3; i++) {
        *lists[i] = region_array(pass->step.region, p->batch, sizeof(size_t));
        for (size_t k = 0; k < p->batch; k++)
            (*lists[i])[k] = k * sizes[i];
    }
}

enum status gemm_setup(struct pass *pass, struct error *why)
{
    struct step *step = &pass->step;
    struct product_pass *p = region_take(step->region, sizeof *p);
    const struct array *a = step->in[0], *c = step->out[0];
    (void)why;
    p->trans_a = attr_int(step->node, "transA", 0) != 0;
    p->trans_b = attr_int(step->node, "transB", 0) != 0;
    p->alpha = attr_float(step->node, "alpha", 1);
    p->beta = attr_float(step->node, "beta", 1);
    p->batch = 1;
    p->m = (size_t)c->dims[0];
    p->n = (size_t)c->dims[1];
    p->k = (size_t)a->dims[!p->trans_a];
    places(pass, p);
    plan(pass, p);
    return STATUS_OK;
}

enum status matmul_setup(struct pass *pass, struct error *why)
{
    struct step *step = &pass->step;
    const struct array *a = step->in[0], *b = step->in[1];
    struct product_pass *p = region_take(step->region, sizeof *p);
    char text[2][128];
    bool same = a->rank == b->rank;
    for (uint32_t i = 0; same && i + 2 < a->rank; i++)
        same = a->dims[i] == b->dims[i];
    if (a->rank < 2 || b->rank < 2 || (b->rank > 2 && !same))
        return bad_step(why, step, "no gradient of products of %s and %s",
                        dims_text(text[0], sizeof text[0], a->dims, a->rank),
                        dims_text(text[1], sizeof text[1], b->dims, b->rank));
    p->alpha = 1;
    p->k = (size_t)a->dims[a->rank - 1];
    p->n = (size_t)b->dims[b->rank - 1];
    p->batch = b->rank > 2 ? dims_span(b, 0, b->rank - 2) : 1;
    p->m = b->rank > 2 ? (size_t)a->dims[a->rank - 2] : dims_span(a, 0, a->rank - 1);
    places(pass, p);
    plan(pass, p);
    return STATUS_OK;
}

void product_backward(struct pass *pass)
{
    const struct step *step = &pass->step;
    const struct product_pass *p = pass->state;
    const float *a = step->in[0]->data, *b = step->in[1]->data, *dy = pass->dout[0]->data;
    if (pass->din[0]) {
        struct matmul da = p->da;
        da.a.data = p->trans_a ? b : dy;
        da.b.data = p->trans_a ? dy : b;
        da.c = pass->din[0]->data;
        matmul_run(&da, pass->back_scratch);
    }
    if (pass->din[1]) {
        struct matmul db = p->db;
        db.a.data = p->trans_b ? dy : a;
        db.b.data = p->trans_b ? a : dy;
        db.c = pass->din[1]->data;
        matmul_run(&db, pass->back_scratch);
    }
    if (step->in_len > 2 && pass->din[2])
        grad_sum_to(step->out[0], dy, p->beta, pass->din[2]);
}
