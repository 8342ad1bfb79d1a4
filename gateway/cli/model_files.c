/* model_files - see model_files.h */
#include "gateway/cli/model_files.h"

#include <errno.h>
#include <fts.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static const char main_file[] = "model.onnx";

static void add(struct model_files *self, const char *local, const char *path)
{
    self->files = xrealloc(self->files, (self->len + 1) * sizeof *self->files);
    self->files[self->len++] = (struct model_file){xstrdup(local), xstrdup(path)};
}

void model_files_free(struct model_files *self)
{
    for (size_t i = 0; i < self->len; i++) {
        free(self->files[i].local);
        free(self->files[i].path);
    }
    free(self->files);
    *self = (struct model_files){0};
}

static int by_path(const void *a, const void *b)
{
    return strcmp(((const struct model_file *)a)->path, ((const struct model_file *)b)->path);
}

/* Every regular file below `folder`, hidden ones aside. */
static enum status walk(struct model_files *self, char *folder, struct error *why)
{
    char *roots[] = {folder, NULL};
    size_t prefix = strlen(folder);
    FTS *tree = fts_open(roots, FTS_LOGICAL | FTS_NOCHDIR, NULL);
    enum status s = STATUS_OK;
    FTSENT *entry;
    if (!tree)
        return fail(why, STATUS_IO, "%s cannot be read: %s", folder, strerror(errno));
    while (s == STATUS_OK && (entry = fts_read(tree))) {
        bool hidden = entry->fts_level > 0 && entry->fts_name[0] == '.';
        if (hidden)
            fts_set(tree, entry, FTS_SKIP);
        else if (entry->fts_info == FTS_F && self->len < MODEL_FILES_MAX)
            add(self, entry->fts_path, entry->fts_path + prefix + 1);
        else if (entry->fts_info == FTS_F)
            s = fail(why, STATUS_INVALID, "%s holds more than %d files", folder, MODEL_FILES_MAX);
        else if (entry->fts_info == FTS_DNR || entry->fts_info == FTS_ERR)
            s = fail(why, STATUS_INVALID, "%s cannot be read: %s", entry->fts_path,
                     strerror(entry->fts_errno));
    }
    fts_close(tree);
    return s;
}

static enum status find_in_folder(struct model_files *self, const char *source, struct error *why)
{
    char *folder = xstrdup(source);
    for (size_t n = strlen(folder); n > 1 && folder[n - 1] == '/'; n--)
        folder[n - 1] = '\0';
    enum status s = walk(self, folder, why);
    bool found = false;
    for (size_t i = 0; i < self->len; i++)
        found = found || strcmp(self->files[i].path, main_file) == 0;
    if (s == STATUS_OK && !found)
        s = fail(why, STATUS_INVALID,
                 "the folder %s holds no %s; give the .onnx file, or the folder that holds "
                 "model.onnx and the files that belong to it",
                 source, main_file);
    free(folder);
    if (s == STATUS_OK)
        qsort(self->files, self->len, sizeof *self->files, by_path);
    return s;
}

enum status model_files_find(struct model_files *self, const char *source, struct error *why)
{
    struct stat info;
    *self = (struct model_files){0};
    if (stat(source, &info) != 0)
        return fail(why, STATUS_INVALID, "%s cannot be read: %s", source, strerror(errno));
    if (S_ISREG(info.st_mode)) {
        add(self, source, main_file);
        return STATUS_OK;
    }
    if (!S_ISDIR(info.st_mode))
        return fail(why, STATUS_INVALID, "%s is neither a file nor a folder", source);
    enum status s = find_in_folder(self, source, why);
    if (s != STATUS_OK)
        model_files_free(self);
    return s;
}

char *model_files_name(const char *source)
{
    char *copy = xstrdup(source);
    for (size_t n = strlen(copy); n > 1 && copy[n - 1] == '/'; n--)
        copy[n - 1] = '\0';
    const char *slash = strrchr(copy, '/');
    char *name = xstrdup(slash && slash[1] ? slash + 1 : copy);
    size_t length = strlen(name);
    if (length > 5 && strcmp(name + length - 5, ".onnx") == 0)
        name[length - 5] = '\0';
    free(copy);
    return name;
}
