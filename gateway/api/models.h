/* models - what the two files of the repository's HTTP API share */
#ifndef CONVOY_GATEWAY_API_MODELS_H
#define CONVOY_GATEWAY_API_MODELS_H

#include "gateway/http/server.h"

/* A number from 1, in decimal and without leading zeros; else INVALID. */
enum status models_version_check(const char *text, struct error *why);

/* DELETE /v2/repository/models/{model}[/versions/{version}] */
void remove_handle(struct http_request *request, void *owner);

#endif
