/* layout, for any CPU */
#define LAYOUT_KERNEL layout_generic
#include "worker/kernels/layout_body.h"
