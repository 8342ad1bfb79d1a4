/* request - the object that handlers see: what came, and when it may be freed */
#include "gateway/http/private.h"

#include "common/ids.h"
#include "gateway/counters.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct http_request *http_request_new(struct http_conn *conn, const char *url)
{
    struct http_request *self = xcalloc(1, sizeof *self);
    self->server = conn->server;
    self->conn = conn;
    self->in_mhd = true;
    self->path = xstrdup(url);
    self->content_length = UINT64_MAX;
    /* An odd multiplier makes consecutive numbers look unlike each other and never repeat. */
    snprintf(self->id, sizeof self->id, "%016" PRIx64,
             ++conn->server->id_seed * UINT64_C(0x9e3779b97f4a7c15));
    LIST_INSERT_HEAD(&conn->server->requests, self, link);
    conn->server->active++;
    conn->request = self;
    return self;
}

void http_request_release(struct http_request *self)
{
    if (self->in_mhd || self->phase != REQUEST_REPLIED)
        return;
    if (self->server)
        LIST_REMOVE(self, link);
    if (self->response)
        MHD_destroy_response(self->response);
    for (size_t i = 0; i < self->headers_len; i++) {
        free(self->headers[i][0]);
        free(self->headers[i][1]);
    }
    free(self->path);
    free(self->path_store);
    free(self->body);
    free(self);
}

void http_request_gone(struct http_request *self)
{
    if (self->gone || self->phase == REQUEST_REPLIED)
        return;
    self->gone = true;
    count(COUNT_http_gone_total, 1);
    if (self->on_gone)
        self->on_gone(self, self->on_gone_arg);
}

/* --- what handlers read -------------------------------------------------------------------------
 */

enum http_method http_method(const struct http_request *self)
{
    return self->method;
}

const char *http_path(const struct http_request *self)
{
    return self->path;
}

const char *http_request_id(const struct http_request *self)
{
    return self->id;
}

const struct http_caller *http_caller(const struct http_request *self)
{
    return &self->caller;
}

const char *http_capture(const struct http_request *self, const char *name)
{
    size_t len = strlen(name);
    for (size_t i = 0; i < self->captures_len; i++)
        if (self->captures[i].name_len == len && memcmp(self->captures[i].name, name, len) == 0)
            return self->captures[i].text;
    return "";
}

const char *http_query(const struct http_request *self, const char *name)
{
    return self->conn ? MHD_lookup_connection_value(self->conn->mhd, MHD_GET_ARGUMENT_KIND, name)
                      : NULL;
}

const char *http_header(const struct http_request *self, const char *name)
{
    return self->conn ? MHD_lookup_connection_value(self->conn->mhd, MHD_HEADER_KIND, name) : NULL;
}

uint64_t http_content_length(const struct http_request *self)
{
    return self->content_length;
}

const char *http_body(const struct http_request *self, size_t *size)
{
    *size = self->body ? (size_t)self->received : 0;
    return self->body ? self->body : "";
}

struct bytes *http_body_take(struct http_request *self)
{
    char *body = self->body ? self->body : xcalloc(1, 1);
    size_t size = self->body ? (size_t)self->received : 0;
    self->body = NULL;
    return bytes_take(body, size);
}

void http_set_context(struct http_request *self, void *context)
{
    self->context = context;
}

void *http_context(const struct http_request *self)
{
    return self->context;
}

void http_on_gone(struct http_request *self, void (*gone)(struct http_request *request, void *arg),
                  void *arg)
{
    self->on_gone = gone;
    self->on_gone_arg = arg;
}

bool http_is_gone(const struct http_request *self)
{
    return self->gone;
}

void http_body_resume(struct http_request *self)
{
    if (self->conn && self->phase == REQUEST_READING)
        http_conn_resume(self->conn);
}
