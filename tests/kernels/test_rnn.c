/* LSTM, GRU and RNN against ONNX's formulas in double; the same bytes in any batch. */
#include "tests/kernels/check.h"

#include "worker/kernels/half.h"
#include "worker/kernels/rnn.h"

/* A layer with its weights, and one run of it. */
struct problem {
    struct rnn_shape shape;
    struct rnn_weights weights;
    struct rnn_args args;
    size_t dirs;
    size_t lens[4]; /* of w, r, bias, peephole */
    int32_t *steps; /* owned; args.lens or unused */
    size_t x_len, y_len, state_len;
};

static double activated(struct activation f, double x)
{
    switch (f.op) {
    case UNARY_SIGMOID:
        return 1 / (1 + exp(-x));
    case UNARY_TANH:
        return tanh(x);
    case UNARY_RELU:
        return x < 0 ? 0 : x;
    case UNARY_AFFINE:
        return (double)f.a * x + (double)f.b;
    case UNARY_HARD_SIGMOID:
        return fmin(1, fmax(0, (double)f.a * x + (double)f.b));
    case UNARY_SOFTSIGN:
        return x / (1 + fabs(x));
    default:
        fail_msg("an activation that this test does not know: %d", (int)f.op);
    }
    return 0;
}

static double act(const struct problem *p, size_t dir, size_t which, double x)
{
    double clip = (double)p->shape.clip;
    if (clip > 0)
        x = fmin(clip, fmax(-clip, x));
    return activated(p->shape.acts[dir][which], x);
}

/* A weight as the plan keeps it. */
static double weight(const struct problem *p, float value)
{
    uint16_t half;
    if (p->shape.weight_type == RNN_BF16) {
        half_from_fp32(DTYPE_BF16, 1, &value, &half);
        half_to_fp32(DTYPE_BF16, 1, &half, &value);
    }
    return (double)value;
}

/* Gate g of unit j: x W + Wb, and h R + Rb, in double. */
static void gate(const struct problem *p, size_t dir, size_t g, size_t j, const float *x,
                 const double *h, double *from_x, double *from_h)
{
    size_t hidden = p->shape.hidden, input = p->shape.input;
    size_t width = RNN_GATES(p->shape.cell) * hidden, row = dir * width + g * hidden + j;
    const float *bias = p->weights.bias ? p->weights.bias + dir * 2 * width + g * hidden + j : NULL;
    *from_x = bias ? (double)bias[0] : 0;
    *from_h = bias ? (double)bias[width] : 0;
    for (size_t i = 0; i < input; i++)
        *from_x += weight(p, p->weights.w[row * input + i]) * (double)x[i];
    for (size_t i = 0; i < hidden; i++)
        *from_h += weight(p, p->weights.r[row * hidden + i]) * h[i];
}

static double both(const struct problem *p, size_t dir, size_t g, size_t j, const float *x,
                   const double *h)
{
    double from_x, from_h;
    gate(p, dir, g, j, x, h, &from_x, &from_h);
    return from_x + from_h;
}

static void step_gru(const struct problem *p, size_t dir, const float *x, double *h)
{
    size_t hidden = p->shape.hidden;
    double z[64] = {0}, reset[64] = {0}, scaled[64] = {0}, next[64] = {0};
    for (size_t j = 0; j < hidden; j++) {
        z[j] = act(p, dir, 0, both(p, dir, 0, j, x, h));
        reset[j] = act(p, dir, 0, both(p, dir, 1, j, x, h));
        scaled[j] = reset[j] * h[j];
    }
    for (size_t j = 0; j < hidden; j++) {
        double from_x, from_h, n;
        gate(p, dir, 2, j, x, p->shape.linear_before_reset ? h : scaled, &from_x, &from_h);
        n = act(p, dir, 1, from_x + (p->shape.linear_before_reset ? reset[j] : 1) * from_h);
        next[j] = (1 - z[j]) * n + z[j] * h[j];
    }
    memcpy(h, next, hidden * sizeof(*h));
}

static void step_lstm(const struct problem *p, size_t dir, const float *x, double *h, double *c)
{
    size_t hidden = p->shape.hidden;
    const float *peep = p->weights.peephole ? p->weights.peephole + dir * 3 * hidden : NULL;
    double next[64] = {0};
    for (size_t j = 0; j < hidden; j++) {
        double pi = peep ? (double)peep[j] : 0, po = peep ? (double)peep[hidden + j] : 0;
        double pf = peep ? (double)peep[2 * hidden + j] : 0;
        double in = act(p, dir, 0, both(p, dir, 0, j, x, h) + pi * c[j]);
        double forget = act(p, dir, 0, both(p, dir, 2, j, x, h) + pf * c[j]);
        double new = act(p, dir, 1, both(p, dir, 3, j, x, h));
        if (p->shape.input_forget)
            forget = 1 - in;
        double cell = forget * c[j] + in * new;
        double out = act(p, dir, 0, both(p, dir, 1, j, x, h) + po * cell);
        next[j] = out * activated(p->shape.acts[dir][2], cell);
        c[j] = cell;
    }
    memcpy(h, next, hidden * sizeof(*h));
}

static void step(const struct problem *p, size_t dir, const float *x, double *h, double *c)
{
    double next[64] = {0};
    if (p->shape.cell == RNN_GRU) {
        step_gru(p, dir, x, h);
    } else if (p->shape.cell == RNN_LSTM) {
        step_lstm(p, dir, x, h, c);
    } else {
        for (size_t j = 0; j < p->shape.hidden; j++)
            next[j] = act(p, dir, 0, both(p, dir, 0, j, x, h));
        memcpy(h, next, p->shape.hidden * sizeof(*h));
    }
}

/* Row b of direction dir through its sequence; compares all that the kernel wrote for it. */
static void check_row(const struct problem *p, size_t dir, size_t b, double tolerance)
{
    const struct rnn_args *a = &p->args;
    size_t hidden = p->shape.hidden, length = a->lens ? (size_t)a->lens[b] : a->steps;
    size_t state = (a->batch_first ? b * p->dirs + dir : dir * a->batch + b) * hidden;
    bool reverse = dir == 1 || p->shape.direction == RNN_REVERSE;
    double h[64], c[64];
    for (size_t j = 0; j < hidden; j++) {
        h[j] = a->h0 ? (double)a->h0[state + j] : 0;
        c[j] = a->c0 ? (double)a->c0[state + j] : 0;
    }
    for (size_t s = 0; s < a->steps; s++) {
        bool alive = s < length;
        size_t t = !alive ? s : reverse ? length - 1 - s : s;
        size_t in = (a->batch_first ? b * a->steps + t : t * a->batch + b) * p->shape.input;
        size_t out = a->batch_first ? (b * a->steps + t) * p->dirs + dir
                                    : (t * p->dirs + dir) * a->batch + b;
        if (alive)
            step(p, dir, a->x + in, h, c);
        for (size_t j = 0; a->y && j < hidden; j++)
            check_close("rnn y", out * hidden + j, (double)a->y[out * hidden + j], alive ? h[j] : 0,
                        tolerance);
    }
    for (size_t j = 0; j < hidden; j++) {
        if (a->h)
            check_close("rnn h", state + j, (double)a->h[state + j], h[j], tolerance);
        if (a->c && p->shape.cell == RNN_LSTM)
            check_close("rnn c", state + j, (double)a->c[state + j], c[j], tolerance);
    }
}

static void make_weights(struct problem *p, bool bias, bool peephole)
{
    size_t hidden = p->shape.hidden, width = RNN_GATES(p->shape.cell) * hidden;
    p->dirs = p->shape.direction == RNN_BIDIRECTIONAL ? 2 : 1;
    p->lens[0] = p->dirs * width * p->shape.input;
    p->lens[1] = p->dirs * width * hidden;
    p->lens[2] = p->dirs * 2 * width;
    p->lens[3] = p->dirs * 3 * hidden;
    float *w = check_random(p->lens[0]), *r = check_random(p->lens[1]);
    for (size_t i = 0; i < p->lens[1]; i++)
        r[i] *= 1 / sqrtf((float)hidden);
    p->weights = (struct rnn_weights){w, r, bias ? check_random(p->lens[2]) : NULL,
                                      peephole ? check_random(p->lens[3]) : NULL};
}

static void make_args(struct problem *p, bool states, bool lens)
{
    struct rnn_args *a = &p->args;
    p->x_len = a->steps * a->batch * p->shape.input;
    p->y_len = a->steps * a->batch * p->dirs * p->shape.hidden;
    p->state_len = a->batch * p->dirs * p->shape.hidden;
    p->steps = xcalloc(a->batch, sizeof(*p->steps));
    for (size_t b = 0; b < a->batch; b++)
        p->steps[b] = (int32_t)random_between(0, a->steps);
    a->lens = lens ? p->steps : NULL;
    a->x = check_random(p->x_len);
    a->h0 = states ? check_random(p->state_len) : NULL;
    a->c0 = states ? check_random(p->state_len) : NULL;
    a->y = check_alloc(p->y_len);
    a->h = check_alloc(p->state_len);
    a->c = p->shape.cell == RNN_LSTM ? check_alloc(p->state_len) : NULL;
}

static void maybe_free(const float *values, size_t n)
{
    if (values)
        check_free((float *)(uintptr_t)values, n);
}

static void free_problem(struct problem *p)
{
    maybe_free(p->weights.w, p->lens[0]);
    maybe_free(p->weights.r, p->lens[1]);
    maybe_free(p->weights.bias, p->lens[2]);
    maybe_free(p->weights.peephole, p->lens[3]);
    maybe_free(p->args.x, p->x_len);
    maybe_free(p->args.h0, p->state_len);
    maybe_free(p->args.c0, p->state_len);
    maybe_free(p->args.y, p->y_len);
    maybe_free(p->args.h, p->state_len);
    maybe_free(p->args.c, p->state_len);
    free(p->steps);
}

static void run(const struct problem *p, const struct rnn_args *args)
{
    struct rnn_plan *plan = rnn_plan_new(&p->shape, &p->weights);
    void *scratch = check_scratch(rnn_scratch_bytes(plan, args->steps, args->batch));
    rnn_run(plan, args, scratch);
    rnn_plan_destroy(&plan);
    assert_null(plan);
    free(scratch);
}

static void check_problem(struct problem *p)
{
    run(p, &p->args);
    for (size_t dir = 0; dir < p->dirs; dir++)
        for (size_t b = 0; b < p->args.batch; b++)
            check_row(p, dir, b, 1e-5);
    free_problem(p);
}

/* Every cell, direction and layout, on awkward sizes. */
static void default_cells_match_double(void)
{
    static const size_t hidden[] = {1, 7, 8, 9, 20, 33};
    for (size_t i = 0; i < 54; i++) {
        struct problem p = {.shape = {.cell = (enum rnn_cell)(i % 3),
                                      .direction = (enum rnn_direction)(i / 3 % 3),
                                      .input = random_between(1, 20),
                                      .hidden = hidden[i % 6],
                                      .linear_before_reset = i / 9 % 2,
                                      .weight_type = (enum rnn_weight_type)(i / 27)}};
        rnn_default_activations(&p.shape);
        p.args.steps = random_between(1, 9);
        p.args.batch = i < 9 ? 1 : random_between(1, 13);
        p.args.batch_first = i / 18 % 2;
        make_weights(&p, i % 4 != 0, false);
        make_args(&p, i % 2, i % 5 == 4);
        check_problem(&p);
    }
}

static void options_match_double(void)
{
    static const struct activation set[2][RNN_ACTIVATIONS_MAX] = {
        {{UNARY_HARD_SIGMOID, 0.2f, 0.5f}, {UNARY_SOFTSIGN, 0, 0}, {UNARY_RELU, 0, 0}},
        {{UNARY_SIGMOID, 0, 0}, {UNARY_AFFINE, 0.5f, 0.1f}, {UNARY_TANH, 0, 0}},
    };
    for (size_t i = 0; i < 36; i++) {
        struct problem p = {.shape = {.cell = (enum rnn_cell)(i % 3),
                                      .direction = (enum rnn_direction)(i / 3 % 3),
                                      .input = random_between(1, 9),
                                      .hidden = random_between(1, 20),
                                      .linear_before_reset = random_bits() % 2,
                                      .input_forget = random_bits() % 2,
                                      .clip = random_bits() % 2 ? 0.4f : 0}};
        memcpy(p.shape.acts, set, sizeof(set));
        p.args.steps = random_between(0, 5);
        p.args.batch = random_between(1, 9);
        p.args.batch_first = random_bits() % 2;
        make_weights(&p, true, random_bits() % 2);
        make_args(&p, random_bits() % 2, random_bits() % 2);
        check_problem(&p);
    }
}

/* More rows than step together, more than one piece per thread. */
static void large_batches_match_double(void)
{
    struct problem p = {
        .shape = {.cell = RNN_LSTM, .direction = RNN_BIDIRECTIONAL, .input = 5, .hidden = 16}};
    rnn_default_activations(&p.shape);
    p.args.steps = 3;
    p.args.batch = 150;
    make_weights(&p, true, false);
    make_args(&p, true, true);
    check_problem(&p);
}

/* A row alone, among others, at another place, on one thread or two: the same bytes. */
static void a_row_has_the_same_bytes_in_any_batch(void)
{
    enum { BATCH = 33, STEPS = 12 };
    static const size_t batches[] = {1, 7, 33};
    for (size_t cell = 0; cell < 3; cell++) {
        struct problem p = {.shape = {.cell = (enum rnn_cell)cell,
                                      .input = 24,
                                      .hidden = 64,
                                      .direction = RNN_BIDIRECTIONAL}};
        rnn_default_activations(&p.shape);
        p.args.steps = STEPS;
        p.args.batch = BATCH;
        p.args.batch_first = true;
        make_weights(&p, true, false);
        make_args(&p, false, true);
        kernels_set_threads(2);
        run(&p, &p.args);
        size_t row = STEPS * 2 * p.shape.hidden;
        float *some = check_alloc(p.y_len);
        for (size_t i = 0; i < 2 * ARRAY_LEN(batches); i++) {
            struct rnn_args args = p.args;
            size_t first = random_between(0, BATCH - batches[i / 2]);
            kernels_set_threads(i % 2 ? 2 : 1);
            args.batch = batches[i / 2];
            args.x += first * STEPS * p.shape.input;
            args.lens += first;
            args.y = some;
            args.h = args.c = NULL;
            run(&p, &args);
            check_same_bytes("rnn row", some, p.args.y + first * row, args.batch * row);
        }
        check_free(some, p.y_len);
        free_problem(&p);
    }
}

/* Hidden units shared by a team, one direction per team or both in one: the same bytes. */
static void a_team_computes_the_same_bytes(void)
{
    for (size_t i = 0; i < 16; i++) {
        struct problem p = {.shape = {.cell = (enum rnn_cell)(i % 4 ? RNN_GRU : RNN_LSTM),
                                      .input = 40,
                                      .hidden = 150,
                                      .linear_before_reset = i % 4 == 2,
                                      .weight_type = (enum rnn_weight_type)(i / 4 % 2),
                                      .direction = i / 8 ? RNN_BIDIRECTIONAL : RNN_REVERSE}};
        if (i % 4 == 3)
            p.shape.cell = RNN_PLAIN;
        rnn_default_activations(&p.shape);
        p.args.steps = 40;
        p.args.batch = random_between(1, 3);
        make_weights(&p, true, i % 4 == 0);
        make_args(&p, true, true);
        p.steps[0] = (int32_t)p.args.steps;
        kernels_set_threads(1);
        run(&p, &p.args);
        struct rnn_args team = p.args;
        team.y = check_alloc(p.y_len);
        team.h = check_alloc(p.state_len);
        team.c = NULL;
        for (uint32_t threads = 2; threads <= 5; threads++) {
            kernels_set_threads(threads);
            run(&p, &team);
            check_same_bytes("rnn team's y", team.y, p.args.y, p.y_len);
            check_same_bytes("rnn team's h", team.h, p.args.h, p.state_len);
        }
        check_free(team.y, p.y_len);
        check_free(team.h, p.state_len);
        free_problem(&p);
    }
}

static void cells(void **state)
{
    (void)state;
    with_each_isa(default_cells_match_double, 1);
    with_each_isa(options_match_double, 2);
    with_each_isa(large_batches_match_double, 2);
}

static void invariance(void **state)
{
    (void)state;
    with_each_isa(a_row_has_the_same_bytes_in_any_batch, 1);
    with_each_isa(a_team_computes_the_same_bytes, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cells),
        cmocka_unit_test(invariance),
    };
    check_seed();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
