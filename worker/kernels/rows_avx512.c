/* rows, for AVX-512 */
#define ROWS_KERNEL rows_avx512
#include "worker/kernels/rows_body.h"
