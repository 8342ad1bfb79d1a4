/* layout_body - the layout family, compiled once per instruction set as LAYOUT_KERNEL */
#include "worker/kernels/layout_kernel.h"
#include "worker/kernels/simd.h"

static void interleave(size_t n, size_t lanes, size_t plane, const float *plain, float *blocked)
{
    size_t i = 0;
    for (; i + V8 <= n; i += V8) {
        v8 r[V8];
        for (size_t k = 0; k < V8; k++)
            r[k] = k < lanes ? v8_load(plain + k * plane + i) : v8_set(0.0f);
        v8_transpose(r);
        for (size_t k = 0; k < V8; k++)
            v8_store(blocked + (i + k) * LANES, r[k]);
    }
    for (; i < n; i++)
        for (size_t k = 0; k < LANES; k++)
            blocked[i * LANES + k] = k < lanes ? plain[k * plane + i] : 0.0f;
}

static void separate(size_t n, size_t lanes, size_t plane, const float *blocked, float *plain)
{
    size_t i = 0;
    for (; i + V8 <= n; i += V8) {
        v8 r[V8];
        for (size_t k = 0; k < V8; k++)
            r[k] = v8_load(blocked + (i + k) * LANES);
        v8_transpose(r);
        for (size_t k = 0; k < lanes; k++)
            v8_store(plain + k * plane + i, r[k]);
    }
    for (; i < n; i++)
        for (size_t k = 0; k < lanes; k++)
            plain[k * plane + i] = blocked[i * LANES + k];
}

const struct layout_kernel LAYOUT_KERNEL = {interleave, separate};
