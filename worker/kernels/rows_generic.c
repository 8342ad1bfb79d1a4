/* rows, for any CPU */
#define ROWS_KERNEL rows_generic
#include "worker/kernels/rows_body.h"
