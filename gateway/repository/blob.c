/* blob - manifests and model files for workers, by SHA-256, read in the pool */
#include "gateway/repository/private.h"

#include "common/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct blob_read {
    struct repository *repository; /* whose */
    struct fleet_blob want;        /* what was asked for, and by whom */
    uint64_t total;                /* the whole file's size */
    char *path;                    /* the file */
    struct bytes *bytes;           /* filled by the pool */
    struct error why;              /* or why not */
};

static void read_work(void *arg)
{
    struct blob_read *self = arg;
    int fd = open(self->path, O_RDONLY | O_CLOEXEC);
    enum status s =
        fd < 0 ? fail(&self->why, STATUS_IO, "cannot open %s: %s", self->path, strerror(errno))
               : file_pread_all(fd, self->bytes->data, self->bytes->size, self->want.offset,
                                self->path, &self->why);
    if (s != STATUS_OK)
        bytes_drop(&self->bytes);
    if (fd >= 0)
        close(fd);
}

static void read_done(void *arg)
{
    struct blob_read *self = arg;
    struct repository *repository = self->repository;
    if (!repository->closed)
        fleet_blob_chunk(repository->fleet, &self->want, self->total, self->bytes, &self->why);
    else
        bytes_drop(&self->bytes);
    free(self->path);
    free(self);
    repository_pool_back(repository);
}

static void refuse(struct repository *self, const struct fleet_blob *want, enum status status,
                   const char *text)
{
    struct error why;
    fail(&why, status, "%s", text);
    fleet_blob_chunk(self->fleet, want, 0, NULL, &why);
}

/* Takes over `path`. */
static void send_file(struct repository *self, char *path, uint64_t total,
                      const struct fleet_blob *want)
{
    if (want->offset > total) {
        refuse(self, want, STATUS_INVALID, "offset beyond the blob's end");
        free(path);
        return;
    }
    struct blob_read *read = xcalloc(1, sizeof *read);
    *read = (struct blob_read){.repository = self, .want = *want, .total = total, .path = path};
    read->bytes = bytes_new((size_t)MIN((uint64_t)want->length, total - want->offset));
    self->at_pool++;
    if (pool_submit(self->pool, read_work, read_done, read) != STATUS_OK) {
        bytes_drop(&read->bytes);
        fail(&read->why, STATUS_BUSY, "the gateway's disk threads are busy: ask again");
        read_done(read);
    }
}

static void send_text(struct repository *self, const void *text, size_t size,
                      const struct fleet_blob *want)
{
    size_t at = (size_t)MIN(want->offset, (uint64_t)size);
    struct bytes *bytes = bytes_new(MIN((size_t)want->length, size - at));
    if (bytes->size)
        memcpy(bytes->data, (const char *)text + at, bytes->size);
    fleet_blob_chunk(self->fleet, want, size, bytes, NULL);
}

/* One reply if `version` has the blob. */
static bool serve(struct repository *self, const struct version *version,
                  const struct fleet_blob *want)
{
    if (!version || !version->manifest)
        return false;
    if (digest_equal(&version->id, &want->blob)) {
        send_text(self, version->manifest, version->manifest_size, want);
        return true;
    }
    for (size_t i = 0; i < version->files_len; i++) {
        if (digest_equal(&version->files[i].sha256, &want->blob)) {
            send_file(self, xasprintf("%s/%s", version->folder, version->files[i].path),
                      version->files[i].bytes, want);
            return true;
        }
    }
    return false;
}

/* One reply if who lends has it. */
static bool serve_lent(struct repository *self, const struct fleet_blob *want)
{
    struct repository_blob blob = {.total = 0};
    if (!self->lent || !self->lent(self->lent_arg, &want->blob, &blob))
        return false;
    if (blob.bytes)
        send_text(self, blob.bytes, (size_t)blob.total, want);
    else
        send_file(self, blob.path, blob.total, want);
    return true;
}

void repository_lend(struct repository *self, repository_find_blob *find, void *arg)
{
    self->lent = find;
    self->lent_arg = arg;
}

void repository_blob_get(void *arg, const struct fleet_blob *want)
{
    struct repository *self = arg;
    for (size_t i = 0; i < self->len; i++)
        if (serve(self, self->versions[i], want))
            return;
    for (size_t i = 0; i < RETIRED_MAX; i++)
        if (serve(self, self->retired[i], want))
            return;
    if (!serve_lent(self, want))
        refuse(self, want, STATUS_NOT_FOUND, "this gateway has no such blob");
}
