/* curve - CURVE keys, identity files, fingerprints, and the options that make a socket use them
 *
 * An identity is a key pair and what its owner knows of the fleet. Its file is text, one `word
 * value` a line: `public KEY`, `secret KEY`, and where they are known `name NAME`, `role ROLE` and
 * one `broker ENDPOINT KEY` for each broker. KEY is 40 characters of Z85. The file has mode 0600
 * and is replaced in one step; one that others may read is refused. Secrets are overwritten when
 * done.
 *
 * Any thread; an identity belongs to one at a time. */
#ifndef CONVOY_COMMON_CURVE_H
#define CONVOY_COMMON_CURVE_H

#include "common/netopts.h"
#include "common/status.h"

#define CURVE_KEY_BYTES        32
#define CURVE_TEXT_SIZE        41  /* 40 characters of Z85 and NUL */
#define CURVE_FINGERPRINT_SIZE 20  /* "ab12:cd34:ef56:7890" and NUL */
#define CURVE_NAME_SIZE        256 /* a node's name and NUL */
#define CURVE_BROKERS_MAX      64  /* by wire.def */

struct curve_key {
    uint8_t bytes[CURVE_KEY_BYTES];
};

/* Z85, as ZeroMQ writes keys. Returns `into`. */
char *curve_key_text(char into[static CURVE_TEXT_SIZE], const struct curve_key *key);
/* Read 40 characters of Z85; false, and *key untouched, for any other text. */
bool curve_key_parse(struct curve_key *key, const char *text);
bool curve_key_equal(const struct curve_key *a, const struct curve_key *b);

/* For people and logs: the first 16 hexadecimal digits of the key's BLAKE2b-256. Returns `into`. */
char *curve_fingerprint(char into[static CURVE_FINGERPRINT_SIZE], const struct curve_key *key);

struct curve_broker {
    char endpoint[NET_ADDRESS_MAX]; /* of its control ROUTER */
    struct curve_key key;           /* its public key */
};

struct curve_identity {
    struct curve_key public_key;
    struct curve_key secret_key;
    char name[CURVE_NAME_SIZE];   /* as the fleet knows us; "" not known */
    char role[16];                /* "worker" or "gateway"; "" not said */
    struct curve_broker *brokers; /* that we may connect to; owned */
    size_t brokers_len;           /* at most CURVE_BROKERS_MAX */
    char *others; /* lines with other words, each ended by '\n'; NULL: none; owned */
};

/* A new pair of keys and nothing else. */
void curve_identity_make(struct curve_identity *out);

/* Read `path`. NOT_FOUND when it is missing; INVALID when it is damaged or others may read it, with
 * the fix in the text. *out is wiped on failure. */
enum status curve_identity_read(struct curve_identity *out, const char *path, struct error *why);

/* Write it: mode 0600, on the disk before this returns. */
enum status curve_identity_write(const struct curve_identity *self, const char *path,
                                 struct error *why);

/* Read `path`, or make a new identity and write it there when the file is missing. */
enum status curve_identity_open(struct curve_identity *out, const char *path, struct error *why);

/* Add a broker, or give the one with this endpoint another key. False when there are too many. */
bool curve_identity_add(struct curve_identity *self, const char *endpoint,
                        const struct curve_key *key);

/* Forget the broker with this endpoint; harmless when there is none. */
void curve_identity_remove(struct curve_identity *self, const char *endpoint);

/* The value of the line with another word, copied and cut to fit; false and "" when there is none.
 */
bool curve_identity_other(const struct curve_identity *self, const char *word, char *into,
                          size_t size);
/* Give that line this value, or remove it (NULL). Neither text may hold a line break. */
void curve_identity_set_other(struct curve_identity *self, const char *word, const char *value);

/* Free what it owns and overwrite the keys. Twice is harmless. */
void curve_identity_wipe(struct curve_identity *self);

/* Before bind: this socket is a CURVE server, and every handshake is decided by the ZAP handler of
 * its context under `domain`; where there is no handler, libzmq refuses everybody. */
enum status curve_serve(void *socket, const struct curve_identity *self, const char *domain,
                        struct error *why);

/* Before connect: this socket is a CURVE client of the server with the key `server`. */
enum status curve_connect(void *socket, const struct curve_identity *self,
                          const struct curve_key *server, struct error *why);

#endif
