/* multipart - multipart/form-data (RFC 7578), read as it comes
 *
 * The octets of the part "file" go to a sink that may be out of room; other parts are small texts,
 * of which "purpose" is kept. Pure; one object belongs to one thread. */
#ifndef CONVOY_GATEWAY_API_MULTIPART_H
#define CONVOY_GATEWAY_API_MULTIPART_H

#include "common/limits.h"
#include "common/status.h"

#define MULTIPART_BOUNDARY_MAX 70  /* RFC 2046 */
#define MULTIPART_TEXT_MAX     256 /* octets of a name or small text */

enum multipart_state {
    MULTIPART_BODY,    /* in a part, or before the first */
    MULTIPART_AFTER,   /* behind a delimiter: what follows tells whether there is a next part */
    MULTIPART_HEADERS, /* of a part */
    MULTIPART_END      /* the last delimiter came */
};

enum multipart_part { MULTIPART_NONE, MULTIPART_FILE, MULTIPART_PURPOSE, MULTIPART_OTHER };

struct multipart_sink {
    size_t (*room)(void *arg, size_t wanted); /* octets that put() takes; it calls us again later */
    enum status (*put)(void *arg, const void *bytes, size_t size, struct error *why);
    void *arg; /* for both */
};

struct multipart {
    struct multipart_sink sink;                 /* for the part "file" */
    char delimiter[MULTIPART_BOUNDARY_MAX + 8]; /* CR LF -- boundary */
    size_t delimiter_size;                      /* its octets */
    size_t matched;                             /* of the delimiter, at the end of what came */
    enum multipart_state state;                 /* where we are */
    enum multipart_part part;                   /* whose octets come */
    char headers[MULTIPART_HEADERS_MAX];        /* of the part, or the two octets after it */
    size_t headers_size;                        /* how many */
    char filename[MULTIPART_TEXT_MAX];          /* of the part "file" */
    char purpose[MULTIPART_TEXT_MAX];           /* value of the part "purpose" */
    size_t purpose_size;                        /* its octets */
    bool has_file;                              /* a part "file" came */
};

/* INVALID when `content_type` is not multipart/form-data with a boundary. */
enum status multipart_start(struct multipart *self, const char *content_type,
                            const struct multipart_sink *sink, struct error *why);

/* Take octets; *taken tells how many: fewer than `size` when the sink has no room. */
enum status multipart_take(struct multipart *self, const char *bytes, size_t size, size_t *taken,
                           struct error *why);

/* INVALID unless the body was whole and had a file. */
enum status multipart_end(const struct multipart *self, struct error *why);

#endif
