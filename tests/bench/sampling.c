/* sampling - time several bodies against each other, turn by turn; see sampling.h */
#include "tests/bench/sampling.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define SAMPLE_S    100e-6 /* so that reading the clock does not count */
#define TURN_S      3e-3   /* samples of a turn, together */
#define WARM_S      2e-3   /* calls before them: until onnxruntime's threads are all awake */
#define ROUNDS_MIN  5
#define SAMPLES_MAX 4096 /* of a body */
#define QUIET_NS    200000
#define QUIET_LOOKS 500 /* 100 ms: longer than anybody's threads spin */

struct series {
    size_t calls;   /* in a sample */
    size_t warm;    /* before a turn */
    size_t samples; /* in a turn */
    size_t len;
    double us[SAMPLES_MAX];
};

static double now(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Whether a thread of this process other than the caller runs or wants to. Not by its CPU time,
 * which for a thread on another CPU counts whole ticks. */
static bool anybody_runs(void)
{
    DIR *tasks = opendir("/proc/self/task");
    bool found = false;
    for (struct dirent *task; tasks && !found && (task = readdir(tasks));) {
        char path[64], line[256] = "";
        snprintf(path, sizeof path, "/proc/self/task/%.20s/stat", task->d_name);
        FILE *stat = atoi(task->d_name) == gettid() ? NULL : fopen(path, "r");
        if (!stat)
            continue;
        const char *name_end = fgets(line, sizeof line, stat) ? strrchr(line, ')') : NULL;
        found = name_end && name_end[1] && name_end[2] == 'R';
        fclose(stat);
    }
    if (tasks)
        closedir(tasks);
    return found;
}

/* Wait until all threads of this process sleep. */
static void settle(void)
{
    const struct timespec pause = {0, QUIET_NS};
    for (int i = 0; i < QUIET_LOOKS && anybody_runs(); i++)
        nanosleep(&pause, NULL); /* why: between two looks at the threads' states */
}

static double sample(const struct body *body, size_t calls, clockid_t clock)
{
    double start = now(clock);
    for (size_t i = 0; i < calls; i++)
        body->run(body->arg);
    return now(clock) - start;
}

static size_t fitting(double seconds, double each)
{
    return (size_t)(seconds / each);
}

static void calibrate(const struct body *body, struct series *s, clockid_t clock)
{
    double best = 1e9;
    s->len = 0;
    s->calls = 1;
    for (int i = 0; i < 3 || (i < 50 && best < SAMPLE_S / 5); i++)
        best = MIN(best, sample(body, 1, clock));
    s->calls = 1 + fitting(SAMPLE_S, best);
    s->warm = 1 + fitting(WARM_S, best);
    s->samples = 1 + fitting(TURN_S, best * (double)s->calls);
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void turn(const struct body *body, struct series *s, uint32_t threads, clockid_t clock)
{
    if (threads > 1)
        settle();
    for (size_t i = 0; i < s->warm; i++)
        body->run(body->arg);
    for (size_t i = 0; i < s->samples && s->len < SAMPLES_MAX; i++)
        s->us[s->len++] = 1e6 * sample(body, s->calls, clock) / (double)s->calls;
}

/* On a busy machine a turn may take seconds: then three rounds must do. */
static bool enough(int round, double spent, double seconds)
{
    return round >= 3 && spent >= (round < ROUNDS_MIN ? 4 : 1) * seconds;
}

void sampling_run(struct body *bodies, size_t len, uint32_t threads, double seconds)
{
    static struct series series[BODIES_MAX];
    clockid_t clock = threads == 1 ? CLOCK_THREAD_CPUTIME_ID : CLOCK_MONOTONIC;
    assert(len <= BODIES_MAX);
    for (size_t b = 0; b < len; b++)
        calibrate(&bodies[b], &series[b], clock);
    double start = now(CLOCK_MONOTONIC);
    for (int round = 0; !enough(round, now(CLOCK_MONOTONIC) - start, seconds); round++)
        for (size_t b = 0; b < len; b++)
            turn(&bodies[b], &series[b], threads, clock);
    for (size_t b = 0; b < len; b++) {
        struct series *s = &series[b];
        qsort(s->us, s->len, sizeof s->us[0], ascending);
        bodies[b].us_min = s->us[0];
        bodies[b].us_median = s->us[s->len / 2];
    }
}
