/* pool, for AVX2 and FMA */
#define POOL_KERNEL pool_avx2
#include "worker/kernels/pool_body.h"
