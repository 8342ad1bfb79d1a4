/* sampling - time several bodies against each other, turn by turn
 *
 * A sample is so many calls of a body that it lasts 100 us or more. In each round every body has a
 * turn of a few samples, so that what else happens on the machine meets them alike. Threads that
 * still spin for their library's next call would take a core from the next one: with more than one
 * thread a turn begins when all other threads of this process sleep, and with calls that are not
 * measured, which wake the body's own threads and fill its caches. */
#ifndef CONVOY_TESTS_BENCH_SAMPLING_H
#define CONVOY_TESTS_BENCH_SAMPLING_H

#include "common/base.h"

#define BODIES_MAX 8

struct body {
    void (*run)(void *arg);
    void *arg;
    double us_min, us_median; /* of a call, set by sampling_run */
};

/* Measure `len` bodies for about `seconds` in all, at least some rounds. With one thread time is
 * the thread's CPU time, which neighbours on the machine disturb least; else it is the clock's. */
void sampling_run(struct body *bodies, size_t len, uint32_t threads, double seconds);

#endif
