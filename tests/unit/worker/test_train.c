/* Gradients of every operator and of whole networks against central differences in double
 * precision, optimisers against their published formulas in double, and the same bytes from the
 * same seed. SEED=n repeats a run. */
#include <math.h>

#include "tests/unit/common/testing.h"
#include "tests/unit/worker/train_net.h"
#include "worker/engine.h"

#define STEP      1e-6 /* of a difference, in the beginning; far above double's rounding */
#define STEPS     4    /* where a maximum or a Relu has its kink inside, up to three are smaller */
#define TOLERANCE 2e-4 /* of the largest gradient of a parameter: rounding in fp32 */
/* Of the network's largest gradient: what rounding leaves of terms that cancel each other, as all
 * do by what is added in front of a BatchNormalization. */
#define LEFTOVER 1e-5
#define SAMPLE   24 /* elements of one parameter that are tried */

static uint64_t seed;

struct target {
    struct tensor tensor;
    double *numbers;
};

static struct target target_new(const struct net *net, enum loss_kind loss, uint64_t *state)
{
    struct target t = {.tensor = {.rank = 2}};
    bool labels = loss == LOSS_SPARSE_CROSSENTROPY;
    size_t n = labels ? net->rows : net->rows * net->cols;
    t.tensor.dims[0] = (int64_t)net->rows;
    t.tensor.dims[1] = labels ? 1 : (int64_t)net->cols;
    t.tensor.dtype = labels ? DTYPE_INT32 : DTYPE_FP32;
    t.tensor.data = xaligned(n * sizeof(float));
    t.numbers = xcalloc(n, sizeof(double));
    for (size_t i = 0; i < n; i++) {
        double value = (double)(test_random(state) >> 40) * 0x1p-24;
        t.numbers[i] = labels ? (double)(test_random(state) % net->cols) : (double)(float)value;
        if (labels)
            ((int32_t *)t.tensor.data)[i] = (int32_t)t.numbers[i];
        else
            ((float *)t.tensor.data)[i] = (float)t.numbers[i];
    }
    return t;
}

static double loss_of(struct net *net, enum loss_kind loss, const double *target)
{
    const double *x = net_run(net);
    double all = 0;
    for (size_t r = 0; r < net->rows; r++, x += net->cols) {
        double sum = 0, part = 1 / (double)net->cols;
        for (size_t i = 0; i < net->cols; i++)
            sum += exp(x[i]);
        for (size_t i = 0; i < net->cols; i++) {
            double t = target[loss == LOSS_SPARSE_CROSSENTROPY ? r : r * net->cols + i];
            double both = fmax(x[i], 0) - x[i] * t + log1p(exp(-fabs(x[i]))); /* stable */
            all += loss == LOSS_MSE                   ? part * (x[i] - t) * (x[i] - t)
                   : loss == LOSS_BINARY_CROSSENTROPY ? part * both
                   : loss == LOSS_CROSSENTROPY        ? -t * (x[i] - log(sum))
                   : (double)i == t                   ? log(sum) - x[i]
                                                      : 0;
        }
    }
    return all / (double)net->rows;
}

static struct trainer *trainer_of(const char *text, const struct trainer_options *options)
{
    struct graph *graph = net_graph(text, seed);
    struct trainer *t;
    struct error why = {0};
    if (trainer_new(&t, &graph, options, &why) != STATUS_OK)
        fail_msg("%s: %s", text, why.text);
    return t;
}

/* The slope of the loss by *value. Where slopes to the left and to the right differ there is a kink
 * between: the step becomes smaller. What the trainer says plays no part in that. */
static double slope_at(struct net *net, enum loss_kind loss, const double *target, double *value)
{
    double old = *value, here = loss_of(net, loss, target), left = 0, right = 1;
    double step = STEP;
    for (int turn = 0; turn < STEPS; turn++) {
        *value = old + step;
        right = (loss_of(net, loss, target) - here) / step;
        *value = old - step;
        left = (here - loss_of(net, loss, target)) / step;
        *value = old;
        if (fabs(right - left) <= TOLERANCE / 4 * fmax(fabs(left), fabs(right)) + 1e-6)
            break;
        step /= 10;
    }
    return (left + right) / 2;
}

/* The largest gradient there is, by the trainer. */
static double largest(const struct trainer_param *params, size_t len)
{
    double most = 0;
    for (size_t k = 0; k < len; k++)
        for (size_t i = 0; params[k].learns && i < params[k].count; i++)
            most = fmax(most, fabs((double)params[k].grad[i]));
    return most;
}

/* `floor` is what any gradient of this network may be off. */
static void check_param(struct net *net, const struct trainer_param *p, enum loss_kind loss,
                        const double *target, double floor, uint64_t *state)
{
    size_t count;
    double *values = net_const(net, p->name, &count), want[SAMPLE], most = 0;
    size_t at[SAMPLE], n = MIN(count, SAMPLE);
    assert_int_equal(count, p->count);
    for (size_t i = 0; i < n; i++) {
        at[i] = count > SAMPLE ? (size_t)(test_random(state) % count) : i;
        want[i] = slope_at(net, loss, target, &values[at[i]]);
        most = fmax(most, fabs(want[i]));
    }
    for (size_t i = 0; i < n; i++) {
        double got = (double)p->grad[at[i]];
        if (!(fabs(got - want[i]) <= TOLERANCE * most + floor))
            fail_msg("%s %s: gradient of %s[%zu] is %.9g; differences say %.9g", engine_mode(),
                     net->text, p->name, at[i], got, want[i]);
    }
}

static void check_net(const char *text, enum loss_kind loss)
{
    struct trainer_options options = {.loss = loss, .optimiser = {.kind = UPDATE_SGD}};
    struct net *net = net_new(text, seed);
    struct trainer *t = trainer_of(text, &options);
    struct trainer_result result = {0};
    struct error why = {0};
    uint64_t state = seed + 1;
    struct target target = target_new(net, loss, &state);
    size_t len;
    if (trainer_step(t, NULL, 0, &target.tensor, 1, 0, &result, &why) != STATUS_OK)
        fail_msg("%s: %s", text, why.text);
    double want = loss_of(net, loss, target.numbers);
    if (!(fabs(result.loss - want) <= 1e-4 * fabs(want) + 1e-6))
        fail_msg("%s %s: loss is %.9g, expected %.9g", engine_mode(), text, result.loss, want);
    const struct trainer_param *params = trainer_params(t, &len);
    double floor = LEFTOVER * largest(params, len) + 1e-6;
    for (size_t i = 0; i < len; i++)
        if (params[i].learns)
            check_param(net, &params[i], loss, target.numbers, floor, &state);
    free(target.tensor.data);
    free(target.numbers);
    net_free(&net);
    trainer_destroy(&t);
}

/* Each in the instruction sets that there are, with one thread and with two. */
static void check_everywhere(const char *const *texts, size_t len, enum loss_kind loss)
{
    static const char *const isas[] = {"auto", "avx2", "generic", "reference", "auto/strict"};
    for (size_t k = 0; k < ARRAY_LEN(isas); k++) {
        if (engine_start(isas[k], 1 + k % 2, NULL) != STATUS_OK)
            continue;
        for (size_t i = 0; i < len; i++)
            check_net(texts[i], loss);
    }
    assert_int_equal(engine_start("auto", 0, NULL), STATUS_OK);
}

static void operators_have_the_gradients_that_differences_give(void **state)
{
    static const char *const texts[] = {
#define CASE(text) text,
#include "tests/unit/worker/train_cases.def"
#undef CASE
    };
    (void)state;
    check_everywhere(texts, ARRAY_LEN(texts), LOSS_MSE);
}

static const char *const networks[] = {
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

static void networks_have_the_gradients_that_differences_give(void **state)
{
    (void)state;
    check_everywhere(networks, ARRAY_LEN(networks), LOSS_SPARSE_CROSSENTROPY);
    for (int loss = 0; loss < LOSS_COUNT; loss++)
        check_net(networks[0], (enum loss_kind)loss);
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
    struct trainer_result result = {0};
    double first = 0, least = INFINITY; /* Dropout makes it go up and down */
    for (uint64_t step = 1; step <= 40; step++) {
        struct error why = {0};
        if (trainer_step(t, NULL, 0, &target, step, 0.01, &result, &why) != STATUS_OK)
            fail_msg("%s", why.text);
        first = step == 1 ? result.loss : first;
        least = fmin(least, result.loss);
    }
    assert_true(least < first / 2); /* it learns */
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
        cmocka_unit_test(networks_have_the_gradients_that_differences_give),
        cmocka_unit_test(optimisers_follow_their_formulas),
        cmocka_unit_test(a_large_gradient_is_scaled_to_the_norm),
        cmocka_unit_test(the_same_seed_gives_the_same_bytes),
        cmocka_unit_test(dropout_drops_the_same_values_forward_and_backward),
        cmocka_unit_test(what_cannot_be_trained_is_refused_by_name),
    };
    seed = test_seed();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
