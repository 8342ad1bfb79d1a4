/* scan - walking ROOT/NAME/NUMBER; see scan.h */
#include "gateway/repository/scan.h"

#include "common/limits.h"
#include "common/log.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static bool is_folder(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0 && S_ISDIR(info.st_mode);
}

uint32_t version_number(const char *name)
{
    size_t len = strlen(name);
    if (len == 0 || len > 9 || name[0] == '0' || strspn(name, "0123456789") != len)
        return 0;
    return (uint32_t)strtoul(name, NULL, 10);
}

static void scan_model(struct scan *self, const char *model)
{
    struct dirent *entry;
    char *folder = xasprintf("%s/%s", self->root, model);
    DIR *dir = opendir(folder);
    while (dir && (entry = readdir(dir)) && self->len < REPOSITORY_VERSIONS_MAX) {
        uint32_t number = version_number(entry->d_name);
        char *path = xasprintf("%s/%s", folder, entry->d_name);
        if (number && is_folder(path)) {
            if (self->len == self->room) {
                self->room = self->room ? 2 * self->room : 16;
                self->versions = xrealloc(self->versions, self->room * sizeof *self->versions);
            }
            self->versions[self->len++] = version_read(self->root, self->cache, model, number);
        }
        free(path);
    }
    if (dir)
        closedir(dir);
    free(folder);
}

static void scan_all(struct scan *self)
{
    struct dirent *entry;
    struct error why;
    DIR *dir = opendir(self->root);
    if (!dir) {
        fail(&self->why, STATUS_IO, "cannot read the model folder %s: %s", self->root,
             strerror(errno));
        return;
    }
    while ((entry = readdir(dir))) {
        char *path = xasprintf("%s/%s", self->root, entry->d_name);
        if (entry->d_name[0] != '.' && is_folder(path)) {
            if (model_name_check(entry->d_name, &why) == STATUS_OK)
                scan_model(self, entry->d_name);
            else
                LOG_WARN("model_skipped", "path=%s why=%s", path, why.text);
        }
        free(path);
    }
    closedir(dir);
}

void scan_run(struct scan *self)
{
    self->why.status = STATUS_OK;
    if (!self->model) {
        scan_all(self);
        return;
    }
    if (model_name_check(self->model, &self->why) != STATUS_OK)
        return;
    scan_model(self, self->model);
    if (!self->len)
        fail(&self->why, STATUS_NO_MODEL,
             "failed to load '%s': no version in %s/%s; expected a folder with a number, and "
             "model.onnx in it",
             self->model, self->root, self->model);
}

void scan_free(struct scan *self)
{
    for (size_t i = 0; i < self->len; i++)
        version_drop(&self->versions[i]);
    free(self->versions);
    free(self->model);
}
