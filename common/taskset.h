/* taskset - a sorted set of 64-bit numbers kept as disjoint ranges
 *
 * For held and awaited tasks, where numbers come in runs: memory follows the number of runs, which
 * is bounded by `ranges_max`. What does not fit is refused with BUSY and leaves the set as it was.
 * Pure: no I/O, no clock. One thread at a time. */
#ifndef CONVOY_COMMON_TASKSET_H
#define CONVOY_COMMON_TASKSET_H

#include "common/status.h"

struct task_range {
    uint64_t first;
    uint64_t count; /* >= 1; first + count does not pass UINT64_MAX, so that number is no member */
};

struct taskset {
    struct task_range *ranges; /* ascending, disjoint, never touching: read freely, write never */
    size_t len;                /* ranges in use */
    size_t room;               /* ranges allocated */
    size_t ranges_max;         /* refusal point, fixed at birth */
    uint64_t count;            /* members in all */
};

/* An empty set. No memory is taken before the first member. */
struct taskset taskset_make(size_t ranges_max);

/* Free the ranges and leave an empty set. Twice is harmless. */
void taskset_free(struct taskset *self);

/* Remove every member; keeps the memory. */
void taskset_clear(struct taskset *self);

/* Add or remove one number or a run of them; what is there (or not) already is fine. BUSY: it would
 * take more than ranges_max ranges. MALFORMED: count is 0 or the run passes UINT64_MAX. */
enum status taskset_add(struct taskset *self, uint64_t number);
enum status taskset_add_range(struct taskset *self, uint64_t first, uint64_t count);
enum status taskset_remove(struct taskset *self, uint64_t number);
enum status taskset_remove_range(struct taskset *self, uint64_t first, uint64_t count);

bool taskset_contains(const struct taskset *self, uint64_t number);
bool taskset_contains_range(const struct taskset *self, uint64_t first, uint64_t count);
bool taskset_equal(const struct taskset *a, const struct taskset *b);

/* self := self united with other, or self without other. On BUSY self holds a part of the answer.
 */
enum status taskset_add_all(struct taskset *self, const struct taskset *other);
enum status taskset_remove_all(struct taskset *self, const struct taskset *other);

/* Walk the runs of numbers that are in `a` and not in `b`, in ascending order: start with *from =
 * 0, call until false. Neither set may change meanwhile. */
bool taskset_next_difference(const struct taskset *a, const struct taskset *b, uint64_t *from,
                             struct task_range *out);

#endif
