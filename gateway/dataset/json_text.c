#include "gateway/dataset/json_text.h"

#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NUMBER_MAX 32 /* octets of the longest number, comma included */

void json_text_free(struct json_text *self)
{
    free(self->text);
    *self = (struct json_text){NULL, 0, 0};
}

static char *reserve(struct json_text *self, size_t more)
{
    if (self->size + more > self->room) {
        self->room = MAX(2 * self->room, self->size + more + 256);
        self->text = xrealloc(self->text, self->room);
    }
    return self->text + self->size;
}

static void add_bytes(struct json_text *self, const char *bytes, size_t size)
{
    memcpy(reserve(self, size), bytes, size);
    self->size += size;
}

void json_text_add(struct json_text *self, const char *text)
{
    add_bytes(self, text, strlen(text));
}

void json_text_format(struct json_text *self, const char *format, ...)
{
    va_list values, again;
    va_start(values, format);
    va_copy(again, values);
    int size = vsnprintf(NULL, 0, format, values);
    va_end(values);
    assert(size >= 0);
    vsnprintf(reserve(self, (size_t)size + 1), (size_t)size + 1, format, again);
    va_end(again);
    self->size += (size_t)size;
}

void json_text_string(struct json_text *self, const char *text, size_t size)
{
    json_t *string = json_stringn(text, size);
    char *plain = NULL;
    if (!string) {
        plain = xmalloc(size + 1);
        for (size_t i = 0; i < size; i++)
            plain[i] = (unsigned char)text[i] < 0x80 ? text[i] : '?';
        string = json_stringn(plain, size);
    }
    char *quoted = json_dumps(string, JSON_ENCODE_ANY);
    json_text_add(self, quoted ? quoted : "\"\"");
    free(quoted);
    free(plain);
    json_decref(string);
}

void json_text_dims(struct json_text *self, const int64_t *dims, uint32_t rank)
{
    json_text_add(self, "[");
    for (uint32_t i = 0; i < rank; i++)
        json_text_format(self, "%s%" PRId64, i ? "," : "", dims[i]);
    json_text_add(self, "]");
}

/* --- elements ----------------------------------------------------------------------------------
 */
static int print_real(char *into, double value, int digits)
{
    if (!isfinite(value))
        return snprintf(into, NUMBER_MAX, "null");
    return snprintf(into, NUMBER_MAX, "%.*g", digits, value);
}

static float half_to_float(uint16_t half)
{
    int exponent = half >> 10 & 31;
    double mantissa = half & 1023;
    double size = exponent == 0    ? ldexp(mantissa, -24)
                  : exponent == 31 ? (mantissa != 0 ? (double)NAN : (double)INFINITY)
                                   : ldexp(1024 + mantissa, exponent - 25);
    return (float)(half & 0x8000 ? -size : size);
}

#define READ(type, name)                                                                           \
    type name;                                                                                     \
    memcpy(&name, at, sizeof(name))
#define PRINTER(dtype, type, format, as)                                                           \
    static int print_##dtype(char *into, const char *at)                                           \
    {                                                                                              \
        READ(type, value);                                                                         \
        return snprintf(into, NUMBER_MAX, "%" format, (as)value);                                  \
    }

PRINTER(INT8, int8_t, PRId64, int64_t)
PRINTER(UINT8, uint8_t, PRIu64, uint64_t)
PRINTER(INT16, int16_t, PRId64, int64_t)
PRINTER(UINT16, uint16_t, PRIu64, uint64_t)
PRINTER(INT32, int32_t, PRId64, int64_t)
PRINTER(UINT32, uint32_t, PRIu64, uint64_t)
PRINTER(INT64, int64_t, PRId64, int64_t)
PRINTER(UINT64, uint64_t, PRIu64, uint64_t)

static int print_FP32(char *into, const char *at)
{
    READ(float, value);
    return print_real(into, (double)value, 9);
}

static int print_FP64(char *into, const char *at)
{
    READ(double, value);
    return print_real(into, value, 17);
}

static int print_FP16(char *into, const char *at)
{
    READ(uint16_t, value);
    return print_real(into, (double)half_to_float(value), 9);
}

static int print_BF16(char *into, const char *at)
{
    READ(uint16_t, value);
    uint32_t bits = (uint32_t)value << 16;
    float wide;
    memcpy(&wide, &bits, sizeof(wide));
    return print_real(into, (double)wide, 9);
}

static int print_BOOL(char *into, const char *at)
{
    return snprintf(into, NUMBER_MAX, "%s", *at ? "true" : "false");
}

static int print_BYTES(char *into, const char *at)
{
    (void)into;
    (void)at;
    panic("BYTES elements have a length of their own");
}

typedef int print_fn(char *into, const char *at);

static print_fn *const printers[] = {
#define DTYPE(name, code, onnx, bytes, oip, npy) [DTYPE_##name] = print_##name,
#include "common/dtype.def"
#undef DTYPE
};

static void add_texts(struct json_text *self, const char *at, const char *end)
{
    const char *between = "";
    uint32_t size;
    while ((size_t)(end - at) >= sizeof(size)) {
        memcpy(&size, at, sizeof(size));
        at += sizeof(size);
        size = (uint32_t)MIN((size_t)size, (size_t)(end - at));
        json_text_add(self, between);
        json_text_string(self, at, size);
        at += size;
        between = ",";
    }
}

void json_text_elements(struct json_text *self, enum dtype dtype, const void *data, size_t bytes)
{
    const char *at = data, *end = at + bytes;
    size_t step = dtype_bytes(dtype);
    json_text_add(self, "[");
    if (dtype == DTYPE_BYTES) {
        add_texts(self, at, end);
    } else {
        assert(step > 0 && bytes % step == 0);
        for (; at < end; at += step) {
            char *into = reserve(self, NUMBER_MAX + 1);
            if (at != data) {
                *into++ = ',';
                self->size++;
            }
            self->size += (size_t)printers[dtype](into, at);
        }
    }
    json_text_add(self, "]");
}
