/* scan - which models and versions lie in the repository's folder
 *
 * Runs on a thread of the pool and touches nothing but files and its own result. */
#ifndef CONVOY_GATEWAY_REPOSITORY_SCAN_H
#define CONVOY_GATEWAY_REPOSITORY_SCAN_H

#include "gateway/repository/version.h"

struct scan {
    const char *root;          /* the repository's folder; outlives the scan */
    const char *cache;         /* the folder of signatures; outlives the scan */
    char *model;               /* look at this one only; NULL: at all */
    struct version **versions; /* found, one reference each */
    size_t len;                /* how many */
    size_t room;               /* allocated */
    struct error why; /* not OK: the folder itself could not be read, or nothing is there */
};

void scan_run(struct scan *self);

/* Drops the versions that are still in it. */
void scan_free(struct scan *self);

#endif
