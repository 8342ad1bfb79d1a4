/* vector, for AVX2 and FMA */
#define VECTOR_KERNEL vector_avx2
#include "worker/kernels/vector_body.h"
