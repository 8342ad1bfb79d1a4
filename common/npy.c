/* npy - a strict reader of the small Python dictionary in front of the data; see npy.h */
#include "common/npy.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define MAGIC       "\x93NUMPY"
#define MAGIC_BYTES 6

/* --- the dictionary --- */

/* Sticky: after the first problem every step does nothing, and the verdict comes once. */
struct cursor {
    const char *at;
    const char *end;
    bool ok;
    struct error *why; /* filled at the first problem */
};

#define REFUSE(cursor, ...)                                                                        \
    do {                                                                                           \
        if ((cursor)->ok)                                                                          \
            fail((cursor)->why, STATUS_INVALID, __VA_ARGS__);                                      \
        (cursor)->ok = false;                                                                      \
    } while (0)

static void skip_spaces(struct cursor *c)
{
    while (c->ok && c->at < c->end && strchr(" \t\n\r", *c->at) && *c->at)
        c->at++;
}

/* Whether the next sign is this one; takes it. */
static bool take(struct cursor *c, char sign)
{
    skip_spaces(c);
    if (!c->ok || c->at == c->end || *c->at != sign)
        return false;
    c->at++;
    return true;
}

static void expect(struct cursor *c, char sign)
{
    if (!take(c, sign))
        REFUSE(c, "the header is no dictionary that NumPy writes: a '%c' is missing", sign);
}

/* A quoted word of at most size - 1 signs. */
static void take_word(struct cursor *c, char *into, size_t size)
{
    into[0] = '\0';
    skip_spaces(c);
    char quote = c->ok && c->at < c->end ? *c->at : '\0';
    if (quote != '\'' && quote != '"') {
        REFUSE(c, "the header has no quoted text where one belongs (structured types cannot be "
                  "read)");
        return;
    }
    const char *close = memchr(c->at + 1, quote, (size_t)(c->end - c->at - 1));
    size_t length = close ? (size_t)(close - c->at - 1) : size;
    if (length >= size) {
        REFUSE(c, "the header has a text that is too long or not closed");
        return;
    }
    for (size_t i = 0; i < length; i++) { /* it may be quoted in a message */
        into[i] = c->at[1 + i];
        if (into[i] < ' ' || into[i] > '~')
            REFUSE(c, "the header has a text with other signs than letters and digits");
    }
    into[length] = '\0';
    c->at = close + 1;
}

static bool take_constant(struct cursor *c, const char *word)
{
    size_t length = strlen(word);
    skip_spaces(c);
    if (!c->ok || (size_t)(c->end - c->at) < length || memcmp(c->at, word, length) != 0)
        return false;
    c->at += length;
    return true;
}

static int64_t take_number(struct cursor *c)
{
    int64_t number = 0;
    skip_spaces(c);
    const char *from = c->at;
    while (c->ok && c->at < c->end && *c->at >= '0' && *c->at <= '9') {
        if (number > (INT64_MAX - 9) / 10)
            REFUSE(c, "an axis of the shape is larger than any file");
        else
            number = number * 10 + (*c->at++ - '0');
    }
    if (c->at == from)
        REFUSE(c, "the shape has something else than whole numbers");
    return number;
}

static void read_shape(struct cursor *c, struct npy *out)
{
    expect(c, '(');
    while (c->ok && !take(c, ')')) {
        if (out->rank == TENSOR_RANK_MAX) {
            REFUSE(c, "expected at most %d axes, got more", TENSOR_RANK_MAX);
            return;
        }
        out->dims[out->rank++] = take_number(c);
        if (!take(c, ',')) {
            expect(c, ')');
            return;
        }
    }
}

static void read_type(struct cursor *c, struct npy *out)
{
    char descr[16];
    take_word(c, descr, sizeof descr);
    out->dtype = dtype_by_npy(descr);
    if (out->dtype == DTYPE_NONE && descr[0] == '<' && descr[1] && descr[2] == '1') {
        descr[0] = '|'; /* one octet has no order: both spellings are around */
        out->dtype = dtype_by_npy(descr);
        descr[0] = '<';
    }
    if (out->dtype != DTYPE_NONE)
        return;
    if (descr[0] == '>')
        REFUSE(c, "type '%s' is big-endian: store it by array.astype('<%s')", descr, descr + 1);
    else
        REFUSE(c, "type '%s' is not supported: expected one like '<f4', '<i8', '|u1' or '|b1'",
               descr);
}

static void read_order(struct cursor *c)
{
    if (take_constant(c, "True"))
        REFUSE(c, "the array is in column-major (Fortran) order: store it by "
                  "numpy.ascontiguousarray(array)");
    else if (!take_constant(c, "False"))
        REFUSE(c, "fortran_order: expected True or False");
}

/* The three entries in any order, each once. */
static void read_dictionary(struct cursor *c, struct npy *out)
{
    enum { DESCR = 1, ORDER = 2, SHAPE = 4, ALL = 7 };
    char key[32];
    unsigned seen = 0;
    expect(c, '{');
    while (c->ok && !take(c, '}')) {
        take_word(c, key, sizeof key);
        expect(c, ':');
        unsigned entry = strcmp(key, "descr") == 0           ? DESCR
                         : strcmp(key, "fortran_order") == 0 ? ORDER
                         : strcmp(key, "shape") == 0         ? SHAPE
                                                             : 0;
        if (entry == 0 || (seen & entry))
            REFUSE(c, "the header has an unknown or repeated entry '%s'", key);
        seen |= entry;
        if (entry == DESCR)
            read_type(c, out);
        else if (entry == ORDER)
            read_order(c);
        else
            read_shape(c, out);
        if (c->ok && !take(c, ',')) {
            expect(c, '}');
            break;
        }
    }
    skip_spaces(c);
    if (c->at != c->end)
        REFUSE(c, "the header has something behind its dictionary");
    if (seen != ALL)
        REFUSE(c, "the header lacks one of descr, fortran_order and shape");
}

/* --- magic, version, length --- */
static enum status cut_short(struct error *why, size_t expected, size_t got)
{
    return fail(why, STATUS_INVALID,
                "the file is cut off in its header: expected at least %zu bytes, got %zu", expected,
                got);
}

enum status npy_parse_header(struct npy *out, const void *bytes, size_t size, struct error *why)
{
    const uint8_t *file = bytes;
    *out = (struct npy){.dtype = DTYPE_NONE};
    if (memcmp(file, MAGIC, MIN(size, (size_t)MAGIC_BYTES)) != 0)
        return fail(why, STATUS_INVALID, "this is no .npy file: it does not begin with \\x93NUMPY");
    if (size < 8)
        return cut_short(why, 10, size);
    unsigned version = file[6];
    if (version < 1 || version > 3 || file[7] != 0)
        return fail(why, STATUS_INVALID, "expected .npy version 1.0, 2.0 or 3.0, got %u.%u",
                    version, file[7]);
    size_t prefix = version == 1 ? 10 : 12;
    if (size < prefix)
        return cut_short(why, prefix, size);
    size_t length = file[8] | (size_t)file[9] << 8;
    if (version > 1)
        length |= (size_t)file[10] << 16 | (size_t)file[11] << 24;
    if (prefix + length > NPY_HEADER_MAX)
        return fail(why, STATUS_INVALID, "expected a header of at most %d bytes, got %zu",
                    NPY_HEADER_MAX, prefix + length);
    if (size < prefix + length)
        return cut_short(why, prefix + length, size);
    struct cursor cursor = {.at = (const char *)file + prefix, .ok = true, .why = why};
    cursor.end = cursor.at + length;
    read_dictionary(&cursor, out);
    if (!cursor.ok)
        return STATUS_INVALID;
    out->data_offset = prefix + length;
    if (!tensor_size(out->dtype, out->dims, out->rank, &out->data_bytes))
        return fail(why, STATUS_INVALID, "the shape asks for more bytes than any file has");
    return STATUS_OK;
}

enum status npy_over(struct npy *out, const void *bytes, size_t size, struct error *why)
{
    char shape[128];
    enum status status = npy_parse_header(out, bytes, size, why);
    if (status != STATUS_OK)
        return status;
    if (size - out->data_offset != out->data_bytes)
        return fail(why, STATUS_INVALID,
                    "%s %s needs %" PRIu64 " bytes of data: expected a file of %" PRIu64
                    " bytes, got %zu",
                    dtype_name(out->dtype), dims_text(shape, sizeof shape, out->dims, out->rank),
                    out->data_bytes, out->data_bytes + out->data_offset, size);
    out->data = (const uint8_t *)bytes + out->data_offset;
    return STATUS_OK;
}

enum status npy_map(struct npy *out, const char *path, struct error *why)
{
    struct file_map map;
    enum status status = file_map(&map, path, why);
    *out = (struct npy){.dtype = DTYPE_NONE};
    if (status != STATUS_OK)
        return status;
    status = npy_over(out, map.bytes ? map.bytes : (const uint8_t *)"", map.size, why);
    out->map = map;
    if (status != STATUS_OK) {
        fail_in(why, "%s", path);
        npy_close(out);
    }
    return status;
}

void npy_close(struct npy *self)
{
    file_unmap(&self->map);
    self->data = NULL;
}

uint64_t npy_rows(const struct npy *self)
{
    return self->rank ? (uint64_t)self->dims[0] : 1;
}

uint64_t npy_row_bytes(const struct npy *self)
{
    uint64_t bytes = 0;
    if (self->rank == 0)
        return self->data_bytes;
    if (!tensor_size(self->dtype, self->dims + 1, self->rank - 1, &bytes))
        return 0; /* only where dims[0] is 0: there is no row that could ask */
    return bytes;
}
