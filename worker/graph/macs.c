/* macs - see macs.h */
#include "worker/graph/macs.h"

#include <string.h>

#include "worker/ops/ops.h"

#define STEP_WORK_MIN 8192 /* what any step takes: finding its inputs, its memory, its operator */

/* Where the operands of an operator stand, and how its work follows from their dims. */
struct rule {
    const char *op;
    uint64_t (*macs)(const struct array *x, const struct array *w, const struct array *y);
    uint32_t x, w; /* input numbers */
};

/* Every output takes one product per weight of its channel: W is [channels][inputs...]. */
static uint64_t of_conv(const struct array *x, const struct array *w, const struct array *y)
{
    (void)x;
    return w->rank ? array_count(y) * dims_span(w, 1, w->rank) : 0;
}

/* Every input goes into one product per weight of its channel. */
static uint64_t of_conv_transpose(const struct array *x, const struct array *w,
                                  const struct array *y)
{
    (void)y;
    return w->rank ? array_count(x) * dims_span(w, 1, w->rank) : 0;
}

static uint64_t of_matmul(const struct array *x, const struct array *w, const struct array *y)
{
    (void)w;
    return x->rank ? array_count(y) * (uint64_t)x->dims[x->rank - 1] : 0;
}

/* Either side may be transposed: what A and Y share are Y's rows. */
static uint64_t of_gemm(const struct array *x, const struct array *w, const struct array *y)
{
    (void)x;
    return y->rank == 2 ? (uint64_t)y->dims[0] * array_count(w) : 0;
}

/* Every step of every row takes all of W, and all of R, which is W with H for the inputs. */
static uint64_t of_recurrent(const struct array *x, const struct array *w, const struct array *r)
{
    return x->rank == 3 ? dims_span(x, 0, 2) * (array_count(w) + array_count(r)) : 0;
}

/* Every number of a query meets every key, and so does every number of the result; a cache is not
 * counted. */
static uint64_t of_attention(const struct array *q, const struct array *k, const struct array *y)
{
    return k->rank >= 2 ? (array_count(q) + array_count(y)) * (uint64_t)k->dims[k->rank - 2] : 0;
}

/* One step of an LSTM: R has as many columns as a row of Y. */
static uint64_t of_cell(const struct array *x, const struct array *w, const struct array *y)
{
    (void)x;
    uint64_t hidden = (uint64_t)y->dims[y->rank - 1];
    return dims_span(y, 0, y->rank - 1) * (array_count(w) + 4 * hidden * hidden);
}

static const struct rule rules[] = {
    {"ConvInteger", of_conv, 0, 1},
    {"QLinearConv", of_conv, 0, 3},
    {"ConvTranspose", of_conv_transpose, 0, 1},
    {"MatMul", of_matmul, 0, 1},
    {"MatMulInteger", of_matmul, 0, 1},
    {"QLinearMatMul", of_matmul, 0, 3},
    {"Gemm", of_gemm, 0, 1},
    {"Attention", of_attention, 0, 1},
    {"InnerAttention", of_attention, 0, 1},
    {"InnerLSTM", of_cell, 0, 3},
    {"RNN", of_recurrent, 0, 1},
    {"GRU", of_recurrent, 0, 1},
    {"LSTM", of_recurrent, 0, 1},
};

uint64_t step_macs(const struct step *step)
{
    const struct array *weights = step_in(step, 1);
    if (step->node->op->run == conv_compute)
        return weights && weights->rank ? conv_sums(step) * dims_span(weights, 1, weights->rank)
                                        : 0;
    for (size_t i = 0; i < ARRAY_LEN(rules); i++) {
        const struct rule *r = &rules[i];
        if (strcmp(r->op, step->node->op->name) != 0)
            continue;
        const struct array *x = step_in(step, r->x), *w = step_in(step, r->w);
        const struct array *y = r->macs == of_recurrent ? step_in(step, 2) : step_out(step, 0);
        return x && w && y ? r->macs(x, w, y) : 0;
    }
    return 0;
}

uint64_t step_work(const struct step *step)
{
    uint64_t work = STEP_WORK_MIN + 4 * step_macs(step);
    for (uint32_t i = 0; i < step->in_len && !(step->node->op->flags & OP_DIMS_ONLY); i++)
        work += step->in[i] && !step->in[i]->sequence ? step->in[i]->bytes : 0;
    for (uint32_t i = 0; i < step->out_len; i++)
        work += step->out[i] && !step->out[i]->sequence ? step->out[i]->bytes : 0;
    return work;
}
