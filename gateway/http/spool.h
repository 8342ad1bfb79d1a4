/* spool - a streamed body into a file, through the pool, with back-pressure
 *
 * For routes with HTTP_BODY_STREAM: their open() calls spool_open(), data and handle are
 * spool_data and spool_end. The file appears under its name when it is whole and on the disk, or
 * not at all. At most 2 MiB of a body are in memory: the client waits when the disk is slower. */
#ifndef CONVOY_GATEWAY_HTTP_SPOOL_H
#define CONVOY_GATEWAY_HTTP_SPOOL_H

#include "common/digest.h"
#include "gateway/http/server.h"

struct spooled {
    uint64_t bytes;       /* of the file */
    struct digest sha256; /* of its content */
};

/* Take over the request's body. `path` is copied; missing folders are made. `done` is called once,
 * on the front thread, and replies to the request: `why` is OK and the file is there, or says why
 * not (TOO_LARGE, STORAGE_FULL, IO, CANCELLED when the client left). */
void spool_open(struct http_request *request, struct pool *pool, const char *path,
                uint64_t bytes_max,
                void (*done)(struct http_request *request, void *arg, const struct spooled *spooled,
                             const struct error *why),
                void *arg);

size_t spool_data(struct http_request *request, const void *bytes, size_t size, void *owner);
void spool_end(struct http_request *request, void *owner);

#endif
