/* activation - which functions are a clamp; see activation.h */
#include "worker/kernels/activation.h"

#include <math.h>

bool activation_is_clamp(struct activation act, float *low, float *high)
{
    *low = -INFINITY;
    *high = INFINITY;
    if (act.op == UNARY_RELU) {
        *low = 0;
    } else if (act.op == UNARY_CLIP) {
        *low = act.a;
        *high = act.b;
    }
    return act.op == UNARY_RELU || act.op == UNARY_CLIP || act.op == UNARY_IDENTITY;
}
