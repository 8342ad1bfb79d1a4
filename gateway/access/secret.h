/* secret - the text of a key, and what is kept of it
 *
 *   cvk1_0189ab...ef_Zm9v...            cvk1, the id (32 hexadecimal digits), 32 random octets
 *
 * The id finds the record, the rest proves the right to it. What is kept is a BLAKE2b-256 of the
 * whole text, keyed by a secret of this gateway: a stolen ledger is no help in guessing, and no
 * record can be made without the secret. Pure, but for randomness. */
#ifndef CONVOY_GATEWAY_ACCESS_SECRET_H
#define CONVOY_GATEWAY_ACCESS_SECRET_H

#include "common/digest.h"
#include "common/ids.h"

#define KEY_TEXT_SIZE  82 /* 5 + 32 + 1 + 43 characters and NUL */
#define KEY_HASH_BYTES 32 /* of the gateway's secret */

/* A new key for this id. Wipe it (sodium_memzero) once it was handed over. */
void key_text_make(char into[static KEY_TEXT_SIZE], const struct uuid *id);

/* The id in a text that has the form of a key; false for every other text. */
bool key_text_id(struct uuid *id, const char *text);

/* What is kept of a key. */
struct digest key_text_hash(const uint8_t secret[static KEY_HASH_BYTES], const char *text);

/* Equal? Takes the same time whatever differs. */
bool key_hash_equal(const struct digest *a, const struct digest *b);

#endif
