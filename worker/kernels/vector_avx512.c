/* vector, for AVX-512 */
#define VECTOR_KERNEL vector_avx512
#include "worker/kernels/vector_body.h"
