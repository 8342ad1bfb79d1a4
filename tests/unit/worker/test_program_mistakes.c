/* What a training program says of each mistake in its network, data and settings. SEED=n repeats a
 * run. */
#include <math.h>

#include "tests/unit/common/testing.h"
#include "tests/unit/worker/program_world.h"

static void refused(const char *settings, enum status status, const char *said)
{
    struct program *p = NULL;
    struct error why = {STATUS_OK, ""};
    enum status s = program_open(&p, program_folder, settings, &why);
    while (s == STATUS_OK && !program_done(p))
        s = program_run(p, UINT32_MAX, NULL, &why);
    program_destroy(&p);
    if (s != status || !strstr(why.text, said))
        fail_msg("status %s, \"%s\"; expected %s, \"%s\"", status_name(s), why.text,
                 status_name(status), said);
}

static void mistakes_in_the_network_name_its_layer(void **unused)
{
    static const char unknown[] = PROGRAM_LAYERS("{\"type\": \"Dens\", \"units\": 3}, ");
    static const char unfit[] =
        PROGRAM_LAYERS("{\"type\": \"Reshape\", \"target_shape\": [5, 5]}, ");
    (void)unused;
    program_put("network.json", unknown, strlen(unknown));
    refused(PROGRAM_SETTINGS, STATUS_INVALID, "layers[5]: unknown layer \"Dens\"");
    program_put("network.json", unfit, strlen(unfit));
    refused(PROGRAM_SETTINGS, STATUS_INVALID, "layers[5] (Reshape");
    program_put("network.json", PROGRAM_LAYERS(""), strlen(PROGRAM_LAYERS("")));
}

static void mistakes_in_the_data_name_the_row(void **unused)
{
    uint8_t labels[PROGRAM_ROWS] = {[41] = 3};
    float few[4][6][6] = {{{0}}}, other[PROGRAM_ROWS][25] = {{0}};
    (void)unused;
    program_put_array("train/labels.npy", DTYPE_UINT8, 1, (int64_t[]){PROGRAM_ROWS}, labels,
                      PROGRAM_ROWS);
    refused(PROGRAM_SETTINGS, STATUS_INVALID, "row 41 has label 3; the network has 3 outputs");
    program_put_array("train/labels.npy", DTYPE_UINT8, 1, (int64_t[]){PROGRAM_ROWS - 1}, labels,
                      PROGRAM_ROWS - 1);
    refused(PROGRAM_SETTINGS, STATUS_INVALID, "75 inputs, but 74 labels");
    program_put_array("train/labels.npy", DTYPE_UINT8, 1, (int64_t[]){4}, labels, 4);
    program_put_array("train/inputs.npy", DTYPE_FP32, 3, (int64_t[]){4, 6, 6}, few, sizeof few);
    refused(PROGRAM_SETTINGS, STATUS_INVALID, "4 rows are less than one batch of 10");
    program_put_array("train/inputs.npy", DTYPE_FP32, 2, (int64_t[]){PROGRAM_ROWS, 25}, other,
                      sizeof other);
    program_put_array("train/labels.npy", DTYPE_UINT8, 1, (int64_t[]){PROGRAM_ROWS}, labels,
                      PROGRAM_ROWS);
    refused(PROGRAM_SETTINGS, STATUS_INVALID,
            "a row is [25]; the network's input \"input\" takes [6,6,1]");
    program_put_part("train", NAN);
    refused("{\"batch\": 25, \"shuffle\": false}", STATUS_INVALID, "step 1: the loss of step 1 is");
    program_put_part("train", 0);
}

static void numbers_of_words_come_from_texts(void **unused)
{
    static const char words[] = "{\"layers\": [{\"type\": \"Embedding\", \"input_dim\": 5, "
                                "\"output_dim\": 3, \"input_shape\": [2]}, {\"type\": \"LSTM\", "
                                "\"units\": 4}, {\"type\": \"Dense\", \"units\": 2, "
                                "\"activation\": \"softmax\"}]}";
    char command[512], text[512] = "";
    struct error why;
    (void)unused;
    snprintf(command, sizeof command,
             "mkdir -p %s/kept && mv %s/train %s/validation %s/kept/ && "
             "mkdir %s/train",
             program_folder, program_folder, program_folder, program_folder, program_folder);
    assert_int_equal(system(command), 0); /* NOLINT(cert-env33-c): paths of our own making */
    program_put("network.json", words, strlen(words));
    for (int i = 0; i < 12; i++)
        snprintf(text + strlen(text), sizeof text - strlen(text), "%d,%d,%d\n", i % 5, (i + 2) % 5,
                 i % 2);
    program_put("train/inputs.csv", text, strlen(text));
    struct program *p = program_opened("{\"batch\": 4, \"epochs\": 2}");
    program_run_whole(p);
    program_destroy(&p);
    program_put("train/inputs.csv", "0,1,0\n1,2.5,1\n2,3,0\n3,4,1\n", 26);
    snprintf(command, sizeof command, "rm -f %s/train/*.rows", program_folder);
    assert_int_equal(system(command), 0); /* NOLINT(cert-env33-c) */
    assert_int_equal(program_open(&p, program_folder, "{\"batch\": 4}", &why), STATUS_INVALID);
    assert_non_null(strstr(why.text, "row 1 has 2.5; the network's input \"input\" takes INT32"));
    snprintf(command, sizeof command, "rm -r %s/train && mv %s/kept/train %s/kept/validation %s/",
             program_folder, program_folder, program_folder, program_folder);
    assert_int_equal(system(command), 0); /* NOLINT(cert-env33-c) */
    program_put("network.json", PROGRAM_LAYERS(""), strlen(PROGRAM_LAYERS("")));
}

static void mistakes_in_the_settings_name_the_key(void **unused)
{
    (void)unused;
    refused("{\"epoch\": 3}", STATUS_INVALID, "\"epoch\"; did you mean \"epochs\"?");
    refused("{\"epochs\": 0}", STATUS_INVALID, "\"epochs\" is 0; expected a whole number from 1");
    refused("{\"batch\": 2.5}", STATUS_INVALID, "\"batch\" is 2.5; expected a whole number");
    refused("{\"optimizer\": \"adum\"}", STATUS_INVALID,
            "\"optimizer.type\" is \"adum\"; expected one of sgd|adam");
    refused("{\"optimizer\": {\"lerning_rate\": 1}}", STATUS_INVALID,
            "did you mean \"learning_rate\"?");
    refused("{\"shuffle\": 1}", STATUS_INVALID, "expected true or false");
    refused("{\"loss\": \"mean_squared_error\", \"early_stopping\": {\"monitor\": \"accuracy\"}}",
            STATUS_INVALID, "watches the accuracy, but mean_squared_error has none");
    refused("[", STATUS_INVALID, "training settings, line 1");
    refused("{\"optimizer\": {\"beta_1\": 1}}", STATUS_INVALID,
            "\"optimizer.beta_1\" is 1; expected a number from 0 to 0.999999");
    refused("{\"optimizer\": {\"beta_2\": 1.0}}", STATUS_INVALID, "\"optimizer.beta_2\" is 1.0");
    refused("{\"optimizer\": {\"type\": \"rmsprop\", \"rho\": 1}}", STATUS_INVALID,
            "\"optimizer.rho\" is 1");
}

static void numbers_that_are_learnt_have_any_type_and_a_range(void **unused)
{
    static const char network[] = "{\"layers\": [{\"type\": \"Flatten\", \"input_shape\": [6, 6, "
                                  "1]}, {\"type\": \"Dense\", \"units\": 1, \"activation\": "
                                  "\"sigmoid\"}]}";
    double real[PROGRAM_ROWS] = {[3] = 1, [5] = 0.5};
    bool flags[PROGRAM_ROWS] = {[3] = true};
    const int64_t dims[] = {PROGRAM_ROWS};
    (void)unused;
    program_put("network.json", network, strlen(network));
    program_put_array("validation/labels.npy", DTYPE_BOOL, 1, dims, flags, sizeof flags);
    program_put_array("train/labels.npy", DTYPE_BOOL, 1, dims, flags, sizeof flags);
    refused(PROGRAM_SETTINGS, STATUS_OK, "");
    program_put_array("train/labels.npy", DTYPE_FP64, 1, dims, real, sizeof real);
    refused(PROGRAM_SETTINGS, STATUS_OK, "");
    real[41] = 1.5;
    program_put_array("train/labels.npy", DTYPE_FP64, 1, dims, real, sizeof real);
    refused("{\"loss\": \"mean_squared_error\"}", STATUS_OK, "");
    refused(PROGRAM_SETTINGS, STATUS_INVALID,
            "train/labels: row 41 has 1.5; binary_crossentropy takes numbers from 0 to 1");
    real[41] = NAN;
    program_put_array("train/labels.npy", DTYPE_FP64, 1, dims, real, sizeof real);
    refused(PROGRAM_SETTINGS, STATUS_INVALID, "row 41 has nan");
    program_put("network.json", PROGRAM_LAYERS(""), strlen(PROGRAM_LAYERS("")));
    program_put_part("train", 0);
    program_put_part("validation", 0);
}

static void a_validation_without_rows_is_refused(void **unused)
{
    float none[1] = {0};
    (void)unused;
    program_put_array("validation/inputs.npy", DTYPE_FP32, 3, (int64_t[]){0, 6, 6}, none, 0);
    program_put_array("validation/labels.npy", DTYPE_UINT8, 1, (int64_t[]){0}, none, 0);
    refused(PROGRAM_SETTINGS, STATUS_INVALID, "validation/inputs: there are no rows");
    program_put_part("validation", 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(mistakes_in_the_network_name_its_layer),
        cmocka_unit_test(mistakes_in_the_data_name_the_row),
        cmocka_unit_test(numbers_of_words_come_from_texts),
        cmocka_unit_test(mistakes_in_the_settings_name_the_key),
        cmocka_unit_test(numbers_that_are_learnt_have_any_type_and_a_range),
        cmocka_unit_test(a_validation_without_rows_is_refused),
    };
    return cmocka_run_group_tests(tests, program_world_open, program_world_close);
}
