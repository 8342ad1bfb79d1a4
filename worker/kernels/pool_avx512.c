/* pool, for AVX-512 */
#define POOL_KERNEL pool_avx512
#include "worker/kernels/pool_body.h"
