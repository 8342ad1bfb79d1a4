/* spool - two buffers: one fills while a thread of the pool writes the other; see spool.h */
#include "gateway/http/spool.h"

#include "common/file.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define PIECE MIB /* octets written at a time */

struct spool {
    struct http_request *request; /* to be replied to by done() */
    struct pool *pool;            /* writes */
    char *path;                   /* the file's name */
    uint64_t bytes_max;           /* refusal point */
    void (*done)(struct http_request *request, void *arg, const struct spooled *spooled,
                 const struct error *why);
    void *arg;                /* for done */
    struct file_draft draft;  /* the pool's */
    struct digester digester; /* the pool's */
    struct spooled spooled;   /* the pool counts */
    struct error why;         /* first failure */
    char *filling;            /* the body comes in here */
    size_t filled;            /* octets in it */
    char *writing;            /* the pool's while busy */
    size_t to_write;          /* octets in it */
    bool busy;                /* the pool has it */
    bool paused;              /* data() returned 0 */
    bool whole;               /* the body is complete */
    bool last;                /* the pool commits after this piece */
    bool cut;                 /* the client left: nothing more comes */
    uint64_t received;        /* octets taken in */
};

static void start(struct spool *self)
{
    size_t slash = (size_t)(strrchr(self->path, '/') - self->path);
    char *folder = xstrdup(self->path);
    folder[slash] = '\0';
    if (file_mkdirs(folder, &self->why) == STATUS_OK)
        self->why.status = file_draft_open(&self->draft, self->path, &self->why);
    digest_start(&self->digester);
    free(folder);
}

static void work(void *arg)
{
    struct spool *self = arg;
    enum status s = self->why.status;
    if (s == STATUS_OK && self->draft.fd < 0) {
        start(self);
        s = self->why.status;
    }
    if (s == STATUS_OK && self->to_write) {
        s = file_pwrite_all(self->draft.fd, self->writing, self->to_write, self->spooled.bytes,
                            self->path, &self->why);
        digest_add(&self->digester, self->writing, self->to_write);
        self->spooled.bytes += self->to_write;
    }
    if (s == STATUS_OK && self->last) {
        self->spooled.sha256 = digest_end(&self->digester);
        s = file_draft_commit(&self->draft, true, &self->why);
    }
    if (s != STATUS_OK)
        file_draft_abort(&self->draft);
    self->why.status = s;
}

static void finish(struct spool *self)
{
    http_on_gone(self->request, NULL, NULL);
    self->done(self->request, self->arg, &self->spooled, &self->why);
    free(self->filling);
    free(self->writing);
    free(self->path);
    free(self);
}

static void written(void *arg);

/* Hand the filled buffer to the pool when it is worth it. */
static void kick(struct spool *self)
{
    if (self->busy || self->cut || (self->filled < PIECE && !self->whole))
        return;
    char *other = self->writing;
    self->writing = self->filling;
    self->filling = other;
    self->to_write = self->filled;
    self->filled = 0;
    self->busy = true;
    self->last = self->whole;
    pool_continue(self->pool, work, written, self);
}

/* No more of the body is wanted: the pool throws the draft away, then done() is called. */
static void give_up(struct spool *self)
{
    self->to_write = 0;
    self->last = self->busy = true;
    if (self->cut)
        fail(&self->why, STATUS_CANCELLED, "the client left before its file was whole");
    else
        fail(&self->why, STATUS_TOO_LARGE,
             "the file has more than the %" PRIu64 " bytes that are taken", self->bytes_max);
    pool_continue(self->pool, work, written, self);
}

static void written(void *arg)
{
    struct spool *self = arg;
    self->busy = false;
    if (self->why.status != STATUS_OK || self->last) {
        finish(self);
        return;
    }
    if (self->cut || self->received > self->bytes_max) {
        give_up(self);
        return;
    }
    kick(self);
    if (self->paused) {
        self->paused = false;
        http_body_resume(self->request);
    }
}

static void gone(struct http_request *request, void *arg)
{
    struct spool *self = arg;
    (void)request;
    self->cut = true;
    if (!self->busy)
        give_up(self);
}

size_t spool_data(struct http_request *request, const void *bytes, size_t size, void *owner)
{
    struct spool *self = http_context(request);
    (void)owner;
    size_t n = MIN(size, PIECE - self->filled);
    memcpy(self->filling + self->filled, bytes, n);
    self->filled += n;
    self->received += n;
    if (self->received > self->bytes_max && !self->busy)
        give_up(self);
    else
        kick(self);
    self->paused = n == 0;
    return n;
}

void spool_end(struct http_request *request, void *owner)
{
    struct spool *self = http_context(request);
    (void)owner;
    self->whole = true;
    kick(self);
}

void spool_open(struct http_request *request, struct pool *pool, const char *path,
                uint64_t bytes_max,
                void (*done)(struct http_request *request, void *arg, const struct spooled *spooled,
                             const struct error *why),
                void *arg)
{
    struct spool *self = xcalloc(1, sizeof *self);
    self->request = request;
    self->pool = pool;
    self->path = xstrdup(path);
    self->bytes_max = bytes_max;
    self->done = done;
    self->arg = arg;
    self->draft.fd = -1;
    self->filling = xmalloc(PIECE);
    self->writing = xmalloc(PIECE);
    http_set_context(request, self);
    http_on_gone(request, gone, self);
    if (http_content_length(request) != UINT64_MAX && http_content_length(request) > bytes_max) {
        fail(&self->why, STATUS_TOO_LARGE,
             "the file has %" PRIu64 " bytes: at most %" PRIu64 " are taken",
             http_content_length(request), bytes_max);
        finish(self);
    }
}
