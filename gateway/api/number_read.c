/* number_read - a JSON list of numbers into a typed buffer; see number.h */
#include "gateway/api/number.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Every power of ten that a double holds exactly. */
static const double tens[] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,
                              1e8,  1e9,  1e10, 1e11, 1e12, 1e13, 1e14, 1e15,
                              1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};

/* One number of the text, not converted yet. */
struct token {
    const char *text;  /* its first octet */
    const char *end;   /* behind it */
    uint64_t mantissa; /* its digits, when there are at most 19 */
    int digits;        /* significant ones */
    int exponent;      /* value = mantissa * 10^exponent */
    bool negative;     /* '-' in front */
    bool integer;      /* neither '.' nor 'e' */
};

static const char *digits(struct token *token, const char *at)
{
    while (*at >= '0' && *at <= '9') {
        if (token->digits || *at != '0')
            token->digits++;
        if (token->digits <= 19)
            token->mantissa = token->mantissa * 10 + (uint64_t)(*at - '0');
        at++;
    }
    return at;
}

/* JSON's grammar of a number. NULL: it is none. The text ends with a NUL somewhere. */
static const char *scan(struct token *token, const char *at)
{
    *token = (struct token){.text = at, .integer = true};
    if (*at == '-') {
        token->negative = true;
        at++;
    }
    const char *whole = at;
    at = digits(token, at);
    if (at == whole || (*whole == '0' && at - whole > 1))
        return NULL;
    if (*at == '.') {
        const char *fraction = ++at;
        at = digits(token, at);
        token->integer = false;
        token->exponent = (int)MAX(fraction - at, -100000);
        if (at == fraction)
            return NULL;
    }
    if (*at == 'e' || *at == 'E') {
        int sign = at[1] == '-' ? -1 : 1, exponent = 0;
        at += at[1] == '-' || at[1] == '+' ? 2 : 1;
        const char *first = at;
        for (; *at >= '0' && *at <= '9'; at++)
            exponent = MIN(exponent * 10 + (*at - '0'), 100000);
        token->integer = false;
        token->exponent += sign * exponent;
        if (at == first)
            return NULL;
    }
    token->end = at;
    return at;
}

/* True when the double is exactly the decimal number's nearest one, by one operation. */
static bool exact(const struct token *token, double *value)
{
    int power = token->exponent;
    if (token->digits > 19 || token->mantissa > UINT64_C(1) << 53 || power > 22 || power < -22)
        return false;
    double size = (double)token->mantissa;
    size = power < 0 ? size / tens[-power] : size * tens[power];
    *value = token->negative ? -size : size;
    return true;
}

static bool read_double(const struct token *token, double *value)
{
    if (!exact(token, value))
        *value = strtod(token->text, NULL);
    return isfinite(*value);
}

static bool put_FP64(const struct token *token, void *into)
{
    double value;
    bool ok = read_double(token, &value);
    memcpy(into, &value, sizeof value);
    return ok;
}

/* The double nearest to the decimal may lie in the middle of two floats although the decimal does
 * not: only then rounding twice could go wrong. Small floats have fewer bits, so they go the slow
 * way too. */
static bool twice_is_safe(double value)
{
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    return (bits & UINT64_C(0x1fffffff)) != UINT64_C(0x10000000) &&
           (value == 0 || fabs(value) > 1.2e-38);
}

static bool put_FP32(const struct token *token, void *into)
{
    double wide;
    float value =
        exact(token, &wide) && twice_is_safe(wide) ? (float)wide : strtof(token->text, NULL);
    memcpy(into, &value, sizeof value);
    return isfinite(value);
}

/* The number as sign and size when it is whole: 3, -3, 3.0 and 3e2. */
static bool whole(const struct token *token, uint64_t *size)
{
    double value;
    if (token->integer && token->digits <= 19) {
        *size = token->mantissa;
        return true;
    }
    if (token->integer) {
        errno = 0;
        *size = strtoull(token->text + token->negative, NULL, 10);
        return errno == 0;
    }
    if (!read_double(token, &value) || value != floor(value) || fabs(value) > 9007199254740992.0)
        return false;
    *size = (uint64_t)fabs(value);
    return true;
}

static bool put_integer(const struct token *token, void *into, size_t bytes, uint64_t max,
                        uint64_t min_size)
{
    uint64_t size;
    if (!whole(token, &size) || size > (token->negative ? min_size : max))
        return false;
    uint64_t value = token->negative ? 0 - size : size;
    memcpy(into, &value, bytes); /* little-endian: the low octets come first */
    return true;
}

#define INTEGER(name, bytes, max, min_size)                                                        \
    static bool put_##name(const struct token *token, void *into)                                  \
    {                                                                                              \
        return put_integer(token, into, bytes, max, min_size);                                     \
    }
INTEGER(INT8, 1, INT8_MAX, UINT64_C(1) << 7)
INTEGER(INT16, 2, INT16_MAX, UINT64_C(1) << 15)
INTEGER(INT32, 4, INT32_MAX, UINT64_C(1) << 31)
INTEGER(INT64, 8, INT64_MAX, UINT64_C(1) << 63)
INTEGER(UINT8, 1, UINT8_MAX, 0)
INTEGER(UINT16, 2, UINT16_MAX, 0)
INTEGER(UINT32, 4, UINT32_MAX, 0)
INTEGER(UINT64, 8, UINT64_MAX, 0)
INTEGER(BOOL, 1, 1, 0)

typedef bool put_fn(const struct token *token, void *into);

static put_fn *const puts_by_type[] = {
    [DTYPE_FP32] = put_FP32,     [DTYPE_FP64] = put_FP64,     [DTYPE_INT8] = put_INT8,
    [DTYPE_UINT8] = put_UINT8,   [DTYPE_INT16] = put_INT16,   [DTYPE_UINT16] = put_UINT16,
    [DTYPE_INT32] = put_INT32,   [DTYPE_UINT32] = put_UINT32, [DTYPE_INT64] = put_INT64,
    [DTYPE_UINT64] = put_UINT64, [DTYPE_BOOL] = put_BOOL,
};

bool number_has_json(enum dtype dtype)
{
    return (size_t)dtype < ARRAY_LEN(puts_by_type) && puts_by_type[dtype];
}

/* --- the list -----------------------------------------------------------------------------------
 */

struct list {
    const struct tensor *tensor;          /* what is wanted */
    put_fn *put;                          /* its type's */
    size_t step;                          /* octets of an element */
    uint64_t count;                       /* elements wanted */
    uint64_t done;                        /* elements read */
    uint32_t nesting;                     /* 1: flat; else the rank */
    uint32_t depth;                       /* of brackets */
    int64_t members[TENSOR_RANK_MAX + 1]; /* of each open list */
};

static const char *skip(const char *at)
{
    while (*at == ' ' || *at == '\n' || *at == '\t' || *at == '\r')
        at++;
    return at;
}

static enum status wrong(const struct list *self, const char *at, const char *end,
                         struct error *why)
{
    int len = (int)MIN(end - at, 24);
    for (int i = 0; i < len; i++)
        if ((unsigned char)at[i] < 0x20 || (unsigned char)at[i] > 0x7e)
            len = i;
    return fail(why, STATUS_INVALID,
                "input '%s', element %" PRIu64 ": expected a number of type %s, got: %.*s",
                self->tensor->name, self->done, dtype_name(self->tensor->dtype), len, at);
}

static enum status wrong_mark(const struct list *self, const char *at, struct error *why)
{
    char mark = *at >= 0x20 && *at < 0x7f ? *at : '?';
    return fail(why, STATUS_INVALID,
                "input '%s', element %" PRIu64 ": expected ',' or ']' in front of it, got '%c'",
                self->tensor->name, self->done, mark);
}

static enum status wrong_length(const struct list *self, struct error *why)
{
    char shape[128];
    return fail(why, STATUS_INVALID,
                "input '%s': its data does not fit the shape %s: expected %" PRIu64
                " elements, flat or nested like the shape; a list ends wrongly at element %" PRIu64,
                self->tensor->name,
                dims_text(shape, sizeof shape, self->tensor->dims, self->tensor->rank), self->count,
                self->done);
}

static bool closes_well(const struct list *self)
{
    if (self->nesting == 1)
        return (uint64_t)self->members[1] == self->count;
    return self->members[self->depth] == self->tensor->dims[self->depth - 1];
}

static bool read_bool(const char **at, void *into)
{
    bool yes = strncmp(*at, "true", 4) == 0;
    if (!yes && strncmp(*at, "false", 5) != 0)
        return false;
    *(uint8_t *)into = yes;
    *at += yes ? 4 : 5;
    return true;
}

static enum status read_element(struct list *self, const char **at, const char *end, char *into,
                                struct error *why)
{
    struct token token;
    if (self->done == self->count || self->depth != self->nesting)
        return wrong_length(self, why);
    into += self->done * self->step;
    if (self->tensor->dtype == DTYPE_BOOL && read_bool(at, into)) {
        self->done++;
        return STATUS_OK;
    }
    const char *behind = scan(&token, *at);
    if (!behind || !self->put(&token, into))
        return wrong(self, *at, end, why);
    self->done++;
    *at = behind;
    return STATUS_OK;
}

/* Opening brackets and one element, or an empty list. */
static enum status read_item(struct list *self, const char **at, const char *end, char *into,
                             bool *closing, struct error *why)
{
    for (*at = skip(*at); **at == '['; *at = skip(*at + 1)) {
        if (self->depth == self->nesting)
            return wrong_length(self, why);
        self->members[self->depth]++;
        self->members[++self->depth] = 0;
    }
    *closing = **at == ']' && self->members[self->depth] == 0;
    if (*closing)
        return STATUS_OK;
    self->members[self->depth]++;
    return read_element(self, at, end, into, why);
}

enum status number_list_read(const struct tensor *tensor, const char *text, const char *end,
                             void *into, struct error *why)
{
    struct list self = {.tensor = tensor, .step = dtype_bytes(tensor->dtype)};
    bool closing;
    assert(*text == '[' && *end == '\0' && number_has_json(tensor->dtype));
    self.put = puts_by_type[tensor->dtype];
    if (!dims_count(tensor->dims, tensor->rank, &self.count))
        return fail(why, STATUS_INVALID, "input '%s': impossible shape", tensor->name);
    for (const char *at = text; *at == '['; at = skip(at + 1))
        self.nesting++;
    if (self.nesting != 1 && self.nesting != tensor->rank) {
        if (self.count)
            return wrong_length(&self, why);
        self.nesting = MIN(self.nesting, (uint32_t)TENSOR_RANK_MAX);
    }
    for (const char *at = text;;) {
        enum status s = read_item(&self, &at, end, into, &closing, why);
        if (s != STATUS_OK)
            return s;
        for (at = skip(at); *at == ']'; at = skip(at + 1)) {
            if (self.count && !closes_well(&self))
                return wrong_length(&self, why);
            if (--self.depth == 0)
                return self.done == self.count ? STATUS_OK : wrong_length(&self, why);
        }
        if (*at != ',')
            return wrong_mark(&self, at, why);
        at++;
    }
}
