/* clock - the two clocks: one for intervals, one for people
 *
 * Leases, deadlines and timers use the monotonic clock only; the wall clock is for logs, the ledger
 * and public ids. Any thread. Never fails. */
#ifndef CONVOY_COMMON_CLOCK_H
#define CONVOY_COMMON_CLOCK_H

#include "common/base.h"

#define NS_PER_MS UINT64_C(1000000)
#define NS_PER_S  UINT64_C(1000000000)

/* Nanoseconds since some moment before this process; never goes back, stands while suspended. */
uint64_t clock_mono_ns(void);

/* Milliseconds since 1970-01-01 UTC; may jump either way. */
int64_t clock_wall_ms(void);

/* "2026-11-23T18:02:34.123Z" into at least CLOCK_TEXT_SIZE bytes. Returns `into`. */
#define CLOCK_TEXT_SIZE 32
char *clock_text(char into[static CLOCK_TEXT_SIZE], int64_t wall_ms);

#endif
