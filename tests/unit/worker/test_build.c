/* Layers become models that compute what Keras computes, and mistakes are named.
 *
 * tests/data/layers: cases.json has the networks, references.json Keras's outputs for parameters of
 * seed 7, made by tests/architecture/check.py. */
#include "tests/unit/common/testing.h"

#include <math.h>

#include "onnx.pb-c.h"

#include "common/file.h"
#include "worker/engine.h"
#include "worker/train/build.h"
#include "worker/train/spec_init.h"

#define DATA     "tests/data/layers/"
#define SEED     7
#define LIMIT    2e-5 /* of a difference, relative to the greatest output */
#define FILE_MAX (4 * MIB)
#define INPUTS   4

static json_t *load_json(const char *path)
{
    json_error_t problem;
    json_t *j = json_load_file(path, 0, &problem);
    if (!j)
        fail_msg("%s: %s", path, problem.text);
    return j;
}

static struct spec *read_spec(const char *text)
{
    struct spec *spec;
    struct error why;
    if (spec_read(&spec, text, strlen(text), &why) != STATUS_OK)
        fail_msg("%s", why.text);
    return spec;
}

/* --- outputs ------------------------------------------------------------------------------------
 */

static void take_tensor(struct tensor *t, const char *name, const json_t *stored)
{
    const json_t *shape = json_object_get(stored, "shape"), *data = json_object_get(stored, "data");
    const char *dtype = json_string_value(json_object_get(stored, "dtype"));
    *t = (struct tensor){.name = name, .rank = (uint32_t)json_array_size(shape)};
    t->dtype = strcmp(dtype, "float32") == 0 ? DTYPE_FP32
               : strcmp(dtype, "int32") == 0 ? DTYPE_INT32
                                             : DTYPE_UINT8;
    for (uint32_t i = 0; i < t->rank; i++)
        t->dims[i] = json_integer_value(json_array_get(shape, i));
    t->bytes = json_array_size(data) * dtype_bytes(t->dtype);
    t->data = xaligned(t->bytes);
    for (size_t i = 0; i < json_array_size(data); i++) {
        double value = json_number_value(json_array_get(data, i));
        if (t->dtype == DTYPE_FP32)
            ((float *)t->data)[i] = (float)value;
        else if (t->dtype == DTYPE_INT32)
            ((int32_t *)t->data)[i] = (int32_t)value;
        else
            ((uint8_t *)t->data)[i] = (uint8_t)value;
    }
}

static double difference(const struct tensor *found, const struct tensor *expected)
{
    const float *a = found->data, *b = expected->data;
    double worst = 0, greatest = 1e-6;
    assert_int_equal(found->rank, expected->rank);
    assert_int_equal(found->bytes, expected->bytes);
    assert_memory_equal(found->dims, expected->dims, found->rank * sizeof *found->dims);
    for (size_t i = 0; i < found->bytes / sizeof *a; i++) {
        worst = fmax(worst, fabs((double)a[i] - (double)b[i]));
        greatest = fmax(greatest, fabs((double)b[i]));
    }
    return worst / greatest;
}

/* Build, run, and compare with what Keras gave. */
static void check_reference(const char *name, const struct spec *spec, const json_t *reference)
{
    struct tensor inputs[INPUTS], outputs[INPUTS], expected;
    struct model *m;
    struct error why;
    uint8_t *bytes;
    size_t size, len = 0;
    const char *key;
    json_t *value;
    build_model(spec, SEED, &bytes, &size);
    if (model_load(&m, bytes, size, &why) != STATUS_OK)
        fail_msg("%s: %s", name, why.text);
    json_object_foreach(json_object_get(reference, "inputs"), key, value)
        take_tensor(&inputs[len++], key, value);
    take_tensor(&expected, "", json_object_get(reference, "output"));
    if (model_run(m, inputs, (uint32_t)len, outputs, &why) != STATUS_OK)
        fail_msg("%s: %s", name, why.text);
    double far = difference(&outputs[0], &expected);
    if (!(far < LIMIT))
        fail_msg("%s differs from Keras by %g", name, far);
    assert_true(model_signature(m)->batchable);
    for (size_t i = 0; i < len; i++)
        free(inputs[i].data);
    free(expected.data);
    model_destroy(&m);
    free(bytes);
}

static void each_layer_computes_what_keras_computes(void **state)
{
    (void)state;
    json_t *cases = load_json(DATA "cases.json"), *references = load_json(DATA "references.json");
    const char *name;
    json_t *value;
    assert_true(json_object_size(cases) > 50);
    json_object_foreach(cases, name, value)
    {
        char *text = json_dumps(value, 0);
        struct spec *spec = read_spec(text);
        check_reference(name, spec, json_object_get(references, name));
        spec_destroy(&spec);
        free(text);
    }
    json_decref(cases);
    json_decref(references);
}

static void what_keras_2_and_3_write_is_the_same_network(void **state)
{
    static const char *const files[] = {DATA "residual.keras.json", DATA "residual.tf_keras.json"};
    json_t *references = load_json(DATA "references.json");
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(files); i++) {
        struct spec *spec;
        struct error why;
        if (spec_load(&spec, files[i], &why) != STATUS_OK)
            fail_msg("%s", why.text);
        check_reference(files[i], spec, json_object_get(references, "residual"));
        spec_destroy(&spec);
    }
    json_decref(references);
}

static void a_sequential_model_of_keras_2_needs_no_input_layer(void **state)
{
    (void)state;
    struct spec *spec = read_spec(
        "{\"class_name\": \"Sequential\", \"config\": {\"name\": \"s\", \"layers\": ["
        "{\"class_name\": \"Dense\", \"config\": {\"name\": \"d\", \"units\": 3, \"activation\": "
        "\"linear\", \"batch_input_shape\": [null, 4], \"dtype\": \"float32\", "
        "\"kernel_initializer\": {\"class_name\": \"GlorotUniform\", \"config\": {\"seed\": null}}"
        "}}]}, \"keras_version\": \"2.9.0\", \"backend\": \"tensorflow\"}");
    assert_int_equal(spec->layers_len, 2);
    assert_string_equal(spec->layers[1].name, "d");
    assert_int_equal(spec->layers[1].params[0].elements, 12);
    spec_destroy(&spec);
}

static void the_example_has_kerass_number_of_parameters(void **state)
{
    struct spec *spec;
    struct error why;
    (void)state;
    assert_int_equal(spec_load(&spec, "tests/data/seed_cnn.json", &why), STATUS_OK);
    json_t *j = build_summary_json(spec);
    assert_int_equal(json_integer_value(json_object_get(j, "parameters")), 93322);
    json_decref(j);
    spec_destroy(&spec);
}

/* --- mistakes -----------------------------------------------------------------------------------
 */

#define IN   "{\"type\": \"Input\", \"shape\": [8, 8, 3]}, "
#define LIST "{\"layers\": ["
#define HISTORY                                                                                    \
    "{\"class_name\": \"__keras_tensor__\", \"config\": {\"keras_history\": [\"i\", 0, 0]}}"
#define CALLED(nodes, output)                                                                      \
    "{\"class_name\": \"Functional\", \"config\": {\"name\": \"f\", \"layers\": ["                 \
    "{\"class_name\": \"InputLayer\", \"config\": {\"name\": \"i\", \"batch_shape\": [null, 8]}, " \
    "\"inbound_nodes\": []}, {\"class_name\": \"Dense\", \"config\": {\"name\": \"d\", "           \
    "\"units\": "                                                                                  \
    "2}, \"inbound_nodes\": " nodes "}], \"output_layers\": [[\"" output "\", 0, 0]]}}"
static const struct {
    const char *text, *said;
} mistakes[] = {
    {"{\"layers\": ", "line 1, column"},
    {"[]", "expected an object with \"layers\""},
    {"{\"layer\": []}", "unknown key \"layer\"; did you mean \"layers\"?"},
    {LIST "]}", "expected a list of 1 to 1000 layers, got 0"},
    {LIST "3]}", "layers[0]: expected an object with the \"type\""},
    {LIST IN "{\"type\": \"Conv2d\", \"filters\": 3}]}",
     "layers[1]: unknown layer \"Conv2d\"; did you mean \"Conv2D\"?"},
    {LIST IN "{\"type\": \"Capsule\"}]}", "unknown layer \"Capsule\"; `convoy-run build"},
    {LIST IN "{\"type\": \"Flatten\"}, {\"type\": \"Dense\", \"unit\": 3}]}",
     "layers[2] (Dense): units is missing"},
    {LIST IN "{\"type\": \"Dense\", \"units\": 3, \"use_bais\": false}]}",
     "unknown argument \"use_bais\"; did you mean \"use_bias\"?"},
    {LIST IN "{\"type\": \"Dense\", \"units\": 0}]}",
     "layers[1] (Dense): units: expected a whole number from 1 to 16777216, got 0"},
    {LIST IN "{\"type\": \"Dense\", \"units\": 3, \"activation\": \"rleu\"}]}",
     "activation: unknown activation \"rleu\"; did you mean \"relu\"?"},
    {LIST IN "{\"type\": \"Dense\", \"units\": 3, \"kernel_initializer\": \"glorot_unform\"}]}",
     "unknown initialiser \"glorot_unform\"; did you mean \"glorot_uniform\"?"},
    {LIST IN "{\"type\": \"Dense\", \"units\": 3, \"kernel_initializer\": {\"type\": "
             "\"random_normal\", \"std\": 1}}]}",
     "kernel_initializer: random_normal: unknown argument \"std\""},
    {LIST IN "{\"type\": \"Dense\", \"units\": 3, \"kernel_regularizer\": \"l2\"}]}",
     "kernel_regularizer: supported is only null, got \"l2\""},
    {LIST IN "{\"type\": \"Dense\", \"units\": 3, \"name\": \"a/b\"}]}", "name: expected 1 to"},
    {LIST IN "{\"type\": \"Dense\", \"units\": 3, \"name\": \"input\"}]}",
     "the name \"input\" is that of layers[0] already"},
    {LIST IN "{\"type\": \"Conv2D\", \"filters\": 3, \"kernel_size\": [3]}]}",
     "kernel_size: expected a size of 1 or more, or a list of two, got [3]"},
    {LIST IN "{\"type\": \"Conv2D\", \"filters\": 3, \"kernel_size\": 9}]}",
     "layers[1] (Conv2D \"conv2d\"): its window reaches over 9 on axis 0, which has 8"},
    {LIST IN "{\"type\": \"Conv2D\", \"filters\": 3, \"kernel_size\": 2, \"padding\": \"full\"}]}",
     "padding: expected \"valid\" or \"same\", got \"full\""},
    {LIST IN "{\"type\": \"Conv2D\", \"filters\": 4, \"kernel_size\": 2, \"groups\": 2}]}",
     "3 channels and 4 filters do not divide into 2 groups"},
    {LIST IN "{\"type\": \"Conv2D\", \"filters\": 4, \"kernel_size\": 2, \"data_format\": "
             "\"channels_first\"}]}",
     "data_format: supported is only \"channels_last\", got \"channels_first\""},
    {LIST IN "{\"type\": \"Flatten\"}, {\"type\": \"Dense\", \"units\": 3}, {\"type\": \"Dense\", "
             "\"units\": 3}, {\"type\": \"Dense\", \"units\": 3}, {\"type\": \"Conv2D\", "
             "\"filters\": 3, \"kernel_size\": 3}]}",
     "layers[5] (Conv2D \"conv2d\"): expected rows of [rows, columns, channels], got [3]"},
    {LIST IN "{\"type\": \"LSTM\", \"units\": 3}]}", "expected rows of [steps, features]"},
    {LIST IN "{\"type\": \"Reshape\", \"target_shape\": [5, -1]}]}",
     "[8, 8, 3] has 192 numbers, which [5, ?] cannot hold"},
    {LIST IN "{\"type\": \"Dropout\", \"rate\": 1}]}", "rate: expected a number from 0 to below 1"},
    {LIST IN "{\"type\": \"Flatten\", \"name\": \"f\"}, {\"type\": \"Add\", \"inputs\": "
             "[\"input\", \"f\"]}]}",
     "layers[2] (Add \"add\"): its inputs must have one shape: \"input\" has [8, 8, 3], \"f\" "
     "[192]"},
    {LIST IN "{\"type\": \"Add\", \"inputs\": [\"inptu\", \"input\"]}]}",
     "no layer in front of it has the name \"inptu\"; did you mean \"input\"?"},
    {LIST IN "{\"type\": \"Add\"}]}", "it takes 2 or more inputs, got 1"},
    {LIST IN "{\"type\": \"Flatten\"}, {\"type\": \"Dense\", \"units\": 3, \"inputs\": "
             "\"input\"}]}",
     "layers[1] (Flatten \"flatten\"): no layer reads it"},
    {LIST "{\"type\": \"Dense\", \"units\": 3}]}", "the first layer must say what goes in"},
    {LIST IN "{\"type\": \"Dense\", \"units\": 3, \"input_shape\": [3]}]}",
     "layers[1]: input_shape is for the first layer"},
    {LIST "{\"type\": \"Input\", \"shape\": [null, 3]}, {\"type\": \"Flatten\"}]}",
     "every axis of [?, 3] must have a size"},
    {LIST IN "{\"type\": \"Bidirectional\", \"layer\": {\"type\": \"Dense\", \"units\": 3}}]}",
     "layer: expected the type SimpleRNN, LSTM or GRU, got Dense"},
    {LIST IN "{\"type\": \"Dense\", \"units\": 16777216}, {\"type\": \"Dense\", \"units\": "
             "16777216}]}",
     "with its parameters the model has more than 268435456 of them"},
    {LIST IN "{\"type\": \"Rescaling\", \"scale\": 1e39}]}", "scale: expected a number of FP32"},
    {LIST IN "{\"type\": \"BatchNormalization\", \"epsilon\": 1e-50}]}",
     "epsilon: expected a number of FP32 above 0"},
    {LIST IN "{\"type\": \"Dense\", \"units\": 3, \"kernel_initializer\": {\"type\": "
             "\"constant\", \"value\": 1e300}}]}",
     "constant: expected a number from -1e30 to 1e30 for \"value\""},
    {"{\"name\": 5, \"layers\": []}", "name: expected 1 to 63 letters"},
    {"{\"class_name\": \"Thing\", \"config\": {}}", "the model is of class \"Thing\""},
    {CALLED("null", "d"), "layers[1]: inbound_nodes: expected a list with its one call"},
    {CALLED("[[[\"i\", 0, 0, {\"use_causal_mask\": true}]]]", "d"),
     "layers[1]: it is called with \"use_causal_mask\", which is not supported"},
    {CALLED("[{\"args\": [" HISTORY
            "], \"kwargs\": {\"training\": null, \"attention_mask\": " HISTORY "}}]",
            "d"),
     "layers[1]: it is called with \"attention_mask\", which is not supported"},
    {CALLED("[[[\"i\", 0, 0, {\"training\": false}]]]", "i"),
     "output_layers: expected the last layer, got \"i\""},
};
#undef IN
#undef LIST
#undef HISTORY
#undef CALLED

static void mistakes_are_named(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(mistakes); i++) {
        struct spec *spec;
        struct error why = {STATUS_OK, ""};
        assert_int_equal(spec_read(&spec, mistakes[i].text, strlen(mistakes[i].text), &why),
                         STATUS_INVALID);
        assert_null(spec);
        assert_why(&why, STATUS_INVALID, mistakes[i].said);
    }
}

/* --- parameters ---------------------------------------------------------------------------------
 */

#define ROWS    120
#define COLUMNS 200
#define VALUES  24000.0

struct moments {
    double mean, variance, least, greatest;
};

static struct moments moments_of(const float *values, size_t len)
{
    struct moments m = {0, 0, INFINITY, -INFINITY};
    for (size_t i = 0; i < len; i++) {
        m.mean += (double)values[i] / (double)len;
        m.least = fmin(m.least, (double)values[i]);
        m.greatest = fmax(m.greatest, (double)values[i]);
    }
    for (size_t i = 0; i < len; i++)
        m.variance += pow((double)values[i] - m.mean, 2) / (double)(len - 1);
    return m;
}

static void fill(float *into, const char *json, uint64_t seed, const char *name)
{
    static const int64_t dims[] = {ROWS, COLUMNS};
    json_t *given = json_loads(json, JSON_DECODE_ANY, NULL), *whole;
    struct error why;
    if (init_check(given, &whole, &why) != STATUS_OK)
        fail_msg("%s", why.text);
    init_fill(into, whole, dims, 2, seed, name, 0);
    json_decref(whole);
    json_decref(given);
}

static void initialisers_have_kerass_distributions(void **state)
{
    static const struct {
        const char *json;
        double mean, variance, bound; /* beyond which nothing lies; 0: anything may be */
    } cases[] = {
        {"\"glorot_uniform\"", 0, 2.0 / (ROWS + COLUMNS), 0.13693},
        {"\"glorot_normal\"", 0, 2.0 / (ROWS + COLUMNS), 0.17976},
        {"\"he_uniform\"", 0, 2.0 / ROWS, 0.22361},
        {"\"he_normal\"", 0, 2.0 / ROWS, 0.29354},
        {"\"lecun_uniform\"", 0, 1.0 / ROWS, 0.15812},
        {"\"lecun_normal\"", 0, 1.0 / ROWS, 0.20757},
        {"\"random_uniform\"", 0, 0.01 / 12, 0.05},
        {"\"random_normal\"", 0, 0.0025, 0},
        {"\"truncated_normal\"", 0, 0.0025 * 0.773741, 0.1}, /* variance of one cut at 2 */
        {"{\"type\": \"random_normal\", \"mean\": 2, \"stddev\": 3}", 2, 9, 0},
        {"{\"class_name\": \"RandomUniform\", \"config\": {\"minval\": 1, \"maxval\": 3}}", 2,
         1.0 / 3, 3},
        {"\"zeros\"", 0, 0, 1e-9},
        {"\"ones\"", 1, 0, 1},
        {"{\"type\": \"constant\", \"value\": 0.25}", 0.25, 0, 0.25},
    };
    static float values[ROWS * COLUMNS];
    uint64_t seed = test_seed();
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        fill(values, cases[i].json, seed, "dense/kernel");
        struct moments m = moments_of(values, ARRAY_LEN(values));
        /* Six standard errors: of the mean, and of the variance were it a normal's. */
        double mean_room = 6 * sqrt(cases[i].variance / VALUES) + 1e-6;
        double room = 6 * cases[i].variance * sqrt(2.0 / VALUES) + 1e-9;
        double bound = cases[i].bound > 0 ? cases[i].bound : INFINITY;
        if (fabs(m.mean - cases[i].mean) > mean_room ||
            fabs(m.variance - cases[i].variance) > room || m.greatest > bound + 1e-5 ||
            m.least < -bound - 1e-5)
            fail_msg("%s: mean %g, variance %g, from %g to %g", cases[i].json, m.mean, m.variance,
                     m.least, m.greatest);
        if (cases[i].bound > 0 && m.greatest < 0.9 * bound && cases[i].variance > 0)
            fail_msg("%s: nothing near its bound %g", cases[i].json, bound);
    }
}

/* Products of all pairs of rows, or of columns. */
static void check_orthonormal(const float *w, size_t few, size_t many, size_t step_few,
                              size_t step_many)
{
    for (size_t a = 0; a < few; a++)
        for (size_t b = 0; b <= a; b++) {
            double sum = 0;
            for (size_t i = 0; i < many; i++)
                sum += (double)w[a * step_few + i * step_many] *
                       (double)w[b * step_few + i * step_many];
            assert_true(fabs(sum - (a == b)) < 1e-5);
        }
}

static void orthogonal_matrices_are_so(void **state)
{
    static float values[ROWS * COLUMNS];
    (void)state;
    fill(values, "\"orthogonal\"", test_seed(), "r");
    check_orthonormal(values, ROWS, COLUMNS, COLUMNS, 1);
    json_t *whole;
    struct error why;
    json_t *given = json_string("Orthogonal");
    assert_int_equal(init_check(given, &whole, &why), STATUS_OK);
    init_fill(values, whole, (int64_t[]){4, 50, ROWS}, 3, 1, "r", 0); /* tall: columns */
    check_orthonormal(values, ROWS, 200, 1, ROWS);
    init_fill(values, whole, (int64_t[]){ROWS, ROWS}, 2, 1, "r", 0);
    check_orthonormal(values, ROWS, ROWS, ROWS, 1);
    json_decref(whole);
    json_decref(given);
}

static void a_parameter_depends_on_seed_and_name_alone(void **state)
{
    static float one[ROWS * COLUMNS], other[ROWS * COLUMNS];
    (void)state;
    fill(one, "\"he_normal\"", 5, "a/kernel");
    fill(other, "\"he_normal\"", 5, "a/kernel");
    assert_memory_equal(one, other, sizeof one);
    fill(other, "\"he_normal\"", 5, "b/kernel");
    assert_memory_not_equal(one, other, sizeof one);
    fill(other, "\"he_normal\"", 6, "a/kernel");
    assert_memory_not_equal(one, other, sizeof one);
}

static const Onnx__TensorProto *tensor_of(const Onnx__ModelProto *model, const char *name)
{
    for (size_t i = 0; i < model->graph->n_initializer; i++)
        if (strcmp(model->graph->initializer[i]->name, name) == 0)
            return model->graph->initializer[i];
    fail_msg("no initializer %s", name);
    return NULL;
}

/* ONNX's rows are gates i, o, f, c of 5 units each; Keras's matrix is [5, 20] and orthogonal. */
static void a_fresh_lstm_remembers_and_its_states_are_orthogonal(void **state)
{
    (void)state;
    struct spec *spec =
        read_spec("{\"layers\": [{\"type\": \"Bidirectional\", \"input_shape\": [4, "
                  "3], \"layer\": {\"type\": \"LSTM\", \"units\": 5}}]}");
    uint8_t *bytes;
    size_t size;
    build_model(spec, 3, &bytes, &size);
    Onnx__ModelProto *model = onnx__model_proto__unpack(NULL, size, bytes);
    const Onnx__TensorProto *bias = tensor_of(model, "bidirectional/bias");
    const float *b = (const float *)(const void *)bias->raw_data.data;
    assert_int_equal(bias->raw_data.len, 2 * 40 * sizeof *b);
    for (size_t i = 0; i < 80; i++)
        assert_true(b[i] == (i % 40 / 5 == 2 ? 1 : 0));
    const Onnx__TensorProto *r = tensor_of(model, "bidirectional/recurrent_kernel");
    const float *w = (const float *)(const void *)r->raw_data.data;
    check_orthonormal(w, 5, 20, 1, 5);
    check_orthonormal(w + 100, 5, 20, 1, 5);
    assert_memory_not_equal(w, w + 100, 100 * sizeof *w);
    onnx__model_proto__free_unpacked(model, NULL);
    free(bytes);
    spec_destroy(&spec);
}

static void the_same_seed_gives_the_same_bytes(void **state)
{
    struct spec *spec;
    struct error why;
    uint8_t *one, *other;
    size_t one_size, other_size;
    (void)state;
    assert_int_equal(spec_load(&spec, "tests/data/seed_cnn.json", &why), STATUS_OK);
    build_model(spec, 1, &one, &one_size);
    build_model(spec, 1, &other, &other_size);
    assert_int_equal(one_size, other_size);
    assert_memory_equal(one, other, one_size);
    free(other);
    build_model(spec, 2, &other, &other_size);
    assert_int_equal(one_size, other_size);
    assert_memory_not_equal(one, other, one_size);
    free(one);
    free(other);
    spec_destroy(&spec);
}

static int start(void **state)
{
    struct error why;
    (void)state;
    return engine_start("auto", 1, &why) == STATUS_OK ? 0 : -1;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_layer_computes_what_keras_computes),
        cmocka_unit_test(what_keras_2_and_3_write_is_the_same_network),
        cmocka_unit_test(a_sequential_model_of_keras_2_needs_no_input_layer),
        cmocka_unit_test(the_example_has_kerass_number_of_parameters),
        cmocka_unit_test(mistakes_are_named),
        cmocka_unit_test(initialisers_have_kerass_distributions),
        cmocka_unit_test(orthogonal_matrices_are_so),
        cmocka_unit_test(a_parameter_depends_on_seed_and_name_alone),
        cmocka_unit_test(a_fresh_lstm_remembers_and_its_states_are_orthogonal),
        cmocka_unit_test(the_same_seed_gives_the_same_bytes),
    };
    return cmocka_run_group_tests(tests, start, NULL);
}
