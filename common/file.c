/* file - over POSIX calls; see file.h */
#include "common/file.h"

#include "common/ids.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum status file_fail(struct error *why, const char *what, const char *name)
{
    int reason = errno;
    enum status status = STATUS_IO;
    if (reason == ENOENT)
        status = STATUS_NOT_FOUND;
    else if (reason == ENOSPC || reason == EDQUOT)
        status = STATUS_STORAGE_FULL;
    else if (reason == EMFILE || reason == ENFILE)
        status = STATUS_BUSY; /* of descriptors, for the moment */
    return fail(why, status, "%s: cannot %s: %s", name, what, strerror(reason));
}

enum status file_read(char **bytes, size_t *size, const char *path, size_t max, struct error *why)
{
    size_t used = 0, room = 0;
    char *all = NULL;
    ssize_t got;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return file_fail(why, "open", path);
    do {
        if (room - used < 2) { /* room for one more byte and the NUL; max + 2 might overflow */
            room = MIN(MAX(2 * room, 4 * KIB), max) + 2;
            all = xrealloc(all, room);
        }
        got = read(fd, all + used, room - used - 1);
        if (got > 0)
            used += (size_t)got;
    } while (used <= max && (got > 0 || (got < 0 && errno == EINTR)));
    enum status status = STATUS_OK;
    if (got < 0)
        status = file_fail(why, "read", path);
    else if (used > max)
        status = fail(why, STATUS_TOO_LARGE, "%s: larger than the limit of %zu bytes", path, max);
    close(fd);
    if (status != STATUS_OK) {
        free(all);
        return status;
    }
    all[used] = '\0';
    *bytes = all;
    *size = used;
    return STATUS_OK;
}

enum status file_pread_all(int fd, void *into, size_t size, uint64_t offset, const char *name,
                           struct error *why)
{
    size_t done = 0;
    while (done < size) {
        ssize_t got = pread(fd, (char *)into + done, size - done, (off_t)(offset + done));
        if (got == 0)
            return fail(why, STATUS_IO,
                        "%s: ends early: expected %zu bytes at %" PRIu64 ", got %zu", name, size,
                        offset, done);
        if (got < 0 && errno != EINTR)
            return file_fail(why, "read", name);
        if (got > 0)
            done += (size_t)got;
    }
    return STATUS_OK;
}

enum status file_pwrite_all(int fd, const void *bytes, size_t size, uint64_t offset,
                            const char *name, struct error *why)
{
    size_t done = 0;
    while (done < size) {
        ssize_t put = pwrite(fd, (const char *)bytes + done, size - done, (off_t)(offset + done));
        if (put < 0 && errno != EINTR)
            return file_fail(why, "write", name);
        if (put > 0)
            done += (size_t)put;
    }
    return STATUS_OK;
}

enum status file_draft_open(struct file_draft *self, const char *path, struct error *why)
{
    self->path = xstrdup(path);
    self->temp = xasprintf("%s.part-%016" PRIx64, path, random_u64());
    self->fd = open(self->temp, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (self->fd >= 0)
        return STATUS_OK;
    enum status status = file_fail(why, "create", path);
    free(self->path);
    free(self->temp);
    *self = (struct file_draft){.fd = -1};
    return status;
}

enum status file_draft_commit(struct file_draft *self, bool sync, struct error *why)
{
    enum status status = STATUS_OK;
    assert(self->fd >= 0);
    if (sync && fdatasync(self->fd) != 0)
        status = file_fail(why, "write to the disk", self->path);
    if (status == STATUS_OK && rename(self->temp, self->path) != 0)
        status = file_fail(why, "give its name to", self->path);
    if (status != STATUS_OK) {
        file_draft_abort(self);
        return status;
    }
    if (sync)
        status = file_sync_folder_of(self->path, why);
    close(self->fd);
    free(self->path);
    free(self->temp);
    *self = (struct file_draft){.fd = -1};
    return status;
}

void file_draft_abort(struct file_draft *self)
{
    if (self->fd >= 0) {
        close(self->fd);
        unlink(self->temp);
        free(self->path);
        free(self->temp);
    }
    *self = (struct file_draft){.fd = -1};
}

/* `mode` 0: as the umask has it. */
static enum status write_whole(const char *path, mode_t mode, const void *bytes, size_t size,
                               bool sync, struct error *why)
{
    struct file_draft draft;
    enum status status = file_draft_open(&draft, path, why);
    if (status != STATUS_OK)
        return status;
    if (mode && fchmod(draft.fd, mode) != 0)
        status = file_fail(why, "set the mode of", path);
    if (status == STATUS_OK)
        status = file_pwrite_all(draft.fd, bytes, size, 0, path, why);
    if (status == STATUS_OK)
        return file_draft_commit(&draft, sync, why);
    file_draft_abort(&draft);
    return status;
}

enum status file_write(const char *path, const void *bytes, size_t size, bool sync,
                       struct error *why)
{
    return write_whole(path, 0, bytes, size, sync, why);
}

enum status file_write_private(const char *path, const void *bytes, size_t size, struct error *why)
{
    return write_whole(path, 0600, bytes, size, true, why);
}

enum status file_mkdirs(const char *path, struct error *why)
{
    char *part = xstrdup(path);
    struct stat info;
    struct error ignored;
    enum status status = STATUS_OK;
    for (char *at = part; *at && status == STATUS_OK;) {
        at += strspn(at, "/");
        at += strcspn(at, "/");
        char kept = *at;
        *at = '\0';
        if (mkdir(part, 0755) == 0)
            status = file_sync_folder_of(part, why);
        else if (errno != EEXIST)
            status = file_fail(why, "make the folder", part);
        else /* made by somebody who may have been killed before this: none of ours, no harm */
            (void)file_sync_folder_of(part, &ignored);
        *at = kept;
    }
    if (status == STATUS_OK && (stat(path, &info) != 0 || !S_ISDIR(info.st_mode)))
        status = fail(why, STATUS_IO, "%s: is there already and is no folder", path);
    free(part);
    return status;
}

enum status file_sync_folder_of(const char *path, struct error *why)
{
    const char *slash = strrchr(path, '/');
    size_t length = slash ? MAX((size_t)(slash - path), (size_t)1) : 1;
    char *folder = slash ? strndup(path, length) : strdup(".");
    if (!folder)
        panic("out of memory");
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    enum status status = STATUS_OK;
    if (fd < 0 || fsync(fd) != 0)
        status = file_fail(why, "sync the folder", folder);
    if (fd >= 0)
        close(fd);
    free(folder);
    return status;
}

enum status file_map(struct file_map *out, const char *path, struct error *why)
{
    struct stat info;
    *out = (struct file_map){0};
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return file_fail(why, "open", path);
    enum status status = STATUS_OK;
    if (fstat(fd, &info) != 0)
        status = file_fail(why, "look at", path);
    else if (!S_ISREG(info.st_mode))
        status = fail(why, STATUS_INVALID, "%s: expected a regular file", path);
    else if (info.st_size > 0) {
        void *bytes = mmap(NULL, (size_t)info.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
        if (bytes == MAP_FAILED)
            status = file_fail(why, "map", path);
        else
            *out = (struct file_map){.bytes = bytes, .size = (size_t)info.st_size};
    }
    close(fd);
    return status;
}

void file_map_forget(const struct file_map *self, const void *from, size_t size)
{
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE), base = (uintptr_t)self->bytes;
    uintptr_t begin = MAX((uintptr_t)from, base);
    uintptr_t end = MIN((uintptr_t)from + size, base + self->size);
    begin = (begin + page - 1) / page * page;
    end = end / page * page;
    if (self->bytes && begin < end) /* read-only and of a file: read again when touched again */
        (void)madvise((void *)begin, end - begin, MADV_DONTNEED);
}

void file_unmap(struct file_map *self)
{
    if (self->bytes)
        munmap((void *)(uintptr_t)self->bytes, self->size);
    *self = (struct file_map){0};
}
