/* token - the one line that lets a new machine join a fleet
 *
 * "cvt1_" and base64url of: a msgpack map {"brokers": [[control, enrol, key], ...], "secret",
 * "role"}, and the crc32c of it, so that a line that was cut or mistyped is told from one that
 * expired. The secret admits whoever has it, as often as its gateway allows: a token is a password.
 *
 * Any thread; a token belongs to one at a time. */
#ifndef CONVOY_COMMON_TOKEN_H
#define CONVOY_COMMON_TOKEN_H

#include "common/curve.h"
#include "common/digest.h"

#define TOKEN_PREFIX       "cvt1_"
#define TOKEN_BROKERS_MAX  16
#define TOKEN_SECRET_BYTES 32

struct token_broker {
    char control[NET_ADDRESS_MAX]; /* tcp://HOST:PORT of its control ROUTER */
    char enrol[NET_ADDRESS_MAX];   /* of its enrol ROUTER */
    struct curve_key key;          /* its public key */
};

struct token {
    struct token_broker brokers[TOKEN_BROKERS_MAX]; /* any of them admits */
    size_t brokers_len;                             /* at least one */
    uint8_t secret[TOKEN_SECRET_BYTES];             /* random */
    uint32_t role;                                  /* enum wire_role: what it admits */
};

/* The line; wipe and free() it. */
char *token_write(const struct token *self);

/* Read a line; white space around it is fine. INVALID, with what is wrong with it, for any other
 * text.
 */
enum status token_read(struct token *out, const char *text, struct error *why);

/* What a gateway keeps of a secret, and a node of the token that admitted it: BLAKE2b-256 of it. */
struct digest token_hash(const uint8_t secret[static TOKEN_SECRET_BYTES]);

/* Overwrite it. */
void token_wipe(struct token *self);

#endif
