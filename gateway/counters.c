/* counters - the array behind counters.def; see counters.h */
#include "gateway/counters.h"

#include <stdatomic.h>

static _Atomic uint64_t values[COUNTERS];

void count(enum counter which, uint64_t by)
{
    atomic_fetch_add_explicit(&values[which], by, memory_order_relaxed);
}

uint64_t counted(enum counter which)
{
    return atomic_load_explicit(&values[which], memory_order_relaxed);
}

const char *counter_name(enum counter which)
{
    static const char *const names[] = {
#define COUNTER(name, help) "convoy_" #name,
#include "gateway/counters.def"
#undef COUNTER
    };
    return names[which];
}

const char *counter_help(enum counter which)
{
    static const char *const helps[] = {
#define COUNTER(name, help) help,
#include "gateway/counters.def"
#undef COUNTER
    };
    return helps[which];
}
