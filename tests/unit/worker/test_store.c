/* store: a version is ready only when every octet of it is right, whoever sends what */
#include "tests/unit/common/testing.h"

#include "common/clock.h"
#include "common/file.h"
#include "worker/store.h"
#include "worker/store_folder.h"

#include <sys/stat.h>
#include <utime.h>

/* A gateway in memory: blobs by hash, and what it does wrong. */
struct gateway {
    struct {
        struct digest id;
        const uint8_t *bytes;
        size_t size;
    } blobs[8];
    size_t len;
    bool damage;   /* flips an octet of every large chunk */
    bool shorten;  /* sends one octet less */
    uint64_t lose; /* answers to swallow */
    size_t asked;  /* requests that came */
};

static struct digest serve(struct gateway *gateway, const void *bytes, size_t size)
{
    struct digest id = digest_of(bytes, size);
    gateway->blobs[gateway->len].id = id;
    gateway->blobs[gateway->len].bytes = bytes;
    gateway->blobs[gateway->len++].size = size;
    return id;
}

static void answer(struct gateway *gateway, struct store *store, const struct store_request *ask,
                   uint64_t now_ns)
{
    gateway->asked++;
    if (gateway->lose > 0) {
        gateway->lose--;
        return;
    }
    for (size_t i = 0; i < gateway->len; i++) {
        if (!digest_equal(&gateway->blobs[i].id, &ask->blob))
            continue;
        size_t total = gateway->blobs[i].size;
        size_t size = MIN((size_t)ask->length, total - (size_t)ask->offset);
        uint8_t *copy = xmalloc(size);
        memcpy(copy, gateway->blobs[i].bytes + ask->offset, size);
        if (gateway->damage && size > 100000)
            copy[size / 2] ^= 1;
        store_chunk(store, &ask->blob, ask->offset, total, STATUS_OK, "", copy,
                    size - gateway->shorten, now_ns);
        free(copy);
        return;
    }
    store_chunk(store, &ask->blob, ask->offset, 0, STATUS_NOT_FOUND, "no such blob", "", 0, now_ns);
}

/* Let store and gateway talk until the version is ready or failed. */
static enum store_state talk(struct store *store, struct gateway *gateway,
                             const struct digest *version, struct error *why)
{
    uint64_t now_ns = NS_PER_S;
    for (int turn = 0; turn < 10000; turn++) {
        struct store_request ask;
        store_step(store, now_ns);
        while (store_next_request(store, now_ns, &ask))
            answer(gateway, store, &ask, now_ns);
        enum store_state state = store_state(store, version, why);
        if (state != STORE_WORKING)
            return state;
        now_ns += 100 * NS_PER_MS; /* lost answers are asked for again */
    }
    fail_msg("the store neither succeeds nor fails");
    return STORE_ABSENT;
}

static struct store *open_at(const char *folder, uint64_t bytes_max)
{
    struct store *store;
    struct error why = {0};
    struct store_config config = {.folder = folder, .bytes_max = bytes_max, .patience_ms = 30000};
    if (store_open(&store, &config, &why) != STATUS_OK)
        fail_msg("%s", why.text);
    return store;
}

#define MODEL_BYTES (5 * MIB / 2)

/* A version with one large and one small file. */
struct version {
    uint8_t *model;
    char small[32];
    char *text;
    struct digest id, model_id, small_id;
};

static void make_version(struct version *self, struct gateway *gateway, uint64_t seed,
                         const char *batching)
{
    char a[DIGEST_TEXT_SIZE], b[DIGEST_TEXT_SIZE];
    self->model = xmalloc(MODEL_BYTES);
    for (size_t i = 0; i < MODEL_BYTES; i++)
        self->model[i] = (uint8_t)test_random(&seed);
    snprintf(self->small, sizeof self->small, "labels %" PRIu64, seed);
    self->model_id = serve(gateway, self->model, MODEL_BYTES);
    self->small_id = serve(gateway, self->small, strlen(self->small));
    self->text = xasprintf("{\"config\": {%s}, \"files\": [{\"path\": \"model.onnx\", \"bytes\": "
                           "%zu, \"sha256\": \"%s\"}, {\"path\": \"more/labels.txt\", \"bytes\": "
                           "%zu, \"sha256\": \"%s\"}]}",
                           batching, (size_t)MODEL_BYTES, digest_text(a, &self->model_id),
                           strlen(self->small), digest_text(b, &self->small_id));
    self->id = serve(gateway, self->text, strlen(self->text));
}

static void free_version(struct version *self)
{
    free(self->model);
    free(self->text);
}

static const struct uuid somebody = {{1}};

static void a_version_is_fetched_in_chunks_and_kept_for_the_next_process(void **state)
{
    struct gateway gateway = {0};
    struct version version;
    struct error why = {0};
    struct file_map map;
    (void)state;
    const char *folder = test_path("fetched");
    make_version(&version, &gateway, 1,
                 "\"batching\": {\"max_rows\": 7, \"max_delay_ms\": 1.5, \"output_batch_axis\": "
                 "{\"y\": 1}}");
    struct store *store = open_at(folder, 64 * MIB);
    assert_int_equal(store_state(store, &version.id, NULL), STORE_ABSENT);
    assert_int_equal(store_want(store, &version.id, &somebody, 0), STATUS_OK);
    assert_int_equal(talk(store, &gateway, &version.id, &why), STORE_READY);
    assert_int_equal(gateway.asked, 1 + 3 + 1); /* manifest, 2.5 MiB, labels */
    const struct manifest *manifest = store_manifest(store, &version.id);
    assert_int_equal(manifest->rows_max, 7);
    assert_int_equal(manifest->delay_ns, 1500000);
    assert_string_equal(manifest->axes[0].output, "y");
    char *path = store_model_path(store, &version.id);
    assert_int_equal(file_map(&map, path, &why), STATUS_OK);
    assert_int_equal(map.size, MODEL_BYTES);
    assert_memory_equal(map.bytes, version.model, MODEL_BYTES);
    file_unmap(&map);
    store_close(&store);
    store = open_at(folder, 64 * MIB);
    store_want(store, &version.id, &somebody, 0);
    assert_int_equal(talk(store, &gateway, &version.id, &why), STORE_READY);
    assert_int_equal(gateway.asked, 5); /* nothing was asked for again */
    store_close(&store);
    free(path);
    free_version(&version);
}

static void a_damaged_file_on_disk_is_fetched_again(void **state)
{
    struct gateway gateway = {0};
    struct version version;
    struct error why = {0};
    (void)state;
    const char *folder = test_path("bitrot");
    make_version(&version, &gateway, 2, "");
    char *path = store_folder_path(folder, &version.model_id);
    assert_int_equal(file_mkdirs(folder, &why), STATUS_OK);
    uint8_t *rotten = xmalloc(MODEL_BYTES);
    memcpy(rotten, version.model, MODEL_BYTES);
    rotten[MODEL_BYTES - 1] ^= 128;
    assert_int_equal(file_write(path, rotten, MODEL_BYTES, false, &why), STATUS_OK);
    struct store *store = open_at(folder, 64 * MIB);
    store_want(store, &version.id, &somebody, 0);
    assert_int_equal(talk(store, &gateway, &version.id, &why), STORE_READY);
    assert_int_equal(gateway.asked, 5);
    store_close(&store);
    free(rotten);
    free(path);
    free_version(&version);
}

static void a_wrong_hash_fails_after_a_second_try_and_leaves_no_file(void **state)
{
    struct gateway gateway = {.damage = true};
    struct version version;
    struct error why = {0};
    struct stat info;
    (void)state;
    const char *folder = test_path("damaged");
    make_version(&version, &gateway, 3, "");
    struct store *store = open_at(folder, 64 * MIB);
    store_want(store, &version.id, &somebody, 0);
    assert_int_equal(talk(store, &gateway, &version.id, &why), STORE_FAILED);
    assert_why(&why, STATUS_BAD_MODEL, "expected SHA-256");
    assert_int_equal(gateway.asked, 1 + 2 * 3);
    char *path = store_folder_path(folder, &version.model_id);
    assert_int_not_equal(stat(path, &info), 0);
    gateway.damage = false; /* wanting it again starts afresh */
    assert_int_equal(store_want(store, &version.id, &somebody, 0), STATUS_OK);
    assert_int_equal(talk(store, &gateway, &version.id, &why), STORE_READY);
    store_close(&store);
    free(path);
    free_version(&version);
}

static void truncated_chunks_are_asked_for_again_and_then_given_up(void **state)
{
    struct gateway gateway = {.shorten = true};
    struct version version;
    struct error why = {0};
    (void)state;
    make_version(&version, &gateway, 4, "");
    struct store *store = open_at(test_path("short"), 64 * MIB);
    store_want(store, &version.id, &somebody, 0);
    assert_int_equal(talk(store, &gateway, &version.id, &why), STORE_FAILED);
    assert_why(&why, STATUS_BAD_MODEL, "chunks of");
    assert_true(gateway.asked > 1 && gateway.asked < 100);
    store_close(&store);
    free_version(&version);
}

static void a_fetch_that_broke_off_goes_on_where_it_stopped(void **state)
{
    struct gateway gateway = {0};
    struct version version;
    struct error why = {0};
    struct store_request ask;
    (void)state;
    const char *folder = test_path("resumed");
    make_version(&version, &gateway, 77, "");
    struct store *store = open_at(folder, 64 * MIB);
    assert_int_equal(store_want(store, &version.id, &somebody, 0), STATUS_OK);
    while (gateway.asked < 3) { /* the manifest and two chunks of three */
        store_step(store, NS_PER_S);
        while (gateway.asked < 3 && store_next_request(store, NS_PER_S, &ask))
            answer(&gateway, store, &ask, NS_PER_S);
    }
    store_close(&store);
    gateway.asked = 0;
    store = open_at(folder, 64 * MIB);
    assert_int_equal(store_want(store, &version.id, &somebody, 0), STATUS_OK);
    assert_int_equal(talk(store, &gateway, &version.id, &why), STORE_READY);
    assert_int_equal(gateway.asked, 1 + 1); /* the last chunk, labels; the manifest was there */
    store_close(&store);
    free_version(&version);
}

/* What is left on the disk may be anything: the hash decides, and it is no fault of the gateway. */
static void a_left_file_that_is_not_the_blob_is_fetched_afresh(void **state)
{
    struct gateway gateway = {0};
    struct version version;
    struct error why = {0};
    (void)state;
    const char *folder = test_path("garbage");
    make_version(&version, &gateway, 78, "");
    char name[DIGEST_TEXT_SIZE];
    struct store *store = open_at(folder, 64 * MIB);
    char *path = xasprintf("%s/%s.part-kept", folder, digest_text(name, &version.model_id));
    uint8_t *garbage = xcalloc(1, MODEL_BYTES);
    assert_int_equal(file_write(path, garbage, MODEL_BYTES, false, &why), STATUS_OK);
    assert_int_equal(store_want(store, &version.id, &somebody, 0), STATUS_OK);
    assert_int_equal(talk(store, &gateway, &version.id, &why), STORE_READY);
    assert_int_equal(gateway.asked, 1 + 3 + 1);
    store_close(&store);
    free(garbage);
    free(path);
    free_version(&version);
}

static void lost_chunks_are_asked_for_again(void **state)
{
    struct gateway gateway = {.lose = 3};
    struct version version;
    struct error why = {0};
    (void)state;
    make_version(&version, &gateway, 5, "");
    struct store *store = open_at(test_path("lossy"), 64 * MIB);
    store_want(store, &version.id, &somebody, 0);
    assert_int_equal(talk(store, &gateway, &version.id, &why), STORE_READY);
    assert_int_equal(gateway.asked, 5 + 3);
    store_close(&store);
    free_version(&version);
}

static void a_blob_that_the_gateway_lacks_or_never_sends_fails(void **state)
{
    struct gateway gateway = {0};
    struct version version;
    struct error why = {0};
    (void)state;
    make_version(&version, &gateway, 6, "");
    gateway.blobs[0].size = 0;
    gateway.blobs[0].id.bytes[0] ^= 1;
    struct store *store = open_at(test_path("lacking"), 64 * MIB);
    store_want(store, &version.id, &somebody, 0);
    assert_int_equal(talk(store, &gateway, &version.id, &why), STORE_FAILED);
    assert_why(&why, STATUS_NOT_FOUND, "no such blob");
    gateway.lose = UINT64_MAX;
    store_want(store, &version.id, &somebody, NS_PER_S);
    assert_int_equal(talk(store, &gateway, &version.id, &why), STORE_FAILED);
    assert_why(&why, STATUS_UNAVAILABLE, "sent nothing");
    store_close(&store);
    free_version(&version);
}

/* Answers nothing that is asked, but sends whatever it likes. */
static void unasked_chunks_do_no_harm(void **state)
{
    struct gateway gateway = {0};
    struct version version;
    struct error why = {0};
    (void)state;
    make_version(&version, &gateway, 7, "");
    struct store *store = open_at(test_path("unasked"), 64 * MIB);
    store_want(store, &version.id, &somebody, 0);
    store_step(store, 1);
    for (uint64_t offset = 0; offset < 3; offset++) {
        store_chunk(store, &version.id, offset, 10, STATUS_OK, "", "0123456789", 10, 1);
        store_chunk(store, &version.model_id, offset * MIB, UINT64_MAX, STATUS_OK, "", "x", 1, 1);
        store_chunk(store, &version.id, UINT64_MAX - offset, 10, STATUS_OK, "", "", 0, 1);
    }
    assert_int_equal(talk(store, &gateway, &version.id, &why), STORE_READY);
    store_close(&store);
    free_version(&version);
}

static void the_longest_unused_blobs_make_room_but_those_in_use_stay(void **state)
{
    struct gateway gateway = {0};
    struct version old, used;
    struct error why = {0};
    struct stat info;
    (void)state;
    const char *folder = test_path("small");
    make_version(&old, &gateway, 8, "");
    make_version(&used, &gateway, 9, "");
    struct store *store = open_at(folder, 4 * MIB);
    store_want(store, &old.id, &somebody, 0);
    assert_int_equal(talk(store, &gateway, &old.id, &why), STORE_READY);
    store_want(store, &used.id, &somebody, 0);
    assert_int_equal(talk(store, &gateway, &used.id, &why), STORE_FAILED);
    assert_why(&why, STATUS_STORAGE_FULL, "--store-bytes");
    store_forget(store, &old.id);
    store_want(store, &used.id, &somebody, 0);
    assert_int_equal(talk(store, &gateway, &used.id, &why), STORE_READY);
    char *path = store_folder_path(folder, &old.model_id);
    assert_int_not_equal(stat(path, &info), 0);
    store_close(&store);
    free(path);
    free_version(&old);
    free_version(&used);
}

static void half_made_files_of_dead_processes_are_removed(void **state)
{
    struct error why = {0};
    struct stat info;
    (void)state;
    const char *folder = test_path("crumbs");
    char *stale = xasprintf("%s/abc.part-0", folder), *young = xasprintf("%s/abd.part-1", folder);
    const struct utimbuf long_ago = {1000000000, 1000000000};
    assert_int_equal(file_mkdirs(folder, &why), STATUS_OK);
    assert_int_equal(file_write(stale, "x", 1, false, &why), STATUS_OK);
    assert_int_equal(file_write(young, "x", 1, false, &why), STATUS_OK);
    assert_int_equal(utime(stale, &long_ago), 0);
    struct store *store = open_at(folder, 4 * MIB);
    assert_int_not_equal(stat(stale, &info), 0);
    assert_int_equal(stat(young, &info), 0);
    store_close(&store);
    free(stale);
    free(young);
}

static void manifests_that_lie_are_refused_with_the_reason(void **state)
{
#define FILE_OF(path, bytes)                                                                       \
    "{\"files\": [{\"path\": \"" path "\", \"bytes\": " bytes ", \"sha256\": \""                   \
    "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\"}]}"
    static const struct {
        const char *text;
        const char *part;
    } bad[] = {
        {"{", "no JSON"},
        {"[]", "files"},
        {"{\"files\": []}", "1 to"},
        {"{\"files\": [7]}", "files[0].path"},
        {FILE_OF("/etc/passwd", "1"), "relative path"},
        {FILE_OF("../model.onnx", "1"), "relative path"},
        {FILE_OF("a/../../model.onnx", "1"), "relative path"},
        {FILE_OF("a//model.onnx", "1"), "relative path"},
        {FILE_OF("./model.onnx", "1"), "relative path"},
        {FILE_OF("a/", "1"), "relative path"},
        {FILE_OF("a\\\\b", "1"), "relative path"},
        {FILE_OF("a\\u0001b", "1"), "relative path"},
        {FILE_OF("model.onnx", "-1"), "files[0].bytes"},
        {FILE_OF("model.onnx", "\"1\""), "files[0].bytes"},
        {FILE_OF("model.onnx", "2000000"), "--store-bytes"},
        {FILE_OF("other.onnx", "1"), "no file model.onnx"},
        {"{\"files\": [{\"path\": \"model.onnx\", \"bytes\": 1, \"sha256\": \"12\"}]}", "64 hex"},
    };
    struct manifest manifest;
    struct error why;
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        enum status status =
            manifest_parse(&manifest, bad[i].text, strlen(bad[i].text), 1000000, &why);
        assert_int_not_equal(status, STATUS_OK);
        assert_why(&why, status, bad[i].part);
        assert_null(manifest.files);
    }
    assert_true(manifest_path_ok("a/b..c/.d"));
    assert_int_equal(manifest_parse(&manifest, FILE_OF("model.onnx", "5"),
                                    strlen(FILE_OF("model.onnx", "5")), 1000000, &why),
                     STATUS_OK);
    assert_int_equal(manifest.rows_max, 0);
    manifest_free(&manifest);
    manifest_free(&manifest);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_version_is_fetched_in_chunks_and_kept_for_the_next_process),
        cmocka_unit_test(a_damaged_file_on_disk_is_fetched_again),
        cmocka_unit_test(a_wrong_hash_fails_after_a_second_try_and_leaves_no_file),
        cmocka_unit_test(truncated_chunks_are_asked_for_again_and_then_given_up),
        cmocka_unit_test(a_fetch_that_broke_off_goes_on_where_it_stopped),
        cmocka_unit_test(a_left_file_that_is_not_the_blob_is_fetched_afresh),
        cmocka_unit_test(lost_chunks_are_asked_for_again),
        cmocka_unit_test(a_blob_that_the_gateway_lacks_or_never_sends_fails),
        cmocka_unit_test(unasked_chunks_do_no_harm),
        cmocka_unit_test(the_longest_unused_blobs_make_room_but_those_in_use_stay),
        cmocka_unit_test(half_made_files_of_dead_processes_are_removed),
        cmocka_unit_test(manifests_that_lie_are_refused_with_the_reason),
    };
    return cmocka_run_group_tests(tests, NULL, test_scratch_end);
}
