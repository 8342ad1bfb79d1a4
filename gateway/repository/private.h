/* private - what the files of gateway/repository share; nobody else includes this */
#ifndef CONVOY_GATEWAY_REPOSITORY_PRIVATE_H
#define CONVOY_GATEWAY_REPOSITORY_PRIVATE_H

#include "gateway/repository/scan.h"

#include <sys/queue.h>

#define RETIRED_MAX 64 /* versions that were unloaded or replaced: jobs may still run them */

/* Somebody who waits until a load is decided. */
struct waiter {
    LIST_ENTRY(waiter) link;
    struct repository *repository; /* for the timer */
    char *model;                   /* NULL: all */
    void (*done)(void *arg, const struct error *why);
    void *arg;                /* for done */
    struct front_timer timer; /* not decided in time */
};

struct repository {
    char *root;                /* folder of models */
    char *cache;               /* folder of signatures */
    struct front *front;       /* its timers */
    struct pool *pool;         /* for files */
    struct fleet *fleet;       /* INSPECT and blobs */
    struct version **versions; /* by name, then number; one reference each */
    size_t len;                /* how many */
    size_t room;               /* allocated */
    struct version *retired[RETIRED_MAX];
    size_t retired_next;                 /* place of the oldest */
    LIST_HEAD(, waiter) waiters;         /* loads that are not decided */
    LIST_HEAD(, inspection) inspections; /* under way */
    LIST_HEAD(, load) loads;             /* scans on the pool */
    repository_find_blob *lent;          /* who else has blobs; NULL: nobody */
    void *lent_arg;                      /* for lent */
    bool scanned;                        /* all folders were looked at once */
    bool closed;                         /* free it when the pool has nothing of it any more */
    size_t at_pool;                      /* jobs that the pool has */
};

/* --- repository.c */
/* A version became READY or UNAVAILABLE. */
void repository_decided(struct repository *self);
/* The pool gave back a job; frees a closed repository after the last one. */
void repository_pool_back(struct repository *self);

/* --- inspect.c */
void repository_inspect(struct repository *self, struct version *version);
void repository_inspect_end(struct repository *self, const struct version *version);

/* --- blob.c: fleet_serve_blobs's call; `arg` is the repository */
void repository_blob_get(void *arg, const struct fleet_blob *want);

#endif
