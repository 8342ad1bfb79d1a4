/* testing - what every unit test of common/ includes: cmocka, a seeded generator, scratch folders
 *
 * A failing random test is repeated by SEED=N. */
#ifndef CONVOY_TESTS_UNIT_COMMON_TESTING_H
#define CONVOY_TESTS_UNIT_COMMON_TESTING_H

#include "common/base.h"
#include "common/ids.h"
#include "common/status.h"

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>
/* `fail` is our function; cmocka's macro of that name stays inside its fail_msg. */
#undef fail
#undef fail_msg
#define fail_msg(...) (print_error(__VA_ARGS__), print_error("\n"), _fail(__FILE__, __LINE__))

/* The seed of this run, printed so that it can be given again. */
static inline uint64_t test_seed(void)
{
    const char *given = getenv("SEED");
    uint64_t seed = given ? strtoull(given, NULL, 0) : random_u64();
    printf("SEED=%" PRIu64 "\n", seed);
    return seed;
}

/* splitmix64: small, good enough, the same everywhere. */
static inline uint64_t test_random(uint64_t *state)
{
    uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

/* The path of `name` in a fresh folder of this process, removed by test_scratch_end. */
static inline const char *test_path(const char *name)
{
    static char folder[64];
    static char paths[8][160];
    static unsigned next;
    if (!folder[0]) {
        text_copy(folder, sizeof folder, "/tmp/convoy-unit-XXXXXX");
        assert_non_null(mkdtemp(folder));
    }
    char *path = paths[next++ % ARRAY_LEN(paths)];
    snprintf(path, sizeof paths[0], "%s/%s", folder, name);
    return path;
}

/* For cmocka_run_group_tests: remove the folder and what is in it. */
static inline int test_scratch_end(void **state)
{
    (void)state;
    char *command = xasprintf("rm -rf '%s'", test_path(""));
    int status = system(command);
    free(command);
    return status;
}

/* The failed call explains itself; the text must hold `part`. */
#define assert_why(why, wanted, part)                                                              \
    do {                                                                                           \
        assert_string_equal(status_name((why)->status), status_name(wanted));                      \
        if (!strstr((why)->text, part))                                                            \
            fail_msg("expected \"%s\" in: %s", part, (why)->text);                                 \
    } while (0)

#endif
