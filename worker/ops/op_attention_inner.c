/* op_attention_inner - what graph/fuse_attention makes of softmax(scale Q K^T + mask) V; no
 * operator of ONNX
 *
 * Q, K, V are [batch][heads][length][size] or, without a batch, [heads][length][size]; axes in
 * front stretch as those of a product of matrices do. */
#include <inttypes.h>
#include <string.h>

#include "worker/kernels/attention.h"
#include "worker/ops/ops.h"

enum { Q, K, V, MASK };

enum status attention_inner_check(struct node *node, struct error *why)
{
    (void)why;
    float *scale = region_take(node->region, sizeof *scale);
    *scale = attr_float(node, "scale", 1.0f);
    node->state = scale;
    return STATUS_OK;
}

/* Dims of `a` behind ones, so that there are four. */
static void four_dims(const struct array *a, size_t dims[4])
{
    for (uint32_t k = 0; k < 4; k++)
        dims[k] = k + a->rank < 4 ? 1 : (size_t)a->dims[k + a->rank - 4];
}

/* Elements from one to the next along the axis; 0 where one stretches. */
static size_t step_of(const size_t dims[4], uint32_t axis)
{
    size_t step = 1;
    for (uint32_t k = axis + 1; k < 4; k++)
        step *= dims[k];
    return dims[axis] == 1 ? 0 : step;
}

static struct head_steps steps_of(const size_t dims[4])
{
    return (struct head_steps){step_of(dims, 0), step_of(dims, 1), dims[3]};
}

static enum status misfit(const struct step *step, struct error *why)
{
    char text[3][128];
    const struct array *m = step_in(step, MASK);
    return bad_step(why, step, "Q %s, K %s and V %s%s do not fit together, or are not FP32",
                    dims_text(text[0], sizeof text[0], step->in[Q]->dims, step->in[Q]->rank),
                    dims_text(text[1], sizeof text[1], step->in[K]->dims, step->in[K]->rank),
                    dims_text(text[2], sizeof text[2], step->in[V]->dims, step->in[V]->rank),
                    m ? " and the mask" : "");
}

/* The dims of all inputs, four each; false when they do not fit together. */
static bool find_dims(const struct step *step, size_t all[4][4])
{
    uint32_t rank = step->in[Q]->rank;
    size_t top[2] = {1, 1};
    if (rank < 3 || rank > 4)
        return false;
    for (uint32_t i = 0; i < step->in_len; i++) {
        const struct array *a = step->in[i];
        if (a->dtype != DTYPE_FP32 || (i < MASK ? a->rank != rank : a->rank > rank))
            return false;
        four_dims(a, all[i]);
        for (uint32_t k = 0; k < 2; k++)
            top[k] = all[i][k] == 1 ? top[k] : all[i][k];
    }
    const size_t scores[4] = {top[0], top[1], all[Q][2], all[K][2]};
    for (uint32_t i = 0; i < step->in_len; i++)
        for (uint32_t k = 0; k < (i < MASK ? 2 : 4); k++)
            if (all[i][k] != scores[k] && all[i][k] != 1)
                return false;
    return all[Q][3] == all[K][3] && all[K][2] == all[V][2];
}

enum status attention_inner_shape(struct step *step, struct error *why)
{
    struct attention *j = region_take(step->region, sizeof *j);
    size_t all[4][4] = {{0}}, out[4] = {1, 1};
    uint32_t rank = step->in[Q]->rank;
    int64_t dims[4];
    step->params = j;
    if (!find_dims(step, all))
        return misfit(step, why);
    for (uint32_t i = 0; i < step->in_len; i++)
        for (uint32_t k = 0; k < 2; k++)
            out[k] = all[i][k] == 1 ? out[k] : all[i][k];
    out[2] = all[Q][2];
    out[3] = all[V][3];
    *j = (struct attention){.batch = out[0], .heads = out[1], .kv_heads = out[1]};
    j->queries = all[Q][2];
    j->keys = all[K][2];
    j->size = all[Q][3];
    j->value_size = all[V][3];
    j->scale = *(const float *)step->node->state;
    j->q_at = steps_of(all[Q]);
    j->k_at = steps_of(all[K]);
    j->v_at = steps_of(all[V]);
    j->out_at = (struct head_steps){out[1] * out[2] * out[3], out[2] * out[3], out[3]};
    j->mask = (struct attention_mask){.keys = j->keys, .before = -1, .after = -1};
    for (uint32_t k = 0; k < 4 && step->in_len > MASK; k++)
        j->mask.steps[k] = step_of(all[MASK], k);
    j->closed_is_nan = true;
    step->scratch_bytes = attention_scratch_bytes(j);
    if (step->scratch_bytes > ARRAY_BYTES_MAX)
        return bad_step(why, step, "it would take more than %zu MiB", ARRAY_BYTES_MAX / MIB);
    for (uint32_t k = 0; k < rank; k++)
        dims[k] = (int64_t)out[4 - rank + k];
    return out_set(step, 0, DTYPE_FP32, dims, rank, why);
}

enum status attention_inner_compute(const struct step *step, struct error *why)
{
    (void)why;
    struct attention job = *(const struct attention *)step->params;
    job.q = step->in[Q]->data;
    job.k = step->in[K]->data;
    job.v = step->in[V]->data;
    job.mask.bias = step->in_len > MASK ? step->in[MASK]->data : NULL;
    job.out = step->out[0]->data;
    attention_run(&job, step->scratch);
    return STATUS_OK;
}

/* Rows lie on the first axis of all that have some; what has none is the same for all of them. */
void attention_inner_rows(const struct rows_step *s, const struct rows_at *in, struct rows_at *out)
{
    uint32_t rank = s->step->in[Q]->rank, axis;
    uint64_t front, found = 0;
    for (uint32_t i = 0; i < s->step->in_len; i++) {
        const struct array *a = s->step->in[i];
        if (in[i].rows == ROWS_NONE && (a->rank < rank || a->dims[0] == 1))
            continue;
        if (a->rank != rank || !rows_locate(s, a, in[i], &axis, &front) || axis != 0 ||
            (found && found != front))
            return;
        found = front;
    }
    if (found)
        out[0] = (struct rows_at){ROWS_ALONG, found};
}
