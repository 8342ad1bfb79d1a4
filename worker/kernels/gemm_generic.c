/* gemm, for any CPU */
#define GEMM_KERNEL gemm_generic
#include "worker/kernels/gemm_body.h"
