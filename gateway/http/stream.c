/* stream - replies made piece by piece, and files through the pool */
#include "gateway/http/reply.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BLOCK (64 * KIB) /* what libmicrohttpd asks for at a time */

struct http_stream {
    struct http_source source; /* who makes the octets */
    struct http_conn *conn;    /* NULL until the first pull */
    bool cut;                  /* end with an error */
};

/* --- libmicrohttpd's side -----------------------------------------------------------------------
 */

static ssize_t pull(void *arg, uint64_t position, char *into, size_t max)
{
    struct http_stream *self = arg;
    (void)position;
    if (self->cut || (self->conn && self->conn->server->closing))
        return MHD_CONTENT_READER_END_WITH_ERROR;
    int64_t n = self->source.pull(self->source.arg, into, max);
    assert(n != 0 && n <= (int64_t)max);
    if (n > 0)
        return (ssize_t)n;
    if (n == HTTP_STREAM_END)
        return MHD_CONTENT_READER_END_OF_STREAM;
    if (n == HTTP_STREAM_FAIL || !self->conn)
        return MHD_CONTENT_READER_END_WITH_ERROR;
    http_conn_suspend(self->conn);
    return 0;
}

static void over(void *arg)
{
    struct http_stream *self = arg;
    if (self->conn && self->conn->stream == self)
        self->conn->stream = NULL;
    self->source.done(self->source.arg);
    free(self);
}

void http_stream_cut(struct http_stream *self)
{
    self->cut = true;
    http_stream_wake(self);
}

void http_stream_wake(struct http_stream *stream)
{
    if (stream->conn)
        http_conn_resume(stream->conn);
}

struct http_stream *http_reply_stream(struct http_request *self, int code, const char *content_type,
                                      uint64_t size, const struct http_source *source)
{
    struct http_stream *stream = xcalloc(1, sizeof *stream);
    stream->source = *source;
    bool alive = self->in_mhd && !self->gone;
    if (alive) {
        stream->conn = self->conn;
        self->conn->stream = stream;
    }
    uint64_t total = size == UINT64_MAX ? MHD_SIZE_UNKNOWN : size;
    struct MHD_Response *response =
        MHD_create_response_from_callback(total, BLOCK, pull, stream, over);
    http_reply_response(self, code, content_type, response);
    return alive ? stream : NULL;
}

/* --- files --------------------------------------------------------------------------------------
 */

#define FILE_PIECE (256 * KIB)

struct file_reply {
    struct pool *pool;          /* reads */
    struct http_stream *stream; /* to be woken when a piece is there */
    int fd;                     /* ours */
    uint64_t offset;            /* of the next piece */
    uint64_t left;              /* octets not read yet */
    bool reading;               /* a thread of the pool has it */
    bool failed;                /* the file could not be read to its end */
    bool over;                  /* nobody wants more: free after reading */
    size_t at;                  /* first octet of `piece` that was not sent */
    size_t len;                 /* octets in `piece` */
    char piece[FILE_PIECE];     /* what was read last */
};

static void file_free(struct file_reply *self)
{
    close(self->fd);
    free(self);
}

static void file_work(void *arg)
{
    struct file_reply *self = arg;
    ssize_t n;
    do
        n = pread(self->fd, self->piece, (size_t)MIN(self->left, FILE_PIECE), (off_t)self->offset);
    while (n < 0 && errno == EINTR);
    self->failed = n <= 0;
    self->len = n > 0 ? (size_t)n : 0;
}

static void file_done(void *arg)
{
    struct file_reply *self = arg;
    self->reading = false;
    self->at = 0;
    self->offset += self->len;
    self->left -= self->len;
    if (self->over)
        file_free(self);
    else
        http_stream_wake(self->stream);
}

static int64_t file_pull(void *arg, void *into, size_t max)
{
    struct file_reply *self = arg;
    if (self->reading)
        return HTTP_STREAM_WAIT;
    if (self->failed)
        return HTTP_STREAM_FAIL;
    size_t n = MIN(max, self->len - self->at);
    if (n) {
        memcpy(into, self->piece + self->at, n);
        self->at += n;
        return (int64_t)n;
    }
    if (!self->left)
        return HTTP_STREAM_END;
    self->reading = true;
    pool_continue(self->pool, file_work, file_done, self);
    return HTTP_STREAM_WAIT;
}

static void file_over(void *arg)
{
    struct file_reply *self = arg;
    self->over = true;
    if (!self->reading)
        file_free(self);
}

void http_reply_file(struct http_request *self, int code, const char *content_type, int fd,
                     uint64_t offset, uint64_t size)
{
    if (!size || !self->server) {
        close(fd);
        http_reply_bytes(self, code, content_type, NULL);
        return;
    }
    struct file_reply *reply = xcalloc(1, sizeof *reply);
    reply->pool = self->server->config.pool;
    reply->fd = fd;
    reply->offset = offset;
    reply->left = size;
    const struct http_source source = {file_pull, file_over, reply};
    struct http_stream *stream = http_reply_stream(self, code, content_type, size, &source);
    if (stream)
        reply->stream = stream;
}
