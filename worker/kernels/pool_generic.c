/* pool, for any CPU */
#define POOL_KERNEL pool_generic
#include "worker/kernels/pool_body.h"
