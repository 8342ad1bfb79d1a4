#include "gateway/dataset/upload.h"

#include "common/clock.h"
#include "common/file.h"
#include "common/log.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct upload {
    struct jobs *jobs;                /* where it goes */
    const struct upload_calls *calls; /* who is told */
    void *arg;                        /* for the calls */
    struct ledger_file record;        /* in the making */
    char *path;                       /* final */
    int fd;                           /* -1 until the first write */
    char *filling, *busy;             /* the two buffers */
    size_t filled, busy_size;         /* octets in them */
    uint64_t written;                 /* octets handed to the pool in all */
    uint64_t offset;                  /* of the busy buffer in the file */
    struct digester digester;         /* the pool's, over what is written */
    bool working;                     /* the pool is at it */
    bool starved;                     /* room() is owed */
    bool ended, aborted;              /* no more octets will come */
    bool whole_only;                  /* for training: whoever trains reads what is in it */
    int64_t stamp;                    /* of the finished file */
    struct error why;                 /* the first failure; OK: none */
    struct dataset_info info;         /* what it turned out to be */
    struct dataset_flaw flaw;         /* and what is wrong with it */
};

struct upload *upload_new(struct jobs *jobs, const char *tenant, const struct upload_calls *calls,
                          void *arg)
{
    struct upload *self = xcalloc(1, sizeof(*self));
    self->jobs = jobs;
    self->calls = calls;
    self->arg = arg;
    self->fd = -1;
    self->record.id = id_new();
    self->record.tenant = xstrdup(tenant);
    self->path = jobs_path(jobs, &self->record.id);
    self->filling = xmalloc(UPLOAD_BUFFER);
    self->busy = xmalloc(UPLOAD_BUFFER);
    digest_start(&self->digester);
    jobs_begin(jobs);
    return self;
}

static void upload_free(struct upload *self)
{
    if (self->fd >= 0)
        close(self->fd);
    ledger_record_clear(LEDGER_file, &self->record);
    free(self->filling);
    free(self->busy);
    free(self->path);
    free(self);
}

/* --- writing: in the pool --------------------------------------------------------------------- */
static void write_work(void *arg)
{
    struct upload *self = arg;
    if (self->fd < 0) {
        self->fd = open(self->path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
        if (self->fd < 0) {
            file_fail(&self->why, "open", self->path);
            return;
        }
    }
    if (file_pwrite_all(self->fd, self->busy, self->busy_size, self->offset, "the upload",
                        &self->why) == STATUS_OK)
        digest_add(&self->digester, self->busy, self->busy_size);
}

/* Where the gateway keeps an upload is none of its client's business. */
static void hide_path(struct upload *self)
{
    char *text = self->why.text;
    size_t len = strlen(self->path);
    if (strncmp(text, self->path, len) == 0 && strncmp(text + len, ": ", 2) == 0)
        memmove(text, text + len + 2, strlen(text + len + 2) + 1);
}

static void check_work(void *arg)
{
    struct upload *self = arg;
    write_work(self); /* nothing is left to write, but an empty file must be there */
    if (self->why.status == STATUS_OK && fsync(self->fd) != 0)
        file_fail(&self->why, "flush", self->path);
    struct stat file;
    if (self->why.status == STATUS_OK && fstat(self->fd, &file) == 0)
        self->stamp = dataset_stamp(&file);
    if (self->why.status == STATUS_OK)
        file_sync_folder_of(self->path, &self->why);
    if (self->why.status == STATUS_OK && !self->whole_only &&
        dataset_index(self->path, &self->info, &self->flaw, &self->why) != STATUS_OK)
        hide_path(self);
}

static void remove_work(void *arg)
{
    struct upload *self = arg;
    unlink(self->path);
    dataset_index_remove(self->path);
}

/* --- the end ---------------------------------------------------------------------------------- */
static void remove_done(void *arg)
{
    struct upload *self = arg;
    bool alive = jobs_end(self->jobs);
    if (alive && !self->aborted)
        self->calls->done(self->arg, NULL, &self->why);
    upload_free(self);
}

static void throw_away(struct upload *self)
{
    self->working = true;
    pool_continue(self->jobs->config.pool, remove_work, remove_done, self);
}

/* The gateway stops: the pool takes nothing any more, and what is not recorded was never promised.
 */
static bool stopping(struct upload *self)
{
    if (!self->jobs->closed)
        return false;
    jobs_end(self->jobs);
    upload_free(self);
    return true;
}

static void recorded(void *arg, enum status status, const struct error *why)
{
    struct upload *self = arg;
    if (stopping(self))
        return;
    if (status != STATUS_OK) {
        self->why = *why;
        throw_away(self);
        return;
    }
    struct file *file = jobs_add_file(self->jobs, &self->record);
    file->whole = self->stamp;
    if (!self->aborted)
        self->calls->done(self->arg, file, &self->why);
    jobs_end(self->jobs);
    upload_free(self);
}

static char *shape_text(const struct dataset_info *info)
{
    char text[TENSOR_RANK_MAX * 24];
    if (info->format == DATASET_JSONL || info->format == DATASET_NONE)
        return xstrdup("");
    return xstrdup(dims_text(text, sizeof(text), info->dims, info->rank));
}

static void check_done(void *arg)
{
    struct upload *self = arg;
    struct ledger_file *record = &self->record;
    if (stopping(self))
        return;
    if (self->why.status != STATUS_OK || self->aborted) {
        throw_away(self);
        return;
    }
    struct digest sha256 = digest_end(&self->digester);
    struct ledger_change *change = ledger_change_new();
    record->bytes = (int64_t)self->written;
    record->sha256 = sha256;
    record->rows = (int64_t)self->info.rows;
    record->dtype = self->info.dtype;
    record->row_shape = shape_text(&self->info);
    record->format = xstrdup(dataset_format_name(self->info.format));
    record->state = xstrdup(self->flaw.code[0] ? "error" : "processed");
    record->detail = xstrdup(self->flaw.text);
    record->detail_code = xstrdup(self->flaw.code);
    record->detail_line = self->flaw.line;
    record->created_ms = clock_wall_ms();
    ledger_put(change, LEDGER_file, record);
    ledger_commit(self->jobs->ledger, &change, recorded, self);
}

/* --- the front's side ------------------------------------------------------------------------- */
static void write_done(void *arg);

static void write_on(struct upload *self)
{
    if (self->working)
        return;
    self->working = true;
    if (self->aborted || self->why.status != STATUS_OK) {
        if (self->aborted || self->ended)
            throw_away(self);
        else
            self->working = false;
        return;
    }
    if (self->filled == 0 && self->ended) {
        self->busy_size = 0;
        pool_continue(self->jobs->config.pool, check_work, check_done, self);
        return;
    }
    char *full = self->filling;
    self->filling = self->busy;
    self->busy = full;
    self->busy_size = self->filled;
    self->offset = self->written;
    self->written += self->filled;
    self->filled = 0;
    pool_continue(self->jobs->config.pool, write_work, write_done, self);
}

static void write_done(void *arg)
{
    struct upload *self = arg;
    if (stopping(self))
        return;
    self->working = false;
    if (self->ended || self->aborted || self->filled == UPLOAD_BUFFER)
        write_on(self);
    if (self->starved && !self->aborted) {
        self->starved = false;
        self->calls->room(self->arg);
    }
}

size_t upload_room(struct upload *self, size_t wanted)
{
    size_t room = UPLOAD_BUFFER - self->filled;
    if (room < wanted && !self->working) {
        write_on(self);
        room = UPLOAD_BUFFER - self->filled;
    }
    self->starved = self->starved || room < wanted;
    return room;
}

enum status upload_put(struct upload *self, const void *bytes, size_t size, struct error *why)
{
    assert(size <= UPLOAD_BUFFER - self->filled && !self->ended);
    if (self->why.status != STATUS_OK) {
        *why = self->why;
        return why->status;
    }
    uint64_t max = self->jobs->config.upload_max;
    if (self->written + self->filled + size > max)
        return fail(why, STATUS_TOO_LARGE,
                    "the file is larger than the %" PRIu64 " octets that this gateway takes: cut "
                    "it, or raise --upload-max",
                    max);
    memcpy(self->filling + self->filled, bytes, size);
    self->filled += size;
    return STATUS_OK;
}

void upload_end(struct upload *self, const char *name, const char *purpose)
{
    self->ended = true;
    self->record.name = xstrdup(name);
    self->record.purpose = xstrdup(purpose);
    self->whole_only = strcmp(purpose, "train") == 0 || strcmp(purpose, "fine-tune") == 0;
    write_on(self);
}

void upload_abort(struct upload *self)
{
    self->aborted = true;
    write_on(self);
}
