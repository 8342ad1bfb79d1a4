/* peak - what the FMA units of this machine can do */
#ifndef CONVOY_TESTS_BENCH_PEAK_H
#define CONVOY_TESTS_BENCH_PEAK_H

#include "common/base.h"

/* Multiply and add in registers, and nothing else, on kernels_threads() threads; does as many
 * operations as peak_flops() says: 0 where we know no FMA units. */
void peak_run(void *unused);
double peak_flops(void);

#endif
