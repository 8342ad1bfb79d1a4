/* bytes, for any CPU */
#define BYTES_KERNEL bytes_generic
#include "worker/kernels/bytes_body.h"
