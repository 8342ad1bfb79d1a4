/* layout, the reference: plain loops; never tuned */
#include "worker/kernels/layout_kernel.h"

static void interleave(size_t n, size_t lanes, size_t plane, const float *plain, float *blocked)
{
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < LANES; k++)
            blocked[i * LANES + k] = k < lanes ? plain[k * plane + i] : 0.0f;
}

static void separate(size_t n, size_t lanes, size_t plane, const float *blocked, float *plain)
{
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < lanes; k++)
            plain[k * plane + i] = blocked[i * LANES + k];
}

const struct layout_kernel layout_ref = {interleave, separate};
