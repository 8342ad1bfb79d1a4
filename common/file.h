/* file - whole files: read, replace, map; and folders
 *
 * Errors name the path and the system's reason. Any thread. Descriptors are close-on-exec. Status:
 * NOT_FOUND when the file is missing, TOO_LARGE past a bound, STORAGE_FULL when the disk is full,
 * BUSY when descriptors are short, IO for the rest. */
#ifndef CONVOY_COMMON_FILE_H
#define CONVOY_COMMON_FILE_H

#include "common/status.h"

#include <sys/types.h>

/* What errno means: its status, and "NAME: cannot WHAT: reason". */
enum status file_fail(struct error *why, const char *what, const char *name);

/* Read a whole file of at most `max` bytes. *bytes gets one NUL more than *size; free() it. */
enum status file_read(char **bytes, size_t *size, const char *path, size_t max, struct error *why);

/* Read or write exactly `size` bytes at `offset`, going on after short ones. A file that ends early
 * is IO and says expected and got. `name` is for the error's text. */
enum status file_pread_all(int fd, void *into, size_t size, uint64_t offset, const char *name,
                           struct error *why);
enum status file_pwrite_all(int fd, const void *bytes, size_t size, uint64_t offset,
                            const char *name, struct error *why);

/* A file in the making: it appears under its name, whole, at commit, or not at all. */
struct file_draft {
    int fd;     /* open for reading and writing; -1 when there is none */
    char *path; /* the final name */
    char *temp; /* the name until then, in the same folder */
};

enum status file_draft_open(struct file_draft *self, const char *path, struct error *why);

/* Give it its name. `sync`: data and folder are on the disk before it returns. Closes the draft,
 * also on failure. */
enum status file_draft_commit(struct file_draft *self, bool sync, struct error *why);

/* Remove it. Harmless after commit, twice, or on {.fd = -1}. */
void file_draft_abort(struct file_draft *self);

/* Replace `path` by these bytes in one step; see file_draft. */
enum status file_write(const char *path, const void *bytes, size_t size, bool sync,
                       struct error *why);

/* The same for secrets: mode 0600, on the disk before it returns. */
enum status file_write_private(const char *path, const void *bytes, size_t size, struct error *why);

/* mkdir -p, mode 0755 less the umask; what is made survives a power cut. OK when it is there. */
enum status file_mkdirs(const char *path, struct error *why);

/* fsync the folder that holds `path`, so that a rename or unlink there survives power loss. */
enum status file_sync_folder_of(const char *path, struct error *why);

/* A whole file, read-only in memory. Another process that cuts the file short meanwhile ends this
 * one (SIGBUS): map only files that are replaced by rename. */
struct file_map {
    const uint8_t *bytes; /* NULL for an empty or closed map */
    size_t size;
};

enum status file_map(struct file_map *out, const char *path, struct error *why);
/* What stands in a piece of the map has been read and will hardly be again: its memory may go.
 * Bytes outside of the map are left alone. */
void file_map_forget(const struct file_map *self, const void *from, size_t size);
void file_unmap(struct file_map *self);

#endif
