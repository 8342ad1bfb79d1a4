/* reply - answers: octets, pieces, JSON, errors */
#include "gateway/http/reply.h"

#include "common/log.h"
#include "gateway/counters.h"

#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void http_reply_header(struct http_request *self, const char *name, const char *value)
{
    assert(self->headers_len < HTTP_HEADERS_MAX);
    self->headers[self->headers_len][0] = xstrdup(name);
    self->headers[self->headers_len++][1] = xstrdup(value);
}

/* Every reply ends here. Ours is the response from now on; the request may be freed. */
void http_reply_response(struct http_request *self, int code, const char *content_type,
                         struct MHD_Response *response)
{
    assert(self->phase != REQUEST_REPLIED && response);
    enum request_phase before = self->phase;
    self->phase = REQUEST_REPLIED;
    count(COUNT_http_requests_total, 1);
    if (code >= 400)
        count(COUNT_http_errors_total, 1);
    if (!self->in_mhd || self->gone) {
        MHD_destroy_response(response);
    } else {
        if (content_type)
            MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, content_type);
        MHD_add_response_header(response, "X-Request-Id", self->id);
        for (size_t i = 0; i < self->headers_len; i++)
            MHD_add_response_header(response, self->headers[i][0], self->headers[i][1]);
        self->response = response;
        self->code = (unsigned int)code;
        /* In the middle of a body libmicrohttpd takes no reply: the rest is read first. */
        self->discard = before == REQUEST_READING;
        if (self->conn)
            http_conn_resume(self->conn);
    }
    http_request_release(self);
}

void http_reply_bytes(struct http_request *self, int code, const char *content_type,
                      struct bytes *bytes)
{
    struct MHD_Response *response;
    if (bytes && bytes->size)
        response = MHD_create_response_from_buffer_with_free_callback_cls(bytes->size, bytes->data,
                                                                          bytes_drop_hint, bytes);
    else
        response = MHD_create_response_from_buffer(0, (void *)"", MHD_RESPMEM_PERSISTENT);
    if (bytes && !bytes->size)
        bytes_drop(&bytes);
    http_reply_response(self, code, content_type, response);
}

void http_reply_pieces(struct http_request *self, int code, const char *content_type,
                       const struct http_piece *pieces, size_t len, void (*done)(void *arg),
                       void *arg)
{
    struct MHD_IoVec *vec = xcalloc(len + 1, sizeof *vec);
    unsigned used = 0;
    for (size_t i = 0; i < len; i++)
        if (pieces[i].size)
            vec[used++] = (struct MHD_IoVec){pieces[i].data, pieces[i].size};
    struct MHD_Response *response = NULL;
    if (used)
        response = MHD_create_response_from_iovec(vec, used, done, arg);
    if (!response) {
        response = MHD_create_response_from_buffer(0, (void *)"", MHD_RESPMEM_PERSISTENT);
        done(arg);
    }
    free(vec);
    http_reply_response(self, code, content_type, response);
}

void http_reply_json(struct http_request *self, int code, json_t *json)
{
    char *text = json_dumps(json, JSON_COMPACT | JSON_ENCODE_ANY);
    json_decref(json);
    if (!text)
        text = xstrdup("null");
    http_reply_bytes(self, code, "application/json", bytes_take(text, strlen(text)));
}

/* --- errors -------------------------------------------------------------------------------------
 */

static json_t *v1_error(const struct error *why, const char *param)
{
    char code[32];
    text_copy(code, sizeof code, status_name(why->status));
    for (char *c = code; *c; c++)
        if (*c >= 'A' && *c <= 'Z')
            *c = (char)(*c - 'A' + 'a');
    const char *type = status_http(why->status) < 500 ? "invalid_request_error" : "server_error";
    json_t *text = json_stringn_nocheck(why->text, strlen(why->text));
    return json_pack("{s:{s:o,s:s,s:s?,s:s}}", "error", "message", text, "type", type, "param",
                     param, "code", code);
}

void http_reply_error(struct http_request *self, const struct error *why, const char *param)
{
    int code = status_http(why->status);
    assert(why->status != STATUS_OK);
    if (code == 503)
        http_reply_header(self, "Retry-After", "1");
    if (code >= 500 && code != 503 && code != 501)
        LOG_WARN("request_failed", "request=%s path=%s status=%s why=%s", self->id, self->path,
                 status_name(why->status), why->text);
    bool v1 = strncmp(self->path, "/v1", 3) == 0;
    json_t *json =
        v1 ? v1_error(why, param)
           : json_pack("{s:o}", "error", json_stringn_nocheck(why->text, strlen(why->text)));
    http_reply_json(self, code, json);
}

void http_reply_fail(struct http_request *self, enum status status, const char *format, ...)
{
    struct error why;
    va_list args;
    why.status = status;
    va_start(args, format);
    vsnprintf(why.text, sizeof why.text, format, args);
    va_end(args);
    http_reply_error(self, &why, NULL);
}
