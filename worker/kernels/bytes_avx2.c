/* bytes, for AVX2 and FMA */
#define BYTES_KERNEL bytes_avx2
#include "worker/kernels/bytes_body.h"
