/* store_blob - see store_blob.h */
#include "worker/store_blob.h"

#include "common/log.h"
#include "worker/store_folder.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define HERE         UINT64_MAX          /* retry_ns of a chunk that came */
#define DAMAGED_MAX  2                   /* fetches that came damaged before we give up */
#define MISFITS_MAX  16                  /* chunks of a wrong size before we give up */
#define VERIFY_BYTES ((size_t)256 * KIB) /* read at once */

void store_blob_start(struct store_blob *self, const char *folder, const struct digest *digest,
                      uint64_t bytes, uint64_t bytes_max)
{
    *self = (struct store_blob){
        .path = store_folder_path(folder, digest),
        .digest = *digest,
        .bytes = bytes,
        .bytes_max = bytes_max,
        .phase = BLOB_LOOK,
        .draft = {.fd = -1},
        .found_fd = -1,
    };
}

static void close_found(struct store_blob *self)
{
    if (self->found_fd >= 0)
        close(self->found_fd);
    self->found_fd = -1;
}

static void drop_draft(struct store_blob *self, bool keep)
{
    if (keep && self->kept && self->draft.fd >= 0) {
        close(self->draft.fd);
        free(self->draft.path);
        free(self->draft.temp);
        self->draft = (struct file_draft){.fd = -1};
    }
    file_draft_abort(&self->draft);
    self->kept = false;
}

void store_blob_end(struct store_blob *self)
{
    if (!self->path)
        return;
    close_found(self);
    drop_draft(self, self->phase == BLOB_FETCH || self->phase == BLOB_VERIFY);
    free(self->retry_ns);
    free(self->path);
    *self = (struct store_blob){.phase = BLOB_FAILED, .draft = {.fd = -1}, .found_fd = -1};
}

static void start_verify(struct store_blob *self)
{
    self->phase = BLOB_VERIFY;
    self->hashed = 0;
    digest_start(&self->digester);
}

static void plan_chunks(struct store_blob *self)
{
    uint64_t bytes = self->bytes == BLOB_SIZE_UNKNOWN ? 1 : self->bytes;
    self->chunks = (size_t)((bytes + BLOB_CHUNK_BYTES - 1) / BLOB_CHUNK_BYTES);
    self->chunks_left = self->chunks;
    self->in_flight = 0;
    self->next = 0;
    free(self->retry_ns);
    self->retry_ns = xcalloc(self->chunks, sizeof *self->retry_ns);
}

/* Open the file that an earlier fetch may have left; false while another process writes there. */
static bool open_kept(struct store_blob *self)
{
    struct stat ours, there;
    char *temp = xasprintf("%s.part-kept", self->path);
    int fd = open(temp, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    /* Who had it may have given it its name since: then it is another file now. */
    if (fd >= 0 && (flock(fd, LOCK_EX | LOCK_NB) != 0 || fstat(fd, &ours) != 0 ||
                    stat(temp, &there) != 0 || ours.st_ino != there.st_ino)) {
        close(fd);
        fd = -1;
    }
    if (fd < 0) {
        free(temp);
        return false;
    }
    self->draft = (struct file_draft){.fd = fd, .path = xstrdup(self->path), .temp = temp};
    self->kept = true;
    return true;
}

/* A chunk without a hole was written once; SHA-256 has the last word. */
static void note_kept(struct store_blob *self)
{
    self->resumed = 0;
    for (size_t i = 0; self->bytes != BLOB_SIZE_UNKNOWN && i < self->chunks; i++) {
        uint64_t begin = i * BLOB_CHUNK_BYTES, end = MIN(begin + BLOB_CHUNK_BYTES, self->bytes);
        off_t hole = lseek(self->draft.fd, (off_t)begin, SEEK_HOLE);
        if (hole < 0 || (uint64_t)hole < end)
            continue;
        self->retry_ns[i] = HERE;
        self->chunks_left--;
        self->resumed += end - begin;
    }
    if (self->resumed > 0)
        LOG_INFO("fetch_resumed", "file=%s have=%" PRIu64 " bytes=%" PRIu64, self->path,
                 self->resumed, self->bytes);
}

/* `anew`: what an earlier fetch left is of no use. */
static enum status start_fetch(struct store_blob *self, bool anew, struct error *why)
{
    close_found(self);
    drop_draft(self, false);
    enum status status = STATUS_OK;
    if (anew || !open_kept(self))
        status = file_draft_open(&self->draft, self->path, why);
    if (status != STATUS_OK)
        return status;
    self->phase = BLOB_FETCH;
    plan_chunks(self);
    if (self->kept)
        note_kept(self);
    if (self->chunks_left == 0)
        start_verify(self); /* an empty file, or all of it is there */
    return STATUS_OK;
}

static enum status look(struct store_blob *self, struct error *why)
{
    struct stat info;
    self->found_fd = open(self->path, O_RDONLY | O_CLOEXEC);
    if (self->found_fd < 0)
        return start_fetch(self, false, why);
    uint64_t max = self->bytes == BLOB_SIZE_UNKNOWN ? self->bytes_max : self->bytes;
    if (fstat(self->found_fd, &info) != 0 || (uint64_t)info.st_size > max ||
        (self->bytes != BLOB_SIZE_UNKNOWN && (uint64_t)info.st_size != self->bytes))
        return start_fetch(self, false, why);
    self->bytes = (uint64_t)info.st_size;
    start_verify(self);
    return STATUS_OK;
}

/* All octets are hashed: is it what it should be? */
static enum status judge(struct store_blob *self, struct error *why)
{
    char want[DIGEST_TEXT_SIZE], got[DIGEST_TEXT_SIZE];
    struct digest digest = digest_end(&self->digester);
    bool found = self->found_fd >= 0;
    if (digest_equal(&digest, &self->digest)) {
        close_found(self);
        self->phase = BLOB_DONE;
        /* Not synced: what a power cut damages is found by the next look and fetched again. */
        return found ? STATUS_OK : file_draft_commit(&self->draft, false, why);
    }
    bool resumed = self->kept && self->resumed > 0;
    if (!found && !resumed && ++self->damaged >= DAMAGED_MAX)
        return fail(why, STATUS_BAD_MODEL,
                    "the file came damaged %d times: expected SHA-256 %s, got %s: add the model "
                    "again",
                    DAMAGED_MAX, digest_text(want, &self->digest), digest_text(got, &digest));
    return start_fetch(self, !found, why);
}

static enum status verify(struct store_blob *self, uint64_t budget, struct error *why)
{
    uint8_t *buffer = xmalloc(VERIFY_BYTES);
    int fd = self->found_fd >= 0 ? self->found_fd : self->draft.fd;
    enum status status = STATUS_OK;
    uint64_t end = MIN(self->bytes, self->hashed + budget);
    while (status == STATUS_OK && self->hashed < end) {
        size_t size = (size_t)MIN((uint64_t)VERIFY_BYTES, end - self->hashed);
        status = file_pread_all(fd, buffer, size, self->hashed, self->path, why);
        if (status == STATUS_OK)
            digest_add(&self->digester, buffer, size);
        self->hashed += size;
    }
    free(buffer);
    if (status == STATUS_OK && self->hashed == self->bytes)
        status = judge(self, why);
    return status;
}

enum status store_blob_step(struct store_blob *self, uint64_t budget, struct error *why)
{
    enum status status = STATUS_OK;
    if (self->phase == BLOB_LOOK)
        status = look(self, why);
    if (status == STATUS_OK && self->phase == BLOB_VERIFY)
        status = verify(self, budget, why);
    if (status != STATUS_OK)
        self->phase = BLOB_FAILED;
    return status;
}

bool store_blob_ask(struct store_blob *self, uint64_t now_ns, uint64_t *offset, uint64_t *length)
{
    size_t chunk = self->chunks;
    if (self->phase != BLOB_FETCH)
        return false;
    /* What was asked for and did not come lies in the few chunks before `next`. */
    for (size_t i = 0; i < self->next && chunk == self->chunks && self->in_flight > 0; i++)
        if (self->retry_ns[i] != HERE && self->retry_ns[i] <= now_ns)
            chunk = i;
    while (chunk == self->chunks && self->next < self->chunks && self->retry_ns[self->next] == HERE)
        self->next++;
    if (chunk == self->chunks) {
        if (self->next == self->chunks || self->in_flight >= BLOB_WINDOW)
            return false;
        chunk = self->next++;
        self->in_flight++;
    }
    self->retry_ns[chunk] = now_ns + BLOB_RETRY_NS;
    *offset = chunk * BLOB_CHUNK_BYTES;
    *length = self->bytes == BLOB_SIZE_UNKNOWN ? BLOB_CHUNK_BYTES
                                               : MIN(BLOB_CHUNK_BYTES, self->bytes - *offset);
    return true;
}

uint64_t store_blob_retry_ns(const struct store_blob *self)
{
    uint64_t soonest = UINT64_MAX;
    for (size_t i = 0; self->phase == BLOB_FETCH && i < self->next; i++)
        soonest = MIN(soonest, self->retry_ns[i]);
    return soonest;
}

enum status store_blob_take(struct store_blob *self, uint64_t offset, uint64_t total,
                            const void *bytes, size_t size, bool *news, struct error *why)
{
    *news = false;
    if (self->phase != BLOB_FETCH || offset % BLOB_CHUNK_BYTES != 0 ||
        offset / BLOB_CHUNK_BYTES >= self->next)
        return STATUS_OK; /* late or unasked: no matter */
    size_t chunk = (size_t)(offset / BLOB_CHUNK_BYTES);
    if (self->retry_ns[chunk] == HERE)
        return STATUS_OK;
    enum status status = STATUS_OK;
    if (self->bytes == BLOB_SIZE_UNKNOWN && total > 0 && total <= self->bytes_max)
        self->bytes = total; /* at most one chunk: plan_chunks stays right */
    if (total != self->bytes)
        status =
            fail(why, STATUS_BAD_MODEL,
                 "a file of the model has %" PRIu64 " bytes at the gateway, expected %s%" PRIu64,
                 total, self->bytes == BLOB_SIZE_UNKNOWN ? "1 to " : "",
                 self->bytes == BLOB_SIZE_UNKNOWN ? self->bytes_max : self->bytes);
    else if (size != MIN(BLOB_CHUNK_BYTES, self->bytes - offset)) {
        self->retry_ns[chunk] = 0;
        if (++self->misfits > MISFITS_MAX)
            status = fail(why, STATUS_BAD_MODEL,
                          "the gateway sends chunks of %zu bytes at %" PRIu64 ", expected %" PRIu64,
                          size, offset, MIN(BLOB_CHUNK_BYTES, self->bytes - offset));
    } else {
        status = file_pwrite_all(self->draft.fd, bytes, size, offset, self->path, why);
        self->retry_ns[chunk] = HERE;
        self->in_flight--;
        self->chunks_left--;
        *news = true;
        if (status == STATUS_OK && self->chunks_left == 0)
            start_verify(self);
    }
    if (status != STATUS_OK)
        self->phase = BLOB_FAILED;
    return status;
}

void store_blob_lost(struct store_blob *self)
{
    for (size_t i = 0; self->phase == BLOB_FETCH && i < self->next; i++)
        if (self->retry_ns[i] != HERE)
            self->retry_ns[i] = 0;
}
