/* op_rotary - RotaryEmbedding: pairs of a token's numbers turned by angles of its position */
#include <inttypes.h>
#include <string.h>

#include "worker/ops/ops.h"

enum { X, COS, SIN, IDS };

struct rotary {
    int64_t heads, turned; /* 0: from the dims */
    bool interleaved;
};

/* x is [batch][tokens][heads][size] by steps; the first 2 * half of each head are turned. */
struct rotary_params {
    size_t batch, tokens, heads, size, half;
    size_t batch_step, token_step, head_step;
    size_t positions; /* rows of the caches; 0: they are [batch][tokens][half] */
};

enum status rotary_check(struct node *node, struct error *why)
{
    struct rotary *r = region_take(node->region, sizeof *r);
    node->state = r;
    r->heads = attr_int(node, "num_heads", 0);
    r->turned = attr_int(node, "rotary_embedding_dim", 0);
    r->interleaved = attr_int(node, "interleaved", 0) != 0;
    if (r->heads < 0 || r->turned < 0 || r->turned % 2)
        return bad_node(why, node, "num_heads %" PRId64 " and rotary_embedding_dim %" PRId64,
                        r->heads, r->turned);
    return STATUS_OK;
}

static bool find_tokens(const struct array *x, const struct rotary *r, struct rotary_params *p)
{
    if (x->rank != 4 && (x->rank != 3 || !r->heads || x->dims[2] % r->heads))
        return false;
    p->batch = (size_t)x->dims[0];
    p->tokens = (size_t)x->dims[x->rank - 2];
    p->heads = (size_t)(x->rank == 4 ? x->dims[1] : r->heads);
    p->size = (size_t)x->dims[x->rank - 1] / (x->rank == 4 ? 1 : p->heads);
    p->batch_step = p->tokens * p->heads * p->size;
    p->token_step = x->rank == 4 ? p->size : p->heads * p->size;
    p->head_step = x->rank == 4 ? p->tokens * p->size : p->size;
    p->half = r->turned ? (size_t)r->turned / 2 : p->size / 2;
    return 2 * p->half <= p->size && (r->turned || p->size % 2 == 0);
}

static bool caches_fit(const struct step *step, struct rotary_params *p)
{
    const struct array *cos = step->in[COS], *ids = step_in(step, IDS);
    uint32_t rank = ids ? 2 : 3;
    if (cos->rank != rank || (size_t)cos->dims[rank - 1] != p->half ||
        step->in[SIN]->rank != rank ||
        memcmp(cos->dims, step->in[SIN]->dims, rank * sizeof *cos->dims) != 0)
        return false;
    if (!ids)
        return (size_t)cos->dims[0] == p->batch && (size_t)cos->dims[1] == p->tokens;
    p->positions = (size_t)cos->dims[0];
    return ids->dtype == DTYPE_INT64 && ids->rank == 2 && (size_t)ids->dims[0] == p->batch &&
           (size_t)ids->dims[1] == p->tokens;
}

enum status rotary_shape(struct step *step, struct error *why)
{
    struct rotary_params *p = region_take(step->region, sizeof *p);
    const struct array *x = step->in[X];
    char text[2][128];
    step->params = p;
    for (uint32_t i = X; i <= SIN; i++)
        if (step->in[i]->dtype != DTYPE_FP32)
            return bad_step(why, step, "input %u is %s; expected FP32", i,
                            dtype_name(step->in[i]->dtype));
    if (!find_tokens(x, step->node->state, p) || !caches_fit(step, p))
        return bad_step(
            why, step, "input %s and caches %s do not fit together",
            dims_text(text[0], sizeof text[0], x->dims, x->rank),
            dims_text(text[1], sizeof text[1], step->in[COS]->dims, step->in[COS]->rank));
    return shape_same(step, why);
}

static void turn(const struct rotary_params *p, bool interleaved, const float *x, const float *cos,
                 const float *sin, float *y)
{
    size_t step = interleaved ? 2 : 1, second = interleaved ? 1 : p->half;
    for (size_t i = 0; i < p->half; i++) {
        float a = x[i * step], b = x[i * step + second];
        y[i * step] = cos[i] * a - sin[i] * b;
        y[i * step + second] = sin[i] * a + cos[i] * b;
    }
    if (p->size > 2 * p->half)
        memcpy(y + 2 * p->half, x + 2 * p->half, (p->size - 2 * p->half) * sizeof(float));
}

enum status rotary_compute(const struct step *step, struct error *why)
{
    const struct rotary_params *p = step->params;
    const struct rotary *r = step->node->state;
    const struct array *ids = step_in(step, IDS);
    const float *cos = step->in[COS]->data, *sin = step->in[SIN]->data, *x = step->in[X]->data;
    float *y = step->out[0]->data;
    for (size_t t = 0; t < p->batch * p->tokens; t++) {
        int64_t row = ids ? ((const int64_t *)ids->data)[t] : (int64_t)t;
        if (ids && (row < 0 || row >= (int64_t)p->positions))
            return bad_step(why, step, "position %" PRId64 " is outside of caches of %zu", row,
                            p->positions);
        size_t at = t / p->tokens * p->batch_step + t % p->tokens * p->token_step;
        for (size_t h = 0; h < p->heads; h++, at += p->head_step)
            turn(p, r->interleaved, x + at, cos + (size_t)row * p->half,
                 sin + (size_t)row * p->half, y + at);
    }
    return STATUS_OK;
}

/* The batch axis of x, and of what goes with each of its rows. */
void rotary_rows(const struct rows_step *s, const struct rows_at *in, struct rows_at *out)
{
    bool ids = step_in(s->step, IDS) != NULL;
    for (uint32_t i = X; i < s->step->in_len; i++) {
        bool table = ids && (i == COS || i == SIN);
        if (table ? in[i].rows != ROWS_NONE : rows_axis(s, s->step->in[i], in[i]) != 0)
            return;
    }
    out[0] = rows_on_axis(s->step->out[0], 0);
}
