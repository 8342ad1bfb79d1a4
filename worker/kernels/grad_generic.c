/* grad, for any CPU */
#define GRAD_KERNEL grad_generic
#include "worker/kernels/grad_body.h"
