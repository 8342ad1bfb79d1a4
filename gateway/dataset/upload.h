/* upload - a client's octets on their way into a file of the gateway
 *
 * Two buffers of UPLOAD_BUFFER: one fills on the front thread while the pool writes the other, so
 * that memory is bounded and the front thread never waits for the disk. At the end the file is
 * flushed, checked as a data set, named, and recorded in the ledger. Front thread only. */
#ifndef CONVOY_GATEWAY_DATASET_UPLOAD_H
#define CONVOY_GATEWAY_DATASET_UPLOAD_H

#include "gateway/dataset/job.h"

#define UPLOAD_BUFFER MIB

struct upload;

struct upload_calls {
    void (*room)(void *arg); /* there is room again, after upload_room() was found too small */
    /* Once, after upload_end(): the file, recorded; or NULL and why. */
    void (*done)(void *arg, struct file *file, const struct error *why);
};

/* `tenant` is copied: the file is charged to it, and is its alone. */
struct upload *upload_new(struct jobs *jobs, const char *tenant, const struct upload_calls *calls,
                          void *arg);

/* Octets that upload_put() takes now. Having asked for more than there are, expect room(). */
size_t upload_room(struct upload *self, size_t wanted);

/* Take `size` octets, at most upload_room(). TOO_LARGE past jobs_config.upload_max. */
enum status upload_put(struct upload *self, const void *bytes, size_t size, struct error *why);

/* That was all: done() follows. `name` and `purpose` are copied. The upload is gone then. */
void upload_end(struct upload *self, const char *name, const char *purpose);

/* Throw it away; no call follows. */
void upload_abort(struct upload *self);

#endif
