/* test_sim_mutants - mistakes in core, gateway and worker: the simulator must see each
 *
 * The programs' sources with the mistakes of mutations.def in them, one switched on at a time, each
 * in a process of its own, since a mistake may end it by an assertion. */
#include "mutants.h"
#include "tests/sim/sim.h"

#include "common/log.h"

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#define EVENTS 60000 /* of one run */
#define SEEDS  8     /* runs before a mutation counts as not seen */
#define TEXT   1024

enum sim_mutant sim_mutant;

static const char *const names[] = {"none",
#define MUTANT_NAME(code, name, what) name,
                                    MUTANTS(MUTANT_NAME)};

/* In the child: the first violation as a line, or nothing. */
static void try_out(enum sim_mutant mutant, int out)
{
    sim_mutant = mutant;
    dup2(out, STDERR_FILENO); /* what an assertion says */
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct sim *sim = sim_new(seed);
        bool held = sim_run(sim, EVENTS);
        if (!held)
            dprintf(out, "%s (seed %" PRIu64 ", %" PRIu64 " events)\n", sim->violation, seed,
                    sim->events);
        if (!held)
            _exit(0);
        sim_destroy(&sim);
    }
    _exit(0);
}

/* What was seen of it; "" nothing. */
static void look(enum sim_mutant mutant, char text[static TEXT])
{
    int ends[2];
    size_t used = 0;
    ssize_t got = 0;
    assert_int_equal(pipe(ends), 0);
    pid_t child = fork();
    if (child == 0)
        try_out(mutant, ends[1]);
    close(ends[1]);
    do {
        used += (size_t)got;
        got = read(ends[0], text + used, TEXT - 1 - used);
    } while (got > 0);
    text[used] = '\0';
    text[strcspn(text, "\n")] = '\0';
    close(ends[0]);
    waitpid(child, NULL, 0);
}

static void without_a_mistake_nothing_is_seen(void **state)
{
    char text[TEXT];
    (void)state;
    look(MUTANT_none, text);
    assert_string_equal(text, "");
}

static void every_mistake_is_seen(void **state)
{
    int missed = 0;
    (void)state;
    for (int mutant = MUTANT_none + 1; mutant < MUTANTS_END; mutant++) {
        char text[TEXT];
        look((enum sim_mutant)mutant, text);
        printf("mutant %-20s %s\n", names[mutant], text[0] ? text : "NOT SEEN");
        missed += text[0] ? 0 : 1;
    }
    assert_int_equal(missed, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_a_mistake_nothing_is_seen),
        cmocka_unit_test(every_mistake_is_seen),
    };
    log_start("sim", LOG_LEVEL_ERROR);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
