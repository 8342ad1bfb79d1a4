/* The fuzzer's seeds without a fuzzer: as they are, cut at any byte, with bytes changed. Under ASan
 * and UBSan, as `make test` also runs this, that is most of what the fuzzer would see. */
#include <glob.h>

#include "common/file.h"
#include "tests/fuzz/fuzz.h"
#include "tests/unit/common/testing.h"
#include "tests/unit/worker/op_cases.h"

#define ROUNDS      40 /* over all seeds, with other cuts and changes each time */
#define CHANGES_MAX 8

static uint64_t random_state;

/* In a piece of memory of its own, so that a read past the end is seen. */
static void try_variant(const uint8_t *bytes, size_t size)
{
    size_t keep =
        test_random(&random_state) % 4 ? size : (size_t)(test_random(&random_state) % (size + 1));
    uint8_t *copy = xmalloc(MAX(keep, 1));
    memcpy(copy, bytes, keep);
    for (uint64_t n = test_random(&random_state) % CHANGES_MAX; keep && n > 0; n--) {
        size_t at = (size_t)(test_random(&random_state) % keep);
        uint8_t flipped = (uint8_t)(copy[at] ^ (1u << test_random(&random_state) % 8));
        copy[at] = test_random(&random_state) % 2 ? flipped : (uint8_t)test_random(&random_state);
    }
    assert_int_equal(LLVMFuzzerTestOneInput(copy, keep), 0);
    free(copy);
}

static void over_files(const char *pattern, void (*each)(const uint8_t *bytes, size_t size))
{
    glob_t files;
    assert_int_equal(glob(pattern, 0, NULL, &files), 0);
    for (size_t i = 0; i < files.gl_pathc; i++) {
        struct file_map map;
        struct error why;
        if (file_map(&map, files.gl_pathv[i], &why) != STATUS_OK)
            fail_msg("%s", why.text);
        each(map.bytes, map.size);
        file_unmap(&map);
    }
    globfree(&files);
}

static void as_it_is(const uint8_t *bytes, size_t size)
{
    assert_int_equal(LLVMFuzzerTestOneInput(bytes, size), 0);
}

static void seeds_are_loaded_or_refused(void **state)
{
    (void)state;
    over_files("tests/fuzz/corpus/model/*.onnx", as_it_is);
    over_files("tests/data/bad/*.onnx", as_it_is);
}

static void cut_and_changed_seeds_are_loaded_or_refused(void **state)
{
    (void)state;
    random_state = test_seed();
    for (int i = 0; i < ROUNDS; i++)
        over_files("tests/fuzz/corpus/model/*.onnx", try_variant);
}

static void models_of_operator_cases_with_changes_are_loaded_or_refused(void **state)
{
    glob_t files;
    (void)state;
    random_state = test_seed();
    assert_int_equal(glob("tests/data/ops/*.cases", 0, NULL, &files), 0);
    for (size_t f = 0; f < files.gl_pathc; f++) {
        struct op_cases *cases = op_cases_read(files.gl_pathv[f]);
        for (size_t i = 0; i < cases->len; i++)
            try_variant(cases->list[i].model, cases->list[i].model_size);
        op_cases_free(&cases);
    }
    globfree(&files);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(seeds_are_loaded_or_refused),
        cmocka_unit_test(cut_and_changed_seeds_are_loaded_or_refused),
        cmocka_unit_test(models_of_operator_cases_with_changes_are_loaded_or_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
