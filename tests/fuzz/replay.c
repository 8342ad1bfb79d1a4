/* replay - a fuzz target's corpus without a fuzzer: as it is, cut at any octet, with octets changed
 *
 * Linked with one target as replay_NAME, which reads tests/fuzz/corpus/NAME. Part of `make test`,
 * there under ASan and UBSan too, so that needs no fuzzer. SEED=n repeats a run. */
#include <glob.h>

#include "common/file.h"
#include "tests/fuzz/fuzz.h"
#include "tests/unit/common/testing.h"

#define VARIANTS    3000 /* over all seeds */
#define CHANGES_MAX 8

static char pattern[160]; /* of the corpus */

/* In a piece of memory of its own, so that a read past the end is seen. */
static void try_copy(const uint8_t *bytes, size_t size, uint64_t *seed)
{
    size_t keep = !seed || test_random(seed) % 4 ? size : (size_t)(test_random(seed) % (size + 1));
    uint8_t *copy = xmalloc(MAX(keep, 1));
    memcpy(copy, bytes, keep);
    for (uint64_t n = seed ? test_random(seed) % CHANGES_MAX : 0; keep && n > 0; n--) {
        size_t at = (size_t)(test_random(seed) % keep);
        uint8_t flipped = (uint8_t)(copy[at] ^ (1u << test_random(seed) % 8));
        copy[at] = test_random(seed) % 2 ? flipped : (uint8_t)test_random(seed);
    }
    assert_int_equal(LLVMFuzzerTestOneInput(copy, keep), 0);
    free(copy);
}

/* Each seed `times` times; how many seeds there are. */
static size_t over_corpus(size_t times, uint64_t *seed)
{
    glob_t files;
    assert_int_equal(glob(pattern, 0, NULL, &files), 0);
    for (size_t i = 0; i < files.gl_pathc; i++) {
        struct file_map map;
        struct error why;
        if (file_map(&map, files.gl_pathv[i], &why) != STATUS_OK)
            fail_msg("%s", why.text);
        for (size_t k = 0; k < times; k++)
            try_copy(map.bytes, map.size, seed);
        file_unmap(&map);
    }
    size_t len = files.gl_pathc;
    globfree(&files);
    return len;
}

static void the_corpus_is_taken_or_refused(void **state)
{
    (void)state;
    assert_true(over_corpus(1, NULL) > 0);
}

static void the_corpus_cut_and_changed_is_taken_or_refused(void **state)
{
    uint64_t seed = test_seed();
    size_t len = over_corpus(0, NULL);
    (void)state;
    over_corpus(VARIANTS / len + 1, &seed);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_corpus_is_taken_or_refused),
        cmocka_unit_test(the_corpus_cut_and_changed_is_taken_or_refused),
    };
    const char *name = argc > 0 ? strstr(argv[0], "replay_") : NULL;
    if (!name)
        panic("no replay_NAME");
    snprintf(pattern, sizeof pattern, "tests/fuzz/corpus/%s/*", name + strlen("replay_"));
    return cmocka_run_group_tests(tests, NULL, NULL);
}
