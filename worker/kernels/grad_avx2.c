/* grad, for AVX2 with FMA */
#define GRAD_KERNEL grad_avx2
#include "worker/kernels/grad_body.h"
