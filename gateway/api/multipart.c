#include "gateway/api/multipart.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

/* --- headers ---------------------------------------------------------------------------------- */
/* The value of `name=` in a header's parameters, quoted or not, cut to fit; false: not there. */
static bool parameter(const char *header, const char *name, char *into, size_t size)
{
    size_t name_size = strlen(name);
    for (const char *at = header; (at = strchr(at, ';'));) {
        for (at++; *at == ' ' || *at == '\t'; at++)
            ;
        if (strncasecmp(at, name, name_size) != 0 || at[name_size] != '=')
            continue;
        at += name_size + 1;
        bool quoted = *at == '"';
        size_t used = 0;
        for (at += quoted; *at && (quoted ? *at != '"' : *at != ';' && *at != ' '); at++) {
            if (quoted && *at == '\\' && at[1])
                at++;
            if (used + 1 < size)
                into[used++] = *at;
        }
        into[used] = '\0';
        return true;
    }
    return false;
}

enum status multipart_start(struct multipart *self, const char *content_type,
                            const struct multipart_sink *sink, struct error *why)
{
    char boundary[MULTIPART_BOUNDARY_MAX + 2];
    memset(self, 0, sizeof(*self));
    if (!content_type || strncasecmp(content_type, "multipart/form-data", 19) != 0 ||
        !parameter(content_type, "boundary", boundary, sizeof(boundary)) || !boundary[0] ||
        strlen(boundary) > MULTIPART_BOUNDARY_MAX)
        return fail(why, STATUS_INVALID,
                    "expected Content-Type multipart/form-data with a boundary, and in it the "
                    "parts \"file\" and \"purpose\"; or send the octets by PUT /v1/files?name=...");
    self->sink = *sink;
    self->delimiter_size =
        (size_t)snprintf(self->delimiter, sizeof(self->delimiter), "\r\n--%s", boundary);
    self->matched = 2; /* the first delimiter needs no line feed before it */
    return STATUS_OK;
}

/* The headers of a part are whole: whose octets follow? */
static enum status begin_part(struct multipart *self, struct error *why)
{
    char name[MULTIPART_TEXT_MAX] = "";
    char *line = self->headers;
    self->headers[self->headers_size] = '\0';
    while (line && strncasecmp(line, "Content-Disposition:", 20) != 0) {
        line = strstr(line, "\r\n");
        line = line ? line + 2 : NULL;
    }
    char *end = line ? strstr(line, "\r\n") : NULL;
    if (end)
        *end = '\0';
    if (!line || !parameter(line, "name", name, sizeof(name)))
        return fail(why, STATUS_INVALID, "a part of the form has no name");
    self->part = MULTIPART_OTHER;
    if (strcmp(name, "purpose") == 0) {
        self->part = MULTIPART_PURPOSE;
        self->purpose_size = 0;
    } else if (strcmp(name, "file") == 0) {
        if (self->has_file)
            return fail(why, STATUS_INVALID, "the form has two parts named \"file\"; send one");
        self->part = MULTIPART_FILE;
        self->has_file = true;
        if (!parameter(line, "filename", self->filename, sizeof(self->filename)))
            text_copy(self->filename, sizeof(self->filename), "upload");
    }
    return STATUS_OK;
}

/* --- octets ----------------------------------------------------------------------------------- */
static enum status emit(struct multipart *self, const char *bytes, size_t size, struct error *why)
{
    if (self->part == MULTIPART_FILE)
        return self->sink.put(self->sink.arg, bytes, size, why);
    if (self->part == MULTIPART_PURPOSE) {
        if (self->purpose_size + size >= sizeof(self->purpose))
            return fail(why, STATUS_INVALID, "\"purpose\" is longer than %d octets",
                        MULTIPART_TEXT_MAX - 1);
        memcpy(self->purpose + self->purpose_size, bytes, size);
        self->purpose_size += size;
        self->purpose[self->purpose_size] = '\0';
    }
    return STATUS_OK;
}

/* Is there room for what the next octet may bring: itself and what matched before it? */
static size_t room_for_body(struct multipart *self, size_t size)
{
    if (self->part != MULTIPART_FILE)
        return size + self->delimiter_size;
    size_t room = self->sink.room(self->sink.arg, self->delimiter_size);
    return room < self->delimiter_size ? 0 : room;
}

/* Some octets of a part, `room` at most: a run without CR at once, others one by one against the
 * delimiter. *taken may be 0: then what matched so far turned out to be data. */
static enum status take_body(struct multipart *self, const char *bytes, size_t size, size_t room,
                             size_t *taken, struct error *why)
{
    *taken = 0;
    if (self->matched == 0 && bytes[0] != '\r') {
        const char *cr = memchr(bytes, '\r', size);
        *taken = MIN(cr ? (size_t)(cr - bytes) : size, room);
        return emit(self, bytes, *taken, why);
    }
    if (bytes[0] == self->delimiter[self->matched]) {
        *taken = 1;
        if (++self->matched == self->delimiter_size) {
            self->state = MULTIPART_AFTER;
            self->matched = 0;
            self->headers_size = 0;
        }
        return STATUS_OK;
    }
    /* No octet of the delimiter but its first is a CR: the next match begins with this octet. */
    size_t data = self->matched;
    self->matched = 0;
    return emit(self, self->delimiter, data, why);
}

static enum status take_after(struct multipart *self, char byte, struct error *why)
{
    self->headers[self->headers_size++] = byte;
    if (self->headers_size < 2)
        return STATUS_OK;
    if (memcmp(self->headers, "--", 2) == 0)
        self->state = MULTIPART_END;
    else if (memcmp(self->headers, "\r\n", 2) == 0)
        self->state = MULTIPART_HEADERS;
    else
        return fail(why, STATUS_INVALID, "the form is malformed behind a boundary");
    self->headers_size = 0;
    return STATUS_OK;
}

static enum status take_header(struct multipart *self, char byte, struct error *why)
{
    if (self->headers_size + 1 == sizeof(self->headers))
        return fail(why, STATUS_INVALID, "a part's headers are longer than %d octets",
                    MULTIPART_HEADERS_MAX);
    self->headers[self->headers_size++] = byte;
    if (self->headers_size < 4 ||
        memcmp(self->headers + self->headers_size - 4, "\r\n\r\n", 4) != 0)
        return STATUS_OK;
    self->state = MULTIPART_BODY;
    return begin_part(self, why);
}

enum status multipart_take(struct multipart *self, const char *bytes, size_t size, size_t *taken,
                           struct error *why)
{
    enum status status = STATUS_OK;
    *taken = 0;
    while (*taken < size && status == STATUS_OK) {
        size_t step = 1, room;
        switch (self->state) {
        case MULTIPART_BODY:
            room = room_for_body(self, size - *taken);
            if (room == 0)
                return STATUS_OK;
            status = take_body(self, bytes + *taken, size - *taken, room, &step, why);
            break;
        case MULTIPART_AFTER:
            status = take_after(self, bytes[*taken], why);
            break;
        case MULTIPART_HEADERS:
            status = take_header(self, bytes[*taken], why);
            break;
        case MULTIPART_END:
            step = size - *taken; /* an epilogue is ignored */
            break;
        }
        *taken += step;
    }
    return status;
}

enum status multipart_end(const struct multipart *self, struct error *why)
{
    if (self->state != MULTIPART_END)
        return fail(why, STATUS_INVALID, "the form ends before its last boundary");
    if (!self->has_file)
        return fail(why, STATUS_INVALID, "the form has no part named \"file\"");
    return STATUS_OK;
}
