/* oip_reply - a result in the form that an inference request asked for
 *
 * JSON, or a JSON head and the octets of binary outputs behind it, which are not copied. Pure but
 * for memory; any thread. */
#ifndef CONVOY_GATEWAY_API_OIP_REPLY_H
#define CONVOY_GATEWAY_API_OIP_REPLY_H

#include "gateway/api/oip_request.h"
#include "gateway/fleet.h"
#include "gateway/http/server.h"

struct oip_reply {
    char *head;                /* JSON; malloc */
    size_t head_size;          /* its octets */
    bool binary;               /* pieces follow the head */
    struct http_piece *pieces; /* the first is the head; the others point into the result */
    size_t pieces_len;         /* how many */
};

/* `result` is OK and stays as long as the pieces. INTERNAL: the result lacks an output that the
 * signature has. UNSUPPORTED: an output that has no JSON form. */
enum status oip_reply_make(struct oip_reply *out, const struct oip_request *request,
                           const struct version *version, const struct fleet_result *result,
                           struct error *why);

/* Octets that would be written as JSON numbers: large ones belong to the pool. */
uint64_t oip_reply_numbers(const struct oip_request *request, const struct fleet_result *result);

/* Harmless twice and on a zeroed one. */
void oip_reply_free(struct oip_reply *self);

#endif
