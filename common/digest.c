/* digest - over libsodium; see digest.h */
#include "common/digest.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define READ_BYTES (64 * KIB)

void digest_start(struct digester *self)
{
    crypto_hash_sha256_init(&self->state);
}

void digest_add(struct digester *self, const void *bytes, size_t size)
{
    crypto_hash_sha256_update(&self->state, bytes, size);
}

struct digest digest_end(struct digester *self)
{
    struct digest digest;
    crypto_hash_sha256_final(&self->state, digest.bytes);
    return digest;
}

struct digest digest_of(const void *bytes, size_t size)
{
    struct digest digest;
    crypto_hash_sha256(digest.bytes, bytes, size);
    return digest;
}

enum status digest_of_fd(struct digest *out, int fd, const char *name, struct error *why)
{
    struct digester digester;
    uint8_t *buffer = xmalloc(READ_BYTES);
    off_t offset = 0;
    ssize_t got;
    digest_start(&digester);
    do {
        got = pread(fd, buffer, READ_BYTES, offset);
        if (got > 0) {
            digest_add(&digester, buffer, (size_t)got);
            offset += got;
        }
    } while (got > 0 || (got < 0 && errno == EINTR));
    int reason = errno;
    free(buffer);
    if (got < 0)
        return fail(why, STATUS_IO, "%s: reading failed at byte %lld: %s", name, (long long)offset,
                    strerror(reason));
    *out = digest_end(&digester);
    return STATUS_OK;
}

char *digest_text(char into[static DIGEST_TEXT_SIZE], const struct digest *digest)
{
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < sizeof digest->bytes; i++) {
        into[2 * i] = digits[digest->bytes[i] >> 4];
        into[2 * i + 1] = digits[digest->bytes[i] & 15];
    }
    into[DIGEST_TEXT_SIZE - 1] = '\0';
    return into;
}

static int digit_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

bool digest_parse(struct digest *digest, const char *text)
{
    struct digest read;
    if (strlen(text) != DIGEST_TEXT_SIZE - 1)
        return false;
    for (size_t i = 0; i < sizeof read.bytes; i++) {
        int high = digit_value(text[2 * i]);
        int low = digit_value(text[2 * i + 1]);
        if (high < 0 || low < 0)
            return false;
        read.bytes[i] = (uint8_t)(high << 4 | low);
    }
    *digest = read;
    return true;
}

bool digest_equal(const struct digest *a, const struct digest *b)
{
    return memcmp(a->bytes, b->bytes, sizeof a->bytes) == 0;
}
