/* inflate - zlib over a block; see inflate.h */
#include "gateway/api/inflate.h"

#include <inttypes.h>
#include <stdlib.h>
#include <strings.h>
#include <zlib.h>

bool inflate_knows(const char *encoding)
{
    return strcasecmp(encoding, "gzip") == 0 || strcasecmp(encoding, "deflate") == 0;
}

enum status inflate_bytes(struct bytes **out, const struct bytes *packed, uint64_t max,
                          struct error *why)
{
    z_stream z = {.next_in = packed->data, .avail_in = (uInt)packed->size};
    size_t room = MAX(4 * packed->size, 64 * KIB), used = 0;
    int code = inflateInit2(&z, 15 + 32); /* zlib or gzip, by its first octets */
    char *plain = xmalloc(room + 1);
    while (code == Z_OK && used <= max) {
        if (used == room) {
            room = 2 * room;
            plain = xrealloc(plain, room + 1);
        }
        z.next_out = (Bytef *)plain + used;
        z.avail_out = (uInt)MIN(room - used, (size_t)1 << 30);
        code = inflate(&z, Z_NO_FLUSH);
        used = (size_t)((char *)z.next_out - plain);
    }
    inflateEnd(&z);
    enum status s = STATUS_OK;
    if (used > max)
        s = fail(why, STATUS_TOO_LARGE, "the body is larger than %" PRIu64 " bytes when unpacked",
                 max);
    else if (code != Z_STREAM_END)
        s = fail(why, STATUS_INVALID,
                 "the compressed body is damaged or cut after %zu unpacked bytes", used);
    if (s != STATUS_OK) {
        free(plain);
        return s;
    }
    plain[used] = '\0';
    *out = bytes_take(plain, used);
    return STATUS_OK;
}
