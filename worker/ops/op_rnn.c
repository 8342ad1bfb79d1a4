/* op_rnn - LSTM, GRU and RNN */
#include "worker/ops/rnn_step.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "worker/ops/ops.h"

enum {
    X = RNN_X,
    W = RNN_W,
    R = RNN_R,
    B = RNN_B,
    LENS = RNN_LENS,
    H0 = RNN_H0,
    C0 = RNN_C0,
    PEEPHOLE = RNN_PEEPHOLE
};

struct rnn_state {
    struct rnn_shape shape; /* input and hidden are set when dims are known */
    int64_t hidden;         /* 0: as W says */
    bool batch_first;
};

/* Activations by ONNX's names, with which parameters they take and their defaults. */
static const struct named {
    const char *name;
    enum unary op;
    bool alpha, beta;
    float a, b;
} named[] = {
    {"Relu", UNARY_RELU, false, false, 0, 0},
    {"Tanh", UNARY_TANH, false, false, 0, 0},
    {"Sigmoid", UNARY_SIGMOID, false, false, 0, 0},
    {"Affine", UNARY_AFFINE, true, true, 1, 0},
    {"LeakyRelu", UNARY_LEAKY_RELU, true, false, 0.01f, 0},
    {"ThresholdedRelu", UNARY_THRESHOLDED_RELU, true, false, 1, 0},
    {"ScaledTanh", UNARY_SCALED_TANH, true, true, 1, 1},
    {"HardSigmoid", UNARY_HARD_SIGMOID, true, true, 0.2f, 0.5f},
    {"Elu", UNARY_ELU, true, false, 1, 0},
    {"Softsign", UNARY_SOFTSIGN, false, false, 0, 0},
    {"Softplus", UNARY_SOFTPLUS, false, false, 0, 0},
};

static uint32_t directions(const struct rnn_shape *s)
{
    return s->direction == RNN_BIDIRECTIONAL ? 2 : 1;
}

static enum status read_activations(struct node *node, struct rnn_shape *s, struct error *why)
{
    size_t len, alphas, betas, next_alpha = 0, next_beta = 0;
    const char *const *names = attr_texts(node, "activations", &len);
    const float *alpha = attr_floats(node, "activation_alpha", &alphas);
    const float *beta = attr_floats(node, "activation_beta", &betas);
    size_t each = RNN_ACTIVATIONS(s->cell);
    rnn_default_activations(s);
    if (len && len != each * directions(s))
        return bad_node(why, node, "activations names %zu functions; expected %zu", len,
                        each * directions(s));
    for (size_t i = 0; i < len; i++) {
        const struct named *n = named;
        while (n < named + ARRAY_LEN(named) && strcasecmp(n->name, names[i]) != 0)
            n++;
        if (n == named + ARRAY_LEN(named))
            return bad_node(why, node, "activation \"%.60s\" is unknown", names[i]);
        struct activation act = {n->op, n->a, n->b};
        if (n->alpha && next_alpha < alphas)
            act.a = alpha[next_alpha++];
        if (n->beta && next_beta < betas)
            act.b = beta[next_beta++];
        s->acts[i / each][i % each] = act;
    }
    return STATUS_OK;
}

enum status rnn_check(struct node *node, struct error *why)
{
    static const char *const names[] = {"forward", "reverse", "bidirectional"};
    struct rnn_state *r = region_take(node->region, sizeof *r);
    const char *direction = attr_text(node, "direction", "forward");
    uint32_t d = 0;
    node->state = r;
    r->shape.cell = (enum rnn_cell)node->op->variant;
    while (d < 3 && strcasecmp(names[d], direction) != 0)
        d++;
    if (d == 3)
        return bad_node(why, node, "direction \"%.40s\" is unknown", direction);
    r->shape.direction = (enum rnn_direction)d;
    r->hidden = attr_int(node, "hidden_size", 0);
    r->shape.clip = attr_float(node, "clip", 0);
    r->batch_first = attr_int(node, "layout", 0) != 0;
    if (r->shape.cell == RNN_LSTM)
        r->shape.input_forget = attr_int(node, "input_forget", 0) != 0;
    if (r->shape.cell == RNN_GRU)
        r->shape.linear_before_reset = attr_int(node, "linear_before_reset", 0) != 0;
    attr_ignore(node, "output_sequence"); /* opset 1: Y may be left out by its name instead */
    if (!(r->shape.clip >= 0) || isinf(r->shape.clip))
        return bad_node(why, node, "clip is %g; expected 0 or more", (double)r->shape.clip);
    return read_activations(node, &r->shape, why);
}

/* Sizes of one run. */
struct rnn_run_state {
    struct rnn_shape shape;
    const struct rnn_plan *plan; /* NULL: weights are computed by the model, pack in the run */
    size_t steps, batch;
};

static enum status expect(const struct step *step, uint32_t i, const char *name, enum dtype dtype,
                          uint32_t rank, const int64_t *dims, struct error *why)
{
    const struct array *a = step_in(step, i);
    char text[2][128];
    if (!a ||
        (a->dtype == dtype && a->rank == rank && memcmp(a->dims, dims, rank * sizeof *dims) == 0))
        return STATUS_OK;
    return bad_step(why, step, "%s is %s %s; expected %s %s", name, dtype_name(a->dtype),
                    dims_text(text[0], sizeof text[0], a->dims, a->rank), dtype_name(dtype),
                    dims_text(text[1], sizeof text[1], dims, rank));
}

static enum status check_inputs(const struct step *step, const struct rnn_run_state *s,
                                bool batch_first, struct error *why)
{
    int64_t d = directions(&s->shape), g = RNN_GATES(s->shape.cell);
    int64_t h = (int64_t)s->shape.hidden, n = (int64_t)s->batch, in = (int64_t)s->shape.input;
    int64_t state[3] = {batch_first ? n : d, batch_first ? d : n, h};
    const struct {
        const char *name;
        enum dtype dtype;
        uint32_t input, rank;
        int64_t dims[3];
    } wants[] = {
        {"W", DTYPE_FP32, W, 3, {d, g * h, in}},
        {"R", DTYPE_FP32, R, 3, {d, g * h, h}},
        {"B", DTYPE_FP32, B, 2, {d, 2 * g * h}},
        {"sequence_lens", DTYPE_INT32, LENS, 1, {n}},
        {"initial_h", DTYPE_FP32, H0, 3, {state[0], state[1], state[2]}},
        {"initial_c", DTYPE_FP32, C0, 3, {state[0], state[1], state[2]}},
        {"P", DTYPE_FP32, PEEPHOLE, 2, {d, 3 * h}},
    };
    for (size_t i = 0; i < ARRAY_LEN(wants); i++) {
        enum status status = expect(step, wants[i].input, wants[i].name, wants[i].dtype,
                                    wants[i].rank, wants[i].dims, why);
        if (status != STATUS_OK)
            return status;
    }
    return STATUS_OK;
}

static const float *floats_of(const struct step *step, uint32_t i)
{
    const struct array *a = step_in(step, i);
    return a ? a->data : NULL;
}

static struct rnn_plan *pack(const struct step *step, const struct rnn_shape *shape)
{
    void *copies[4];
    struct rnn_weights w = {pack_data(step, W, &copies[0]), pack_data(step, R, &copies[1]),
                            pack_data(step, B, &copies[2]), pack_data(step, PEEPHOLE, &copies[3])};
    struct rnn_plan *plan = rnn_plan_new(shape, &w);
    for (size_t i = 0; i < ARRAY_LEN(copies); i++)
        free(copies[i]);
    return plan;
}

static void unpack(void *packed)
{
    struct rnn_plan *plan = packed;
    rnn_plan_destroy(&plan);
}

static bool fixed_weights(const struct step *step)
{
    static const uint32_t weights[] = {W, R, B, PEEPHOLE};
    for (size_t i = 0; i < ARRAY_LEN(weights); i++)
        if (step_in(step, weights[i]) && !step->in[weights[i]]->fixed)
            return false;
    return true;
}

static enum status set_outputs(struct step *step, const struct rnn_run_state *s, bool batch_first,
                               struct error *why)
{
    int64_t d = directions(&s->shape), h = (int64_t)s->shape.hidden;
    int64_t t = (int64_t)s->steps, n = (int64_t)s->batch;
    const int64_t y[2][4] = {{t, d, n, h}, {n, t, d, h}};
    const int64_t last[2][3] = {{d, n, h}, {n, d, h}};
    enum status status = out_set(step, 0, DTYPE_FP32, y[batch_first], 4, why);
    for (uint32_t i = 1; i < 3 && status == STATUS_OK; i++)
        status = out_set(step, i, DTYPE_FP32, last[batch_first], 3, why);
    return status;
}

enum status rnn_infer(struct step *step, struct error *why)
{
    const struct rnn_state *r = step->node->state;
    const struct array *x = step->in[X], *w = step->in[W];
    struct rnn_run_state *s = region_take(step->region, sizeof *s);
    int64_t gates = RNN_GATES(r->shape.cell);
    if (x->dtype != DTYPE_FP32 || x->rank != 3 || w->rank != 3)
        return bad_step(why, step, "X is %s of rank %u; expected FP32 of rank 3",
                        dtype_name(x->dtype), x->rank);
    s->shape = r->shape;
    s->steps = (size_t)x->dims[r->batch_first];
    s->batch = (size_t)x->dims[!r->batch_first];
    s->shape.input = (size_t)x->dims[2];
    s->shape.hidden = (size_t)(w->dims[1] / gates);
    if (s->shape.hidden < 1 || (r->hidden && r->hidden != (int64_t)s->shape.hidden))
        return bad_step(why, step,
                        "hidden_size is %" PRId64 ", but W has %" PRId64 " rows for %" PRId64
                        " gates",
                        r->hidden, w->dims[1], gates);
    enum status status = check_inputs(step, s, r->batch_first, why);
    if (status != STATUS_OK)
        return status;
    step->params = s;
    if (fixed_weights(step)) {
        if (!step->node->packed) {
            step->node->packed = pack(step, &s->shape);
            step->node->unpack = unpack;
        }
        s->plan = step->node->packed;
        step->packed = true;
        step->scratch_bytes = rnn_scratch_bytes(s->plan, s->steps, s->batch);
    }
    return set_outputs(step, s, r->batch_first, why);
}

static float *out_of(const struct step *step, uint32_t i)
{
    const struct array *o = step_out(step, i);
    return o ? o->data : NULL;
}

void rnn_step_get(const struct step *step, struct rnn_step *out)
{
    const struct rnn_run_state *s = step->params;
    *out = (struct rnn_step){
        .shape = &s->shape,
        .weights = {floats_of(step, W), floats_of(step, R), floats_of(step, B),
                    floats_of(step, PEEPHOLE)},
        .args = {.steps = s->steps,
                 .batch = s->batch,
                 .batch_first = ((const struct rnn_state *)step->node->state)->batch_first,
                 .x = floats_of(step, X),
                 .h0 = floats_of(step, H0),
                 .c0 = floats_of(step, C0),
                 .y = out_of(step, 0),
                 .h = out_of(step, 1),
                 .c = out_of(step, 2)},
    };
}

enum status rnn_compute(const struct step *step, struct error *why)
{
    const struct rnn_run_state *s = step->params;
    const struct array *lens = step_in(step, LENS);
    struct rnn_step run;
    rnn_step_get(step, &run);
    struct rnn_args args = run.args;
    for (size_t i = 0; lens && i < s->batch; i++)
        if (((const int32_t *)lens->data)[i] < 0 ||
            ((const int32_t *)lens->data)[i] > (int64_t)s->steps)
            return bad_step(why, step, "sequence_lens of row %zu is %d; expected 0 to %zu", i,
                            ((const int32_t *)lens->data)[i], s->steps);
    args.lens = lens ? lens->data : NULL;
    if (s->plan) {
        rnn_run(s->plan, &args, step->scratch);
        return STATUS_OK;
    }
    /* Weights that the model computes are packed anew in each run. */
    struct rnn_plan *plan = pack(step, &s->shape);
    void *scratch = xaligned(rnn_scratch_bytes(plan, s->steps, s->batch));
    rnn_run(plan, &args, scratch);
    free(scratch);
    rnn_plan_destroy(&plan);
    return STATUS_OK;
}

/* Sequences of a batch never meet: rows lie on X's batch axis, and so on the states'. */
void rnn_rows(const struct rows_step *s, const struct rows_at *in, struct rows_at *out)
{
    bool first = ((const struct rnn_state *)s->step->node->state)->batch_first;
    const int wants[] = {first ? 0 : 1, -1, -1, -1, 0, first ? 0 : 1, first ? 0 : 1, -1};
    for (uint32_t i = 0; i < s->step->in_len; i++) {
        if (!s->step->in[i] || (wants[i] < 0 && in[i].rows == ROWS_NONE))
            continue;
        if (wants[i] < 0 || rows_axis(s, s->step->in[i], in[i]) != wants[i])
            return;
    }
    for (uint32_t i = 0; i < s->step->out_len; i++)
        if (s->step->out[i])
            out[i] = rows_on_axis(s->step->out[i], first ? 0 : i ? 1 : 2);
}
