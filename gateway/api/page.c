/* page - GET /: what the fleet is doing, for people; it asks the API like any client */
#include "gateway/api/api.h"

#include <string.h>

/* page.html, made into `static const char html[]` by the Makefile. */
#include "page.inc"

static void nothing(void *arg)
{
    (void)arg;
}

/* Everybody may read the page itself: it holds nothing, and asks for a key where one is needed. */
static void page_handle(struct http_request *request, void *owner)
{
    const struct http_piece piece = {.data = html, .size = sizeof html - 1};
    (void)owner;
    http_reply_header(request, "Cache-Control", "no-cache");
    http_reply_header(request, "X-Content-Type-Options", "nosniff");
    http_reply_header(request, "Content-Security-Policy",
                      "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; "
                      "connect-src 'self'; img-src blob:; frame-ancestors 'none'; base-uri 'none'; "
                      "form-action 'none'");
    http_reply_pieces(request, 200, "text/html; charset=utf-8", &piece, 1, nothing, NULL);
}

static const struct http_route routes[] = {
    {HTTP_GET, "/", SCOPE_OPEN, HTTP_BODY_NONE, page_handle, NULL, NULL},
};

void page_routes(struct gateway *gateway)
{
    http_server_routes(gateway->http, routes, ARRAY_LEN(routes), gateway);
}
