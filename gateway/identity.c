/* identity - the file DATA/identity and the lock DATA/lock; see identity.h */
#include "gateway/identity.h"

#include "common/file.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

static enum status lock(struct identity *self, const char *data_dir, struct error *why)
{
    char *path = xasprintf("%s/lock", data_dir);
    enum status s = STATUS_OK;
    self->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (self->lock_fd < 0)
        s = fail(why, STATUS_IO, "cannot open %s: %s", path, strerror(errno));
    else if (flock(self->lock_fd, LOCK_EX | LOCK_NB) != 0)
        s = fail(
            why, STATUS_CONFLICT,
            "the data folder %s is in use by another gateway: stop that one, or start this one "
            "with another --data",
            data_dir);
    free(path);
    return s;
}

/* "UUID INCARNATION\n" */
static enum status parse(struct identity *self, const char *text, const char *path,
                         struct error *why)
{
    char id[ID_TEXT_SIZE];
    int end = 0;
    if (sscanf(text, "%36s %" SCNu64 "%n", id, &self->incarnation, &end) != 2 ||
        !id_parse(&self->uuid, id) || (text[end] != '\n' && text[end] != '\0'))
        return fail(why, STATUS_INVALID,
                    "%s is damaged: expected a uuid and a number; restore it from a copy, or use "
                    "another --data",
                    path);
    return STATUS_OK;
}

enum status identity_open(struct identity *out, const char *data_dir, struct error *why)
{
    *out = (struct identity){.lock_fd = -1};
    enum status s = file_mkdirs(data_dir, why);
    if (s == STATUS_OK)
        s = lock(out, data_dir, why);
    if (s != STATUS_OK)
        return s;
    char *path = xasprintf("%s/identity", data_dir);
    char *text = NULL;
    size_t size;
    s = file_read(&text, &size, path, 256, why);
    if (s == STATUS_NOT_FOUND) {
        out->uuid = id_random();
        s = STATUS_OK;
    } else if (s == STATUS_OK) {
        s = parse(out, text, path, why);
    }
    if (s == STATUS_OK) {
        char id[ID_TEXT_SIZE], line[80];
        int len = snprintf(line, sizeof line, "%s %" PRIu64 "\n", id_text(id, &out->uuid),
                           ++out->incarnation);
        s = file_write(path, line, (size_t)len, true, why);
    }
    free(text);
    free(path);
    return s;
}

void identity_close(struct identity *self)
{
    if (self->lock_fd > 0)
        close(self->lock_fd);
    self->lock_fd = -1;
}
