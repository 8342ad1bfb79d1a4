/* test_sim_core - the broker's core in a simulated fleet under faults; see sim.h
 *
 * SIM_SEED=n replays one run, SIM_EVENTS=m sets how many events reach the core (100,000 by default,
 * over several seeds), SIM_TRACE=1 prints the last things that happened. */
#include "tests/sim/sim.h"

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <cmocka.h>

#define EVENTS_DEFAULT 160000
#define SEEDS          8
#define SETTLE_MS      60000
#define MUTANT_EVENTS  40000

static uint64_t setting(const char *name, uint64_t otherwise)
{
    const char *text = getenv(name);
    return text && *text ? strtoull(text, NULL, 10) : otherwise;
}

/* Run `events` events under faults, then let it settle. */
static struct sim *run(uint64_t seed, uint64_t events, enum sim_mutation mutation)
{
    struct sim *sim = sim_new(seed, mutation);
    while (sim->events < events && sim->conns_len < CONNS_MAX - 1000 && sim_step(sim))
        continue;
    if (!sim->violation[0])
        sim_settle(sim, SETTLE_MS);
    return sim;
}

static void everything_promised_ends_exactly_once_whatever_dies(void **state)
{
    uint64_t base = setting("SIM_SEED", (uint64_t)time(NULL)), total = 0;
    uint64_t events = setting("SIM_EVENTS", EVENTS_DEFAULT);
    uint64_t seeds = getenv("SIM_SEED") ? 1 : SEEDS;
    (void)state;
    for (uint64_t seed = base; seed < base + seeds; seed++) {
        struct sim *sim = run(seed, events / seeds, MUTATE_NOTHING);
        total += sim->events;
        printf("sim seed=%" PRIu64 " events=%" PRIu64 " virtual_s=%.1f committed=%" PRIu64
               " cancelled=%" PRIu64 " computed=%" PRIu64 " faults=%" PRIu64 " restarts=%" PRIu64
               "\n",
               seed, sim->events, (double)sim->now_ns / 1e9, sim->committed, sim->cancelled,
               sim->computed, sim->faults, sim->restarts);
        if (sim->violation[0] || getenv("SIM_TRACE"))
            sim_print_trace(sim);
        if (sim->violation[0])
            fail_msg("%s; replay: SIM_SEED=%" PRIu64 " SIM_EVENTS=%" PRIu64, sim->violation, seed,
                     events / seeds);
        assert_true(sim->committed > events / seeds / 200);
        sim_destroy(&sim);
    }
    assert_true(total >= events);
}

static void the_same_seed_is_the_same_run(void **state)
{
    (void)state;
    struct sim *first = run(7, 10000, MUTATE_NOTHING), *second = run(7, 10000, MUTATE_NOTHING);
    assert_true(sim_digest(first) == sim_digest(second));
    sim_destroy(&first);
    sim_destroy(&second);
}

/* The checks must be able to fail: each mutant breaks one promise. */
static void every_mutant_is_caught(void **state)
{
    static const char *const names[MUTATIONS] = {
        "none",         "commit twice", "commit cancelled", "drop UNKNOWN", "drop RELEASE",
        "drop the ack", "drop answers", "repeat DISPATCH",  "no time",
    };
    (void)state;
    for (int mutation = MUTATE_NOTHING + 1; mutation < MUTATIONS; mutation++) {
        struct sim *sim = run(11, MUTANT_EVENTS, (enum sim_mutation)mutation);
        printf("mutant %-16s: %s\n", names[mutation],
               sim->violation[0] ? sim->violation : "NOT CAUGHT");
        assert_true(sim->violation[0] != '\0');
        sim->bodies = 0;
        sim_destroy(&sim);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(everything_promised_ends_exactly_once_whatever_dies),
        cmocka_unit_test(the_same_seed_is_the_same_run),
        cmocka_unit_test(every_mutant_is_caught),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
