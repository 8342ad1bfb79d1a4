/* The grad and rnn_grad families in every instruction set: weight gradients, pooling, softmax and
 * ReLU against double on random sizes, recurrent layers against those that only run (rnn.h), and
 * the same bytes with one thread and two, in any batch. */
#include "tests/kernels/check.h"
#include "worker/kernels/conv_grad.h"
#include "worker/kernels/grad.h"
#include "worker/kernels/rnn_grad.h"
#include "worker/kernels/update.h"

#define TURNS 40

/* --- convolution -------------------------------------------------------------------------------
 */
static struct conv_shape random_conv(struct maps *m)
{
    size_t groups = random_between(0, 3), each = random_between(1, 20);
    struct conv_shape s = {.groups = groups < 2 ? 1 : groups < 3 ? 2 : each};
    s.channels_in = s.groups * (groups < 3 ? each : 1);
    s.channels_out = s.groups * (groups < 3 ? random_between(1, 20) : 1);
    for (int i = 0; i < 2; i++) {
        s.kernel[i] = random_between(1, 5);
        s.stride[i] = random_between(1, 2);
        s.dilation[i] = random_between(1, 2);
        s.pad_begin[i] = random_between(0, s.kernel[i] - 1);
        s.pad_end[i] = random_between(0, s.kernel[i] - 1);
    }
    *m = (struct maps){random_between(1, 3), s.channels_in, random_between(9, 14),
                       random_between(9, 14)};
    return s;
}

/* Element (y, x) of the map that a tap of a window reads, or 0 in the padding. */
static double tap(const struct conv_shape *s, struct maps m, const float *map, size_t y, size_t x,
                  size_t t)
{
    size_t row = y * s->stride[0] + t / s->kernel[1] * s->dilation[0] - s->pad_begin[0];
    size_t col = x * s->stride[1] + t % s->kernel[1] * s->dilation[1] - s->pad_begin[1];
    return row < m.h && col < m.w ? (double)map[row * m.w + col] : 0;
}

static void check_weight(const struct conv_shape *s, struct maps m, struct maps o, const float *in,
                         const float *dy, const float *dw, size_t k, size_t c, size_t t)
{
    size_t units = s->channels_in / s->groups, from = k / (s->channels_out / s->groups) * units + c;
    double sum = 0, size = 0;
    for (size_t n = 0; n < m.n; n++)
        for (size_t p = 0; p < o.h * o.w; p++) {
            double by = (double)dy[(n * o.c + k) * o.h * o.w + p];
            double x = tap(s, m, in + (n * m.c + from) * m.h * m.w, p / o.w, p % o.w, t);
            sum += by * x;
            size += fabs(by * x);
        }
    size_t at = (k * units + c) * s->kernel[0] * s->kernel[1] + t, terms = m.n * o.h * o.w;
    double error = rounding(terms, size);
    if (s->winograd) /* those of whole tiles: of products of about 1/4, some of them padding */
        error = 4 * rounding(terms + 256, (double)(terms + 256) / 4);
    check_close("weight", at, (double)dw[at], sum, error);
}

static void check_conv(struct conv_shape s, struct maps m, enum layout layout)
{
    struct maps o = {m.n, s.channels_out, conv_out_size(&s, 0, m.h), conv_out_size(&s, 1, m.w)};
    size_t taps = s.kernel[0] * s.kernel[1], units = s.channels_in / s.groups;
    size_t weights = s.channels_out * units * taps, outputs = layout_elements(LAYOUT_PLAIN, o);
    size_t inputs = layout_elements(LAYOUT_PLAIN, m), blocked = layout_elements(layout, m);
    size_t out_blocked = layout_elements(LAYOUT_BLOCKED, o);
    if (!o.h || !o.w)
        return;
    float *in = check_random(inputs), *dy = check_random(outputs), *dw = check_alloc(weights);
    float *there = check_alloc(blocked), *dy_there = check_alloc(out_blocked);
    float *db = check_alloc(s.channels_out);
    void *scratch = check_scratch(conv_grad_weights_scratch(&s, layout, m));
    if (layout == LAYOUT_BLOCKED)
        layout_to_blocked(m, in, there);
    else
        memcpy(there, in, inputs * sizeof(float));
    layout_to_blocked(o, dy, dy_there);
    conv_grad_weights(&s, layout, m, there, dy_there, dw, db, scratch);
    for (size_t i = 0; i < weights; i++)
        check_weight(&s, m, o, in, dy, dw, i / taps / units, i / taps % units, i % taps);
    for (size_t k = 0; k < o.c; k++) {
        double sum = 0;
        for (size_t i = 0; i < o.n * o.h * o.w; i++)
            sum += (double)dy[(i / (o.h * o.w) * o.c + k) * o.h * o.w + i % (o.h * o.w)];
        check_close("bias", k, (double)db[k], sum, rounding(o.n * o.h * o.w, (double)outputs));
    }
    check_free(in, inputs);
    check_free(dy, outputs);
    check_free(dw, weights);
    check_free(there, blocked);
    check_free(dy_there, out_blocked);
    check_free(db, s.channels_out);
    free(scratch);
}

static void conv_once(void)
{
    for (int turn = 0; turn < TURNS; turn++) {
        struct maps m;
        struct conv_shape s = random_conv(&m);
        check_conv(s, m, turn % 2 ? LAYOUT_BLOCKED : LAYOUT_PLAIN);
    }
}

/* Every size of tile, rows of three, channels that fill no block; the last has so many images that
 * they take several blocks of tiles. */
static void winograd_once(void)
{
    for (int turn = 0; turn < TURNS; turn++) {
        struct maps m = {turn ? random_between(1, 3) : 400, random_between(16, 40),
                         random_between(3, 15), random_between(3, 15)};
        struct conv_shape s = {.groups = 1, .channels_in = m.c, .stride = {1, 1}};
        s.channels_out = random_between(16, 40);
        for (size_t axis = 0; axis < 2; axis++) {
            s.kernel[axis] = axis || turn % 7 > 1 ? 3 : 1;
            s.dilation[axis] = 1;
            s.pad_begin[axis] = random_between(0, 3);
            s.pad_end[axis] = random_between(0, 3);
        }
        if (!conv_winograd_tile(&s, LAYOUT_BLOCKED, LAYOUT_BLOCKED, 40, 40))
            return; /* this instruction set has none */
        s.winograd = 2 + (size_t)turn % 3;
        check_conv(s, m, LAYOUT_BLOCKED);
    }
}

static void weight_gradients_match_double(void **state)
{
    (void)state;
    with_each_isa(conv_once, 1);
    with_each_isa(conv_once, 2);
    with_each_isa(winograd_once, 1);
    with_each_isa(winograd_once, 2);
}

/* --- elements and rows -------------------------------------------------------------------------
 */
static void rows_once(void)
{
    for (int turn = 0; turn < TURNS; turn++) {
        size_t rows = random_between(1, 9), cols = random_between(1, 70), n = rows * cols;
        float *y = check_random(n), *dy = check_random(n), *dx = check_alloc(n);
        grad_relu(n, y, dy, dx);
        for (size_t i = 0; i < n; i++)
            check_close("relu", i, (double)dx[i], y[i] > 0 ? (double)dy[i] : 0, 0);
        grad_softmax(rows, cols, y, dy, dx);
        for (size_t r = 0; r < rows; r++) {
            double sum = 0;
            for (size_t i = r * cols; i < (r + 1) * cols; i++)
                sum += (double)y[i] * (double)dy[i];
            for (size_t i = r * cols; i < (r + 1) * cols; i++)
                check_close("softmax", i, (double)dx[i], (double)y[i] * ((double)dy[i] - sum),
                            rounding(cols, (double)cols + 1));
        }
        double squares = 0;
        for (size_t i = 0; i < n; i++)
            squares += (double)dy[i] * (double)dy[i];
        check_close("norm", 0, update_norm(n, dy), sqrt(squares), 1e-5 * sqrt(squares));
        check_free(y, n);
        check_free(dy, n);
        check_free(dx, n);
    }
}

static void rows_match_double(void **state)
{
    (void)state;
    with_each_isa(rows_once, 1);
}

/* --- pooling -----------------------------------------------------------------------------------
 */
/* Each window's gradient goes to its first largest value; values are few, so that many are equal.
 */
static void pool_once(void)
{
    for (int turn = 0; turn < TURNS; turn++) {
        struct pool_shape s = {.kind = POOL_MAX, .dilation = {1, 1}};
        struct maps m = {random_between(1, 2), random_between(1, 18), random_between(4, 11),
                         random_between(4, 11)};
        for (int i = 0; i < 2; i++) {
            s.kernel[i] = random_between(1, 3);
            s.stride[i] = random_between(1, 3);
            s.pad_begin[i] = random_between(0, s.kernel[i] - 1);
        }
        for (int i = 0; i < 2 && turn % 3 == 0; i++) { /* side by side, as most are */
            s.stride[i] = s.kernel[i];
            s.pad_begin[i] = 0;
        }
        struct maps o = {m.n, m.c, pool_out_size(&s, 0, m.h), pool_out_size(&s, 1, m.w)};
        size_t in = layout_elements(LAYOUT_BLOCKED, m), out = layout_elements(LAYOUT_BLOCKED, o);
        size_t plain_in = layout_elements(LAYOUT_PLAIN, m);
        size_t plain_out = layout_elements(LAYOUT_PLAIN, o);
        float *x = check_alloc(plain_in), *y = check_alloc(plain_out),
              *dy = check_random(plain_out);
        float *dx = check_alloc(plain_in), *back = check_alloc(plain_in);
        float *blocked[4] = {check_alloc(in), check_alloc(out), check_alloc(out), check_alloc(in)};
        for (size_t i = 0; i < plain_in; i++)
            x[i] = (float)random_between(0, 5) - 2;
        pool_run(&s, LAYOUT_PLAIN, m, x, y);
        grad_pool(&s, LAYOUT_PLAIN, m, x, y, dy, turn % 2, dx);
        layout_to_blocked(m, x, blocked[0]);
        layout_to_blocked(o, y, blocked[1]);
        layout_to_blocked(o, dy, blocked[2]);
        grad_pool(&s, LAYOUT_BLOCKED, m, blocked[0], blocked[1], blocked[2], turn % 2, blocked[3]);
        layout_to_plain(m, blocked[3], back);
        double sum = 0, want = 0;
        for (size_t i = 0; i < plain_out; i++)
            want += turn % 2 && !(y[i] > 0) ? 0 : (double)dy[i];
        for (size_t i = 0; i < plain_in; i++) {
            check_close("pool, layouts", i, (double)back[i], (double)dx[i], 1e-6);
            sum += (double)dx[i];
        }
        check_close("pool, all of it", 0, sum, want, rounding(plain_out, (double)plain_out));
        check_free(x, plain_in);
        check_free(y, plain_out);
        check_free(dy, plain_out);
        check_free(dx, plain_in);
        check_free(back, plain_in);
        for (int i = 0; i < 4; i++)
            check_free(blocked[i], i == 1 || i == 2 ? out : in);
    }
}

static void pooling_hands_on_each_windows_gradient(void **state)
{
    (void)state;
    with_each_isa(pool_once, 1);
}

/* --- recurrent layers --------------------------------------------------------------------------
 */
struct layer {
    struct rnn_shape shape;
    struct rnn_weights weights;
    struct rnn_args args;
    size_t sizes[7];  /* of what follows, in values */
    float *arrays[7]; /* w, r, bias, x, y, h, c */
};

static struct layer layer_new(size_t steps, size_t batch)
{
    struct layer l = {.shape = {.cell = (enum rnn_cell)random_between(0, 2),
                                .direction = (enum rnn_direction)random_between(0, 2),
                                .input = random_between(1, 20),
                                .hidden = random_between(1, 40),
                                .linear_before_reset = random_bits() % 2}};
    size_t dirs = l.shape.direction == RNN_BIDIRECTIONAL ? 2 : 1;
    size_t gates = RNN_GATES(l.shape.cell) * l.shape.hidden, state = dirs * batch * l.shape.hidden;
    size_t sizes[] = {dirs * gates * l.shape.input,
                      dirs * gates * l.shape.hidden,
                      dirs * 2 * gates,
                      steps * batch * l.shape.input,
                      steps * state,
                      state,
                      state};
    memcpy(l.sizes, sizes, sizeof sizes);
    rnn_default_activations(&l.shape);
    for (int i = 0; i < 7; i++)
        l.arrays[i] = check_random(sizes[i]);
    l.weights = (struct rnn_weights){l.arrays[0], l.arrays[1], l.arrays[2], NULL};
    l.args = (struct rnn_args){.steps = steps,
                               .batch = batch,
                               .x = l.arrays[3],
                               .y = l.arrays[4],
                               .h = l.arrays[5],
                               .c = l.shape.cell == RNN_LSTM ? l.arrays[6] : NULL};
    return l;
}

static void layer_free(struct layer *l)
{
    for (int i = 0; i < 7; i++)
        check_free(l->arrays[i], l->sizes[i]);
}

static void rnn_once(void)
{
    for (int turn = 0; turn < TURNS / 2; turn++) {
        struct layer l = layer_new(random_between(1, 6), random_between(1, 70));
        struct rnn_grad_bytes bytes = rnn_grad_bytes(&l.shape, l.args.steps, l.args.batch);
        void *keep = check_scratch(bytes.keep), *scratch = check_scratch(bytes.forward);
        rnn_grad_forward(&l.shape, &l.weights, &l.args, keep, scratch);
        float *y = check_alloc(l.sizes[4]);
        memcpy(y, l.arrays[4], l.sizes[4] * sizeof(float));
        struct rnn_plan *plan = rnn_plan_new(&l.shape, &l.weights);
        void *more = check_scratch(rnn_scratch_bytes(plan, l.args.steps, l.args.batch));
        rnn_run(plan, &l.args, more);
        for (size_t i = 0; i < l.sizes[4]; i++)
            check_close("recurrent", i, (double)y[i], (double)l.arrays[4][i], 2e-4);
        rnn_plan_destroy(&plan);
        check_free(y, l.sizes[4]);
        layer_free(&l);
        free(keep);
        free(scratch);
        free(more);
    }
}

static void recurrent_layers_compute_what_those_that_only_run_do(void **state)
{
    (void)state;
    with_each_isa(rnn_once, 1);
}

/* dw, dr, dbias and dx behind each other, from dy = y. */
static float *all_gradients(struct layer *l, uint32_t threads)
{
    assert_true(kernels_start(kernels_isa(), threads));
    struct rnn_grad_bytes bytes = rnn_grad_bytes(&l->shape, l->args.steps, l->args.batch);
    void *keep = check_scratch(bytes.keep), *scratch = check_scratch(bytes.forward);
    void *back = check_scratch(bytes.backward);
    float *all = check_alloc(l->sizes[0] + l->sizes[1] + l->sizes[2] + l->sizes[3]);
    struct rnn_grads g = {.dy = l->arrays[4], .dw = all};
    g.dr = g.dw + l->sizes[0];
    g.dbias = g.dr + l->sizes[1];
    g.dx = g.dbias + l->sizes[2];
    rnn_grad_forward(&l->shape, &l->weights, &l->args, keep, scratch);
    rnn_grad_backward(&l->shape, &l->weights, &l->args, &g, keep, back);
    free(keep);
    free(scratch);
    free(back);
    return all;
}

static void threads_once(void)
{
    for (int turn = 0; turn < TURNS / 4; turn++) {
        struct layer l = layer_new(random_between(1, 20), random_between(1, 70));
        size_t n = l.sizes[0] + l.sizes[1] + l.sizes[2] + l.sizes[3];
        float *one = all_gradients(&l, 1), *two = all_gradients(&l, 2);
        check_same_bytes("gradients with two threads", one, two, n);
        check_free(one, n);
        check_free(two, n);
        layer_free(&l);
    }
}

static void recurrent_gradients_do_not_depend_on_threads(void **state)
{
    (void)state;
    with_each_isa(threads_once, 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(weight_gradients_match_double),
        cmocka_unit_test(rows_match_double),
        cmocka_unit_test(pooling_hands_on_each_windows_gradient),
        cmocka_unit_test(recurrent_layers_compute_what_those_that_only_run_do),
        cmocka_unit_test(recurrent_gradients_do_not_depend_on_threads),
    };
    check_seed();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
