/* op_transpose - Transpose */
#include <inttypes.h>
#include <string.h>

#include "worker/kernels/transpose.h"
#include "worker/ops/ops.h"

/* Empty: reverse the axes. */
struct permutation {
    bool given;
    size_t len;
    int64_t axis[TENSOR_RANK_MAX];
};

/* The same, resolved for one rank, with sizes as the kernel wants them. */
struct resolved {
    size_t perm[TENSOR_RANK_MAX];
    size_t dims[TENSOR_RANK_MAX];
};

enum status transpose_check(struct node *node, struct error *why)
{
    struct permutation *p = region_take(node->region, sizeof *p);
    const int64_t *perm = attr_ints(node, "perm", &p->len);
    bool seen[TENSOR_RANK_MAX] = {false};
    p->given = perm != NULL;
    if (p->len > TENSOR_RANK_MAX)
        return bad_node(why, node, "perm has %zu axes; at most %d are supported", p->len,
                        TENSOR_RANK_MAX);
    assert(perm || !p->len);
    for (size_t i = 0; i < p->len; i++) {
        p->axis[i] = perm[i];
        if (!axis_ok(&p->axis[i], (uint32_t)p->len) || seen[p->axis[i]])
            return bad_node(why, node, "perm names axis %" PRId64 " twice or out of range",
                            perm[i]);
        seen[p->axis[i]] = true;
    }
    node->state = p;
    return STATUS_OK;
}

enum status transpose_shape(struct step *step, struct error *why)
{
    const struct array *in = step->in[0];
    const struct permutation *p = step->node->state;
    struct resolved *r = region_take(step->region, sizeof *r);
    int64_t dims[TENSOR_RANK_MAX];
    if (p->given && p->len != in->rank)
        return bad_step(why, step, "perm has %zu axes, the input %u", p->len, in->rank);
    for (uint32_t i = 0; i < in->rank; i++) {
        r->perm[i] = p->given ? (size_t)p->axis[i] : in->rank - 1 - i;
        r->dims[i] = (size_t)in->dims[i];
        dims[i] = in->dims[r->perm[i]];
    }
    step->params = r;
    return out_set(step, 0, in->dtype, dims, in->rank, why);
}

enum status transpose_compute(const struct step *step, struct error *why)
{
    (void)why;
    const struct resolved *r = step->params;
    transpose_run(step->in[0]->rank, r->dims, r->perm, element_bytes(step->in[0]->dtype),
                  step->in[0]->data, step->out[0]->data);
    return STATUS_OK;
}

void transpose_rows(const struct rows_step *s, const struct rows_at *in, struct rows_at *out)
{
    const struct resolved *r = s->step->params;
    uint32_t from;
    uint64_t front;
    if (!rows_locate(s, s->step->in[0], in[0], &from, &front))
        return;
    for (uint32_t i = 0; i < s->step->out[0]->rank; i++)
        if (r->perm[i] == from)
            out[0] = (struct rows_at){ROWS_ALONG, dims_span(s->step->out[0], 0, i) * front};
}
