#include "gateway/dataset/json_text.h"

#include "gateway/api/number.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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

/* --- elements --------------------------------------------------------------------------------- */
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
    json_text_add(self, "[");
    if (dtype == DTYPE_BYTES) {
        add_texts(self, at, end);
    } else {
        size_t step = dtype_bytes(dtype);
        assert(step > 0 && bytes % step == 0);
        char *into = reserve(self, bytes / step * NUMBER_TEXT_MAX);
        self->size += (size_t)(number_list_write(into, dtype, data, bytes / step) - into);
    }
    json_text_add(self, "]");
}
