/* test_sim_fleet - the whole fleet under faults; see sim.h
 *
 *   test_sim_fleet                       the tests; TEST_SEED=N: from this seed on
 *   test_sim_fleet SEED EVENTS [RUNS]    these runs and nothing else, as `make sim`: a line of
 * figures each, and after a violation the last things that happened */
#include "tests/sim/sim.h"

#include "common/log.h"

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <cmocka.h>

#define EVENTS   1000000 /* of all seeds together */
#define SEEDS    10
#define WARM_MS  27000
#define SHARE_MS 42000

/* One run; false after a violation, which is printed with what led to it. */
static bool run(uint64_t seed, uint64_t events, uint64_t *committed)
{
    struct sim *sim = sim_new(seed);
    bool held = sim_run(sim, events);
    sim_print(sim);
    *committed = sim->totals.committed;
    if (!held) {
        sim_print_trace(sim);
        fprintf(stderr, "%s\nreplay: make sim SEED=%" PRIu64 " EVENTS=%" PRIu64 "\n",
                sim->violation, seed, events);
    }
    sim_destroy(&sim);
    return held;
}

static void everything_promised_ends_exactly_once_whatever_dies(void **state)
{
    const char *given = getenv("TEST_SEED");
    uint64_t first = given ? strtoull(given, NULL, 10) : (uint64_t)time(NULL), committed;
    (void)state;
    for (uint64_t seed = first; seed < first + SEEDS; seed++) {
        assert_true(run(seed, EVENTS / SEEDS, &committed));
        assert_true(committed > EVENTS / SEEDS / 200);
    }
}

static void the_same_seed_is_the_same_run(void **state)
{
    uint64_t digests[2];
    (void)state;
    for (int i = 0; i < 2; i++) {
        struct sim *sim = sim_new(7);
        sim_run(sim, 20000);
        digests[i] = sim_digest(sim);
        sim_destroy(&sim);
    }
    assert_true(digests[0] == digests[1]);
}

/* One tenant has four times as much waiting as each other one, all of them always have some. */
static void a_flood_leaves_the_others_their_share(void **state)
{
    struct sim *sim = sim_new(5);
    uint64_t before[TENANTS];
    (void)state;
    sim->peace = true;
    while (sim->now_ns < WARM_MS * MS && sim_step(sim)) /* until all brokers are there */
        continue;
    memcpy(before, sim->totals.rows, sizeof before);
    while (sim->now_ns < SHARE_MS * MS && sim_step(sim))
        continue;
    for (size_t i = 0; i < TENANTS; i++)
        printf("tenant %zu: %" PRIu64 " rows\n", i, sim->totals.rows[i] - before[i]);
    history_share(sim, before);
    assert_string_equal(sim->violation, "");
    sim_destroy(&sim);
}

static int run_all(char **argv)
{
    uint64_t seed = strtoull(argv[0], NULL, 10), events = strtoull(argv[1], NULL, 10);
    uint64_t runs = argv[2] ? strtoull(argv[2], NULL, 10) : 1, committed;
    bool held = true;
    for (uint64_t i = 0; i < runs; i++) {
        held = run(seed + i, events, &committed) && held;
        fflush(stdout);
    }
    return held ? 0 : 1;
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(everything_promised_ends_exactly_once_whatever_dies),
        cmocka_unit_test(the_same_seed_is_the_same_run),
        cmocka_unit_test(a_flood_leaves_the_others_their_share),
    };
    log_start("sim", LOG_LEVEL_ERROR);
    return argc > 2 ? run_all(argv + 1) : cmocka_run_group_tests(tests, NULL, NULL);
}
