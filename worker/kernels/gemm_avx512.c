/* gemm, for AVX-512 */
#define GEMM_KERNEL gemm_avx512
#include "worker/kernels/gemm_body.h"
