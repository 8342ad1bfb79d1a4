/* private - what the files of gateway/http share; nobody else includes this */
#ifndef CONVOY_GATEWAY_HTTP_PRIVATE_H
#define CONVOY_GATEWAY_HTTP_PRIVATE_H

#include "common/limits.h"
#include "gateway/http/server.h"

#include <microhttpd.h>
#include <sys/queue.h>

#define HTTP_TABLES_MAX   12
#define HTTP_CAPTURES_MAX 4
#define HTTP_HEADERS_MAX  8
#define HTTP_ID_SIZE      65 /* X-Request-Id: at most 64 characters */

/* A TCP connection: what MHD does not watch while it is suspended. */
struct http_conn {
    LIST_ENTRY(http_conn) link;   /* in server->conns */
    struct http_server *server;   /* whose it is */
    struct MHD_Connection *mhd;   /* libmicrohttpd's */
    int fd;                       /* its socket */
    bool watched;                 /* in the watch epoll */
    bool armed;                   /* one hang-up is still to be told */
    bool suspended;               /* MHD does nothing with it until resumed */
    struct http_request *request; /* the one under way; NULL between requests */
    struct front_timer timer;     /* between requests: the next one's headers must come by then */
    struct front_timer nudge;     /* the client sends no more: MHD must see it */
    struct http_stream *stream;   /* the reply being made piece by piece, or NULL */
};

struct http_capture {
    const char *name; /* in the pattern, not ended by NUL */
    size_t name_len;  /* its length */
    const char *text; /* decoded, in request->path_store */
};

enum request_phase {
    REQUEST_READING, /* headers or body are coming */
    REQUEST_HANDLED, /* the handler has it; no reply yet */
    REQUEST_REPLIED  /* `response` is made, or was thrown away */
};

struct http_request {
    LIST_ENTRY(http_request) link;  /* in server->requests */
    struct http_server *server;     /* NULL after http_server_close */
    struct http_conn *conn;         /* NULL once MHD is done with it */
    const struct http_route *route; /* NULL when none matched */
    void *owner;                    /* of the route's table */
    struct http_caller caller;      /* who asks */
    enum http_method method;        /* HEAD counts as GET */
    enum request_phase phase;       /* see above */
    bool gone;                      /* the client left */
    bool in_mhd;                    /* MHD still knows it */
    bool opened;                    /* HTTP_BODY_STREAM: open() was called */
    bool discard;                   /* read the rest of the body and throw it away */
    char *path;                     /* as sent */
    char *path_store;               /* captures point in here */
    size_t captures_len;            /* in use */
    struct http_capture captures[HTTP_CAPTURES_MAX];
    char id[HTTP_ID_SIZE];    /* X-Request-Id */
    uint64_t content_length;  /* UINT64_MAX: chunked */
    uint64_t received;        /* octets of the body so far */
    char *body;               /* HTTP_BODY_MEMORY: one octet more than body_room */
    size_t body_room;         /* allocated, the last NUL aside */
    struct front_timer timer; /* the body must be whole by then */
    void *context;            /* the handler's */
    void (*on_gone)(struct http_request *request, void *arg);
    void *on_gone_arg;                  /* for on_gone */
    struct MHD_Response *response;      /* phase REPLIED: to be queued */
    unsigned int code;                  /* of the response */
    size_t headers_len;                 /* in use */
    char *headers[HTTP_HEADERS_MAX][2]; /* name and value to add to the reply */
};

struct http_table {
    const struct http_route *routes; /* rows */
    size_t len;                      /* how many */
    void *owner;                     /* passed to their handlers */
};

struct http_server {
    struct http_config config;          /* address is not kept */
    char address[300];                  /* as bound */
    int listen_fd;                      /* ours until MHD has it */
    int watch_fd;                       /* epoll: clients that hang up */
    struct MHD_Daemon *mhd;             /* libmicrohttpd's */
    LIST_HEAD(, http_conn) conns;       /* all open ones */
    LIST_HEAD(, http_request) requests; /* all that were not freed */
    size_t active;                      /* requests that MHD knows */
    struct http_table tables[HTTP_TABLES_MAX];
    size_t tables_len;        /* in use */
    uint64_t id_seed;         /* request ids are made from it */
    struct tls_pair *retired; /* replaced; handshakes may still use them */
    bool quiet;               /* drain has begun */
    bool closing;             /* the end: nothing may be suspended any more */
};

/* --- route.c */

/* Fill route, owner and captures of a request from its path and method. OK, NOT_FOUND, or
 * UNSUPPORTED when the path knows other methods: `allow` gets them. */
enum status http_route_find(const struct http_server *server, struct http_request *request,
                            const char *method, char *allow, size_t allow_size);
/* GET for HEAD too; HTTP_METHODS when it is none of ours. */
enum http_method http_method_by_name(const char *name);

/* --- guard.c: what the headers say about the framing, all in one pass */
struct http_framing {
    unsigned lengths;       /* Content-Length headers */
    unsigned encodings;     /* Transfer-Encoding headers */
    unsigned hosts;         /* Host headers */
    unsigned authorities;   /* Authorization headers */
    unsigned names_odd;     /* header names that are no tokens */
    bool chunked;           /* the encoding is exactly "chunked" */
    bool length_ok;         /* decimal digits, below 2^63 */
    bool waits;             /* Expect: the client sends no body before it hears from us */
    uint64_t length;        /* Content-Length */
    const char *request_id; /* the client's own, if it is fit to be repeated */
};
struct http_framing http_framing_of(struct MHD_Connection *mhd);
/* MALFORMED when a proxy in front could see other requests than we do. */
enum status http_guard(const struct http_framing *framing, const char *version, struct error *why);

/* --- request.c */
struct http_request *http_request_new(struct http_conn *conn, const char *url);
/* MHD is done with it, or it was replied to: free it when both are true. */
void http_request_release(struct http_request *self);
/* Tell the handler, once, that nobody waits any more. */
void http_request_gone(struct http_request *self);

/* --- connection.c: libmicrohttpd's callbacks */
enum MHD_Result http_on_request(void *server, struct MHD_Connection *mhd, const char *url,
                                const char *method, const char *version, const char *data,
                                size_t *data_size, void **request);
void http_on_completed(void *server, struct MHD_Connection *mhd, void **request,
                       enum MHD_RequestTerminationCode how);
void http_conn_nudge(struct http_conn *self); /* the client sends no more */
void http_on_connection(void *server, struct MHD_Connection *mhd, void **conn,
                        enum MHD_ConnectionNotificationCode what);
void http_conn_suspend(struct http_conn *self);
void http_conn_resume(struct http_conn *self);

/* --- stream.c */
/* Nobody is to get any more of it: end it, whether it waits or not. */
void http_stream_cut(struct http_stream *self);

#endif
