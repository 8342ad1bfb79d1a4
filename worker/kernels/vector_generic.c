/* vector, for any CPU */
#define VECTOR_KERNEL vector_generic
#include "worker/kernels/vector_body.h"
