/* scalar - see scalar.h */
#include "worker/ops/scalar.h"

#include <math.h>
#include <string.h>

bool dtype_is_float(enum dtype dtype)
{
    return dtype == DTYPE_FP32 || dtype == DTYPE_FP64 || dtype == DTYPE_FP16 || dtype == DTYPE_BF16;
}

bool dtype_is_integer(enum dtype dtype)
{
    return dtype >= DTYPE_INT8 && dtype <= DTYPE_UINT64;
}

int64_t scalar_int(enum dtype dtype, const void *data, size_t i)
{
    switch (dtype) {
    case DTYPE_INT8:
        return ((const int8_t *)data)[i];
    case DTYPE_UINT8:
    case DTYPE_BOOL:
        return ((const uint8_t *)data)[i];
    case DTYPE_INT16:
        return ((const int16_t *)data)[i];
    case DTYPE_UINT16:
        return ((const uint16_t *)data)[i];
    case DTYPE_INT32:
        return ((const int32_t *)data)[i];
    case DTYPE_UINT32:
        return ((const uint32_t *)data)[i];
    case DTYPE_INT64:
    case DTYPE_UINT64:
        return ((const int64_t *)data)[i];
    default:
        panic("no integer type: %s", dtype_name(dtype));
    }
}

void scalar_set_int(enum dtype dtype, void *data, size_t i, int64_t x)
{
    switch (dtype_bytes(dtype)) {
    case 1:
        ((uint8_t *)data)[i] = dtype == DTYPE_BOOL ? x != 0 : (uint8_t)x;
        break;
    case 2:
        ((uint16_t *)data)[i] = (uint16_t)x;
        break;
    case 4:
        ((uint32_t *)data)[i] = (uint32_t)x;
        break;
    default:
        ((int64_t *)data)[i] = x;
    }
}

/* IEEE binary16: 1 sign, 5 exponent, 10 fraction bits. */
static double from_half(uint16_t h)
{
    int exponent = h >> 10 & 31, fraction = h & 1023;
    double x = exponent == 31 ? (fraction ? (double)NAN : (double)INFINITY)
               : exponent     ? ldexp(1024 + fraction, exponent - 25)
                              : ldexp(fraction, -24);
    return h & 0x8000 ? -x : x;
}

static uint16_t to_half(double x)
{
    uint16_t sign = signbit(x) ? 0x8000 : 0;
    int exponent;
    x = fabs(x);
    if (isnan(x))
        return (uint16_t)(sign | 0x7e00);
    if (x >= 65520) /* half-way to the first number beyond the largest */
        return (uint16_t)(sign | 0x7c00);
    if (x < 0x1p-14)
        return (uint16_t)(sign | (uint16_t)nearbyint(ldexp(x, 24)));
    (void)frexp(x, &exponent);
    /* A fraction that rounds up to 2048 carries into the exponent, as it should. */
    return (uint16_t)(sign | (uint16_t)(((exponent + 13) << 10) +
                                        (int)nearbyint(ldexp(x, 11 - exponent))));
}

/* bfloat16 is the upper half of a float. */
static uint16_t to_bfloat(double x)
{
    float f = (float)x;
    uint32_t bits;
    memcpy(&bits, &f, sizeof bits);
    if (isnan(x))
        return (uint16_t)(bits >> 16 | 0x40);
    return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

static double from_bfloat(uint16_t h)
{
    uint32_t bits = (uint32_t)h << 16;
    float f;
    memcpy(&f, &bits, sizeof f);
    return (double)f;
}

double scalar_float(enum dtype dtype, const void *data, size_t i)
{
    switch (dtype) {
    case DTYPE_FP32:
        return (double)((const float *)data)[i];
    case DTYPE_FP64:
        return ((const double *)data)[i];
    case DTYPE_FP16:
        return from_half(((const uint16_t *)data)[i]);
    case DTYPE_BF16:
        return from_bfloat(((const uint16_t *)data)[i]);
    default:
        panic("no float type: %s", dtype_name(dtype));
    }
}

void scalar_set_float(enum dtype dtype, void *data, size_t i, double x)
{
    switch (dtype) {
    case DTYPE_FP32:
        ((float *)data)[i] = (float)x;
        break;
    case DTYPE_FP64:
        ((double *)data)[i] = x;
        break;
    case DTYPE_FP16:
        ((uint16_t *)data)[i] = to_half(x);
        break;
    case DTYPE_BF16:
        ((uint16_t *)data)[i] = to_bfloat(x);
        break;
    default:
        panic("no float type: %s", dtype_name(dtype));
    }
}

int64_t scalar_truncate(double x)
{
    if (isnan(x))
        return 0;
    if (x >= 0x1p63)
        return INT64_MAX;
    return x <= -0x1p63 ? INT64_MIN : (int64_t)x;
}
