/* rows, for AVX2 and FMA */
#define ROWS_KERNEL rows_avx2
#include "worker/kernels/rows_body.h"
