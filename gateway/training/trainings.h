/* trainings - training jobs from the request to the published version
 *
 * A job is a chain of segments. A segment is a task that a worker computes: of the training program
 * and a checkpoint it makes the next checkpoint and a report, and of the last one the model. Each
 * result is committed in this order: checkpoint file, history, ledger, acknowledgement; so whoever
 * is killed, at most one segment is computed again. After a restart jobs go on by themselves. The
 * model becomes the next version in the repository, once.
 *
 * Owns DATA/training; uploads are those of the dataset jobs. Front thread only. */
#ifndef CONVOY_GATEWAY_TRAINING_TRAININGS_H
#define CONVOY_GATEWAY_TRAINING_TRAININGS_H

#include "common/status.h"
#include "gateway/dataset/jobs.h"

struct trainings;

struct trainings_config {
    const char *folder;            /* the data folder: training/ is made inside */
    const char *models_root;       /* the repository's folder */
    struct usage *usage;           /* counts what tenants use */
    struct ledger *ledger;         /* what was promised */
    struct front *front;           /* posts and timers */
    struct pool *pool;             /* disk work */
    struct fleet *fleet;           /* computes segments; not started yet */
    struct repository *repository; /* serves programs to workers; takes what was trained */
    struct jobs *jobs;             /* whose uploads are the data; closed after this */
    uint32_t running_max;          /* jobs that have a segment in the fleet at a time */
    uint32_t segment_ms;           /* of a segment */
};

/* Read what is in the ledger and name every segment that is under way to the fleet. Call it before
 * fleet_start(). Fails as ledger_load() does. */
enum status trainings_open(struct trainings **out, const struct trainings_config *config,
                           struct error *why);

/* Begin nothing new. True when no disk work or commit is under way. */
bool trainings_drain(struct trainings *self);

/* After http_server_close(), before jobs_close() and what that goes before. NULL inside is fine. */
void trainings_close(struct trainings **self_p);

/* The routes of /v1/training. */
void trainings_routes(struct trainings *self, struct http_server *http);

#endif
