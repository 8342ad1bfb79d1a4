/* training_request - what a client asks for with POST /v1/training/jobs, as a record of the ledger
 */
#ifndef CONVOY_GATEWAY_API_TRAINING_REQUEST_H
#define CONVOY_GATEWAY_API_TRAINING_REQUEST_H

#include "gateway/api/jobs_api.h"
#include "gateway/training/training.h"

struct training_request {
    struct trainings *trainings;      /* whose uploads and models */
    struct ledger_training *record;   /* being filled */
    json_t *body;                     /* what the client sent */
    const struct http_caller *caller; /* who asks */
    const struct training *before;    /* made by this tenant under the same key; NULL: none */
    json_t *network;                  /* a list of layers, borrowed from the body; or NULL */
    json_t *data;                     /* of the record, in the making */
    const char *param;                /* the field that is wrong */
    struct error *why;                /* and why */
};

/* Fill the record from the body and Idempotency-Key, and `before`; only what is in the request:
 * nothing is looked up but uploads, which may be gone if `before` had them. The caller frees
 * record, body and data, whatever came out. Front thread. */
enum status training_request_read(struct training_request *self, struct http_request *request);

#endif
