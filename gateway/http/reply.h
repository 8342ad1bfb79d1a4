/* reply - the one place where a request gets its response; inside gateway/http */
#ifndef CONVOY_GATEWAY_HTTP_REPLY_H
#define CONVOY_GATEWAY_HTTP_REPLY_H

#include "gateway/http/private.h"

/* Takes over `response`. When the client has left it is destroyed at once, which frees what it
 * holds. The request may be gone afterwards. */
void http_reply_response(struct http_request *self, int code, const char *content_type,
                         struct MHD_Response *response);

#endif
