/* secret - see secret.h */
#include "gateway/access/secret.h"

#include <sodium.h>
#include <string.h>

#define PREFIX       "cvk1_"
#define PREFIX_LEN   (sizeof PREFIX - 1)
#define ID_LEN       32 /* hexadecimal digits */
#define RANDOM_BYTES 32
#define RANDOM_LEN   43 /* in base64 without padding */

void key_text_make(char into[static KEY_TEXT_SIZE], const struct uuid *id)
{
    uint8_t random[RANDOM_BYTES];
    char *at = into;
    randombytes_buf(random, sizeof random);
    memcpy(at, PREFIX, PREFIX_LEN);
    at += PREFIX_LEN;
    sodium_bin2hex(at, ID_LEN + 1, id->bytes, sizeof id->bytes);
    at += ID_LEN;
    *at++ = '_';
    sodium_bin2base64(at, RANDOM_LEN + 1, random, sizeof random,
                      sodium_base64_VARIANT_URLSAFE_NO_PADDING);
    assert(at + RANDOM_LEN + 1 == into + KEY_TEXT_SIZE);
    sodium_memzero(random, sizeof random);
}

bool key_text_id(struct uuid *id, const char *text)
{
    size_t len;
    if (strlen(text) != KEY_TEXT_SIZE - 1 || memcmp(text, PREFIX, PREFIX_LEN) != 0 ||
        text[PREFIX_LEN + ID_LEN] != '_')
        return false;
    return sodium_hex2bin(id->bytes, sizeof id->bytes, text + PREFIX_LEN, ID_LEN, NULL, &len,
                          NULL) == 0 &&
           len == sizeof id->bytes;
}

struct digest key_text_hash(const uint8_t secret[static KEY_HASH_BYTES], const char *text)
{
    struct digest hash;
    crypto_generichash(hash.bytes, sizeof hash.bytes, (const unsigned char *)text, strlen(text),
                       secret, KEY_HASH_BYTES);
    return hash;
}

bool key_hash_equal(const struct digest *a, const struct digest *b)
{
    return sodium_memcmp(a->bytes, b->bytes, sizeof a->bytes) == 0;
}
