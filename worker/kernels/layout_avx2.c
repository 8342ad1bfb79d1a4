/* layout, for AVX2 and FMA */
#define LAYOUT_KERNEL layout_avx2
#include "worker/kernels/layout_body.h"
