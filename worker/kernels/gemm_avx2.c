/* gemm, for AVX2 and FMA */
#define GEMM_KERNEL gemm_avx2
#include "worker/kernels/gemm_body.h"
