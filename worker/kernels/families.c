/* families - pass the choice of instruction set on; see families.h */
#include "worker/kernels/families.h"

void families_pick(unsigned features)
{
#define FAMILY(name) name##_pick(features);
#include "worker/kernels/families.def"
#undef FAMILY
}
