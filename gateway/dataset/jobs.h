/* jobs - dataset jobs from upload to the last committed row
 *
 * Owns the folder of files, and every job that is not at its end. Files and jobs are
 * mirrored in memory, so that questions are answered without the disk; what changes is in the
 * ledger before it is told to anybody. A job reads its rows in chunks in the pool, keeps a bounded
 * number of them in the fleet, and commits: results to the file, fsync, ledger, acknowledgement.
 * After a restart chunks that were not committed go on under their old task numbers.
 *
 * Front thread only. */
#ifndef CONVOY_GATEWAY_DATASET_JOBS_H
#define CONVOY_GATEWAY_DATASET_JOBS_H

#include "common/status.h"
#include "gateway/fleet.h"
#include "gateway/front.h"
#include "gateway/http/server.h"
#include "gateway/ledger/ledger.h"
#include "gateway/pool.h"
#include "gateway/repository/repository.h"

struct dead;
struct jobs;
struct usage;

struct jobs_config {
    const char *folder;            /* the data folder: files/ is made inside */
    struct usage *usage;           /* counts what tenants use */
    struct ledger *ledger;         /* what was promised */
    struct front *front;           /* posts and timers */
    struct pool *pool;             /* disk work */
    struct fleet *fleet;           /* computes chunks; not started yet */
    struct repository *repository; /* models by name and by id */
    struct dead *dead;             /* takes rows that ended runners; NULL: they are not kept */
    uint64_t upload_max;           /* octets of an uploaded file */
    uint32_t chunk_rows_max;       /* rows of a chunk unless the job asks for less */
    uint64_t chunk_bytes_max;      /* input octets of a chunk */
};

/* Read what is in the ledger and name every task that is under way to the fleet. Call it before
 * fleet_start(). Fails as ledger_load() does. */
enum status jobs_open(struct jobs **out, const struct jobs_config *config, struct error *why);

/* Begin nothing new: no uploads, no jobs, no chunks. True when no disk work or commit is under way.
 */
bool jobs_drain(struct jobs *self);

/* After http_server_close(), before ledger_close(), fleet_destroy() and pool_destroy(): work that
 * is under way there ends before the memory goes. NULL inside is fine. */
void jobs_close(struct jobs **self_p);

/* The routes of /v1/files and /v1/batches. */
void jobs_routes(struct jobs *self, struct http_server *http);

#endif
