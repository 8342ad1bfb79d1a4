/* conv, for any CPU */
#define CONV_KERNEL conv_generic
#define CONV_NAME   "conv_generic"
#include "worker/kernels/conv_body.h"
