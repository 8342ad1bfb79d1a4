/* http - one HTTP exchange by libcurl, repeated when that is safe; private to the client */
#ifndef CONVOY_GATEWAY_CLIENT_HTTP_H
#define CONVOY_GATEWAY_CLIENT_HTTP_H

#include "gateway/client/client.h"

#include <stdio.h>

struct exchange {
    const char *method; /* "GET" */
    const char *path;   /* begins with '/' */
    const void *body;   /* octets to send; NULL: none */
    size_t body_size;
    FILE *upload;              /* sent instead of body */
    uint64_t upload_size;      /* its octets */
    FILE *download;            /* takes the answer of a success instead of `answer` */
    const char *content_type;  /* NULL: none is said */
    const char *headers[4];    /* more header lines; NULL ends */
    bool safe;                 /* may be repeated */
    client_progress *progress; /* of upload or download; may be NULL */
    void *arg;                 /* for progress */

    /* The answer. */
    long status;  /* HTTP */
    char *answer; /* octets and a NUL; the caller frees it, also on failure */
    size_t answer_size;
    uint64_t json_size; /* Inference-Header-Content-Length; UINT64_MAX when not said */
};

/* Answers of 2xx are OK; the others fail with the status that the gateway's error names. */
enum status exchange_run(struct client *self, struct exchange *x, struct error *why);

#endif
