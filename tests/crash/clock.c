/* clock - in place of common/clock.c: time passes as the real one's does, and besides as fast as a
 * test likes, so that no test waits for a timer */
#include "tests/crash/world.h"

#include "common/clock.h"

#include <pthread.h>
#include <stdatomic.h>
#include <time.h>

static atomic_ullong skipped_ns;

static uint64_t read_ns(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return (uint64_t)t.tv_sec * NS_PER_S + (uint64_t)t.tv_nsec;
}

void clock_skip(uint64_t ns)
{
    atomic_fetch_add(&skipped_ns, ns);
}

uint64_t clock_mono_ns(void)
{
    return read_ns(CLOCK_MONOTONIC) + atomic_load(&skipped_ns);
}

int64_t clock_wall_ms(void)
{
    return (int64_t)((read_ns(CLOCK_REALTIME) + atomic_load(&skipped_ns)) / NS_PER_MS);
}

char *clock_text(char into[static CLOCK_TEXT_SIZE], int64_t wall_ms)
{
    text_copy(into, CLOCK_TEXT_SIZE, wall_ms ? "some-time" : "never");
    return into;
}

/* The ledger's thread waits for a moment by our clock, which the C library does not know: it wakes
 * soon and looks again. */
int pthread_cond_timedwait(pthread_cond_t *cond, pthread_mutex_t *mutex,
                           const struct timespec *until)
{
    uint64_t soon = read_ns(CLOCK_MONOTONIC) + NS_PER_MS;
    const struct timespec real = {.tv_sec = (time_t)(soon / NS_PER_S),
                                  .tv_nsec = (long)(soon % NS_PER_S)};
    (void)until;
    return pthread_cond_clockwait(cond, mutex, CLOCK_MONOTONIC, &real);
}
