/* fuzz_multipart - multipart/form-data: the same file however it is cut into pieces
 *
 * Input: a Content-Type up to the first NUL, an octet that says how the body is cut, the body. It
 * is read twice, in one piece into an endless sink, and in pieces into a sink that is often full:
 * file, names and verdict must be the same. */
#include <stdlib.h>
#include <string.h>

#include "gateway/api/multipart.h"
#include "tests/fuzz/fuzz.h"

struct sink {
    uint8_t *bytes; /* what came */
    size_t size;    /* how much */
    size_t room;    /* taken at a time, a delimiter at least: no less can be told from data */
};

static size_t sink_room(void *arg, size_t wanted)
{
    const struct sink *self = arg;
    return MIN(self->room, wanted);
}

static enum status sink_put(void *arg, const void *bytes, size_t size, struct error *why)
{
    struct sink *self = arg;
    (void)why;
    assert(size <= self->room);
    memcpy(self->bytes + self->size, bytes, size);
    self->size += size;
    self->room -= size;
    return STATUS_OK;
}

/* The verdict; `piece` and `room` are octets at a time. */
static enum status feed(struct multipart *form, struct sink *sink, const char *type,
                        const uint8_t *body, size_t size, size_t piece, size_t room)
{
    struct error why;
    const struct multipart_sink calls = {sink_room, sink_put, sink};
    enum status status = multipart_start(form, type, &calls, &why);
    for (size_t at = 0, taken; at < size && status == STATUS_OK; at += taken) {
        size_t next = MIN(piece, size - at);
        sink->room = room;
        status = multipart_take(form, (const char *)body + at, next, &taken, &why);
        assert(taken <= next);
        assert(status != STATUS_OK || taken > 0);
    }
    return status == STATUS_OK ? multipart_end(form, &why) : status;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct multipart whole, cut; /* large */
    const uint8_t *end = memchr(data, '\0', size);
    if (!end || end + 2 > data + size)
        return 0;
    const uint8_t *body = end + 2;
    size_t body_size = (size_t)(data + size - body);
    struct sink one = {.bytes = xmalloc(size)}, two = {.bytes = xmalloc(size)};
    size_t piece = 1 + end[1] % 16, room = sizeof whole.delimiter + end[1] / 16;
    enum status first =
        feed(&whole, &one, (const char *)data, body, body_size, body_size, SIZE_MAX);
    enum status second = feed(&cut, &two, (const char *)data, body, body_size, piece, room);
    assert(first == second);
    if (first == STATUS_OK) {
        assert(one.size == two.size && memcmp(one.bytes, two.bytes, one.size) == 0);
        assert(strcmp(whole.filename, cut.filename) == 0);
        assert(strcmp(whole.purpose, cut.purpose) == 0);
    }
    free(one.bytes);
    free(two.bytes);
    return 0;
}
