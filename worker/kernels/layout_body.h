/* layout_body - the layout family, compiled once per instruction set as LAYOUT_KERNEL */
#include "worker/kernels/layout_kernel.h"
#include "worker/kernels/simd.h"

static void interleave(size_t n, size_t lanes, size_t plane, const float *plain, float *blocked)
{
    size_t i = 0;
    for (; i + VF <= n; i += VF) {
        vf r[VF];
        for (size_t k = 0; k < VF; k++)
            r[k] = k < lanes ? vf_load(plain + k * plane + i) : vf_set(0.0f);
        vf_transpose(r);
        for (size_t k = 0; k < VF; k++)
            vf_store(blocked + (i + k) * LANES, r[k]);
    }
    for (; i < n; i++)
        for (size_t k = 0; k < LANES; k++)
            blocked[i * LANES + k] = k < lanes ? plain[k * plane + i] : 0.0f;
}

static void separate(size_t n, size_t lanes, size_t plane, const float *blocked, float *plain)
{
    size_t i = 0;
    for (; i + VF <= n; i += VF) {
        vf r[VF];
        for (size_t k = 0; k < VF; k++)
            r[k] = vf_load(blocked + (i + k) * LANES);
        vf_transpose(r);
        for (size_t k = 0; k < lanes; k++)
            vf_store(plain + k * plane + i, r[k]);
    }
    for (; i < n; i++)
        for (size_t k = 0; k < lanes; k++)
            plain[k * plane + i] = blocked[i * LANES + k];
}

const struct layout_kernel LAYOUT_KERNEL = {interleave, separate};
