/* counters - numbers that only grow, for GET /metrics
 *
 * Process-wide, relaxed atomics: any thread may count. The list is counters.def. */
#ifndef CONVOY_GATEWAY_COUNTERS_H
#define CONVOY_GATEWAY_COUNTERS_H

#include "common/base.h"

enum counter {
#define COUNTER(name, help) COUNT_##name,
#include "gateway/counters.def"
#undef COUNTER
    COUNTERS
};

void count(enum counter which, uint64_t by);
uint64_t counted(enum counter which);

/* "convoy_NAME" and its help text. */
const char *counter_name(enum counter which);
const char *counter_help(enum counter which);

#endif
