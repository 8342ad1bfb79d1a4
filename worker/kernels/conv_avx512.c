/* conv, for AVX-512 */
#define CONV_KERNEL conv_avx512
#define CONV_NAME   "conv_avx512"
#include "worker/kernels/conv_body.h"
