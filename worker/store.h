/* store - model versions on this node's disk, fetched by id from the gateway that wants them run
 *
 * A version's id is the SHA-256 of its manifest; manifest and files are blobs in one folder, which
 * several workers of a node may share. A version is READY when every blob is there and its size and
 * SHA-256 were checked by this process. Blobs of versions that this process has not forgotten stay;
 * others are evicted, longest unused first, when room is needed.
 *
 * Knows no socket: the owner sends the requests of store_next_request as BLOB_GET and brings each
 * BLOB_CHUNK to store_chunk. One thread; work comes in bounded bites, so that heartbeats go on. */
#ifndef CONVOY_WORKER_STORE_H
#define CONVOY_WORKER_STORE_H

#include "common/ids.h"
#include "worker/store_manifest.h"

/* Versions that a store knows at the same time; the owner forgets some before it wants more. */
#define STORE_VERSIONS_MAX 256

struct store;

struct store_config {
    const char *folder;   /* made when missing */
    uint64_t bytes_max;   /* of all blobs together */
    uint32_t patience_ms; /* a fetch that makes no progress for so long has failed */
};

enum store_state {
    STORE_ABSENT,  /* never wanted, or forgotten */
    STORE_WORKING, /* being looked for, fetched or checked */
    STORE_READY,
    STORE_FAILED, /* see `why`; wanting it again starts afresh */
};

struct store_request {
    struct digest blob;
    struct uuid gateway; /* who has it */
    uint64_t offset;
    uint64_t length;
};

/* IO, STORAGE_FULL: the folder cannot be used. */
enum status store_open(struct store **out, const struct store_config *config, struct error *why);
/* Half-made files stay for the next process; *self_p becomes NULL. NULL inside is fine. */
void store_close(struct store **self_p);

/* Bring the version here if it is not; `gateway` is asked for what is missing. BUSY: too many. */
enum status store_want(struct store *self, const struct digest *id, const struct uuid *gateway,
                       uint64_t now_ns);
/* Nobody needs it any more: stops a fetch; its blobs may be evicted. */
void store_forget(struct store *self, const struct digest *id);

/* `why` (may be NULL) is filled when FAILED: BAD_MODEL, NOT_FOUND, TOO_LARGE and such for good;
 * UNAVAILABLE, STORAGE_FULL, IO: here and now. */
enum store_state store_state(const struct store *self, const struct digest *id, struct error *why);
/* Of a READY version; owned by the store until it is forgotten. */
const struct manifest *store_manifest(const struct store *self, const struct digest *id);
/* The file to load of a READY version; free() it. */
char *store_model_path(const struct store *self, const struct digest *id);
/* The folder of a READY training program, made when it is not there; free() it. */
enum status store_program_path(const struct store *self, const struct digest *id, char **path,
                               struct error *why);
/* The version was used now: its blobs are the last to be evicted. */
void store_touch(struct store *self, const struct digest *id);
/* Octets fetched for it by this process. */
uint64_t store_fetched(const struct store *self, const struct digest *id);

/* Do a bite of work; true when there is more to do at once. */
bool store_step(struct store *self, uint64_t now_ns);
/* When store_step or store_next_request has something to do though nothing came. */
uint64_t store_next_ns(const struct store *self);

bool store_next_request(struct store *self, uint64_t now_ns, struct store_request *request);
/* A BLOB_CHUNK came; `status` and `text` are its sender's, `bytes` its body. */
void store_chunk(struct store *self, const struct digest *blob, uint64_t offset, uint64_t total,
                 enum status status, const char *text, const void *bytes, size_t size,
                 uint64_t now_ns);
/* The link broke: what was asked for will not come. */
void store_link_lost(struct store *self, uint64_t now_ns);

#endif
