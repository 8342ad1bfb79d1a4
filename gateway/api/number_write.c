/* number_write - tensor elements as JSON text; see number.h */
#include "gateway/api/number.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FLOAT_DIGITS_MIN 6 /* fewer show themselves as zeros at the end */
#define FLOAT_DIGITS_MAX 9 /* enough for every float */

static const double tens[] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,
                              1e8,  1e9,  1e10, 1e11, 1e12, 1e13, 1e14, 1e15,
                              1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};

static char *write_u64(char *into, uint64_t value)
{
    char digits[20];
    int len = 0;
    do
        digits[len++] = (char)('0' + value % 10);
    while (value /= 10);
    while (len)
        *into++ = digits[--len];
    return into;
}

static char *write_i64(char *into, int64_t value)
{
    if (value < 0)
        *into++ = '-';
    return write_u64(into, value < 0 ? 0 - (uint64_t)value : (uint64_t)value);
}

static double scaled(double value, int power)
{
    return power < 0 ? value / tens[-power] : value * tens[power];
}

/* The power of ten of the first digit: 0 for 1 to 9.99. `size` is between 1e-9 and 1e12. */
static int first_digit(double size)
{
    int power = 0;
    if (size >= 1)
        while (size >= tens[power + 1])
            power++;
    else
        while (size * tens[-power] < 1)
            power--;
    return power;
}

/* `digits` significant digits as an integer, when they read back to the same float. Both divisions
 * are exact to a half unit of a double; a double in the middle of two floats is not trusted. */
static bool short_enough(float value, int digits, int first, uint64_t *mantissa)
{
    int power = digits - 1 - first;
    double whole = nearbyint(scaled((double)value, power));
    double back = scaled(whole, -power);
    uint64_t bits;
    memcpy(&bits, &back, sizeof bits);
    *mantissa = (uint64_t)whole;
    return (float)back == value && (bits & UINT64_C(0x1fffffff)) != UINT64_C(0x10000000);
}

/* Digits with the point in its place: 0.00123, 12.5, 1200. */
static char *write_plain(char *into, uint64_t mantissa, int digits, int first)
{
    char text[24] = "";
    for (int i = digits; i-- > 0; mantissa /= 10)
        text[i] = (char)('0' + mantissa % 10);
    while (digits > 1 && text[digits - 1] == '0')
        digits--;
    if (first < 0) {
        *into++ = '0';
        *into++ = '.';
        for (int i = -1; i > first; i--)
            *into++ = '0';
    }
    for (int i = 0; i < digits; i++) {
        if (i && i == first + 1)
            *into++ = '.';
        *into++ = text[i];
    }
    for (int i = digits; i <= first; i++)
        *into++ = '0';
    return into;
}

static char *write_real(char *into, double value, int digits)
{
    if (!isfinite(value))
        return memcpy(into, "null", 4), into + 4;
    if (value == 0 && signbit(value)) /* many a reader takes -0 for an integer, without its sign */
        return memcpy(into, "-0.0", 4), into + 4;
    return into + snprintf(into, NUMBER_TEXT_MAX, "%.*g", digits, value);
}

static char *write_float(char *into, float value)
{
    float size = fabsf(value);
    uint64_t mantissa;
    if (value == 0 || !(size >= 1e-5f && size < 1e9f)) {
        if (value == 0) /* "-0" alone would be read as an integer, which has no sign */
            return signbit(value) ? (char *)memcpy(into, "-0.0", 4) + 4 : (*into = '0', into + 1);
        return write_real(into, (double)value, FLOAT_DIGITS_MAX);
    }
    int first = first_digit((double)size);
    for (int digits = FLOAT_DIGITS_MIN; digits <= FLOAT_DIGITS_MAX; digits++) {
        if (!short_enough(size, digits, first, &mantissa))
            continue;
        if (mantissa == (uint64_t)tens[digits]) { /* 9.999999 rounded up to 10 */
            mantissa /= 10;
            first++;
        }
        if (value < 0)
            *into++ = '-';
        return write_plain(into, mantissa, digits, first);
    }
    return write_real(into, (double)value, FLOAT_DIGITS_MAX);
}

static float half(uint16_t bits)
{
    int exponent = bits >> 10 & 31;
    double mantissa = bits & 1023;
    double size = exponent == 0    ? ldexp(mantissa, -24)
                  : exponent == 31 ? (mantissa > 0 ? (double)NAN : (double)INFINITY)
                                   : ldexp(1024 + mantissa, exponent - 25);
    return (float)(bits & 0x8000 ? -size : size);
}

/* --- by type ------------------------------------------------------------------------------------
 */

#define WRITER(name, type, expression)                                                             \
    static char *write_##name(char *into, const void *at)                                          \
    {                                                                                              \
        type value;                                                                                \
        memcpy(&value, at, sizeof value);                                                          \
        return expression;                                                                         \
    }
WRITER(FP32, float, write_float(into, value))
WRITER(FP64, double, write_real(into, value, 17))
WRITER(FP16, uint16_t, write_float(into, half(value)))
WRITER(INT8, int8_t, write_i64(into, value))
WRITER(INT16, int16_t, write_i64(into, value))
WRITER(INT32, int32_t, write_i64(into, value))
WRITER(INT64, int64_t, write_i64(into, value))
WRITER(UINT8, uint8_t, write_u64(into, value))
WRITER(UINT16, uint16_t, write_u64(into, value))
WRITER(UINT32, uint32_t, write_u64(into, value))
WRITER(UINT64, uint64_t, write_u64(into, value))
WRITER(BOOL, uint8_t,
       value ? (char *)memcpy(into, "true", 4) + 4 : (char *)memcpy(into, "false", 5) + 5)

static char *write_BF16(char *into, const void *at)
{
    uint16_t high;
    float value;
    memcpy(&high, at, sizeof high);
    const uint32_t bits = (uint32_t)high << 16;
    memcpy(&value, &bits, sizeof value);
    return write_float(into, value);
}

static char *write_BYTES(char *into, const void *at)
{
    (void)into, (void)at;
    panic("BYTES elements are no numbers");
}

typedef char *write_fn(char *into, const void *at);

char *number_list_write(char *into, enum dtype dtype, const void *data, size_t count)
{
    static write_fn *const writers[] = {
#define DTYPE(name, code, onnx, bytes, oip, npy) [DTYPE_##name] = write_##name,
#include "common/dtype.def"
#undef DTYPE
    };
    size_t step = dtype_bytes(dtype);
    const char *at = data;
    for (size_t i = 0; i < count; i++, at += step) {
        if (i)
            *into++ = ',';
        into = writers[dtype](into, at);
    }
    return into;
}
