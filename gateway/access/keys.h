/* keys - who may use the HTTP API: every key in memory, and in the ledger
 *
 * A key has a name, a tenant, scopes, perhaps an end, and is shown once: when it is made. Only a
 * keyed hash of it is kept (secret.h); the hash's own key is the file FOLDER/keys.secret, made at
 * the first start, for its owner alone. No text of a key goes into a log, an error or a URL.
 *
 * Where keys are asked for and no valid admin key is there, one is made at the start and written to
 * FOLDER/admin.key, for its owner alone: the first key needs no HTTP. Front thread only. */
#ifndef CONVOY_GATEWAY_ACCESS_KEYS_H
#define CONVOY_GATEWAY_ACCESS_KEYS_H

#include "common/limits.h"
#include "gateway/http/scope.h"
#include "gateway/ledger/ledger.h"

#define KEY_NAME_MAX 64 /* octets of a name or a tenant */

struct keys;

struct keys_config {
    const char *folder;    /* the gateway's data folder */
    struct ledger *ledger; /* outlives this */
};

/* Read what is there. Fails as the ledger and the disk do, and with INVALID when keys.secret is
 * damaged. */
enum status keys_open(struct keys **out, const struct keys_config *config, struct error *why);

/* Begin to write: forget what nobody can prove any more, and, where keys are `wanted`, make an
 * admin key when there is none. After everybody's ledger_load(). */
enum status keys_start(struct keys *self, bool wanted, struct error *why);

/* After front_destroy(), when nothing of ours waits for the ledger. NULL inside is fine. */
void keys_close(struct keys **self_p);

/* The http_config's admit(); `keys` is the struct keys. */
enum status keys_admit(void *keys, const char *authorization, enum http_scope scope,
                       struct http_caller *caller, struct error *why);

struct key_wish {
    const char *name;   /* letters, digits and .@_-, at most KEY_NAME_MAX */
    const char *tenant; /* likewise; NULL: the name */
    uint32_t scopes;    /* SCOPE_BITs, at least one */
    int64_t expires_ms; /* wall clock; 0: never */
};

/* What was made or changed; `text` is the key (NULL but for a new one), valid during the call.
 * `record` is NULL when `why` says why not. */
typedef void keys_done(void *arg, const struct ledger_key *record, const char *text,
                       const struct error *why);

/* Make a key; done() comes once, when the ledger has it, or at once when the wish is INVALID, the
 * name is taken (CONFLICT), or too many are valid (STORAGE_FULL). */
void keys_create(struct keys *self, const struct key_wish *wish, keys_done *done, void *arg);

/* Take a key back: it opens nothing from now on; done() comes when the ledger has that. `which` is
 * an id with or without key-, or the name of a valid key; else NOT_FOUND. Twice is harmless. The
 * last admin key where keys are asked for is a CONFLICT, unless it is to be revoked `surely`. */
void keys_revoke(struct keys *self, const char *which, bool surely, keys_done *done, void *arg);

/* All keys, the oldest first. used_ms: wall clock of its last use in this life, or 0. */
size_t keys_len(const struct keys *self);
const struct ledger_key *keys_at(const struct keys *self, size_t index, int64_t *used_ms);

/* "valid", "expired" or "revoked". */
const char *key_state(const struct ledger_key *record);

#endif
