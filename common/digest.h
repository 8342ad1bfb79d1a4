/* digest - SHA-256 of models, blobs and result files
 *
 * Any thread; one `struct digester` belongs to one thread at a time. */
#ifndef CONVOY_COMMON_DIGEST_H
#define CONVOY_COMMON_DIGEST_H

#include "common/status.h"

#include <sodium/crypto_hash_sha256.h>

struct digest {
    uint8_t bytes[32]; /* big-endian, as the text form */
};

#define DIGEST_TEXT_SIZE 65 /* 64 hexadecimal digits and NUL */

struct digester {
    crypto_hash_sha256_state state; /* libsodium's; copying it copies the stream so far */
};

/* Streaming: start, add pieces of any size, end. */
void digest_start(struct digester *self);
void digest_add(struct digester *self, const void *bytes, size_t size);
struct digest digest_end(struct digester *self);

/* All at once. */
struct digest digest_of(const void *bytes, size_t size);

/* Of a whole file from its first byte, whatever the offset of `fd`, which stays where it is. Fails
 * with IO when it cannot be read; `name` is for the error's text. */
enum status digest_of_fd(struct digest *out, int fd, const char *name, struct error *why);

/* Lower case hexadecimal. Returns `into`. */
char *digest_text(char into[static DIGEST_TEXT_SIZE], const struct digest *digest);

/* Read 64 hexadecimal digits of either case. False, and *digest untouched, for any other text. */
bool digest_parse(struct digest *digest, const char *text);

bool digest_equal(const struct digest *a, const struct digest *b);

#endif
