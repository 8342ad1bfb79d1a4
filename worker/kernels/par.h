/* par - one parallel region per kernel
 *
 * The only user of OpenMP. Work is cut into independent items; which thread runs an item never
 * changes what it computes, so results do not depend on the number of threads. In every thread
 * denormals are flushed to zero while the function runs, and the old mode is restored after. */
#ifndef CONVOY_WORKER_KERNELS_PAR_H
#define CONVOY_WORKER_KERNELS_PAR_H

#include "common/base.h"

/* Work on items begin..end-1. `slot` is below par_slots() and belongs to this call alone while it
 * runs: use it to find scratch memory. */
typedef void par_fn(void *arg, size_t slot, size_t begin, size_t end);

/* Run fn over `items` items. `flops` is the estimated cost of all of them together in floating
 * point operations (or bytes moved, whichever is more): below some 20 us of work, inside another
 * region, or with one thread, fn is called once on the caller's thread with slot 0. */
void par_for(size_t items, double flops, par_fn *fn, void *arg);

/* How many slots par_for can hand out: the number of threads now set. */
size_t par_slots(void);

#endif
