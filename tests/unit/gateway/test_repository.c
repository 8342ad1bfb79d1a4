/* repository: what lies in the folder is what is served; names cannot leave it */
#include "tests/unit/common/testing.h"

#include "common/clock.h"
#include "common/file.h"
#include "gateway/repository/repository.h"
#include "gateway/repository/version.h"

#include <poll.h>

static const char signature[] =
    "{\"inputs\":[{\"name\":\"x\",\"datatype\":\"FP32\",\"shape\":[-1,4]}],"
    "\"outputs\":[{\"name\":\"y\",\"datatype\":\"FP32\",\"shape\":[7,-1],\"batch_axis\":1}],"
    "\"batchable\":true}";

struct world {
    struct front *front;
    struct pool *pool;
    struct fleet *fleet; /* not started: nobody answers INSPECT */
    struct repository *repository;
    void *zmq;
    char *root;
    unsigned heard;   /* answers to loads */
    struct error why; /* the last one */
};

static struct world world;

static void hear(void *arg, const struct error *why)
{
    struct world *self = arg;
    self->heard++;
    self->why = *why;
}

static void settle(unsigned heard)
{
    uint64_t end_ns = clock_mono_ns() + 20 * NS_PER_S;
    while (world.heard < heard && clock_mono_ns() < end_ns) {
        struct pollfd item = {front_fd(world.front), POLLIN, 0};
        poll(&item, 1, 20);
        front_turn(world.front, clock_mono_ns());
    }
    assert_int_equal(world.heard, heard);
}

static void put(const char *model, const char *version, const char *name, const char *text)
{
    struct error why;
    char *folder = xasprintf("%s/%s/%s", world.root, model, version);
    char *path = xasprintf("%s/%s", folder, name);
    assert_int_equal(file_mkdirs(folder, &why), STATUS_OK);
    assert_int_equal(file_write(path, text, strlen(text), false, &why), STATUS_OK);
    free(folder);
    free(path);
}

/* As if a worker had been asked in an earlier life. */
static void know(const char *model, const char *version)
{
    struct version *found =
        version_read(world.root, test_path("cache"), model, (uint32_t)atoi(version));
    version_remember(test_path("cache"), found, signature, sizeof signature - 1);
    version_drop(&found);
}

static void load(const char *model)
{
    unsigned before = world.heard;
    repository_load(world.repository, model, hear, &world);
    settle(before + 1);
}

static int begin(void **state)
{
    struct error why;
    static unsigned round;
    char name[16];
    (void)state;
    memset(&world, 0, sizeof world);
    snprintf(name, sizeof name, "models%u", round++);
    world.root = xstrdup(test_path(name));
    world.front = front_new();
    world.pool = pool_new(world.front, 1, 16);
    world.zmq = zmq_ctx_new();
    const struct fleet_config fleet = {
        .zmq = world.zmq,
        .brokers = {.list = {{.endpoint = "tcp://127.0.0.1:1"}}, .len = 1},
        .incarnation = 1,
        .front = world.front,
        .online_max = 4,
        .online_bytes_max = 1000};
    world.fleet = fleet_new(&fleet);
    const struct repository_config config = {.root = world.root,
                                             .cache = test_path("cache"),
                                             .front = world.front,
                                             .pool = world.pool,
                                             .fleet = world.fleet};
    assert_int_equal(repository_open(&world.repository, &config, &why), STATUS_OK);
    load(NULL); /* the opening scan is over: it must not see a model that is half put there */
    world.heard = 0;
    return 0;
}

static int end(void **state)
{
    (void)state;
    repository_close(&world.repository);
    fleet_destroy(&world.fleet);
    pool_destroy(&world.pool);
    front_destroy(&world.front);
    zmq_ctx_term(world.zmq);
    free(world.root);
    return 0;
}

/* --- tests ---------------------------------------------------------------------------------------
 */

static void default_version_is_the_highest_that_is_ready(void **state)
{
    struct version *found;
    struct error why;
    (void)state;
    put("m", "1", "model.onnx", "one");
    put("m", "2", "model.onnx", "two");
    put("m", "10", "weights.bin", "no model beside it");
    know("m", "1");
    know("m", "2");
    load("m");
    assert_why(&world.why, STATUS_BAD_MODEL, "has no model.onnx");
    assert_int_equal(repository_find(world.repository, "m", NULL, &found, &why), STATUS_OK);
    assert_int_equal(found->number, 2);
    assert_int_equal(found->signature.output_batch_axis[0], 1);
    version_drop(&found);
    assert_int_equal(repository_find(world.repository, "m", "1", &found, &why), STATUS_OK);
    assert_string_equal(found->name, "m/1");
    version_drop(&found);
    assert_int_equal(repository_find(world.repository, "m", "10", &found, &why), STATUS_BAD_MODEL);
    assert_int_equal(repository_find(world.repository, "m", "3", &found, &why), STATUS_NO_MODEL);
    assert_why(&why, STATUS_NO_MODEL, "Request for unknown model: 'm' version 3");
    assert_int_equal(repository_find(world.repository, "m", "1x", &found, &why), STATUS_NO_MODEL);
    uint32_t numbers[4];
    assert_int_equal(repository_versions(world.repository, "m", numbers, 4), 3);
    assert_int_equal(numbers[2], 10);
}

static void version_is_named_by_its_files_and_its_config(void **state)
{
    struct version *first, *second, *found;
    struct error why;
    (void)state;
    put("m", "1", "model.onnx", "one");
    put("m", "1", "weights.bin", "12345");
    first = version_read(world.root, test_path("cache"), "m", 1);
    second = version_read(world.root, test_path("cache"), "m", 1);
    assert_true(digest_equal(&first->id, &second->id));
    assert_int_equal(first->files_len, 2);
    assert_string_equal(first->files[0].path, "model.onnx");
    assert_int_equal(first->files[1].bytes, 5);
    struct digest manifest = digest_of(first->manifest, first->manifest_size);
    assert_true(digest_equal(&manifest, &first->id));
    version_drop(&second);
    put("m", ".", "config.json", "{\"batching\":{\"max_rows\":4}}");
    second = version_read(world.root, test_path("cache"), "m", 1);
    assert_false(digest_equal(&first->id, &second->id));
    assert_non_null(strstr(second->manifest, "\"max_rows\":4"));
    know("m", "1");
    load("m");
    found = repository_by_id(world.repository, &second->id);
    assert_non_null(found);
    version_drop(&found);
    assert_int_equal(repository_unload(world.repository, "m", &why), STATUS_OK);
    assert_int_equal(repository_unload(world.repository, "m", &why), STATUS_NO_MODEL);
    found = repository_by_id(world.repository, &second->id); /* jobs may still run it */
    assert_non_null(found);
    version_drop(&found);
    version_drop(&first);
    version_drop(&second);
}

static void model_that_nobody_looked_at_is_loading(void **state)
{
    struct version *found;
    struct error why;
    (void)state;
    put("new", "1", "model.onnx", "bytes");
    repository_load(world.repository, "new", hear, &world);
    uint64_t end_ns = clock_mono_ns() + 20 * NS_PER_S;
    while (repository_look(world.repository, "new", NULL, &found, &why) != STATUS_OK) {
        assert_true(clock_mono_ns() < end_ns);
        struct pollfd item = {front_fd(world.front), POLLIN, 0};
        poll(&item, 1, 20);
        front_turn(world.front, clock_mono_ns());
    }
    assert_int_equal(found->state, VERSION_LOADING);
    version_drop(&found);
    assert_int_equal(repository_find(world.repository, "new", NULL, &found, &why),
                     STATUS_UNAVAILABLE);
    assert_int_equal(world.heard, 0);
    front_turn(world.front,
               clock_mono_ns() + 31 * NS_PER_S); /* the answer does not wait for ever */
    assert_int_equal(world.heard, 1);
    assert_why(&world.why, STATUS_UNAVAILABLE, "failed to load 'new' in time");
}

static void broken_folders_are_in_the_index_with_the_reason(void **state)
{
    (void)state;
    put("bad", "1", "model.onnx", "x");
    put("bad", ".", "config.json", "{\"batching\": 7,,}");
    put("deep", "1", "model.onnx", "x");
    put("deep", "1/folder", "y", "y");
    put("odd", "0", "model.onnx", "x");
    put("odd", "v1", "model.onnx", "x");
    load(NULL);
    assert_int_equal(world.why.status, STATUS_BAD_MODEL);
    json_t *index = repository_index(world.repository, false);
    char *text = json_dumps(index, JSON_COMPACT);
    assert_int_equal(json_array_size(index), 2);
    assert_non_null(strstr(text, "config.json, line 1"));
    assert_non_null(strstr(text, "no plain file"));
    free(text);
    json_decref(index);
    index = repository_index(world.repository, true);
    assert_int_equal(json_array_size(index), 0);
    json_decref(index);
    load("nothing");
    assert_why(&world.why, STATUS_NO_MODEL, "failed to load 'nothing'");
    load("../models0");
    assert_why(&world.why, STATUS_NO_MODEL, "is no model name");
}

static void names_that_could_leave_the_folder_are_refused(void **state)
{
    static const char *const bad[] = {"",    ".",   "..",       ".hidden", "a/b",
                                      "a b", "a\n", "\xc3\xa9", "a%2f"};
    static const char *const good[] = {"m", "M-1_x.y", "0", "a..b"};
    char longest[MODEL_NAME_MAX + 2];
    struct error why;
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_int_equal(model_name_check(bad[i], &why), STATUS_NO_MODEL);
    for (size_t i = 0; i < ARRAY_LEN(good); i++)
        assert_int_equal(model_name_check(good[i], &why), STATUS_OK);
    memset(longest, 'n', sizeof longest);
    longest[MODEL_NAME_MAX + 1] = '\0';
    assert_int_equal(model_name_check(longest, &why), STATUS_NO_MODEL);
    longest[MODEL_NAME_MAX] = '\0';
    assert_int_equal(model_name_check(longest, &why), STATUS_OK);
}

static void damaged_signatures_name_the_field(void **state)
{
    static const char *const rows[][2] = {
        {"", "no JSON"},
        {"{}", "\"inputs\""},
        {"{\"inputs\":[{}],\"outputs\":[]}", "\"inputs\"[0]"},
        {"{\"inputs\":[{\"name\":\"x\",\"datatype\":\"FP12\",\"shape\":[]}],\"outputs\":[]}",
         "[0]"},
        {"{\"inputs\":[{\"name\":\"x\",\"datatype\":\"FP32\",\"shape\":[-2]}],\"outputs\":[]}",
         "of x"},
        {"{\"inputs\":[{\"name\":\"x\",\"datatype\":\"FP32\",\"shape\":[1,1,1,1,1,1,1,1,1]}]}",
         "of x"},
        {"{\"inputs\":[]}", "\"outputs\""},
    };
    struct signature out;
    struct error why;
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        assert_int_equal(signature_parse(&out, rows[i][0], strlen(rows[i][0]), &why),
                         STATUS_MALFORMED);
        assert_why(&why, STATUS_MALFORMED, rows[i][1]);
        signature_free(&out);
    }
    assert_int_equal(signature_parse(&out, signature, sizeof signature - 1, &why), STATUS_OK);
    assert_string_equal(out.inputs[0].name, "x");
    assert_int_equal(out.inputs[0].dims[0], -1);
    signature_free(&out);
    signature_free(&out);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(default_version_is_the_highest_that_is_ready),
        TEST(version_is_named_by_its_files_and_its_config),
        TEST(model_that_nobody_looked_at_is_loading),
        TEST(broken_folders_are_in_the_index_with_the_reason),
        cmocka_unit_test(names_that_could_leave_the_folder_are_refused),
        cmocka_unit_test(damaged_signatures_name_the_field),
    };
    return cmocka_run_group_tests(tests, NULL, test_scratch_end);
}
