/* par - one parallel region per run, and work shared out inside it
 *
 * The only user of OpenMP. par_region opens a region: one thread runs the caller's function, the
 * others wait for what par_for posts, spinning for a short while and then yielding, so that sharing
 * out a kernel's work costs two transfers of a cache line and no call of the system. A thread that
 * the system has put on the CPU of another of the region's moves to a CPU that none is on, where
 * its affinity allows one. Work is cut into independent items; which thread runs an item never
 * changes what it computes, so results do not depend on the number of threads. In every thread
 * denormals are flushed to zero while an item runs, and the old mode is restored after. */
#ifndef CONVOY_WORKER_KERNELS_PAR_H
#define CONVOY_WORKER_KERNELS_PAR_H

#include "common/base.h"

/* Work on items begin..end-1. `slot` is below par_slots() and belongs to this call alone while it
 * runs: use it to find scratch memory. */
typedef void par_fn(void *arg, size_t slot, size_t begin, size_t end);

/* Run fn(arg) on the caller's thread with the other threads at hand: what par_for is called for
 * from within finds them awake. Just calls fn with one thread, or inside of another region. */
void par_region(void (*fn)(void *arg), void *arg);

/* Run fn over `items` items. `flops` is the estimated cost of all of them together in floating
 * point operations (or bytes moved, whichever is more): below some 20 us of work, inside of another
 * par_for, or with one thread, fn is called once on the caller's thread with slot 0. Opens a region
 * of its own outside of one. */
void par_for(size_t items, double flops, par_fn *fn, void *arg);

#define PAR_ALWAYS    1e30 /* flops: share it out however little it is */
#define PAR_SLOTS_MAX 512  /* threads at most */

/* How many slots par_for can hand out: the number of threads now set. */
size_t par_slots(void);

#define PAR_TEAM_MAX 64 /* members at most */

/* Run fn once on each of up to `threads` threads, all at the same time: a team, whose members may
 * wait for each other. `members` of them were there to be had, at least 1; `member` is below it.
 * One alone where par_for would stay on the caller's thread. */
typedef void par_team_fn(void *arg, size_t member, size_t members);
void par_team(size_t threads, double flops, par_team_fn *fn, void *arg);

/* A point that no member of a team passes before all have come to it; what they wrote before it
 * they all see behind it. Each member has a line of memory to itself: a word crosses from core to
 * core once. `come` counts how often a member was here. */
struct par_barrier {
    struct {
        _Alignas(64) uint32_t come;
    } member[PAR_TEAM_MAX];
};
void par_barrier_init(struct par_barrier *self);
void par_wait(struct par_barrier *self, size_t member, size_t members);

#endif
