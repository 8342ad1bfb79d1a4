/* grad, for AVX-512 */
#define GRAD_KERNEL grad_avx512
#include "worker/kernels/grad_body.h"
