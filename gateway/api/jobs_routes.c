/* jobs_routes - the table of /v1/files and /v1/batches, and what their handlers share */
#include "gateway/api/jobs_api.h"

#include <stdlib.h>
#include <string.h>

#define IDEMPOTENCY_MAX 255 /* characters of an Idempotency-Key */

static const struct http_route routes[] = {
    {HTTP_POST, "/v1/files", SCOPE_FILES, HTTP_BODY_STREAM, files_upload_end, files_upload_open,
     files_upload_data},
    {HTTP_PUT, "/v1/files", SCOPE_FILES, HTTP_BODY_STREAM, files_upload_end, files_upload_open,
     files_upload_data},
    {HTTP_GET, "/v1/files", SCOPE_FILES, HTTP_BODY_NONE, files_list, NULL, NULL},
    {HTTP_GET, "/v1/files/{id}", SCOPE_FILES, HTTP_BODY_NONE, files_get, NULL, NULL},
    {HTTP_GET, "/v1/files/{id}/content", SCOPE_FILES, HTTP_BODY_NONE, files_content, NULL, NULL},
    {HTTP_DELETE, "/v1/files/{id}", SCOPE_FILES, HTTP_BODY_NONE, files_delete, NULL, NULL},
    {HTTP_POST, "/v1/batches", SCOPE_BATCH, HTTP_BODY_MEMORY, batches_create, NULL, NULL},
    {HTTP_GET, "/v1/batches", SCOPE_BATCH, HTTP_BODY_NONE, batches_list, NULL, NULL},
    {HTTP_GET, "/v1/batches/{id}", SCOPE_BATCH, HTTP_BODY_NONE, batches_get, NULL, NULL},
    {HTTP_GET, "/v1/batches/{id}/events", SCOPE_BATCH, HTTP_BODY_NONE, batches_events, NULL, NULL},
    {HTTP_POST, "/v1/batches/{id}/cancel", SCOPE_BATCH, HTTP_BODY_NONE, batches_cancel, NULL, NULL},
};

void jobs_routes(struct jobs *self, struct http_server *http)
{
    http_server_routes(http, routes, ARRAY_LEN(routes), self);
}

bool api_read_id(struct uuid *id, const char *prefix, const char *text)
{
    size_t size = strlen(prefix);
    return text && id_parse(id, strncmp(text, prefix, size) == 0 ? text + size : text);
}

struct file *api_file(struct jobs *jobs, struct http_request *request)
{
    const char *text = http_capture(request, "id");
    struct uuid id;
    struct file *file = api_read_id(&id, "file-", text) ? jobs_file(jobs, &id) : NULL;
    if (!file || !http_caller_sees(http_caller(request), file->record.tenant)) {
        http_reply_fail(request, STATUS_NOT_FOUND,
                        "there is no file \"%s\"; GET /v1/files lists them", text);
        return NULL;
    }
    return file;
}

struct job *api_job(struct jobs *jobs, struct http_request *request)
{
    const char *text = http_capture(request, "id");
    struct uuid id;
    struct job *job = api_read_id(&id, "batch_", text) ? jobs_job(jobs, &id) : NULL;
    if (!job || !job->created || !http_caller_sees(http_caller(request), job->record.tenant)) {
        http_reply_fail(request, STATUS_NOT_FOUND,
                        "there is no batch \"%s\"; GET /v1/batches lists them", text);
        return NULL;
    }
    return job;
}

enum status api_read_key(const struct http_request *request, char **into, struct error *why)
{
    const char *key = http_header(request, "Idempotency-Key");
    if (key && (!key[0] || strlen(key) > IDEMPOTENCY_MAX))
        return fail(why, STATUS_INVALID, "Idempotency-Key: expected 1 to %d characters, got %zu",
                    IDEMPOTENCY_MAX, strlen(key));
    ledger_text_set(into, key ? key : "");
    return STATUS_OK;
}

json_t *api_read_body(const struct http_request *request, size_t max, struct error *why)
{
    json_error_t at;
    size_t size = 0;
    const char *body = http_body(request, &size);
    if (size > max) {
        fail(why, STATUS_TOO_LARGE, "the body has %zu octets, the limit is %zu", size, max);
        return NULL;
    }
    json_t *root = json_loadb(body, size, 0, &at);
    if (json_is_object(root))
        return root;
    fail(why, STATUS_INVALID, "the body is no JSON object: line %d column %d: %s",
         root ? 1 : at.line, root ? 1 : at.column, root ? "something else" : at.text);
    json_decref(root);
    return NULL;
}

bool api_limit(struct http_request *request, size_t missing, size_t max, size_t *limit)
{
    const char *text = http_query(request, "limit");
    char *end = NULL;
    unsigned long value = text ? strtoul(text, &end, 10) : missing;
    *limit = value;
    if (value >= 1 && value <= max && (!text || (end != text && !*end)))
        return true;
    http_reply_fail(request, STATUS_INVALID, "limit: expected 1 to %zu, got \"%s\"", max,
                    text ? text : "");
    return false;
}

json_t *api_list_json(json_t *data, bool more)
{
    size_t len = json_array_size(data);
    json_t *first = json_object_get(json_array_get(data, 0), "id");
    json_t *last = len ? json_object_get(json_array_get(data, len - 1), "id") : NULL;
    return json_pack("{s:s, s:o, s:O, s:O, s:b}", "object", "list", "data", data, "first_id",
                     first ? first : json_null(), "last_id", last ? last : json_null(), "has_more",
                     more);
}
