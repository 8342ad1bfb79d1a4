/* par - one parallel region per kernel
 *
 * The only user of OpenMP. Work is cut into independent items; which thread runs an item never
 * changes what it computes, so results do not depend on the number of threads. In every thread
 * denormals are flushed to zero while the function runs, and the old mode is restored after. */
#ifndef CONVOY_WORKER_KERNELS_PAR_H
#define CONVOY_WORKER_KERNELS_PAR_H

#include <stdatomic.h>

#include "common/base.h"

/* Work on items begin..end-1. `slot` is below par_slots() and belongs to this call alone while it
 * runs: use it to find scratch memory. */
typedef void par_fn(void *arg, size_t slot, size_t begin, size_t end);

/* Run fn over `items` items. `flops` is the estimated cost of all of them together in floating
 * point operations (or bytes moved, whichever is more): below some 20 us of work, inside another
 * region, or with one thread, fn is called once on the caller's thread with slot 0. */
void par_for(size_t items, double flops, par_fn *fn, void *arg);

/* Run fn once on each of up to `threads` threads, all at the same time: a team, whose members may
 * wait for each other. `members` of them were there to be had, at least 1; `member` is below it.
 * One alone where par_for would stay on the caller's thread. */
typedef void par_team_fn(void *arg, size_t member, size_t members);
void par_team(size_t threads, double flops, par_team_fn *fn, void *arg);

/* A point that no member of a team passes before all have come to it; what they wrote before it
 * they all see behind it. Waits with pauses first, then leaves the core to others. */
struct par_barrier {
    atomic_uint come;
    atomic_uint round;
};
void par_barrier_init(struct par_barrier *self);
void par_wait(struct par_barrier *self, size_t members);

/* How many slots par_for can hand out: the number of threads now set. */
size_t par_slots(void);

#endif
