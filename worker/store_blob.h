/* store_blob - bring one blob into the store: look, fetch chunk by chunk, verify, give it its name
 *
 *   LOOK -> VERIFY -> DONE            it was there
 *   LOOK -> FETCH -> VERIFY -> DONE   it was not, or it was damaged
 *
 * Nothing counts before its size and SHA-256 are right. A blob that arrives damaged is fetched once
 * more. What came before a fetch broke off, or before the process was killed, stays in a file
 * beside the blob's, and the next fetch goes on with it; where several processes fetch the same
 * blob, one of them writes there. Knows no socket: the owner sends what store_blob_ask says and
 * brings the answers. */
#ifndef CONVOY_WORKER_STORE_BLOB_H
#define CONVOY_WORKER_STORE_BLOB_H

#include "common/digest.h"
#include "common/file.h"
#include "common/status.h"

#define BLOB_CHUNK_BYTES  ((uint64_t)MIB)
#define BLOB_WINDOW       8                    /* chunks asked for and not here yet */
#define BLOB_RETRY_NS     UINT64_C(5000000000) /* a chunk that does not come is asked for again */
#define BLOB_SIZE_UNKNOWN UINT64_MAX

enum blob_phase { BLOB_LOOK, BLOB_FETCH, BLOB_VERIFY, BLOB_DONE, BLOB_FAILED };

struct store_blob {
    char *path;           /* its final name */
    struct digest digest; /* what it must hash to */
    uint64_t bytes;       /* its size, or BLOB_SIZE_UNKNOWN until the first chunk */
    uint64_t bytes_max;   /* refusal point while the size is unknown */
    enum blob_phase phase;
    struct file_draft draft;  /* FETCH and VERIFY of what was fetched */
    bool kept;                /* the draft outlives a fetch that breaks off */
    uint64_t resumed;         /* FETCH: octets that an earlier fetch had left */
    int found_fd;             /* VERIFY of what was there; -1 */
    struct digester digester; /* VERIFY */
    uint64_t hashed;          /* VERIFY: octets so far */
    uint64_t *retry_ns;       /* FETCH, for each chunk: 0 not asked, else when to ask again */
    size_t chunks;            /* FETCH */
    size_t chunks_left;       /* FETCH: not here yet */
    size_t in_flight;         /* FETCH: asked for, not here yet */
    size_t next;              /* FETCH: all chunks before it were asked for */
    unsigned damaged;         /* how often what came was not it */
    unsigned misfits;         /* FETCH: chunks of a wrong size */
};

/* `folder` is the store's. */
void store_blob_start(struct store_blob *self, const char *folder, const struct digest *digest,
                      uint64_t bytes, uint64_t bytes_max);
/* Free everything; a half-made file stays for the next fetch, unless it is of no use. Twice is
 * harmless. */
void store_blob_end(struct store_blob *self);

/* Do at most about `budget` octets of looking and verifying. Fails with BAD_MODEL when the blob
 * came damaged twice, or with the disk's reason; the phase is FAILED then. */
enum status store_blob_step(struct store_blob *self, uint64_t budget, struct error *why);

/* FETCH: what to ask for now; false when nothing. */
bool store_blob_ask(struct store_blob *self, uint64_t now_ns, uint64_t *offset, uint64_t *length);
/* FETCH: when a chunk must be asked for again; UINT64_MAX when nothing is in flight. */
uint64_t store_blob_retry_ns(const struct store_blob *self);
/* FETCH: a chunk came; `total` is the blob's size as its sender has it. True when it was news. A
 * chunk of a wrong size is asked for again, until that happened too often. */
enum status store_blob_take(struct store_blob *self, uint64_t offset, uint64_t total,
                            const void *bytes, size_t size, bool *news, struct error *why);
/* FETCH: what was in flight is lost. */
void store_blob_lost(struct store_blob *self);

#endif
