/* conv, for AVX2 and FMA */
#define CONV_KERNEL conv_avx2
#define CONV_NAME   "conv_avx2"
#include "worker/kernels/conv_body.h"
