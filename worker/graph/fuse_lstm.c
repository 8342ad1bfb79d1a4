/* fuse_lstm - one step of an LSTM written out: two products, four gates, the new states
 *
 *  i, f, g, o = the quarters, in any order, of x W + h R + biases
 *  c' = sigmoid(f) c + sigmoid(i) tanh(g)
 *  h' = sigmoid(o) tanh(c') */
#include <string.h>

#include "worker/graph/fusions.h"
#include "worker/graph/match.h"
#include "worker/ops/op.h"

#define GATES      4
#define DEPTH_MAX  4 /* of sums inside sums */
#define BIASES_MAX 4

enum { GATE_I, GATE_O, GATE_F, GATE_G }; /* as ONNX orders them */

/* A value times constant weights: [4 hidden][width] when by_rows, else [width][4 hidden]. */
struct side {
    uint32_t value, weights;
    bool by_rows;
    int64_t width;
};

struct cell {
    uint32_t sum; /* what the gates are quarters of */
    struct side sides[2];
    uint32_t sides_len;
    uint32_t biases[BIASES_MAX];
    uint32_t biases_len;
    int64_t hidden;
    int64_t axis;         /* of the quarters, as the model writes it */
    bool ranked;          /* the sum surely has its last axis there */
    int64_t order[GATES]; /* which quarter each gate is */
    uint32_t c, new_c;
};

static bool const_floats(const struct graph *g, uint32_t v)
{
    return v != VALUE_NONE && g->values[v].kind == VALUE_CONST && g->values[v].dtype == DTYPE_FP32;
}

/* The node whose only output is `v`, read by `readers` inputs and by nothing else. */
static struct node *maker_of(const struct graph *g, uint32_t v, uint32_t readers)
{
    if (v == VALUE_NONE || g->values[v].kind != VALUE_MADE || g->values[v].readers != readers ||
        graph_is_output(g, v))
        return NULL;
    struct node *n = g->nodes[g->values[v].maker];
    return n && n->outputs_len == 1 && n->act.op == UNARY_IDENTITY ? n : NULL;
}

/* --- the sum ------------------------------------------------------------------------------------
 */

static bool add_bias(const struct graph *g, uint32_t v, struct cell *c)
{
    if (!const_floats(g, v) || c->biases_len == BIASES_MAX)
        return false;
    c->biases[c->biases_len++] = v;
    return true;
}

static bool add_side(const struct graph *g, uint32_t value, uint32_t weights, bool by_rows,
                     struct cell *c)
{
    const struct value *w = &g->values[weights];
    if (!const_floats(g, weights) || w->rank != 2 || value == VALUE_NONE || c->sides_len == 2)
        return false;
    int64_t hidden = w->dims[by_rows ? 0 : 1] / GATES;
    if (hidden < 2 || w->dims[by_rows ? 0 : 1] != GATES * hidden || w->dims[by_rows ? 1 : 0] < 1 ||
        (c->sides_len && c->hidden != hidden))
        return false;
    c->hidden = hidden;
    c->sides[c->sides_len++] = (struct side){value, weights, by_rows, w->dims[by_rows ? 1 : 0]};
    c->ranked |= g->values[value].kind == VALUE_INPUT && g->values[value].dtype != DTYPE_NONE &&
                 (int64_t)g->values[value].rank == c->axis + 1;
    return true;
}

static bool add_terms(const struct graph *g, struct node *n, struct cell *c, int depth)
{
    if (match_op(n, "MatMul"))
        return add_side(g, n->inputs[0], n->inputs[1], false, c);
    if (match_op(n, "Gemm")) {
        c->ranked |= c->axis == 1;
        return attr_float(n, "alpha", 1) == 1 && attr_float(n, "beta", 1) == 1 &&
               !attr_int(n, "transA", 0) && n->opset >= 7 &&
               add_side(g, n->inputs[0], n->inputs[1], attr_int(n, "transB", 0) != 0, c) &&
               (n->inputs_len < 3 || add_bias(g, n->inputs[2], c));
    }
    if (!match_op(n, "Add") || n->inputs_len != 2 || n->opset < 7 || depth == DEPTH_MAX)
        return false;
    for (uint32_t i = 0; i < 2; i++)
        if (!add_bias(g, n->inputs[i], c) &&
            !add_terms(g, maker_of(g, n->inputs[i], 1), c, depth + 1))
            return false;
    return true;
}

/* Two products, the second with the state, and biases of one number per column. */
static bool good_sum(const struct graph *g, struct cell *c)
{
    if (c->sides_len != 2 || (!c->ranked && c->axis != -1))
        return false;
    if (c->sides[1].width != c->hidden) {
        struct side first = c->sides[0];
        c->sides[0] = c->sides[1];
        c->sides[1] = first;
    }
    for (uint32_t i = 0; i < c->biases_len; i++) {
        const struct value *b = &g->values[c->biases[i]];
        if (!b->rank || b->rank > 2 || b->dims[b->rank - 1] != GATES * c->hidden ||
            b->bytes != (size_t)(GATES * c->hidden) * sizeof(float))
            return false;
    }
    return c->sides[1].width == c->hidden;
}

/* --- its quarters -------------------------------------------------------------------------------
 */

/* Number `name` of an old Slice, or input `i` of a later one, which must be one constant integer.
 */
static bool slice_number(const struct graph *g, struct node *n, const char *name, uint32_t i,
                         int64_t *x)
{
    size_t len = 0;
    if (n->opset < 10) {
        const int64_t *given = attr_ints(n, name, &len);
        *x = len == 1 ? given[0] : 0;
        return len == 1;
    }
    if (i >= n->inputs_len || n->inputs[i] == VALUE_NONE)
        return false;
    const struct value *v = &g->values[n->inputs[i]];
    int32_t narrow;
    if (v->kind != VALUE_CONST || v->bytes != dtype_bytes(v->dtype))
        return false;
    if (v->dtype == DTYPE_INT32) {
        memcpy(&narrow, v->raw, sizeof narrow);
        *x = narrow;
        return true;
    }
    memcpy(x, v->raw, v->dtype == DTYPE_INT64 ? sizeof *x : 0);
    return v->dtype == DTYPE_INT64;
}

static int slice_quarter(const struct graph *g, struct node *n, const struct cell *c)
{
    int64_t from, to, axis, step = 1;
    if (!slice_number(g, n, "starts", 1, &from) || !slice_number(g, n, "ends", 2, &to) ||
        !slice_number(g, n, "axes", 3, &axis) || axis != c->axis ||
        (n->inputs_len > 4 && !slice_number(g, n, "", 4, &step)) || step != 1 || from < 0 ||
        from % c->hidden || from / c->hidden >= GATES)
        return -1;
    int quarter = (int)(from / c->hidden);
    return to == from + c->hidden || (quarter == GATES - 1 && to > from) ? quarter : -1;
}

/* Whether Split `n` gives four parts of c->hidden each. */
static bool even_split(const struct graph *g, struct node *n, const struct cell *c)
{
    size_t len = 0;
    int64_t sizes[GATES];
    const int64_t *given = n->opset < 13 ? attr_ints(n, "split", &len) : NULL;
    if (n->inputs_len > 1 && n->inputs[1] != VALUE_NONE) {
        const struct value *v = &g->values[n->inputs[1]];
        if (v->kind != VALUE_CONST || v->dtype != DTYPE_INT64 || v->bytes != sizeof sizes)
            return false;
        memcpy(sizes, v->raw, sizeof sizes);
        given = sizes;
        len = GATES;
    }
    for (size_t i = 0; i < len; i++)
        if (given[i] != c->hidden)
            return false;
    return n->outputs_len == GATES && (!len || len == GATES) && attr_int(n, "axis", 0) == c->axis;
}

/* `v` is what `act` makes of a quarter of the sum: gate `number` is that quarter. */
static bool take_gate(const struct graph *g, uint32_t v, const char *act, int number,
                      struct cell *c)
{
    struct node *n = match_inner(g, v, act);
    uint32_t part = n ? n->inputs[0] : VALUE_NONE;
    if (!n || g->values[part].kind != VALUE_MADE || g->values[part].readers != 1)
        return false;
    struct node *by = g->nodes[g->values[part].maker];
    int quarter = -1;
    if (by->inputs[0] != c->sum)
        return false;
    if (match_op(by, "Slice"))
        quarter = slice_quarter(g, by, c);
    else if (match_op(by, "Split") && even_split(g, by, c))
        for (int i = 0; i < GATES; i++)
            quarter = by->outputs[i] == part ? i : quarter;
    c->order[number] = quarter;
    return quarter >= 0;
}

/* Finds what gate `v` is a part of, and takes that sum apart. */
static bool find_sum(const struct graph *g, uint32_t v, struct cell *c)
{
    struct node *sigmoid = match_inner(g, v, "Sigmoid");
    uint32_t part = sigmoid ? sigmoid->inputs[0] : VALUE_NONE;
    if (!sigmoid || g->values[part].kind != VALUE_MADE)
        return false;
    struct node *by = g->nodes[g->values[part].maker];
    bool split = match_op(by, "Split");
    c->axis = split ? attr_int(by, "axis", 0) : -1;
    if (!split && (!match_op(by, "Slice") || !slice_number(g, by, "axes", 3, &c->axis)))
        return false;
    c->sum = by->inputs[0];
    struct node *sum = maker_of(g, c->sum, split ? 1 : GATES);
    return sum && add_terms(g, sum, c, 0) && good_sum(g, c);
}

/* --- the states ---------------------------------------------------------------------------------
 */

/* The input of Mul `n` on side `i` that is gate `number`, the other one going into *other. */
static bool gate_of(const struct graph *g, const struct node *n, int number, struct cell *c,
                    uint32_t *other)
{
    for (uint32_t i = 0; n && n->inputs_len == 2 && n->opset >= 7 && i < 2; i++) {
        *other = n->inputs[1 - i];
        if (take_gate(g, n->inputs[i], "Sigmoid", number, c))
            return true;
    }
    return false;
}

/* c' = f c + i g, the terms in any order. */
static bool find_states(const struct graph *g, const struct node *add, struct cell *c)
{
    uint32_t tanh = VALUE_NONE;
    if (!add || add->inputs_len != 2 || add->opset < 7)
        return false;
    for (uint32_t i = 0; i < 2; i++)
        if (gate_of(g, match_inner(g, add->inputs[i], "Mul"), GATE_I, c, &tanh) &&
            take_gate(g, tanh, "Tanh", GATE_G, c) &&
            gate_of(g, match_inner(g, add->inputs[1 - i], "Mul"), GATE_F, c, &c->c)) {
            c->new_c = add->outputs[0];
            unsigned quarters = 0;
            for (uint32_t k = 0; k < GATES; k++)
                quarters |= 1u << c->order[k];
            return quarters == (1u << GATES) - 1;
        }
    return false;
}

/* All biases in one, as the LSTM of ONNX has them. */
static uint32_t new_bias(struct graph *g, const char *name, const struct cell *c)
{
    size_t hidden = (size_t)c->hidden;
    float *sum = region_array(g->region, 2 * GATES * hidden, sizeof *sum);
    int64_t dims[1] = {2 * GATES * c->hidden};
    for (uint32_t i = 0; i < c->biases_len; i++) {
        const float *b = graph_const_data(g, c->biases[i]);
        for (size_t k = 0; k < GATES * hidden; k++)
            sum[k] += b[(size_t)c->order[k / hidden] * hidden + k % hidden];
    }
    uint32_t v = graph_value(g, name, VALUE_CONST);
    graph_set_const(g, v, DTYPE_FP32, dims, 1, sum, 2 * GATES * hidden * sizeof *sum);
    return v;
}

/* The node that made c' now makes h', too: whatever reads c' stands behind it. */
static void become_cell(struct graph *g, struct node *h_maker, const struct cell *c)
{
    uint32_t at = g->values[c->new_c].maker, h = h_maker->outputs[0];
    struct node *n = g->nodes[at];
    const struct side *x = &c->sides[0], *state = &c->sides[1];
    const uint32_t inputs[] = {x->value,   state->value,   c->c,
                               x->weights, state->weights, new_bias(g, n->name, c)};
    int64_t *order = region_array(g->region, GATES, sizeof *order);
    memcpy(order, c->order, sizeof c->order);
    const struct attr attrs[] = {
        {.name = "order", .kind = ATTR_INTS, .ints = order, .len = GATES},
        {.name = "w_by_rows", .kind = ATTR_INT, .i = x->by_rows},
        {.name = "r_by_rows", .kind = ATTR_INT, .i = state->by_rows},
        {.name = "axis", .kind = ATTR_INT, .i = c->axis},
    };
    g->nodes[g->values[h].maker] = NULL;
    g->values[h].maker = at;
    n->outputs = region_array(g->region, 2, sizeof *n->outputs);
    n->outputs_len = 2;
    n->outputs[0] = h;
    n->outputs[1] = g->values[c->new_c].readers > 1 ? c->new_c : VALUE_NONE;
    match_become(g, n, "InnerLSTM", OPSET_OURS, "LSTM (written out)", inputs, ARRAY_LEN(inputs),
                 attrs, ARRAY_LEN(attrs));
}

bool fuse_lstm(struct graph *g, struct node *n)
{
    if (!match_op(n, "Mul") || n->inputs_len != 2 || n->opset < 7 ||
        g->values_len + 1 > GRAPH_VALUES_MAX)
        return false;
    for (uint32_t i = 0; i < 2; i++) {
        struct cell c = {.sum = VALUE_NONE};
        struct node *tanh = match_inner(g, n->inputs[1 - i], "Tanh");
        if (tanh && find_sum(g, n->inputs[i], &c) &&
            take_gate(g, n->inputs[i], "Sigmoid", GATE_O, &c) &&
            find_states(g, match_maker(g, tanh->inputs[0], "Add"), &c)) {
            become_cell(g, n, &c);
            return true;
        }
    }
    return false;
}
