/* bytes, the reference: plain loops; never tuned */
#include <math.h>

#include "worker/kernels/bytes_kernel.h"

static void dots(size_t rows, size_t cols, size_t k, const int16_t *a, const int16_t *b, int32_t *c,
                 size_t c_step)
{
    for (size_t i = 0; i < rows; i++)
        for (size_t j = 0; j < cols; j++) {
            uint32_t sum = 0;
            for (size_t p = 0; p < k; p++)
                sum += (uint32_t)(a[i * k + p] * b[j * k + p]);
            c[i * c_step + j] = (int32_t)sum;
        }
}

static void from_fp32(struct bytes_scale s, size_t n, const float *x, void *q)
{
    bool wide = dtype_bytes(s.type) == 2;
    bool is_signed = s.type == DTYPE_INT8 || s.type == DTYPE_INT16;
    double span = wide ? 65536 : 256, low = is_signed ? -span / 2 : 0;
    for (size_t i = 0; i < n; i++) {
        double v = nearbyint((double)(x[i] / s.scale)) + s.zero;
        int32_t limited = isnan(v) ? 0 : (int32_t)fmin(fmax(v, low), low + span - 1);
        if (wide)
            ((uint16_t *)q)[i] = (uint16_t)limited;
        else
            ((uint8_t *)q)[i] = (uint8_t)limited;
    }
}

static void to_fp32(struct bytes_scale s, size_t n, const void *q, float *y)
{
    for (size_t i = 0; i < n; i++) {
        int32_t v = s.type == DTYPE_INT8    ? ((const int8_t *)q)[i]
                    : s.type == DTYPE_UINT8 ? ((const uint8_t *)q)[i]
                    : s.type == DTYPE_INT16 ? ((const int16_t *)q)[i]
                                            : ((const uint16_t *)q)[i];
        y[i] = (float)(v - s.zero) * s.scale;
    }
}

const struct bytes_kernel bytes_ref = {dots, from_fp32, to_fp32};
