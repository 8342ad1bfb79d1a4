/* identity - who this gateway is, over restarts, and the lock on its data folder
 *
 * DATA/identity holds the gateway's uuid and how often it was started. The incarnation is on disk
 * before it is used: task ids, and the epoch of rows in the ledger, are made from it. */
#ifndef CONVOY_GATEWAY_IDENTITY_H
#define CONVOY_GATEWAY_IDENTITY_H

#include "common/ids.h"
#include "common/status.h"

struct identity {
    struct uuid uuid;     /* made at the first start */
    uint64_t incarnation; /* 1, 2, 3, ... */
    int lock_fd;          /* holds the folder's lock until the process ends */
};

/* Make the folder if it is missing, lock it, count this start. CONFLICT: another gateway uses it.
 */
enum status identity_open(struct identity *out, const char *data_dir, struct error *why);
void identity_close(struct identity *self);

#endif
