/* Damaged model files: refused with a sentence, or loaded; never a crash. */
#include "tests/unit/common/testing.h"

#include "common/file.h"
#include "worker/engine.h"

#define MODEL_BYTES_MAX ((size_t)1 << 20)
#define FLIPPED_MODELS  3000

static const char *const models[] = {"tests/data/gru_lbr1.onnx", "tests/data/embedding_gru.onnx",
                                     "tests/data/lstm_bidirectional.onnx"};

static uint64_t below(uint64_t *random, uint64_t end)
{
    return test_random(random) % end;
}

static uint8_t *read_model(const char *path, size_t *size)
{
    struct error why;
    char *bytes;
    if (file_read(&bytes, size, path, MODEL_BYTES_MAX, &why) != STATUS_OK)
        fail_msg("%s", why.text);
    return (uint8_t *)bytes;
}

/* An exact copy, so that a sanitizer sees any read behind the end. */
static enum status load_copy(const uint8_t *bytes, size_t size, struct error *why)
{
    struct model *m = NULL;
    uint8_t *copy = xmalloc(size);
    memcpy(copy, bytes, size);
    why->text[0] = '\0';
    enum status s = model_load(&m, copy, size, why);
    model_destroy(&m);
    free(copy);
    return s;
}

static void a_file_cut_anywhere_is_refused_with_a_sentence(void **state)
{
    (void)state;
    for (size_t k = 0; k < ARRAY_LEN(models); k++) {
        size_t size;
        uint8_t *bytes = read_model(models[k], &size);
        struct error why;
        assert_int_equal(load_copy(bytes, size, &why), STATUS_OK);
        for (size_t cut = 0; cut < size; cut++) {
            enum status s = load_copy(bytes, cut, &why);
            if (s != STATUS_BAD_MODEL || strlen(why.text) < 10)
                fail_msg("%s cut at %zu: status %d, \"%s\"", models[k], cut, s, why.text);
        }
        free(bytes);
    }
}

static void flipped_bytes_never_crash_the_loader(void **state)
{
    (void)state;
    uint64_t random = test_seed();
    for (size_t k = 0; k < ARRAY_LEN(models); k++) {
        size_t size, loaded = 0;
        uint8_t *bytes = read_model(models[k], &size);
        uint8_t *damaged = xmalloc(size);
        for (size_t round = 0; round < FLIPPED_MODELS; round++) {
            struct error why;
            memcpy(damaged, bytes, size);
            for (uint64_t flips = 1 + below(&random, 4); flips > 0; flips--)
                damaged[below(&random, size)] = (uint8_t)below(&random, 256);
            enum status s = load_copy(damaged, size, &why);
            if (s != STATUS_OK && strlen(why.text) < 10)
                fail_msg("%s: status %d without a sentence", models[k], s);
            loaded += s == STATUS_OK;
        }
        printf("%s: %zu of %d damaged files still load\n", models[k], loaded, FLIPPED_MODELS);
        free(damaged);
        free(bytes);
    }
}

static void bytes_that_are_no_model_are_refused(void **state)
{
    (void)state;
    uint64_t random = test_seed();
    uint8_t noise[512];
    struct error why;
    assert_int_equal(load_copy((const uint8_t *)"", 0, &why), STATUS_BAD_MODEL);
    for (size_t round = 0; round < 2000; round++) {
        size_t size = 1 + below(&random, sizeof noise);
        for (size_t i = 0; i < size; i++)
            noise[i] = (uint8_t)below(&random, 256);
        assert_int_equal(load_copy(noise, size, &why), STATUS_BAD_MODEL);
    }
}

/* A type of a sequence of a sequence of ...: 100,000 levels, each with a length of its own. */
static void deep_nesting_is_refused_before_the_stack_ends(void **state)
{
    (void)state;
    enum { LEVELS = 20000, BYTES = 6 };
    size_t used = 0, room = (LEVELS + 8) * BYTES * 2;
    uint8_t *bytes = xcalloc(room, 1);
    /* Innermost first, written from the end of the buffer: tag, length as a five-byte varint. */
    uint8_t *at = bytes + room;
    static const uint8_t outer[] = {0x12, 0x5a, 0x3a}; /* value type, graph input, model graph */
    for (size_t level = 0; level < LEVELS + sizeof outer; level++) {
        uint8_t tag = level < LEVELS ? (level % 2 ? 0x22 : 0x0a) : outer[level - LEVELS];
        at -= BYTES;
        at[0] = tag;
        for (unsigned i = 0; i < 5; i++)
            at[1 + i] = (uint8_t)((used >> (7 * i) & 0x7f) | (i < 4 ? 0x80 : 0));
        used += BYTES;
    }
    struct error why;
    assert_int_equal(load_copy(at, used, &why), STATUS_BAD_MODEL);
    assert_non_null(strstr(why.text, "nest"));
    free(bytes);
}

static void every_missing_operator_is_named(void **state)
{
    (void)state;
    struct model *m;
    struct error why;
    assert_int_equal(model_load_file(&m, "tests/data/bad/unsupported.onnx", &why),
                     STATUS_BAD_MODEL);
    assert_non_null(strstr(why.text, "com.example.Frobnicate"));
    assert_non_null(strstr(why.text, "com.example.Unravel"));
    assert_null(m);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_file_cut_anywhere_is_refused_with_a_sentence),
        cmocka_unit_test(flipped_bytes_never_crash_the_loader),
        cmocka_unit_test(bytes_that_are_no_model_are_refused),
        cmocka_unit_test(deep_nesting_is_refused_before_the_stack_ends),
        cmocka_unit_test(every_missing_operator_is_named),
    };
    struct error why;
    if (engine_start("auto", 1, &why) != STATUS_OK)
        panic("%s", why.text);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
