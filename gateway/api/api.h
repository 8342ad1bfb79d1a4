/* api - the HTTP API: tables of routes over what the gateway's parts can do
 *
 * Every handler's `owner` is the struct gateway. gateway/API.md describes them for users. */
#ifndef CONVOY_GATEWAY_API_API_H
#define CONVOY_GATEWAY_API_API_H

#include "gateway/gateway.h"

/* Open Inference Protocol: health, metadata, statistics, infer. */
void oip_routes(struct gateway *gateway);

/* Model repository: index, load, unload, upload. */
void models_routes(struct gateway *gateway);

/* Workers, metrics. */
void admin_routes(struct gateway *gateway);

/* Who may take part, and the tokens that let new machines in. */
void nodes_routes(struct gateway *gateway);
void tokens_routes(struct gateway *gateway);
/* Keys and what their tenants used. */
void keys_routes(struct gateway *gateway);

/* What ended runners, and its input. */
void dead_routes(struct gateway *gateway);

/* GET /: the page. */
void page_routes(struct gateway *gateway);

/* POST .../infer; a handler of the first table. */
void infer_handle(struct http_request *request, void *owner);

/* The same with a dead letter's input, which is taken over, after dead_try(); dead_tried() follows
 * with the answer. `version` may be NULL. The letter keeps the answer before it is sent, and counts
 * the retry when it ends runners again. */
void infer_letter(struct gateway *gateway, struct http_request *request, const struct uuid *letter,
                  const char *model, const char *version, struct bytes *body, uint64_t head_bytes);

#endif
