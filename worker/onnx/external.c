/* external - see external.h */
#include "worker/onnx/external.h"

#include <inttypes.h>
#include <libgen.h>
#include <stdlib.h>
#include <string.h>

#include "common/file.h"

struct beside {
    char *location; /* as the model spells it */
    struct file_map map;
};

struct external {
    char *folder; /* without symbolic links; NULL: none */
    struct beside *list;
    size_t len;
};

struct external *external_new(const char *path)
{
    struct external *self = xcalloc(1, sizeof *self);
    if (!path)
        return self;
    char *copy = xstrdup(path);
    self->folder = realpath(dirname(copy), NULL);
    free(copy);
    return self;
}

/* The reference as the model has it; NULL and UINT64_MAX where it says nothing. */
struct reference {
    const char *location;
    uint64_t offset, length;
};

/* Digits only; false for anything else or beyond 2^62. */
static bool number(const char *text, uint64_t *value)
{
    *value = 0;
    for (const char *c = text; *c; c++) {
        if (*c < '0' || *c > '9' || *value > UINT64_MAX >> 6)
            return false;
        *value = *value * 10 + (uint64_t)(*c - '0');
    }
    return text[0] != '\0';
}

static enum status read_reference(const Onnx__TensorProto *t, const char *what,
                                  struct reference *out, struct error *why)
{
    *out = (struct reference){NULL, 0, UINT64_MAX};
    for (size_t i = 0; i < t->n_external_data; i++) {
        const char *key = t->external_data[i]->key ? t->external_data[i]->key : "";
        const char *value = t->external_data[i]->value ? t->external_data[i]->value : "";
        bool fine = true;
        if (strcmp(key, "location") == 0)
            out->location = value;
        else if (strcmp(key, "offset") == 0)
            fine = number(value, &out->offset);
        else if (strcmp(key, "length") == 0)
            fine = number(value, &out->length);
        if (!fine)
            return fail(why, STATUS_BAD_MODEL,
                        "%s: the %s of its external data is \"%.60s\"; expected a number", what,
                        key, value);
    }
    if (!out->location)
        return fail(why, STATUS_BAD_MODEL, "%s has external data, but names no file", what);
    return STATUS_OK;
}

/* Relative, not empty, without ".." as a part. */
static bool stays_below(const char *location)
{
    size_t length = strlen(location);
    if (length == 0 || length > EXTERNAL_PATH_MAX || location[0] == '/')
        return false;
    for (const char *part = location; part; part = strchr(part, '/')) {
        part += *part == '/';
        size_t end = strcspn(part, "/");
        if (end == 2 && part[0] == '.' && part[1] == '.')
            return false;
    }
    return true;
}

static enum status map(struct external *self, const char *location, const char *what,
                       struct beside **out, struct error *why)
{
    if (!stays_below(location))
        return fail(why, STATUS_BAD_MODEL,
                    "%s: its data lies in \"%.200s\"; expected a relative path without \"..\"",
                    what, location);
    if (self->len == EXTERNAL_FILES_MAX)
        return fail(why, STATUS_BAD_MODEL, "the model's data lies in more than %d files",
                    EXTERNAL_FILES_MAX);
    char *path = xasprintf("%s/%s", self->folder, location);
    char *real = realpath(path, NULL);
    size_t length = strlen(self->folder);
    struct beside *b = &self->list[self->len];
    enum status s = STATUS_OK;
    if (!real)
        s = fail(why, STATUS_BAD_MODEL, "%s: its data file \"%.200s\" is not beside the model",
                 what, location);
    else if (strncmp(real, self->folder, length) != 0 ||
             (real[length] != '/' && strcmp(self->folder, "/") != 0))
        s = fail(why, STATUS_BAD_MODEL,
                 "%s: its data file \"%.200s\" is a link that leaves the model's folder", what,
                 location);
    else
        s = file_map(&b->map, real, why);
    free(path);
    free(real);
    if (s != STATUS_OK)
        return s;
    b->location = xstrdup(location);
    self->len++;
    *out = b;
    return STATUS_OK;
}

enum status external_find(struct external *self, const Onnx__TensorProto *t, size_t bytes,
                          const char *what, const uint8_t **data, struct error *why)
{
    struct reference r;
    enum status s = read_reference(t, what, &r, why);
    if (s != STATUS_OK)
        return s;
    if (!self->folder)
        return fail(why, STATUS_BAD_MODEL,
                    "%s keeps its data in another file, \"%.200s\", which does not come with these "
                    "bytes; save the model with its weights inside",
                    what, r.location);
    if (!self->list)
        self->list = xcalloc(EXTERNAL_FILES_MAX, sizeof *self->list);
    struct beside *b = NULL;
    for (size_t i = 0; i < self->len && !b; i++)
        if (strcmp(self->list[i].location, r.location) == 0)
            b = &self->list[i];
    if (!b)
        s = map(self, r.location, what, &b, why);
    if (s != STATUS_OK)
        return s;
    if (r.length != UINT64_MAX && r.length != bytes)
        return fail(why, STATUS_BAD_MODEL,
                    "%s has %" PRIu64 " bytes of external data; its type and dims say %zu", what,
                    r.length, bytes);
    if (r.offset > b->map.size || bytes > b->map.size - r.offset)
        return fail(why, STATUS_BAD_MODEL,
                    "%s lies at bytes %" PRIu64 " to %" PRIu64 " of \"%.200s\", which has %zu",
                    what, r.offset, r.offset + bytes, r.location, b->map.size);
    static const uint8_t nothing;
    *data = b->map.bytes ? b->map.bytes + r.offset : &nothing;
    return STATUS_OK;
}

size_t external_bytes(const struct external *self)
{
    size_t bytes = 0;
    for (size_t i = 0; i < self->len; i++)
        bytes += self->list[i].map.size;
    return bytes;
}

void external_destroy(struct external **self_p)
{
    struct external *self = *self_p;
    if (!self)
        return;
    for (size_t i = 0; i < self->len; i++) {
        free(self->list[i].location);
        file_unmap(&self->list[i].map);
    }
    free(self->list);
    free(self->folder);
    free(self);
    *self_p = NULL;
}
