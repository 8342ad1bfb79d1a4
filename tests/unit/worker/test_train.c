/* Gradients of every operator and of whole networks against central differences in double
 * precision, optimisers against their published formulas in double, and the same bytes from the
 * same seed. SEED=n repeats a run. */
#include <math.h>

#include "tests/unit/common/testing.h"
#include "tests/unit/worker/train_check.h"
#include "worker/engine.h"

static uint64_t seed;

static struct trainer *trainer_of(const char *text, const struct trainer_options *options)
{
    struct graph *graph = net_graph(text, seed);
    struct trainer *t;
    struct error why = {0};
    if (trainer_new(&t, &graph, options, &why) != STATUS_OK)
        fail_msg("%s: %s", text, why.text);
    return t;
}

static void check_net(const char *text, enum loss_kind loss)
{
    struct trainer_options options = {.loss = loss, .optimiser = {.kind = UPDATE_SGD}};
    struct net *net = net_new(text, seed);
    struct trainer *t = trainer_of(text, &options);
    check_gradients(net, t, NULL, 0, loss, seed);
    net_free(&net);
    trainer_destroy(&t);
}

/* Each in the instruction sets that there are, with one thread and with two. */
static void check_everywhere(const char *const *texts, size_t len, enum loss_kind loss)
{
    for (size_t k = 0; check_mode(k); k++)
        for (size_t i = 0; i < len; i++)
            check_net(texts[i], loss);
}

static const char *const cases[] = {
#define CASE(text) text,
#include "tests/unit/worker/train_cases.def"
#undef CASE
};

static void operators_have_the_gradients_that_differences_give(void **state)
{
    (void)state;
    check_everywhere(cases, ARRAY_LEN(cases), LOSS_MSE);
}

/* Dropout has a test of its own below: differences of what is random say nothing. */
static void no_operator_is_left_out(void **state)
{
    static const char *const names[] = {
#define GRAD(name, weights, flags, forward, setup, backward, release) #name,
#include "worker/train/grads.def"
#undef GRAD
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        char text[64];
        size_t k = 0;
        snprintf(text, sizeof text, "=%s(", names[i]);
        while (k < ARRAY_LEN(cases) && !strstr(cases[k], text))
            k++;
        if (k == ARRAY_LEN(cases) && strcmp(names[i], "Dropout") != 0)
            fail_msg("train_cases.def has no case of %s", names[i]);
    }
}

static const char *const networks[] = {
    /* steps in front of the batch, two layers, the last state of the second in both directions */
    "x[6,5,3] W[1,32,3] R[1,32,8] B[1,64] V[2,16,8] Q[2,16,4] C[2,32] U[8,3] D[3]; s={5,8}; "
    "n={1}; a=LSTM(x,W,R,B); b=Squeeze(a,n); c,h=LSTM(b,V,Q,C) direction=bidirectional; "
    "t=Transpose(h) perm=1,0,2; r=Reshape(t,s); y=Gemm(r,U,D)",
    /* sequences, a label each: embedded texts, GRU, a dense layer for every step */
    "T[9,4] W[1,24,4] R[1,24,8] B[1,48] U[8,3] D[3]; i={1,8,3,4,0,2}; s={3,2,4}; n={1}; "
    "e=Gather(T,i); x=Reshape(e,s); a=GRU(x,W,R,B) linear_before_reset=1; b=Squeeze(a,n); "
    "m=MatMul(b,U); y=Add(m,D)",
    /* convolutions and pooling, as the founding document has them */
    "x[3,1,14,14] W[8,1,3,3] B[8] V[16,8,3,3] C[16] U[5,64] D[5]; c=Conv(x,W,B); r=Relu(c); "
    "p=MaxPool(r) kernel_shape=2,2 strides=2,2; d=Conv(p,V,C); s=Relu(d); "
    "q=MaxPool(s) kernel_shape=2,2 strides=2,2; f=Flatten(q); y=Gemm(f,U,D) transB=1",
    /* depthwise, batch normalisation, a residual */
    "x[4,8,6,6] W[8,1,3,3] B[8] P[8,8,1,1] G[8] H[8] M[8] S[8] U[8,3]; "
    "a=Conv(x,W,B) group=8 pads=1,1,1,1; n=BatchNormalization(a,G,H,M,S); r=Relu(n); "
    "b=Conv(r,P); z=Add(b,x); t=Relu(z); g=GlobalAveragePool(t); f=Flatten(g); y=MatMul(f,U)",
    /* attention with layer normalisation and a residual */
    "x[2,4,6] Q[6,6] K[6,6] V[6,6] O[6,6] G[6] H[6] C[6,5]; s={2,4,2,3}; u={2,4,6}; m={1}; "
    "q=MatMul(x,Q); k=MatMul(x,K); v=MatMul(x,V); q4=Reshape(q,s); k4=Reshape(k,s); "
    "v4=Reshape(v,s); qt=Transpose(q4) perm=0,2,1,3; kt=Transpose(k4) perm=0,2,3,1; "
    "vt=Transpose(v4) perm=0,2,1,3; w=MatMul(qt,kt); a=Softmax(w); h=MatMul(a,vt); "
    "ht=Transpose(h) perm=0,2,1,3; hr=Reshape(ht,u); o=MatMul(hr,O); z=Add(o,x); "
    "l=LayerNormalization(z,G,H); e=Gelu(l); r=ReduceMean(e,m) keepdims=0; y=MatMul(r,C)",
};

/* classes for each step, batch first */
static const char *const speech =
    "x[5,2,3] W[2,12,3] R[2,12,4] B[2,24] U[8,3] D[3]; s={2,5,8}; a=GRU(x,W,R,B) "
    "direction=bidirectional; t=Transpose(a) perm=2,0,1,3; r=Reshape(t,s); m=MatMul(r,U); "
    "y=Add(m,D)";

static void networks_have_the_gradients_that_differences_give(void **state)
{
    (void)state;
    check_everywhere(networks, ARRAY_LEN(networks), LOSS_SPARSE_CROSSENTROPY);
    check_everywhere(&speech, 1, LOSS_CTC);
    for (int loss = 0; loss < LOSS_CTC; loss++)
        check_net(networks[2], (enum loss_kind)loss);
}

/* --- optimisers --------------------------------------------------------------------------------
 */
/* The formulas of update.h in double: w, m and v of one value. */
static void reference_update(const struct update *u, double g, double *w, double *m, double *v)
{
    double b1 = (double)u->beta1, b2 = (double)u->beta2, rate = (double)u->rate;
    double decay = (double)u->decay, t = (double)u->t, epsilon = (double)u->epsilon;
    if (u->limit > 0)
        g = fmin((double)u->limit, fmax(-(double)u->limit, g));
    if (u->kind == UPDATE_ADAMW)
        *w -= rate * decay * *w;
    else
        g += decay * *w;
    if (u->kind == UPDATE_SGD) {
        *m = b1 * *m + g;
        *w -= rate * (u->nesterov ? g + b1 * *m : *m);
        return;
    }
    *v = b2 * *v + (1 - b2) * g * g;
    if (u->kind == UPDATE_RMSPROP) {
        *m = b1 * *m + rate * g / (sqrt(*v) + epsilon);
        *w -= *m;
        return;
    }
    *m = b1 * *m + (1 - b1) * g;
    *w -= rate * (*m / (1 - pow(b1, t))) / (sqrt(*v / (1 - pow(b2, t))) + epsilon);
}

static void check_update(struct update u, size_t n)
{
    float *all[4];
    double *want[3];
    uint64_t state = seed + n;
    for (int k = 0; k < 4; k++)
        all[k] = xcalloc(n, sizeof(float));
    for (int k = 0; k < 3; k++)
        want[k] = xcalloc(n, sizeof(double));
    for (size_t i = 0; i < n; i++)
        want[0][i] = (double)(all[0][i] = (float)(int32_t)(uint32_t)test_random(&state) * 0x1p-31f);
    for (u.t = 1; u.t <= 20; u.t++) {
        for (size_t i = 0; i < n; i++)
            all[1][i] = (float)(int32_t)(uint32_t)test_random(&state) * 0x1p-31f;
        u.scale = 1;
        update_run(&u, n, all[0], all[1], all[2], all[3]);
        for (size_t i = 0; i < n; i++) {
            reference_update(&u, (double)all[1][i], &want[0][i], &want[1][i], &want[2][i]);
            if (!(fabs((double)all[0][i] - want[0][i]) <= 3e-5))
                fail_msg("%s optimiser %d, step %d: value %zu is %.9g, expected %.9g",
                         engine_mode(), (int)u.kind, (int)u.t, i, (double)all[0][i], want[0][i]);
        }
    }
    for (int k = 0; k < 4; k++)
        free(all[k]);
    for (int k = 0; k < 3; k++)
        free(want[k]);
}

static void optimisers_follow_their_formulas(void **state)
{
    static const struct update kinds[] = {
        {.kind = UPDATE_SGD, .rate = 0.1f},
        {.kind = UPDATE_SGD, .rate = 0.01f, .beta1 = 0.9f, .decay = 0.01f},
        {.kind = UPDATE_SGD, .rate = 0.01f, .beta1 = 0.9f, .nesterov = true, .limit = 0.5f},
        {UPDATE_ADAM, 0.001f, 0.9f, 0.999f, 1e-7f, 0, false, 0, 1, 0, 0, 0},
        {UPDATE_ADAM, 0.001f, 0.9f, 0.999f, 1e-7f, 0.01f, false, 0, 1, 0.25f, 0, 0},
        {UPDATE_ADAMW, 0.001f, 0.9f, 0.999f, 1e-7f, 0.01f, false, 0, 1, 0, 0, 0},
        {UPDATE_RMSPROP, 0.001f, 0, 0.9f, 1e-7f, 0, false, 0, 1, 0, 0, 0},
        {UPDATE_RMSPROP, 0.001f, 0.9f, 0.9f, 1e-7f, 0.01f, false, 0, 1, 0, 0, 0},
    };
    static const char *const isas[] = {"auto", "avx2", "generic", "reference"};
    static const size_t sizes[] = {1, 15, 16, 17, 8200};
    (void)state;
    for (size_t k = 0; k < ARRAY_LEN(isas); k++) {
        if (engine_start(isas[k], 2, NULL) != STATUS_OK)
            continue;
        for (size_t i = 0; i < ARRAY_LEN(kinds) * ARRAY_LEN(sizes); i++)
            check_update(kinds[i / ARRAY_LEN(sizes)], sizes[i % ARRAY_LEN(sizes)]);
    }
    assert_int_equal(engine_start("auto", 0, NULL), STATUS_OK);
}

static void a_large_gradient_is_scaled_to_the_norm(void **state)
{
    const float values[] = {3, -4, 0, 12};
    (void)state;
    assert_true(fabs(update_norm(4, values) - 13) < 1e-5);
    struct trainer_options options = {.loss = LOSS_MSE, .optimiser = {.kind = UPDATE_SGD}};
    options.clip_norm = 1e-3f;
    struct trainer *t = trainer_of("x[2,3] W[3,4]; y=MatMul(x,W)", &options);
    float target[8] = {100, 100, 100, 100, 100, 100, 100, 100}, old;
    struct tensor tensor = {NULL, DTYPE_FP32, 2, {2, 4}, target, sizeof target};
    struct trainer_result result = {0};
    size_t len;
    double moved = 0;
    const struct trainer_param *p = trainer_params(t, &len);
    size_t floats;
    float *before = trainer_state(t, &floats), *kept = xmalloc(floats * sizeof(float));
    memcpy(kept, before, floats * sizeof(float));
    assert_int_equal(trainer_step(t, NULL, 0, &tensor, 1, 1, &result, NULL), STATUS_OK);
    assert_true(result.grad_norm > 1);
    for (size_t i = 0; i < len; i++)
        for (size_t k = 0; k < p[i].count; k++) {
            old = kept[(size_t)(p[i].data - before) + k];
            moved += pow((double)p[i].data[k] - (double)old, 2);
        }
    assert_true(fabs(sqrt(moved) - 1e-3) < 1e-5);
    free(kept);
    trainer_destroy(&t);
}

/* --- what else is promised ---------------------------------------------------------------------
 */
static void train(const char *text, uint32_t threads, uint64_t key, float **state, size_t *floats)
{
    struct trainer_options options = {.loss = LOSS_SPARSE_CROSSENTROPY, .seed = key};
    options.optimiser =
        (struct update){.kind = UPDATE_ADAM, .beta1 = 0.9f, .beta2 = 0.999f, .epsilon = 1e-7f};
    assert_int_equal(engine_start("auto", threads, NULL), STATUS_OK);
    struct trainer *t = trainer_of(text, &options);
    int32_t labels[8] = {0, 2, 1, 2};
    struct tensor target = {NULL, DTYPE_INT32, 1, {4}, labels, sizeof labels};
    struct trainer_result before = {0}, result = {0};
    struct error why = {0};
    assert_int_equal(trainer_evaluate(t, NULL, 0, &target, &before, &why), STATUS_OK);
    for (uint64_t step = 1; step <= 40; step++)
        if (trainer_step(t, NULL, 0, &target, step, 0.01, &result, &why) != STATUS_OK)
            fail_msg("%s", why.text);
    assert_int_equal(trainer_evaluate(t, NULL, 0, &target, &result, &why), STATUS_OK);
    assert_true(result.loss < before.loss); /* it learns, Dropout aside */
    const float *all = trainer_state(t, floats);
    *state = xmalloc(*floats * sizeof(float));
    memcpy(*state, all, *floats * sizeof(float));
    trainer_destroy(&t);
}

static void the_same_seed_gives_the_same_bytes(void **unused)
{
    static const char text[] =
        "x[4,1,10,10] W[8,1,3,3] B[8] U[3,128] D[3]; c=Conv(x,W,B); r=Relu(c); "
        "p=MaxPool(r) kernel_shape=2,2 strides=2,2; f=Flatten(p); d=Dropout(f); "
        "y=Gemm(d,U,D) transB=1";
    (void)unused;
    for (uint32_t threads = 1; threads <= 2; threads++) {
        float *a, *b, *other;
        size_t floats;
        train(text, threads, 7, &a, &floats);
        train(text, threads, 7, &b, &floats);
        train(text, threads, 8, &other, &floats);
        assert_memory_equal(a, b, floats * sizeof(float));
        assert_memory_not_equal(a, other, floats * sizeof(float));
        free(a);
        free(b);
        free(other);
    }
}

/* With y = mask p / (1 - ratio) and target 0 the loss is half the sum of gradient times p. */
static void dropout_drops_the_same_values_forward_and_backward(void **state)
{
    struct trainer_options options = {.loss = LOSS_MSE, .optimiser = {.kind = UPDATE_SGD}};
    struct trainer *t = trainer_of("x[40,50]; d=Dropout(x); y=Identity(d)", &options);
    float *zeros = xcalloc(2000, sizeof(float));
    struct tensor target = {NULL, DTYPE_FP32, 2, {40, 50}, zeros, 8000};
    struct trainer_result result = {0};
    size_t len, dropped = 0;
    (void)state;
    assert_int_equal(trainer_step(t, NULL, 0, &target, 1, 0, &result, NULL), STATUS_OK);
    const struct trainer_param *p = trainer_params(t, &len);
    double sum = 0;
    for (size_t i = 0; i < p[0].count; i++) {
        sum += (double)p[0].grad[i] * (double)(p[0].data[i] + p[1].data[i % 50]) / 2;
        dropped += !(fabsf(p[0].grad[i]) > 0);
    }
    assert_true(fabs(sum - result.loss) < 1e-4 * result.loss);
    assert_in_range(dropped, 850, 1150); /* of 2,000 at 1/2: more than 6 deviations */
    double loss = result.loss;
    assert_int_equal(trainer_step(t, NULL, 0, &target, 2, 0, &result, NULL), STATUS_OK);
    assert_true(fabs(loss - result.loss) > 1e-9); /* others in the next step */
    free(zeros);
    trainer_destroy(&t);
}

static const struct trainer_param *param_named(const struct trainer *t, const char *name)
{
    size_t len;
    const struct trainer_param *p = trainer_params(t, &len);
    while (len > 0 && strcmp(p[--len].name, name) != 0)
        ;
    assert_string_equal(p[len].name, name);
    return &p[len];
}

/* A step's loss is inference's, gradients are those of inference, and the statistics stay. */
static void frozen_statistics_are_used_and_do_not_move(void **state)
{
    static const char *const frozen[] = {"M", "S"};
    struct trainer_options options = {
        .loss = LOSS_MSE, .optimiser = {.kind = UPDATE_SGD}, .frozen = frozen, .frozen_len = 2};
    struct trainer *t = trainer_of("x[6,3] W[3,5] G[5] H[5] M[5] S[5]; c=MatMul(x,W); "
                                   "y=BatchNormalization(c,G,H,M,S)",
                                   &options);
    float numbers[30] = {1, -1, 0.5f};
    struct tensor target = {NULL, DTYPE_FP32, 2, {6, 5}, numbers, sizeof numbers};
    struct trainer_result result = {0}, moved[2];
    (void)state;
    const struct trainer_param *s = param_named(t, "S"), *w = param_named(t, "W");
    for (size_t i = 0; i < 5; i++)
        s->data[i] = 0.5f + (float)i;
    float before[5];
    memcpy(before, s->data, sizeof before);
    assert_int_equal(trainer_step(t, NULL, 0, &target, 1, 0, &result, NULL), STATUS_OK);
    assert_memory_equal(s->data, before, sizeof before);
    assert_false(param_named(t, "M")->learns);
    for (size_t i = 0; i < w->count; i++) {
        float was = w->data[i], step = 1e-2f;
        for (size_t side = 0; side < 2; side++) {
            w->data[i] = was + (side ? step : -step);
            assert_int_equal(trainer_evaluate(t, NULL, 0, &target, &moved[side], NULL), STATUS_OK);
        }
        w->data[i] = was;
        double slope = (moved[1].loss - moved[0].loss) / (2 * (double)step);
        assert_true(fabs(slope - (double)w->grad[i]) < 1e-4 + 1e-3 * fabs(slope));
    }
    assert_int_equal(trainer_evaluate(t, NULL, 0, &target, &moved[0], NULL), STATUS_OK);
    assert_true(fabs(moved[0].loss - result.loss) < 1e-6 * result.loss);
    trainer_destroy(&t);
}

static void what_cannot_be_trained_is_refused_by_name(void **state)
{
    struct trainer_options options = {.loss = LOSS_SPARSE_CROSSENTROPY};
    int32_t labels[2] = {1, 4};
    struct tensor target = {NULL, DTYPE_INT32, 1, {2}, labels, sizeof labels};
    struct trainer_result result = {0};
    struct error why = {0};
    (void)state;
    struct trainer *t = trainer_of("x[2,3] W[3,4]; c=MatMul(x,W); y=Sin(c)", &options);
    assert_int_equal(trainer_step(t, NULL, 0, &target, 1, 0, &result, &why), STATUS_UNSUPPORTED);
    assert_non_null(strstr(why.text, "operator Sin has no gradient"));
    trainer_destroy(&t);
    t = trainer_of("x[2,3] W[3,4]; y=MatMul(x,W)", &options);
    assert_int_equal(trainer_step(t, NULL, 0, &target, 1, 0, &result, &why), STATUS_INVALID);
    assert_non_null(strstr(why.text, "row 1 of the batch has label 4; expected 0 to 3"));
    trainer_destroy(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(operators_have_the_gradients_that_differences_give),
        cmocka_unit_test(no_operator_is_left_out),
        cmocka_unit_test(networks_have_the_gradients_that_differences_give),
        cmocka_unit_test(optimisers_follow_their_formulas),
        cmocka_unit_test(a_large_gradient_is_scaled_to_the_norm),
        cmocka_unit_test(the_same_seed_gives_the_same_bytes),
        cmocka_unit_test(dropout_drops_the_same_values_forward_and_backward),
        cmocka_unit_test(frozen_statistics_are_used_and_do_not_move),
        cmocka_unit_test(what_cannot_be_trained_is_refused_by_name),
    };
    seed = test_seed();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
