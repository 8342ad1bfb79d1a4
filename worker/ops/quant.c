/* quant - see quant.h */
#include "worker/ops/quant.h"

#include <math.h>

#include "worker/kernels/bytes.h"
#include "worker/ops/scalar.h"

int64_t quant_round(enum dtype t, double x)
{
    bool is_signed = t == DTYPE_INT8 || t == DTYPE_INT16 || t == DTYPE_INT32;
    double span = ldexp(1, 8 * (int)dtype_bytes(t)), low = is_signed ? -span / 2 : 0;
    double y = nearbyint(x);
    return isnan(y) ? 0 : (int64_t)fmin(fmax(y, low), low + span - 1);
}

int32_t quant_zero(const struct array *zero, size_t i)
{
    return zero ? (int32_t)scalar_int(zero->dtype, zero->data, array_count(zero) > 1 ? i : 0) : 0;
}

bool quant_per(const struct array *a, size_t channels)
{
    return !a || array_count(a) == 1 || (a->rank == 1 && array_count(a) == channels);
}

void quant_widen(const struct array *a, size_t at, size_t step, size_t n, int32_t zero, int16_t *to)
{
    if (a->dtype == DTYPE_INT8)
        for (size_t i = 0; i < n; i++)
            to[i] = (int16_t)(((const int8_t *)a->data)[at + i * step] - zero);
    else
        for (size_t i = 0; i < n; i++)
            to[i] = (int16_t)(((const uint8_t *)a->data)[at + i * step] - zero);
}

int32_t quant_dot(size_t n, const int16_t *a, const int16_t *b)
{
    int32_t sum;
    bytes_dots(1, 1, n, a, b, &sum, 1);
    return sum;
}
