/* clock - over clock_gettime; see clock.h */
#include "common/clock.h"

#include <stdio.h>
#include <time.h>

static struct timespec now(clockid_t clock)
{
    struct timespec t;
    if (clock_gettime(clock, &t) != 0)
        panic("the system has no clock %d", (int)clock);
    return t;
}

uint64_t clock_mono_ns(void)
{
    struct timespec t = now(CLOCK_MONOTONIC);
    return (uint64_t)t.tv_sec * NS_PER_S + (uint64_t)t.tv_nsec;
}

int64_t clock_wall_ms(void)
{
    struct timespec t = now(CLOCK_REALTIME);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / (long)NS_PER_MS;
}

char *clock_text(char into[static CLOCK_TEXT_SIZE], int64_t wall_ms)
{
    int64_t ms = wall_ms % 1000;
    time_t seconds = (time_t)(wall_ms / 1000);
    struct tm t;
    char date[CLOCK_TEXT_SIZE];
    if (ms < 0) {
        ms += 1000;
        seconds--;
    }
    if (!gmtime_r(&seconds, &t) || t.tm_year > 9999 - 1900 || t.tm_year < -1900) {
        text_copy(into, CLOCK_TEXT_SIZE, "out-of-range");
        return into;
    }
    strftime(date, sizeof date, "%Y-%m-%dT%H:%M:%S", &t);
    snprintf(into, CLOCK_TEXT_SIZE, "%.19s.%03uZ", date, (unsigned)ms);
    return into;
}
