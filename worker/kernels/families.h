/* families - every family of kernels, so that one choice reaches them all
 *
 * A family is a list of tables of functions, one table per instruction set, best first
 * (<family>.def); its pick function takes the first whose needs are met. */
#ifndef CONVOY_WORKER_KERNELS_FAMILIES_H
#define CONVOY_WORKER_KERNELS_FAMILIES_H

#include "worker/kernels/cpu.h"

#define FAMILY(name) void name##_pick(unsigned features);
#include "worker/kernels/families.def"
#undef FAMILY

/* Let every family pick. */
void families_pick(unsigned features);

#endif
