/* attention - head by head on packed keys and values, a block of queries at a time; see attention.h
 */
#include "worker/kernels/attention.h"

#include <math.h>
#include <string.h>

#include "worker/kernels/gemm.h"
#include "worker/kernels/par.h"
#include "worker/kernels/rows.h"
#include "worker/kernels/vector.h"

#define BLOCK 48 /* queries at once: whole tiles; their scores stay in the cache */

#define COST_SOFTMAX 32.0 /* flops per score, mask included */

/* What one thread needs: bytes of each part, on TENSOR_ALIGN boundaries. */
struct parts {
    size_t keys, values, scores;
};

static size_t aligned(size_t bytes)
{
    return (bytes + TENSOR_ALIGN - 1) / TENSOR_ALIGN * TENSOR_ALIGN;
}

static struct parts parts_of(const struct attention *a)
{
    return (struct parts){
        aligned(gemm_packed_bytes(a->size, a->keys)),
        aligned(gemm_packed_bytes(a->keys, a->value_size)),
        aligned(MIN(a->queries, BLOCK) * a->keys * sizeof(float)),
    };
}

size_t attention_scratch_bytes(const struct attention *a)
{
    struct parts p = parts_of(a);
    size_t total;
    return __builtin_mul_overflow(p.keys + p.values + p.scores, par_slots(), &total) ? SIZE_MAX
                                                                                     : total;
}

/* Keys that query `i` may reach, mask aside: *from..*to-1. */
static void reach(const struct attention *a, size_t batch, size_t i, size_t *from, size_t *to)
{
    const struct attention_mask *m = &a->mask;
    int64_t keys = (int64_t)a->keys, low = 0, high = keys;
    int64_t offset = m->valid ? m->valid[batch] - (int64_t)a->queries : m->offset;
    int64_t at = offset + (int64_t)i;
    if (m->valid)
        high = MIN(high, MAX(m->valid[batch], 0));
    if (m->bias || m->open)
        high = MIN(high, (int64_t)m->keys);
    if (m->after >= 0 && m->after < keys - at)
        high = MIN(high, at + m->after + 1);
    if (m->before >= 0 && m->before < at)
        low = at - m->before;
    *from = (size_t)MAX(0, MIN(low, high));
    *to = (size_t)MAX((int64_t)*from, high);
}

/* Add `bias` to n scores; false when all of it is -inf. */
static bool add_bias(size_t n, const float *bias, size_t step, float *row)
{
    float most = -INFINITY;
    for (size_t j = 0; j < n; j++) {
        float b = bias[j * step];
        row[j] += b;
        most = b > most || isnan(b) ? b : most;
    }
    return most != -INFINITY;
}

/* Close scores where `open` is 0; false when all are. */
static bool close_some(size_t n, const uint8_t *open, size_t step, float *row)
{
    unsigned any = 0;
    for (size_t j = 0; j < n; j++) {
        any |= open[j * step];
        row[j] = open[j * step] ? row[j] : -INFINITY;
    }
    return any != 0;
}

/* Mask one query's scores; false when no key is open. */
static bool mask_row(const struct attention *a, size_t batch, size_t head, size_t i, float *row)
{
    const struct attention_mask *m = &a->mask;
    size_t at = batch * m->steps[0] + head * m->steps[1] + i * m->steps[2], step = m->steps[3];
    size_t from, to;
    reach(a, batch, i, &from, &to);
    bool any = to > from;
    if (m->bias)
        any = add_bias(to - from, m->bias + at + from * step, step, row + from) && any;
    if (m->open)
        any = close_some(to - from, m->open + at + from * step, step, row + from) && any;
    for (size_t j = 0; j < from; j++)
        row[j] = -INFINITY;
    for (size_t j = to; j < a->keys; j++)
        row[j] = -INFINITY;
    return any;
}

/* Hand out a block's scores if this is the stage that was asked for. */
static void hand_out(const struct attention *a, enum attention_stage stage, size_t first,
                     size_t rows, const float *scores)
{
    if (a->scores && a->stage == stage && a->keys)
        memcpy(a->scores + first * a->keys, scores, rows * a->keys * sizeof(float));
}

/* Queries first..first+rows-1 of one head. */
static void attend(const struct attention *a, size_t item, size_t first, size_t rows,
                   const float *keys, const float *values, float *scores)
{
    size_t batch = item / a->heads, head = item % a->heads, at = item * a->queries + first;
    const float *q = a->q + batch * a->q_at.batch + head * a->q_at.head + first * a->q_at.row;
    float *out = a->out + batch * a->out_at.batch + head * a->out_at.head + first * a->out_at.row;
    bool open[BLOCK];
    struct gemm g = {.m = rows, .n = a->keys, .k = a->size, .a = {q, a->q_at.row, 1}};
    g.packed = keys;
    g.act = ACT_NONE;
    g.c = scores;
    g.c_step = a->keys;
    gemm_run_serial(&g);
    hand_out(a, ATTENTION_RAW, at, rows, scores);
    if (a->softcap != 0)
        vec_unary((struct activation){UNARY_SCALED_TANH, a->softcap, 1 / a->softcap},
                  rows * a->keys, scores, scores);
    hand_out(a, ATTENTION_CAPPED, at, rows, scores);
    for (size_t i = 0; i < rows; i++)
        open[i] = mask_row(a, batch, head, first + i, scores + i * a->keys);
    hand_out(a, ATTENTION_MASKED, at, rows, scores);
    rows_softmax(rows, a->keys, 1, scores, scores);
    for (size_t i = 0; i < rows; i++)
        if (!open[i] && a->keys && !a->closed_is_nan)
            memset(scores + i * a->keys, 0, a->keys * sizeof(float));
    hand_out(a, ATTENTION_WEIGHTS, at, rows, scores);
    g = (struct gemm){.m = rows, .n = a->value_size, .k = a->keys, .a = {scores, a->keys, 1}};
    g.packed = values;
    g.act = ACT_NONE;
    g.c = out;
    g.c_step = a->out_at.row;
    gemm_run_serial(&g);
}

struct attention_job {
    const struct attention *a;
    uint8_t *scratch;
};

static void heads_of(void *arg, size_t slot, size_t begin, size_t end)
{
    const struct attention_job *job = arg;
    const struct attention *a = job->a;
    struct parts p = parts_of(a);
    uint8_t *own = job->scratch + slot * (p.keys + p.values + p.scores);
    float *keys = (void *)own, *values = (void *)(own + p.keys);
    float *scores = (void *)(own + p.keys + p.values);
    for (size_t item = begin; item < end; item++) {
        size_t batch = item / a->heads, head = item % a->heads / (a->heads / a->kv_heads);
        struct matrix k = {a->k + batch * a->k_at.batch + head * a->k_at.head, 1, a->k_at.row};
        struct matrix v = {a->v + batch * a->v_at.batch + head * a->v_at.head, a->v_at.row, 1};
        gemm_pack(a->size, a->keys, k, a->scale, keys);
        gemm_pack(a->keys, a->value_size, v, 1.0f, values);
        for (size_t first = 0; first < a->queries; first += BLOCK)
            attend(a, item, first, MIN(BLOCK, a->queries - first), keys, values, scores);
    }
}

void attention_run(const struct attention *a, void *scratch)
{
    struct attention_job job = {a, scratch};
    double scores = (double)a->batch * (double)a->heads * (double)a->queries * (double)a->keys;
    par_for(a->batch * a->heads, scores * (2.0 * (double)(a->size + a->value_size) + COST_SOFTMAX),
            heads_of, &job);
}
