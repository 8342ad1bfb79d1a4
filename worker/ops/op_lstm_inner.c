/* op_lstm_inner - what graph/fuse_lstm makes of one step of an LSTM written out; no operator of
 * ONNX
 *
 * x [..., input], h and c [..., hidden], whose axes in front stretch, and weights as the model has
 * them give h' and c'. kernels/rnn.h has the formula. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "worker/ops/broadcast.h"
#include "worker/ops/ops.h"

enum { X, H, C, W, R, B, STATES = W };
enum { GATES = 4 };

struct cell {
    int64_t order[GATES]; /* which quarter of W and R each of ONNX's gates is */
    bool by_rows[2];      /* W, R: one row for each number of a gate, not one column */
    int64_t axis;         /* that the model takes for the last one; -1: the last */
};

struct cell_run {
    const struct rnn_plan *plan;
    uint32_t rank;
    int64_t dims[STATES][TENSOR_RANK_MAX]; /* of x, h and c for all rows */
    size_t at[STATES];                     /* in scratch; 0: as it is, it has these dims */
    size_t rows;
};

enum status lstm_inner_check(struct node *node, struct error *why)
{
    (void)why;
    struct cell *c = region_take(node->region, sizeof *c);
    size_t len;
    const int64_t *order = attr_ints(node, "order", &len);
    assert(len == GATES);
    memcpy(c->order, order, sizeof c->order);
    c->by_rows[0] = attr_int(node, "w_by_rows", 0) != 0;
    c->by_rows[1] = attr_int(node, "r_by_rows", 0) != 0;
    c->axis = attr_int(node, "axis", -1);
    node->state = c;
    return STATUS_OK;
}

/* Weights [4 hidden][width] in ONNX's order; the caller frees them. */
static float *gates_in_order(const struct cell *c, const float *from, bool by_rows, size_t hidden,
                             size_t width)
{
    float *to = xmalloc(GATES * hidden * width * sizeof *to);
    for (size_t row = 0; row < GATES * hidden; row++) {
        size_t at = (size_t)c->order[row / hidden] * hidden + row % hidden;
        if (by_rows)
            memcpy(to + row * width, from + at * width, width * sizeof *to);
        else
            for (size_t k = 0; k < width; k++)
                to[row * width + k] = from[k * GATES * hidden + at];
    }
    return to;
}

static void pack(struct step *step, size_t input, size_t hidden)
{
    const struct cell *c = step->node->state;
    struct rnn_shape shape = {.cell = RNN_LSTM, .input = input, .hidden = hidden};
    void *copies[3];
    float *w = gates_in_order(c, pack_data(step, W, &copies[0]), c->by_rows[0], hidden, input);
    float *r = gates_in_order(c, pack_data(step, R, &copies[1]), c->by_rows[1], hidden, hidden);
    struct rnn_weights weights = {w, r, pack_data(step, B, &copies[2]), NULL};
    rnn_default_activations(&shape);
    step->node->packed = rnn_plan_new(&shape, &weights);
    free(w);
    free(r);
    for (size_t i = 0; i < ARRAY_LEN(copies); i++)
        free(copies[i]);
}

static void unpack(void *packed)
{
    struct rnn_plan *plan = packed;
    rnn_plan_destroy(&plan);
}

static enum status misfit(const struct step *step, struct error *why)
{
    char text[3][128];
    return bad_step(why, step, "x %s, h %s and c %s do not fit the weights, or are not FP32",
                    dims_text(text[0], sizeof text[0], step->in[X]->dims, step->in[X]->rank),
                    dims_text(text[1], sizeof text[1], step->in[H]->dims, step->in[H]->rank),
                    dims_text(text[2], sizeof text[2], step->in[C]->dims, step->in[C]->rank));
}

/* Dims of x, h and c when all of them have all rows. */
static enum status find_dims(const struct step *step, struct cell_run *run, int64_t input,
                             int64_t hidden, struct error *why)
{
    const struct cell *c = step->node->state;
    struct array x = *step->in[X];
    struct array *states[STATES] = {&x, step->in[H], step->in[C]};
    for (uint32_t i = 0; i < STATES; i++)
        if (states[i]->dtype != DTYPE_FP32)
            return misfit(step, why);
    if (!x.rank || x.dims[x.rank - 1] != input || !states[H]->rank ||
        states[H]->dims[states[H]->rank - 1] != hidden)
        return misfit(step, why);
    x.dims[x.rank - 1] = hidden;
    enum status s = broadcast_dims(step, states, STATES, run->dims[H], &run->rank, why);
    if (s != STATUS_OK)
        return s;
    uint32_t sum_rank = MAX(x.rank, states[H]->rank);
    if (run->dims[H][run->rank - 1] != hidden || (c->axis >= 0 && c->axis != sum_rank - 1))
        return misfit(step, why);
    memcpy(run->dims[X], run->dims[H], sizeof run->dims[X]);
    memcpy(run->dims[C], run->dims[H], sizeof run->dims[C]);
    run->dims[X][run->rank - 1] = input;
    run->rows = 1;
    for (uint32_t k = 0; k + 1 < run->rank; k++)
        run->rows *= (size_t)run->dims[H][k];
    return STATUS_OK;
}

/* Those of x, h and c that stretch get room in scratch. */
static enum status make_room(struct step *step, struct cell_run *run, struct error *why)
{
    step->scratch_bytes = rnn_scratch_bytes(run->plan, 1, run->rows);
    for (uint32_t i = 0; i < STATES; i++) {
        size_t bytes;
        if (!array_size(DTYPE_FP32, run->dims[i], run->rank, &bytes))
            return misfit(step, why);
        if (bytes == step->in[i]->bytes)
            continue;
        run->at[i] = (step->scratch_bytes + TENSOR_ALIGN) / TENSOR_ALIGN * TENSOR_ALIGN;
        step->scratch_bytes = run->at[i] + bytes;
    }
    return STATUS_OK;
}

enum status lstm_inner_shape(struct step *step, struct error *why)
{
    const struct cell *c = step->node->state;
    struct cell_run *run = region_take(step->region, sizeof *run);
    int64_t input = step->in[W]->dims[c->by_rows[0] ? 1 : 0];
    int64_t hidden = step->in[R]->dims[c->by_rows[1] ? 1 : 0];
    step->params = run;
    enum status s = find_dims(step, run, input, hidden, why);
    if (s != STATUS_OK)
        return s;
    if (!step->node->packed) {
        pack(step, (size_t)input, (size_t)hidden);
        step->node->unpack = unpack;
    }
    run->plan = step->node->packed;
    step->packed = true;
    s = make_room(step, run, why);
    for (uint32_t i = 0; i < 2 && s == STATUS_OK; i++)
        s = out_set(step, i, DTYPE_FP32, run->dims[H], run->rank, why);
    return s;
}

/* Input `i` with all rows. */
static const float *stretched(const struct step *step, uint32_t i)
{
    const struct cell_run *run = step->params;
    const struct array *a = step->in[i];
    if (!run->at[i])
        return a->data;
    char *to = (char *)step->scratch + run->at[i];
    int64_t to_steps[TENSOR_RANK_MAX], own[TENSOR_RANK_MAX], from_steps[TENSOR_RANK_MAX] = {0};
    dense_steps(run->dims[i], run->rank, to_steps);
    dense_steps(a->dims, a->rank, own);
    for (uint32_t k = 0; k < a->rank; k++)
        from_steps[run->rank - a->rank + k] = a->dims[k] == 1 ? 0 : own[k];
    strided_copy(&(struct strided){run->rank, run->dims[i], to, to_steps, a->data, from_steps,
                                   sizeof(float)});
    return (const float *)(const void *)to;
}

enum status lstm_inner_compute(const struct step *step, struct error *why)
{
    (void)why;
    const struct cell_run *run = step->params;
    const struct array *c = step_out(step, 1);
    const struct rnn_args args = {
        .steps = 1,
        .batch = run->rows,
        .x = stretched(step, X),
        .h0 = stretched(step, H),
        .c0 = stretched(step, C),
        .h = step->out[0]->data,
        .c = c ? c->data : NULL,
    };
    rnn_run(run->plan, &args, step->scratch);
    return STATUS_OK;
}

/* As of an elementwise operator over all axes but the last. */
void lstm_inner_rows(const struct rows_step *s, const struct rows_at *in, struct rows_at *out)
{
    struct step states = *s->step;
    struct rows_step of_states = *s;
    states.in_len = STATES;
    of_states.step = &states;
    for (uint32_t i = 0; i < STATES; i++) {
        uint32_t axis;
        uint64_t front;
        if (in[i].rows != ROWS_NONE && (!rows_locate(s, s->step->in[i], in[i], &axis, &front) ||
                                        axis + 1 == s->step->in[i]->rank))
            return;
    }
    rows_broadcast(&of_states, in, out);
    if (s->step->out_len > 1)
        out[1] = out[0];
}
