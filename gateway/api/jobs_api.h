/* jobs_api - private: what the handlers of /v1/files and /v1/batches share
 *
 * Handlers run on the front thread with the jobs as owner. */
#ifndef CONVOY_GATEWAY_API_JOBS_API_H
#define CONVOY_GATEWAY_API_JOBS_API_H

#include "gateway/dataset/job.h"

/* Read "file-<uuid>" or "batch_<uuid>"; the bare uuid is fine as well. */
bool api_read_id(struct uuid *id, const char *prefix, const char *text);

/* The file or job that {id} of the path names; NULL: NOT_FOUND has been replied. What belongs to
 * another tenant is not there for who asks. */
struct file *api_file(struct jobs *jobs, struct http_request *request);
struct job *api_job(struct jobs *jobs, struct http_request *request);

/* The Idempotency-Key of the request, or ""; INVALID when it is none. */
enum status api_read_key(const struct http_request *request, char **into, struct error *why);

/* The body as a JSON object of at most `max` octets, or NULL and why not. */
json_t *api_read_body(const struct http_request *request, size_t max, struct error *why);

/* ?limit=N within 1..max; false: INVALID has been replied. */
bool api_limit(struct http_request *request, size_t missing, size_t max, size_t *limit);

/* {"object":"list","data","first_id","last_id","has_more"}; takes over `data`. */
json_t *api_list_json(json_t *data, bool more);

/* files_upload.c */
void files_upload_open(struct http_request *request, void *owner);
size_t files_upload_data(struct http_request *request, const void *bytes, size_t size, void *owner);
void files_upload_end(struct http_request *request, void *owner);

/* files.c */
void files_list(struct http_request *request, void *owner);
void files_get(struct http_request *request, void *owner);
void files_content(struct http_request *request, void *owner);
void files_delete(struct http_request *request, void *owner);

/* batches.c */
void batches_create(struct http_request *request, void *owner);
void batches_list(struct http_request *request, void *owner);
void batches_get(struct http_request *request, void *owner);
void batches_cancel(struct http_request *request, void *owner);
void batches_events(struct http_request *request, void *owner);

#endif
