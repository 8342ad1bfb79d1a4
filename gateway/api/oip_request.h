/* oip_request - one inference request of the Open Inference Protocol, read and checked
 *
 * JSON with "data" lists, the binary tensor extension, both mixed, and the raw form, against a
 * model's signature. Pure but for memory; any thread. */
#ifndef CONVOY_GATEWAY_API_OIP_REQUEST_H
#define CONVOY_GATEWAY_API_OIP_REQUEST_H

#include "common/limits.h"
#include "gateway/bytes.h"
#include "gateway/repository/repository.h"

#include <jansson.h>

#define OIP_NO_HEADER UINT64_MAX /* there was no Inference-Header-Content-Length */

struct oip_request {
    json_t *root;   /* the envelope; holds the names; NULL for a raw request */
    const char *id; /* to be echoed; NULL: none was given */
    struct tensor inputs[SIGNATURE_VALUES_MAX];
    size_t inputs_len;   /* how many */
    struct bytes *owner; /* what the inputs' data points into */
    uint32_t rows;       /* axis 0 of a batchable model, else 1 */
    uint64_t timeout_us; /* 0: none was given */
    uint32_t band;       /* from the parameter priority */
    bool binary_default; /* outputs without a word of their own are binary */
    size_t outputs_len;  /* 0: all outputs */
    struct {
        uint32_t index; /* into the signature's outputs */
        bool binary;    /* how it is wanted */
    } outputs[SIGNATURE_VALUES_MAX];
};

/* Read `body` (one NUL follows its octets; one reference is kept in `owner` where inputs point into
 * it). `header` is Inference-Header-Content-Length or OIP_NO_HEADER. INVALID names the input or
 * field, what was expected and what came; UNSUPPORTED: a part of the protocol that is not here. */
enum status oip_request_read(struct oip_request *out, struct bytes *body, uint64_t header,
                             const struct version *version, struct error *why);

/* Harmless twice and on a zeroed one. */
void oip_request_free(struct oip_request *self);

#endif
