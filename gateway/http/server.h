/* server - HTTP/1.1 in the front thread: routes, bodies, replies
 *
 * libmicrohttpd without threads of its own, inside the gateway's poll loop. A route is one row of a
 * table. Its handler is called on the front thread with the whole body (or as the body comes), and
 * answers at once or later: the connection is suspended meanwhile.
 *
 * A request lives until exactly one http_reply_*() call that ends it, whatever its client does: a
 * reply to a client that has left is thrown away. So work that is under way elsewhere may hold the
 * pointer. After that call the pointer is gone.
 *
 * Every reply carries X-Request-Id. Bounds: connections, header octets, body octets, time per body,
 * and the guard against request smuggling, all before a handler sees anything. */
#ifndef CONVOY_GATEWAY_HTTP_SERVER_H
#define CONVOY_GATEWAY_HTTP_SERVER_H

#include "common/status.h"
#include "gateway/bytes.h"
#include "gateway/front.h"
#include "gateway/http/scope.h"
#include "gateway/http/tls.h"
#include "gateway/pool.h"

#include <jansson.h>

struct http_server;
struct http_request;

enum http_method { HTTP_GET, HTTP_POST, HTTP_PUT, HTTP_DELETE, HTTP_METHODS };

enum http_body {
    HTTP_BODY_NONE,   /* a body that comes nevertheless is read (64 KiB at most) and ignored */
    HTTP_BODY_MEMORY, /* collected, at most body_max octets; handle() is called when it is whole */
    HTTP_BODY_STREAM  /* handed to data() piece by piece; the route sets the limit */
};

/* One row of a table. `owner` is what http_server_routes() was given. */
struct http_route {
    enum http_method method; /* HEAD is answered by GET's row */
    const char *pattern;     /* "/v2/models/{model}/infer": {x} takes one segment, not empty */
    enum http_scope scope;   /* what the caller must be allowed; asked before the body comes */
    enum http_body body;     /* how a body is taken */
    /* The request is whole. For HTTP_BODY_STREAM: the last octet was taken by data(). */
    void (*handle)(struct http_request *request, void *owner);
    /* HTTP_BODY_STREAM only. Headers have come: reply (refuse), or set up a sink with
     * http_set_context(). */
    void (*open)(struct http_request *request, void *owner);
    /* HTTP_BODY_STREAM only. Take some of `size` octets and return how many; 0: the body is paused
     * until http_body_resume(). May reply (fail): then the rest is not read; return 0. */
    size_t (*data)(struct http_request *request, const void *bytes, size_t size, void *owner);
};

struct http_config {
    const char *address;  /* HOST:PORT; port 0: any */
    struct tls_pair *tls; /* taken over, also on failure; NULL: plain HTTP */
    /* Who sends this Authorization header (NULL: none), and may they do what needs `scope`?
     * UNAUTHORIZED and FORBIDDEN become the answer. NULL: nobody is asked, and all are admins. */
    enum status (*admit)(void *arg, const char *authorization, enum http_scope scope,
                         struct http_caller *caller, struct error *why);
    void *admit_arg;          /* for admit */
    uint32_t connections_max; /* further ones are closed at once */
    uint64_t body_max;        /* octets of a body in memory */
    uint32_t body_timeout_ms; /* from the headers to the last octet, memory bodies only */
    uint32_t idle_timeout_ms; /* until a request's headers are whole, and between octets */
    struct front *front;      /* its timers */
    struct pool *pool;        /* reads files for http_reply_file */
};

/* Bind and listen. INVALID: no address; UNAVAILABLE: it is in use. Whether it may be used without
 * TLS and keys is its owner's decision. */
enum status http_server_open(struct http_server **out, const struct http_config *config,
                             struct error *why);

/* Add a table, before the first step. The table must outlive the server. */
void http_server_routes(struct http_server *self, const struct http_route *routes, size_t len,
                        void *owner);

/* New handshakes use this pair from now on; the old one ends with those under way. Only for a
 * server that was opened with one. */
void http_server_use(struct http_server *self, struct tls_pair *tls);

/* Cut the replies to who came with this key that are being made piece by piece: files, events. */
void http_server_cut(struct http_server *self, const struct uuid *key);

/* "127.0.0.1:8000" as bound. */
const char *http_server_address(const struct http_server *self);

/* Stop accepting; requests under way go on. True when no connection has a request any more. */
bool http_server_drain(struct http_server *self);

/* Cuts what is left. Owners of requests still have to reply before the memory of those is gone, so
 * stop them after this. NULL inside is fine. */
void http_server_close(struct http_server **self_p);

/* --- for main's loop: poll these for reading, then step in every turn ----------------------------
 */
size_t http_server_fds(const struct http_server *self, int fds[2]);
uint64_t http_server_next_ns(const struct http_server *self, uint64_t now_ns);
void http_server_step(struct http_server *self);

/* --- reading a request ---------------------------------------------------------------------------
 * Texts stay valid until the reply; header and query are NULL when absent and once the client left.
 */
enum http_method http_method(const struct http_request *self);
const char *http_path(const struct http_request *self);
const char *http_request_id(const struct http_request *self);
const char *http_query(const struct http_request *self, const char *name);
const char *http_header(const struct http_request *self, const char *name);

/* Who asks: by its key, or everybody's admin where no keys are asked for. */
const struct http_caller *http_caller(const struct http_request *self);

/* What {name} of the pattern matched, percent-decoded; "" when the pattern has no such name. */
const char *http_capture(const struct http_request *self, const char *name);

/* Content-Length; UINT64_MAX when unknown (chunked). */
uint64_t http_content_length(const struct http_request *self);

/* The body of HTTP_BODY_MEMORY: borrowed ("" and 0 when empty; one NUL follows it), or taken over
 * by the caller, who drops it (never NULL). */
const char *http_body(const struct http_request *self, size_t *size);
struct bytes *http_body_take(struct http_request *self);

/* The handler's own pointer. */
void http_set_context(struct http_request *self, void *context);
void *http_context(const struct http_request *self);

/* Be told (once, front thread) when the client leaves before the reply, also in the middle of a
 * streamed body. The request is still to be replied to. NULL: hear nothing. */
void http_on_gone(struct http_request *self, void (*gone)(struct http_request *request, void *arg),
                  void *arg);
bool http_is_gone(const struct http_request *self);

/* HTTP_BODY_STREAM: data() returned 0 and can take more now. */
void http_body_resume(struct http_request *self);

/* --- replying: each of these ends the request, but http_reply_header -----------------------------
 */

/* Add a header to the reply that follows; copied. At most 8. */
void http_reply_header(struct http_request *self, const char *name, const char *value);

/* JSON; takes over one reference of `json`. */
void http_reply_json(struct http_request *self, int code, json_t *json);

/* Octets; takes over one reference. `bytes` may be NULL: an empty body. */
void http_reply_bytes(struct http_request *self, int code, const char *content_type,
                      struct bytes *bytes);

/* Pieces in order, without copying; done(arg) is called once when they are not needed any more. */
struct http_piece {
    const void *data; /* stays until done() */
    size_t size;      /* octets; 0 is fine */
};
void http_reply_pieces(struct http_request *self, int code, const char *content_type,
                       const struct http_piece *pieces, size_t len, void (*done)(void *arg),
                       void *arg);

/* `size` octets of a file from `offset` on, read by the pool. Takes over `fd` and closes it. */
void http_reply_file(struct http_request *self, int code, const char *content_type, int fd,
                     uint64_t offset, uint64_t size);

/* The error in the shape of the path: /v1 {"error":{"message","type","param","code"}}, all others
 * {"error": "..."}. The HTTP status is the status's own; 503 gets Retry-After. `param` (may be
 * NULL) is the field of the request that is wrong. */
void http_reply_error(struct http_request *self, const struct error *why, const char *param);
void http_reply_fail(struct http_request *self, enum status status, const char *format, ...)
    PRINTF_LIKE(3, 4);

/* A body made piece by piece (server-sent events, results of a running job). */
#define HTTP_STREAM_WAIT (-1) /* nothing now: http_stream_wake() will be called */
#define HTTP_STREAM_END  (-2) /* that was all */
#define HTTP_STREAM_FAIL                                                                           \
    (-3) /* cut the connection, so that the client sees that it is not whole                       \
          */

struct http_stream; /* the reply while it is going on */

struct http_source {
    /* Write at most `max` octets and return how many (> 0), or one of the above. */
    int64_t (*pull)(void *arg, void *into, size_t max);
    /* The reply is over, for whatever reason: free. Called exactly once. */
    void (*done)(void *arg);
    void *arg; /* for both */
};

/* `size`: octets in all; UINT64_MAX: unknown, sent chunked. The handle is valid until done(); NULL
 * when the client had left already (done() was called then). */
struct http_stream *http_reply_stream(struct http_request *self, int code, const char *content_type,
                                      uint64_t size, const struct http_source *source);

/* After HTTP_STREAM_WAIT: pull again. */
void http_stream_wake(struct http_stream *stream);

#endif
