/* runs - processes of their own for the script and for what comes after it */
#ifndef CONVOY_TESTS_CRASH_RUNS_H
#define CONVOY_TESTS_CRASH_RUNS_H

#include "tests/crash/script.h"

#define RUNS_TAPE_BYTES ((size_t)64 * MIB)

/* What a child has to say. In memory that is shared with children. */
struct verdict {
    bool right;     /* facts_hold() */
    char text[800]; /* else what is wrong */
};
struct verdict *runs_verdict(void);

/* The path of `name` in this process's folder, in memory where there is such a file system. */
void runs_path(char into[static 160], const char *name);

/* Run the script on a tape, in a process of its own, which a fault may end. Returns its exit
 * status: 0, 1 when an answer was wrong (`verdict` says which), 3 when the gateway did not start;
 * less than 0 is a signal. */
int runs_tape(struct disk_tape *tape, struct verdict *verdict, bool brief);

/* Do these facts hold in `root`? In a process of its own; the answer is in `verdict`, and what is
 * returned is not 0 when that process did not live to give it. */
int runs_judge(const struct facts *facts, const char *root, struct verdict *verdict);

/* For cmocka_run_group_tests: the folder. */
int runs_begin(void **state);
int runs_end(void **state);

#endif
