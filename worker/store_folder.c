/* store_folder - see store_folder.h */
#include "worker/store_folder.h"

#include "common/clock.h"
#include "common/file.h"
#include "common/log.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* A download that has not been touched for so long has no owner any more. */
#define STALE_MS 3600000

struct entry {
    struct digest blob;   /* its name */
    uint64_t bytes;       /* its size */
    struct timespec used; /* when it was last used */
};

struct listing {
    struct entry *entries;
    size_t len;
    uint64_t bytes; /* of all entries */
};

char *store_folder_path(const char *folder, const struct digest *blob)
{
    char name[DIGEST_TEXT_SIZE];
    return xasprintf("%s/%s", folder, digest_text(name, blob));
}

static bool half_made(const char *name)
{
    return strstr(name, ".part-") != NULL;
}

/* Walk the folder: list blobs, or (list NULL) remove stale downloads. */
static enum status walk(const char *folder, struct listing *list, struct error *why)
{
    DIR *dir = opendir(folder);
    if (!dir)
        return fail(why, STATUS_IO, "%s: cannot read the store: %s", folder, strerror(errno));
    for (const struct dirent *at = readdir(dir); at; at = readdir(dir)) {
        struct entry entry = {0};
        struct stat info;
        if (fstatat(dirfd(dir), at->d_name, &info, AT_SYMLINK_NOFOLLOW) != 0 ||
            !S_ISREG(info.st_mode))
            continue;
        int64_t age_ms = clock_wall_ms() - (int64_t)info.st_mtim.tv_sec * 1000;
        if (!list && half_made(at->d_name) && age_ms > STALE_MS)
            unlinkat(dirfd(dir), at->d_name, 0);
        if (!list || !digest_parse(&entry.blob, at->d_name))
            continue;
        entry.bytes = (uint64_t)info.st_size;
        entry.used = info.st_mtim;
        list->entries = xrealloc(list->entries, (list->len + 1) * sizeof entry);
        list->entries[list->len++] = entry;
        list->bytes += entry.bytes;
    }
    closedir(dir);
    return STATUS_OK;
}

enum status store_folder_open(const char *folder, struct error *why)
{
    enum status status = file_mkdirs(folder, why);
    if (status == STATUS_OK && access(folder, W_OK | X_OK) != 0)
        status = fail(why, STATUS_IO, "%s: this user may not write to the store: choose --store",
                      folder);
    return status == STATUS_OK ? walk(folder, NULL, why) : status;
}

void store_folder_touch(const char *folder, const struct digest *blob)
{
    char *path = store_folder_path(folder, blob);
    utimensat(AT_FDCWD, path, NULL, 0); /* a blob that is gone is found out elsewhere */
    free(path);
}

static int older_first(const void *a_p, const void *b_p)
{
    const struct timespec *a = &((const struct entry *)a_p)->used;
    const struct timespec *b = &((const struct entry *)b_p)->used;
    if (a->tv_sec != b->tv_sec)
        return a->tv_sec < b->tv_sec ? -1 : 1;
    return (a->tv_nsec > b->tv_nsec) - (a->tv_nsec < b->tv_nsec);
}

enum status store_folder_room(const char *folder, uint64_t bytes, uint64_t bytes_max,
                              bool (*pinned)(void *owner, const struct digest *blob), void *owner,
                              struct error *why)
{
    struct listing list = {0};
    enum status status = walk(folder, &list, why);
    if (status == STATUS_OK && list.len > 0)
        qsort(list.entries, list.len, sizeof list.entries[0], older_first);
    for (size_t i = 0; i < list.len && list.bytes + bytes > bytes_max; i++) {
        const struct entry *entry = &list.entries[i];
        if (pinned(owner, &entry->blob))
            continue;
        char *path = store_folder_path(folder, &entry->blob);
        char name[DIGEST_TEXT_SIZE];
        if (unlink(path) == 0 || errno == ENOENT) {
            list.bytes -= entry->bytes;
            LOG_INFO("store_evicted", "blob=%s bytes=%" PRIu64, digest_text(name, &entry->blob),
                     entry->bytes);
        }
        free(path);
    }
    if (status == STATUS_OK && list.bytes + bytes > bytes_max)
        status = fail(why, STATUS_STORAGE_FULL,
                      "the store %s has no room for %" PRIu64 " bytes: %" PRIu64 " of %" PRIu64
                      " are in use: raise --store-bytes",
                      folder, bytes, list.bytes, bytes_max);
    free(list.entries);
    return status;
}
