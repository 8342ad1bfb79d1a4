/* Training programs: pieces from checkpoint to checkpoint, what learns and what stays, schedules.
 * SEED=n repeats a run. Mistakes: test_program_mistakes.c. */
#include <math.h>
#include <unistd.h>

#include "common/file.h"
#include "common/limits.h"
#include "tests/unit/common/testing.h"
#include "tests/unit/worker/program_world.h"
#include "worker/engine.h"
#include "worker/onnx/import.h"
#include "worker/program/data.h"
#include "worker/program/program.h"
#include "worker/program/settings.h"
#include "worker/runner_batch.h"
#include "worker/runner_train.h"

struct stop_at {
    uint64_t step;
    uint32_t stop;
};

static void stop_there(void *arg, const struct program_progress *now)
{
    struct stop_at *s = arg;
    s->stop = now->step >= s->step;
}

static void sizes_are_known_before_the_first_step(void **unused)
{
    uint8_t *bytes;
    size_t size;
    struct error why;
    struct program *p = program_opened(PROGRAM_SETTINGS);
    struct program_sizes before = program_sizes(p);
    (void)unused;
    json_t *report = program_report(p);
    assert_int_equal(before.parameters, json_integer_value(json_object_get(report, "parameters")));
    json_decref(report);
    program_run_whole(p);
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
    struct program *p = program_opened(PROGRAM_SETTINGS);
    (void)unused;
    program_run_whole(p);
    program_checkpoint(p, &whole, &whole_size);
    program_destroy(&p);
    for (bool done = false; !done;) { /* one step a piece, each in a program of its own */
        struct error why;
        p = program_opened(PROGRAM_SETTINGS);
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
        program_opened("{\"epochs\": 12, \"batch\": 10, \"optimizer\": {\"type\": \"adam\", "
                       "\"learning_rate\": 0.01}}");
    struct error why;
    uint8_t *bytes;
    size_t size;
    (void)unused;
    program_run_whole(p);
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
    snprintf(part, sizeof part, "%s/validation", program_folder);
    assert_int_equal(data_open(&data, part, &(struct data_options){0}, &why), STATUS_OK);
    float *rows = xaligned(data.inputs.data_bytes);
    memcpy(rows, data.inputs.data, data.inputs.data_bytes);
    struct tensor in = {
        "input", DTYPE_FP32, 4, {PROGRAM_ROWS, 6, 6, 1}, rows, data.inputs.data_bytes};
    struct tensor out[1];
    if (model_run(m, &in, 1, out, &why) != STATUS_OK)
        fail_msg("%s", why.text);
    size_t right = 0;
    for (size_t i = 0; i < PROGRAM_ROWS; i++) {
        const float *y = (const float *)out[0].data + i * PROGRAM_CLASSES;
        size_t best = y[1] > y[0] ? 1 : 0;
        best = y[2] > y[best] ? 2 : best;
        right += best == data.labels.data[i];
    }
    assert_true(right > PROGRAM_ROWS * 9 / 10);
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
    static float inputs[PROGRAM_ROWS][12][2];
    static int32_t labels[PROGRAM_ROWS][3];
    uint64_t state = program_seed;
    (void)unused;
    for (size_t i = 0; i < PROGRAM_ROWS; i++)
        for (size_t k = 0; k < 3; k++) {
            labels[i][k] = 1 + (int32_t)(test_random(&state) % 2);
            inputs[i][4 * k + test_random(&state) % 3][labels[i][k] - 1] = 1;
        }
    program_put("network.json", network, strlen(network));
    for (int part = 0; part < 2; part++) {
        program_put_array(part ? "validation/inputs.npy" : "train/inputs.npy", DTYPE_FP32, 3,
                          (int64_t[]){PROGRAM_ROWS, 12, 2}, inputs, sizeof inputs);
        program_put_array(part ? "validation/labels.npy" : "train/labels.npy", DTYPE_INT32, 2,
                          (int64_t[]){PROGRAM_ROWS, 3}, labels, sizeof labels);
    }
    struct program *p =
        program_opened("{\"epochs\": 60, \"batch\": 10, \"loss\": \"ctc\", "
                       "\"optimizer\": {\"type\": \"adam\", \"learning_rate\": 0.02}}");
    program_run_whole(p);
    json_t *report = program_report(p), *end = json_object_get(report, "epoch_end");
    assert_true(json_real_value(json_object_get(end, "validation_accuracy")) > 0.9);
    json_decref(report);
    program_destroy(&p);
    program_put("network.json", PROGRAM_LAYERS(""), strlen(PROGRAM_LAYERS("")));
    program_put_part("train", 0);
    program_put_part("validation", 0);
}

/* Room is for as many rows as there are, not for a whole batch of long ones. */
static void a_few_long_rows_validate_what_short_ones_taught(void **unused)
{
    enum { SHORT = 65536, LONG = 1 << 20 };
    static const char network[] =
        "{\"layers\": [{\"type\": \"Input\", \"shape\": [null, 2]}, {\"type\": "
        "\"GlobalAveragePooling1D\"}, {\"type\": \"Dense\", \"units\": 3, \"activation\": "
        "\"softmax\"}]}";
    static float rows[2 * LONG];
    static uint8_t labels[SHORT];
    (void)unused;
    program_put("network.json", network, strlen(network));
    program_put_array("train/inputs.npy", DTYPE_FP32, 3, (int64_t[]){SHORT, 1, 2}, rows,
                      sizeof(float[SHORT][2]));
    program_put_array("train/labels.npy", DTYPE_UINT8, 1, (int64_t[]){SHORT}, labels, SHORT);
    program_put_array("validation/inputs.npy", DTYPE_FP32, 3, (int64_t[]){1, LONG, 2}, rows,
                      sizeof rows);
    program_put_array("validation/labels.npy", DTYPE_UINT8, 1, (int64_t[]){1}, labels, 1);
    struct program *p = program_opened("{\"batch\": 65536}");
    program_run_whole(p);
    program_destroy(&p);
    program_put("network.json", PROGRAM_LAYERS(""), strlen(PROGRAM_LAYERS("")));
    program_put_part("train", 0);
    program_put_part("validation", 0);
}

static void what_is_stopped_goes_on_from_its_last_checkpoint(void **unused)
{
    struct program *p = program_opened(PROGRAM_SETTINGS);
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
    struct program *p = program_opened(PROGRAM_SETTINGS),
                   *other = program_opened("{\"epochs\": 3}");
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

/* Whether a constant has the same bytes in both models. */
static bool is_same(uint8_t *const models[2], const size_t sizes[2], const char *name)
{
    struct graph *graphs[2];
    const struct value *found[2] = {NULL, NULL};
    struct error why;
    for (size_t k = 0; k < 2; k++) {
        if (onnx_import(&graphs[k], models[k], sizes[k], NULL, &why) != STATUS_OK)
            fail_msg("%s", why.text);
        for (uint32_t i = 0; i < graphs[k]->values_len; i++)
            if (strcmp(graphs[k]->values[i].name, name) == 0)
                found[k] = &graphs[k]->values[i];
        assert_non_null(found[k]);
    }
    bool same = memcmp(found[0]->raw, found[1]->raw, found[0]->bytes) == 0;
    graph_destroy(&graphs[0]);
    graph_destroy(&graphs[1]);
    return same;
}

/* Trains, and says for a frozen layer whether all of it stayed, for another whether all moved. */
static void check_frozen(const char *settings, const char *network, const char *layer, bool stays)
{
    static const char *const conv[] = {"kernel", "bias", NULL};
    static const char *const norm[] = {"gamma", "beta", "moving_mean", "moving_variance", NULL};
    program_put("network.json", network, strlen(network));
    struct program *p = program_opened(settings);
    uint8_t *models[2];
    size_t sizes[2];
    char name[64];
    struct error why;
    assert_int_equal(program_model(p, &models[0], &sizes[0], &why), STATUS_OK);
    program_run_whole(p);
    assert_int_equal(program_model(p, &models[1], &sizes[1], &why), STATUS_OK);
    for (const char *const *part = strcmp(layer, "conv2d") ? norm : conv; *part; part++) {
        snprintf(name, sizeof name, "%s/%s", layer, *part);
        if (is_same(models, sizes, name) != stays)
            fail_msg("%s: %s %s", settings, name, stays ? "has changed" : "has stayed");
    }
    assert_false(is_same(models, sizes, "last/kernel"));
    free(models[0]);
    free(models[1]);
    program_destroy(&p);
}

/* By the settings, or by the network itself; its running statistics, too. */
static void frozen_layers_stay_as_they_are(void **unused)
{
    static const char held[] =
        PROGRAM_LAYERS("{\"type\": \"BatchNormalization\", \"name\": \"held\", "
                       "\"trainable\": false}, ");
    struct program *p;
    struct error why;
    (void)unused;
    check_frozen("{\"epochs\": 1, \"batch\": 25, \"frozen\": [\"conv2d\"]}", PROGRAM_LAYERS(""),
                 "conv2d", true);
    check_frozen("{\"epochs\": 1, \"batch\": 25}", PROGRAM_LAYERS(""), "conv2d", false);
    check_frozen("{\"epochs\": 1, \"batch\": 25, \"frozen\": [\"batch_normalization\"]}",
                 PROGRAM_LAYERS(""), "batch_normalization", true);
    check_frozen("{\"epochs\": 1, \"batch\": 25}", held, "held", true);
    check_frozen("{\"epochs\": 1, \"batch\": 25}", held, "batch_normalization", false);
    program_put("network.json", PROGRAM_LAYERS(""), strlen(PROGRAM_LAYERS("")));
    assert_int_equal(program_open(&p, program_folder, "{\"frozen\": [\"conv\"]}", &why),
                     STATUS_INVALID);
    assert_non_null(strstr(why.text, "no layer or parameter is named \"conv\""));
}

static void training_ends_when_nothing_gets_better(void **unused)
{
    struct program *p = program_opened(
        "{\"epochs\": 50, \"batch\": 25, \"optimizer\": {\"type\": \"sgd\", "
        "\"learning_rate\": 0}, \"early_stopping\": {\"monitor\": \"validation_loss\", "
        "\"patience\": 2, \"min_delta\": 1e3}}");
    (void)unused;
    program_run_whole(p);
    json_t *report = program_report(p);
    assert_int_equal(json_integer_value(json_object_get(report, "epoch")), 3); /* as in Keras */
    json_decref(report);
    program_destroy(&p);
}

/* --- mistakes -----------------------------------------------------------------------------------
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

/* --- the rate -----------------------------------------------------------------------------
 */
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
        cmocka_unit_test(a_few_long_rows_validate_what_short_ones_taught),
        cmocka_unit_test(what_is_stopped_goes_on_from_its_last_checkpoint),
        cmocka_unit_test(a_checkpoint_of_another_program_or_damaged_is_refused),
        cmocka_unit_test(frozen_layers_stay_as_they_are),
        cmocka_unit_test(training_ends_when_nothing_gets_better),
        cmocka_unit_test(losses_have_the_names_that_the_trainer_knows),
        cmocka_unit_test(the_learning_rate_follows_its_schedule),
    };
    return cmocka_run_group_tests(tests, program_world_open, program_world_close);
}
