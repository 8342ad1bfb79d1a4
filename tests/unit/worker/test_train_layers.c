/* Every kind of layer that a specification may have, built as a user's network is, is trained by
 * one step: the gradients of all that network's parameters against central differences in double
 * precision. The networks are those that Keras is compared with, tests/data/layers/cases.json, each
 * behind a Dense layer, so that every layer hands a gradient on. SEED=n repeats a run. */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/common/testing.h"
#include "tests/unit/worker/train_check.h"
#include "worker/onnx/import.h"
#include "worker/train/build.h"

#define CASES   "tests/data/layers/cases.json"
#define ROWS    3
#define OPEN    7 /* an axis whose size is open */
#define INDICES 9 /* rows of the smallest table among the cases */

static uint64_t seed;

static json_t *read_cases(void)
{
    json_error_t error;
    json_t *cases = json_load_file(CASES, 0, &error);
    if (!cases)
        fail_msg(CASES ": %s", error.text);
    return cases;
}

/* The case's own first layer may have no parameters; Dense keeps the shape and has some. */
static void put_dense_in_front(json_t *network)
{
    json_t *layers = json_object_get(network, "layers"), *first = json_array_get(layers, 0);
    json_t *shape = json_object_get(first, "input_shape");
    const char *type = json_string_value(json_object_get(first, "type"));
    if (!shape || strcmp(type, "Embedding") == 0)
        return;
    size_t rank = json_array_size(shape);
    json_t *dense = json_pack("{s:s, s:O, s:O}", "type", "Dense", "units",
                              json_array_get(shape, rank - 1), "input_shape", shape);
    json_object_del(first, "input_shape");
    json_array_insert_new(layers, 0, dense);
}

/* Dropout drops nothing: what it does at random has a test of its own. */
static void drop_nothing(json_t *network)
{
    size_t i;
    json_t *layer;
    json_array_foreach(json_object_get(network, "layers"), i,
                       layer) if (json_object_get(layer, "rate"))
        json_object_set_new(layer, "rate", json_integer(0));
}

static struct graph *graph_of(const char *name, json_t *network, void **file)
{
    char *text = json_dumps(network, 0);
    struct spec *spec;
    struct graph *graph;
    struct error why;
    size_t size;
    uint8_t *bytes;
    if (spec_read(&spec, text, strlen(text), &why) != STATUS_OK)
        fail_msg("%s: %s", name, why.text);
    build_model(spec, seed, &bytes, &size);
    if (onnx_import(&graph, bytes, size, NULL, &why) != STATUS_OK)
        fail_msg("%s: %s", name, why.text);
    spec_destroy(&spec);
    free(text);
    *file = bytes;
    return graph;
}

static struct tensor random_input(const struct value *v, uint64_t *state)
{
    struct tensor t = {.dtype = v->dtype, .rank = v->rank};
    size_t count = 1;
    for (uint32_t i = 0; i < v->rank; i++) {
        t.dims[i] = i == 0 ? ROWS : v->dims[i] < 0 ? OPEN : v->dims[i];
        count *= (size_t)t.dims[i];
    }
    t.bytes = count * dtype_bytes(v->dtype);
    t.data = xaligned(t.bytes);
    for (size_t i = 0; i < count; i++) {
        uint64_t value = test_random(state);
        if (v->dtype == DTYPE_FP32)
            ((float *)t.data)[i] = (float)(int32_t)(uint32_t)value * 0x1p-31f;
        else if (v->dtype == DTYPE_INT32)
            ((int32_t *)t.data)[i] = (int32_t)(value % INDICES);
        else
            ((uint8_t *)t.data)[i] = (uint8_t)value;
    }
    return t;
}

static void check_network(const char *name, json_t *network, enum loss_kind loss)
{
    struct trainer_options options = {.loss = loss, .optimiser = {.kind = UPDATE_SGD}};
    struct tensor inputs[SPEC_INPUTS_MAX];
    struct trainer *t;
    struct error why;
    void *files[2];
    uint64_t state = seed;
    struct graph *learns = graph_of(name, network, &files[0]);
    struct graph *reference = graph_of(name, network, &files[1]);
    uint32_t len = reference->inputs_len;
    for (uint32_t i = 0; i < len; i++)
        inputs[i] = random_input(&reference->values[reference->inputs[i]], &state);
    struct net *net = net_of(name, reference, inputs);
    if (trainer_new(&t, &learns, &options, &why) != STATUS_OK)
        fail_msg("%s: %s", name, why.text);
    check_gradients(net, t, inputs, len, loss, seed);
    trainer_destroy(&t);
    net_free(&net);
    for (uint32_t i = 0; i < len; i++)
        free(inputs[i].data);
    free(files[0]);
    free(files[1]);
}

static void every_layer_learns(void **unused)
{
    json_t *cases = read_cases(), *network;
    const char *name;
    (void)unused;
    json_object_foreach(cases, name, network)
    {
        put_dense_in_front(network);
        drop_nothing(network);
    }
    for (size_t k = 0; check_mode(k); k++)
        json_object_foreach(cases, name, network) check_network(name, network, LOSS_MSE);
    json_decref(cases);
}

static bool names_layer(const json_t *network, const char *type)
{
    size_t i;
    json_t *layer;
    json_array_foreach(json_object_get(network, "layers"), i,
                       layer) if (strcmp(json_string_value(json_object_get(layer, "type")), type) ==
                                  0) return true;
    return false;
}

static void no_layer_is_left_out(void **unused)
{
    static const char *const types[] = {
#define LAYER(name, family, what) #name,
#define ARG(name, type, default, what)
#include "worker/train/spec_layers.def"
#undef LAYER
#undef ARG
    };
    json_t *cases = read_cases(), *network;
    const char *name;
    (void)unused;
    for (size_t i = 0; i < ARRAY_LEN(types); i++) {
        bool found = false;
        json_object_foreach(cases, name, network) found = found || names_layer(network, types[i]);
        if (!found)
            fail_msg(CASES " has no network with %s", types[i]);
    }
    json_decref(cases);
}

/* A bias that Keras has once and ONNX twice: its second half stays zero. */
static void columns_that_do_not_learn_stay(void **unused)
{
    static const struct trainer_columns columns[] = {{"lstm/bias", 8}};
    struct trainer_options options = {.loss = LOSS_MSE,
                                      .optimiser = {.kind = UPDATE_ADAM, .beta1 = 0.9f},
                                      .columns = columns,
                                      .columns_len = 1};
    json_t *network = json_loads("{\"layers\": [{\"type\": \"LSTM\", \"units\": 2, "
                                 "\"input_shape\": [4, 3]}]}",
                                 0, NULL);
    struct trainer *t;
    struct trainer_result result = {0};
    struct error why;
    void *file;
    uint64_t state = seed;
    size_t len, tried = 0;
    (void)unused;
    options.optimiser.beta2 = 0.999f;
    options.optimiser.epsilon = 1e-7f;
    struct graph *graph = graph_of("lstm", network, &file);
    struct tensor x = random_input(&graph->values[graph->inputs[0]], &state);
    float zeros[2 * ROWS] = {0};
    struct tensor target = {NULL, DTYPE_FP32, 2, {ROWS, 2}, zeros, sizeof zeros};
    assert_int_equal(trainer_new(&t, &graph, &options, &why), STATUS_OK);
    for (uint64_t step = 1; step <= 3; step++)
        assert_int_equal(trainer_step(t, &x, 1, &target, step, 0.01, &result, &why), STATUS_OK);
    const struct trainer_param *p = trainer_params(t, &len);
    for (size_t k = 0; k < len; k++)
        for (size_t i = 0; strcmp(p[k].name, "lstm/bias") == 0 && i < p[k].count; i++, tried++)
            assert_int_equal(i >= 8, !(p[k].grad[i] < 0 || p[k].grad[i] > 0) &&
                                         !(p[k].data[i] < 0 || p[k].data[i] > 0));
    assert_int_equal(tried, 16);
    trainer_destroy(&t);
    json_decref(network);
    free(x.data);
    free(file);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_layer_is_left_out),
        cmocka_unit_test(every_layer_learns),
        cmocka_unit_test(columns_that_do_not_learn_stay),
    };
    seed = test_seed();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
