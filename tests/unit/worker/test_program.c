/* Training programs: settings, pieces from checkpoint to checkpoint, and what is
 * said of each mistake. SEED=n repeats a run. */
#include <math.h>
#include <unistd.h>

#include "common/file.h"
#include "common/limits.h"
#include "tests/unit/common/testing.h"
#include "worker/engine.h"
#include "worker/program/data.h"
#include "worker/program/program.h"
#include "worker/program/settings.h"
#include "worker/runner_batch.h"
#include "worker/runner_train.h"

#define ROWS    75 /* not a whole number of batches */
#define CLASSES 3
#define SETTINGS                                                                                   \
    "{\"epochs\": 2, \"batch\": 10, \"seed\": 5, \"threads\": 1, \"optimizer\": "                  \
    "{\"type\": \"adam\", \"learning_rate\": 0.01}}"
#define LAYERS(more)                                                                               \
    "{\"layers\": [{\"type\": \"Input\", \"shape\": [6, 6, 1]}, "                                  \
    "{\"type\": \"Conv2D\", \"filters\": 4, \"kernel_size\": 3, \"activation\": \"relu\"}, "       \
    "{\"type\": \"BatchNormalization\"}, {\"type\": \"Flatten\"}, {\"type\": \"Dropout\", "        \
    "\"rate\": 0.2}, " more "{\"type\": \"Dense\", \"name\": \"last\", \"units\": 3, "             \
    "\"activation\": \"softmax\"}]}"

static uint64_t seed;
static char folder[64];

static void put(const char *name, const void *bytes, size_t size)
{
    char path[128];
    struct error why;
    snprintf(path, sizeof path, "%s/%s", folder, name);
    if (file_write(path, bytes, size, false, &why) != STATUS_OK)
        fail_msg("%s", why.text);
}

static void put_array(const char *name, enum dtype dtype, uint32_t rank, const int64_t *dims,
                      void *data, size_t bytes)
{
    char path[128];
    struct error why;
    struct tensor t = {.dtype = dtype, .rank = rank, .data = data, .bytes = bytes};
    memcpy(t.dims, dims, rank * sizeof *dims);
    snprintf(path, sizeof path, "%s/%s", folder, name);
    if (npy_write(path, &t, false, &why) != STATUS_OK)
        fail_msg("%s", why.text);
}

/* Rows whose class shows in which pixels are bright; `odd` is put in as one value. */
static void put_part(const char *part, float odd)
{
    static float inputs[ROWS][6][6];
    static uint8_t labels[ROWS];
    char name[64];
    uint64_t state = seed;
    for (size_t i = 0; i < ROWS; i++) {
        labels[i] = (uint8_t)(test_random(&state) % CLASSES);
        for (size_t k = 0; k < 36; k++) {
            float noise = (float)(test_random(&state) >> 40) * 0x1p-24f;
            inputs[i][k / 6][k % 6] = noise + (k / 12 == labels[i]);
        }
    }
    inputs[17][2][2] += odd;
    snprintf(name, sizeof name, "%s/inputs.npy", part);
    put_array(name, DTYPE_FP32, 3, (int64_t[]){ROWS, 6, 6}, inputs, sizeof inputs);
    snprintf(name, sizeof name, "%s/labels.npy", part);
    put_array(name, DTYPE_UINT8, 1, (int64_t[]){ROWS}, labels, sizeof labels);
}

static int make_folder(void **state)
{
    char path[128];
    struct error why;
    (void)state;
    snprintf(folder, sizeof folder, "/tmp/convoy-program-XXXXXX");
    if (!mkdtemp(folder))
        return -1;
    snprintf(path, sizeof path, "%s/train", folder);
    file_mkdirs(path, &why);
    snprintf(path, sizeof path, "%s/validation", folder);
    file_mkdirs(path, &why);
    put("network.json", LAYERS(""), strlen(LAYERS("")));
    put_part("train", 0);
    put_part("validation", 0);
    return engine_start("auto", 1, &why) == STATUS_OK ? 0 : -1;
}

static int remove_folder(void **state)
{
    char command[128];
    (void)state;
    snprintf(command, sizeof command, "rm -rf %s", folder);
    return system(command); /* NOLINT(cert-env33-c): a path of our own making */
}

static struct program *opened(const char *settings)
{
    struct program *p;
    struct error why;
    if (program_open(&p, folder, settings, &why) != STATUS_OK)
        fail_msg("%s", why.text);
    return p;
}

struct stop_at {
    uint64_t step;
    uint32_t stop;
};

static void stop_there(void *arg, const struct program_progress *now)
{
    struct stop_at *s = arg;
    s->stop = now->step >= s->step;
}

/* To its end, without a break. */
static void run_whole(struct program *p)
{
    struct error why;
    while (!program_done(p))
        if (program_run(p, UINT32_MAX, NULL, &why) != STATUS_OK)
            fail_msg("%s", why.text);
}

static void sizes_are_known_before_the_first_step(void **unused)
{
    uint8_t *bytes;
    size_t size;
    struct error why;
    struct program *p = opened(SETTINGS);
    struct program_sizes before = program_sizes(p);
    (void)unused;
    json_t *report = program_report(p);
    assert_int_equal(before.parameters, json_integer_value(json_object_get(report, "parameters")));
    json_decref(report);
    run_whole(p);
    program_checkpoint(p, &bytes, &size);
    assert_int_equal(size, before.checkpoint);
    free(bytes);
    assert_int_equal(program_model(p, &bytes, &size, &why), STATUS_OK);
    assert_int_equal(size, before.model);
    free(bytes);
    program_destroy(&p);
}

static void what_fits_no_answer_is_refused_from_the_first_octet_on(void **unused)
{
    const size_t room = RUNNER_OUTPUT_MAX - TRAINING_REPORT_MAX;
    struct program_sizes sizes = {.parameters = 5000001, .checkpoint = room - 1000, .model = 1000};
    struct error why;
    (void)unused;
    assert_int_equal(runner_train_fits(&sizes, &why), STATUS_OK);
    sizes.model++;
    assert_int_equal(runner_train_fits(&sizes, &why), STATUS_TOO_LARGE);
    assert_why(&why, STATUS_TOO_LARGE, "5000001 parameters");
    assert_why(&why, STATUS_TOO_LARGE, "model (1001)");
    sizes = (struct program_sizes){.checkpoint = room};
    assert_int_equal(runner_train_fits(&sizes, &why), STATUS_OK);
    sizes.checkpoint++; /* alone, and with a sum that has no place in its type */
    assert_int_equal(runner_train_fits(&sizes, &why), STATUS_TOO_LARGE);
    sizes = (struct program_sizes){.checkpoint = 1, .model = SIZE_MAX};
    assert_int_equal(runner_train_fits(&sizes, &why), STATUS_TOO_LARGE);
}

static void the_same_bytes_come_out_wherever_pieces_are_cut(void **unused)
{
    uint8_t *whole, *bytes = NULL;
    size_t whole_size, size = 0;
    struct program *p = opened(SETTINGS);
    (void)unused;
    run_whole(p);
    program_checkpoint(p, &whole, &whole_size);
    program_destroy(&p);
    for (bool done = false; !done;) { /* one step a piece, each in a program of its own */
        struct error why;
        p = opened(SETTINGS);
        if (bytes && program_restore(p, bytes, size, &why) != STATUS_OK)
            fail_msg("%s", why.text);
        free(bytes);
        assert_int_equal(program_run(p, 0, NULL, &why), STATUS_OK);
        program_checkpoint(p, &bytes, &size);
        done = program_done(p);
        program_destroy(&p);
    }
    assert_int_equal(size, whole_size);
    assert_memory_equal(bytes, whole, size);
    free(bytes);
    free(whole);
}

static void it_learns_and_its_model_says_the_same(void **unused)
{
    struct program *p =
        opened("{\"epochs\": 12, \"batch\": 10, \"optimizer\": {\"type\": \"adam\", "
               "\"learning_rate\": 0.01}}");
    struct error why;
    uint8_t *bytes;
    size_t size;
    (void)unused;
    run_whole(p);
    json_t *report = program_report(p), *end = json_object_get(report, "epoch_end");
    assert_true(json_real_value(json_object_get(end, "validation_accuracy")) > 0.9);
    assert_true(json_is_true(json_object_get(report, "done")));
    json_decref(report);
    assert_int_equal(program_model(p, &bytes, &size, &why), STATUS_OK);
    struct model *m;
    if (model_load(&m, bytes, size, &why) != STATUS_OK)
        fail_msg("%s", why.text);
    struct data data;
    char part[96];
    snprintf(part, sizeof part, "%s/validation", folder);
    assert_int_equal(data_open(&data, part, &(struct data_options){0}, &why), STATUS_OK);
    float *rows = xaligned(data.inputs.data_bytes);
    memcpy(rows, data.inputs.data, data.inputs.data_bytes);
    struct tensor in = {"input", DTYPE_FP32, 4, {ROWS, 6, 6, 1}, rows, data.inputs.data_bytes};
    struct tensor out[1];
    if (model_run(m, &in, 1, out, &why) != STATUS_OK)
        fail_msg("%s", why.text);
    size_t right = 0;
    for (size_t i = 0; i < ROWS; i++) {
        const float *y = (const float *)out[0].data + i * CLASSES;
        size_t best = y[1] > y[0] ? 1 : 0;
        best = y[2] > y[best] ? 2 : best;
        right += best == data.labels.data[i];
    }
    assert_true(right > ROWS * 9 / 10);
    data_close(&data);
    model_destroy(&m);
    program_destroy(&p);
    free(rows);
    free(bytes);
}

/* Three pulses somewhere, each on one of two lines: which ones, in their order. */
static void ctc_learns_labels_without_times(void **unused)
{
    static const char network[] =
        "{\"layers\": [{\"type\": \"Input\", \"shape\": [12, 2]}, {\"type\": \"GRU\", "
        "\"units\": 16, \"return_sequences\": true}, {\"type\": \"Dense\", \"units\": 3, "
        "\"activation\": \"softmax\"}]}";
    static float inputs[ROWS][12][2];
    static int32_t labels[ROWS][3];
    uint64_t state = seed;
    (void)unused;
    for (size_t i = 0; i < ROWS; i++)
        for (size_t k = 0; k < 3; k++) {
            labels[i][k] = 1 + (int32_t)(test_random(&state) % 2);
            inputs[i][4 * k + test_random(&state) % 3][labels[i][k] - 1] = 1;
        }
    put("network.json", network, strlen(network));
    for (int part = 0; part < 2; part++) {
        put_array(part ? "validation/inputs.npy" : "train/inputs.npy", DTYPE_FP32, 3,
                  (int64_t[]){ROWS, 12, 2}, inputs, sizeof inputs);
        put_array(part ? "validation/labels.npy" : "train/labels.npy", DTYPE_INT32, 2,
                  (int64_t[]){ROWS, 3}, labels, sizeof labels);
    }
    struct program *p = opened("{\"epochs\": 60, \"batch\": 10, \"loss\": \"ctc\", "
                               "\"optimizer\": {\"type\": \"adam\", \"learning_rate\": 0.02}}");
    run_whole(p);
    json_t *report = program_report(p), *end = json_object_get(report, "epoch_end");
    assert_true(json_real_value(json_object_get(end, "validation_accuracy")) > 0.9);
    json_decref(report);
    program_destroy(&p);
    put("network.json", LAYERS(""), strlen(LAYERS("")));
    put_part("train", 0);
    put_part("validation", 0);
}

static void what_is_stopped_goes_on_from_its_last_checkpoint(void **unused)
{
    struct program *p = opened(SETTINGS);
    struct stop_at stop = {.step = 3};
    struct program_watch watch = {.stop = &stop.stop, .progress = stop_there, .arg = &stop};
    struct error why;
    (void)unused;
    assert_int_equal(program_run(p, UINT32_MAX, &watch, &why), STATUS_CANCELLED);
    assert_non_null(strstr(why.text, "before step 4"));
    program_destroy(&p);
}

static void a_checkpoint_of_another_program_or_damaged_is_refused(void **unused)
{
    struct program *p = opened(SETTINGS), *other = opened("{\"epochs\": 3}");
    struct error why;
    uint8_t *bytes;
    size_t size;
    (void)unused;
    program_checkpoint(p, &bytes, &size);
    assert_int_equal(program_restore(other, bytes, size, &why), STATUS_INVALID);
    assert_non_null(strstr(why.text, "another network, other settings"));
    assert_int_equal(program_restore(p, bytes, size - 1, &why), STATUS_INVALID);
    bytes[size / 2] ^= 1;
    assert_int_equal(program_restore(p, bytes, size, &why), STATUS_INVALID);
    assert_non_null(strstr(why.text, "checksum"));
    free(bytes);
    program_destroy(&p);
    program_destroy(&other);
}

/* "last/kernel" of the model now, from its file's bytes. */
static void frozen_layers_stay_as_they_are(void **unused)
{
    struct program *p = opened("{\"epochs\": 1, \"batch\": 25, \"frozen\": [\"conv2d\"]}");
    uint8_t *before, *after;
    size_t size, changed = 0;
    struct error why;
    (void)unused;
    assert_int_equal(program_model(p, &before, &size, &why), STATUS_OK);
    run_whole(p);
    assert_int_equal(program_model(p, &after, &size, &why), STATUS_OK);
    for (size_t i = 0; i < size; i++)
        changed += before[i] != after[i];
    assert_true(changed > 0);
    const char *kernel = memmem(before, size, "conv2d/kernel", 13);
    assert_non_null(kernel);
    free(before);
    free(after);
    program_destroy(&p);
    assert_int_equal(program_open(&p, folder, "{\"frozen\": [\"conv\"]}", &why), STATUS_INVALID);
    assert_non_null(strstr(why.text, "no layer or parameter is named \"conv\""));
}

static void training_ends_when_nothing_gets_better(void **unused)
{
    struct program *p =
        opened("{\"epochs\": 50, \"batch\": 25, \"optimizer\": {\"type\": \"sgd\", "
               "\"learning_rate\": 0}, \"early_stopping\": {\"monitor\": \"validation_loss\", "
               "\"patience\": 2, \"min_delta\": 1e3}}");
    (void)unused;
    run_whole(p);
    json_t *report = program_report(p);
    assert_int_equal(json_integer_value(json_object_get(report, "epoch")), 3); /* as in Keras */
    json_decref(report);
    program_destroy(&p);
}

/* --- mistakes -----------------------------------------------------------------------------------
 */
static void refused(const char *settings, enum status status, const char *said)
{
    struct program *p = NULL;
    struct error why = {STATUS_OK, ""};
    enum status s = program_open(&p, folder, settings, &why);
    while (s == STATUS_OK && !program_done(p))
        s = program_run(p, UINT32_MAX, NULL, &why);
    program_destroy(&p);
    if (s != status || !strstr(why.text, said))
        fail_msg("status %s, \"%s\"; expected %s, \"%s\"", status_name(s), why.text,
                 status_name(status), said);
}

static void mistakes_in_the_network_name_its_layer(void **unused)
{
    static const char unknown[] = LAYERS("{\"type\": \"Dens\", \"units\": 3}, ");
    static const char unfit[] = LAYERS("{\"type\": \"Reshape\", \"target_shape\": [5, 5]}, ");
    (void)unused;
    put("network.json", unknown, strlen(unknown));
    refused(SETTINGS, STATUS_INVALID, "layers[5]: unknown layer \"Dens\"");
    put("network.json", unfit, strlen(unfit));
    refused(SETTINGS, STATUS_INVALID, "layers[5] (Reshape");
    put("network.json", LAYERS(""), strlen(LAYERS("")));
}

static void mistakes_in_the_data_name_the_row(void **unused)
{
    uint8_t labels[ROWS] = {[41] = 3};
    float few[4][6][6] = {{{0}}}, other[ROWS][25] = {{0}};
    (void)unused;
    put_array("train/labels.npy", DTYPE_UINT8, 1, (int64_t[]){ROWS}, labels, ROWS);
    refused(SETTINGS, STATUS_INVALID, "row 41 has label 3; the network has 3 outputs");
    put_array("train/labels.npy", DTYPE_UINT8, 1, (int64_t[]){ROWS - 1}, labels, ROWS - 1);
    refused(SETTINGS, STATUS_INVALID, "75 inputs, but 74 labels");
    put_array("train/labels.npy", DTYPE_UINT8, 1, (int64_t[]){4}, labels, 4);
    put_array("train/inputs.npy", DTYPE_FP32, 3, (int64_t[]){4, 6, 6}, few, sizeof few);
    refused(SETTINGS, STATUS_INVALID, "4 rows are less than one batch of 10");
    put_array("train/inputs.npy", DTYPE_FP32, 2, (int64_t[]){ROWS, 25}, other, sizeof other);
    put_array("train/labels.npy", DTYPE_UINT8, 1, (int64_t[]){ROWS}, labels, ROWS);
    refused(SETTINGS, STATUS_INVALID, "a row is [25]; the network's input \"input\" takes [6,6,1]");
    put_part("train", NAN);
    refused("{\"batch\": 25, \"shuffle\": false}", STATUS_INVALID, "step 1: the loss of step 1 is");
    put_part("train", 0);
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
             folder, folder, folder, folder, folder);
    assert_int_equal(system(command), 0); /* NOLINT(cert-env33-c): paths of our own making */
    put("network.json", words, strlen(words));
    for (int i = 0; i < 12; i++)
        snprintf(text + strlen(text), sizeof text - strlen(text), "%d,%d,%d\n", i % 5, (i + 2) % 5,
                 i % 2);
    put("train/inputs.csv", text, strlen(text));
    struct program *p = opened("{\"batch\": 4, \"epochs\": 2}");
    run_whole(p);
    program_destroy(&p);
    put("train/inputs.csv", "0,1,0\n1,2.5,1\n2,3,0\n3,4,1\n", 26);
    snprintf(command, sizeof command, "rm -f %s/train/*.rows", folder);
    assert_int_equal(system(command), 0); /* NOLINT(cert-env33-c) */
    assert_int_equal(program_open(&p, folder, "{\"batch\": 4}", &why), STATUS_INVALID);
    assert_non_null(strstr(why.text, "row 1 has 2.5; the network's input \"input\" takes INT32"));
    snprintf(command, sizeof command, "rm -r %s/train && mv %s/kept/train %s/kept/validation %s/",
             folder, folder, folder, folder);
    assert_int_equal(system(command), 0); /* NOLINT(cert-env33-c) */
    put("network.json", LAYERS(""), strlen(LAYERS("")));
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
}

/* --- the rate -----------------------------------------------------------------------------
 */
static void losses_have_the_names_that_the_trainer_knows(void **unused)
{
    (void)unused;
    for (int kind = 0; kind < LOSS_COUNT; kind++) {
        struct settings s;
        struct error why;
        char text[128];
        snprintf(text, sizeof text, "{\"loss\": \"%s\"}", loss_name((enum loss_kind)kind));
        assert_int_equal(settings_read(&s, text, &why), STATUS_OK);
        assert_int_equal(s.program_loss, kind);
        settings_free(&s);
    }
}

static void the_learning_rate_follows_its_schedule(void **unused)
{
    struct settings s;
    struct error why;
    (void)unused;
    assert_int_equal(settings_read(&s,
                                   "{\"optimizer\": {\"learning_rate\": 0.5}, \"schedule\": "
                                   "{\"type\": \"cosine\", \"warmup_steps\": 10}}",
                                   &why),
                     STATUS_OK);
    assert_true(fabs(settings_rate(&s, 1, 110, 11) - 0.05) < 1e-12);
    assert_true(fabs(settings_rate(&s, 11, 110, 11) - 0.5) < 1e-12);
    assert_true(fabs(settings_rate(&s, 61, 110, 11) - 0.25) < 1e-12);
    settings_free(&s);
    assert_int_equal(
        settings_read(&s, "{\"schedule\": {\"type\": \"step\", \"decay_rate\": 0.1}}", &why),
        STATUS_OK);
    assert_true(fabs(settings_rate(&s, 11, 110, 11) - 1e-3) < 1e-12);
    assert_true(fabs(settings_rate(&s, 12, 110, 11) - 1e-4) < 1e-12);
    settings_free(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sizes_are_known_before_the_first_step),
        cmocka_unit_test(what_fits_no_answer_is_refused_from_the_first_octet_on),
        cmocka_unit_test(the_same_bytes_come_out_wherever_pieces_are_cut),
        cmocka_unit_test(it_learns_and_its_model_says_the_same),
        cmocka_unit_test(ctc_learns_labels_without_times),
        cmocka_unit_test(what_is_stopped_goes_on_from_its_last_checkpoint),
        cmocka_unit_test(a_checkpoint_of_another_program_or_damaged_is_refused),
        cmocka_unit_test(frozen_layers_stay_as_they_are),
        cmocka_unit_test(training_ends_when_nothing_gets_better),
        cmocka_unit_test(mistakes_in_the_network_name_its_layer),
        cmocka_unit_test(mistakes_in_the_data_name_the_row),
        cmocka_unit_test(numbers_of_words_come_from_texts),
        cmocka_unit_test(mistakes_in_the_settings_name_the_key),
        cmocka_unit_test(losses_have_the_names_that_the_trainer_knows),
        cmocka_unit_test(the_learning_rate_follows_its_schedule),
    };
    seed = test_seed();
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
