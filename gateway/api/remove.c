/* remove - DELETE of a model or of one version, files and all */
#include "gateway/api/api.h"
#include "gateway/api/models.h"

#include "common/file.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct removal {
    struct gateway *gateway;   /* whose */
    struct http_request *http; /* to be answered */
    char *model;               /* name */
    char *version;             /* number; "" for all of the model */
    char *root;                /* the repository's folder */
    struct error why;          /* first failure */
};

static void free_removal(struct removal *self)
{
    free(self->model);
    free(self->version);
    free(self->root);
    free(self);
}

/* A folder of the repository is two levels deep: files in a version, versions in a model. */
static enum status remove_folder(const char *path, int levels, struct error *why)
{
    struct dirent *entry;
    enum status s = STATUS_OK;
    DIR *dir = opendir(path);
    if (!dir && errno == ENOENT)
        return fail(why, STATUS_NO_MODEL, "there is no %s", path);
    while (dir && s == STATUS_OK && (entry = readdir(dir))) {
        struct stat info;
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        char *inner = xasprintf("%s/%s", path, entry->d_name);
        bool folder = lstat(inner, &info) == 0 && S_ISDIR(info.st_mode);
        if (folder && levels > 1)
            s = remove_folder(inner, levels - 1, why);
        else if ((folder ? rmdir(inner) : unlink(inner)) != 0)
            s = fail(why, STATUS_IO, "cannot remove %s: %s", inner, strerror(errno));
        free(inner);
    }
    if (dir)
        closedir(dir);
    if (s == STATUS_OK && rmdir(path) != 0)
        s = fail(why, STATUS_IO, "cannot remove %s: %s", path, strerror(errno));
    return s;
}

static void remove_work(void *arg)
{
    struct removal *self = arg;
    bool all = !*self->version;
    char *path = all ? xasprintf("%s/%s", self->root, self->model)
                     : xasprintf("%s/%s/%s", self->root, self->model, self->version);
    self->why.status = remove_folder(path, all ? 2 : 1, &self->why);
    if (self->why.status == STATUS_OK)
        self->why.status = file_sync_folder_of(path, &self->why);
    free(path);
}

/* What is left of the model was looked at again: that nothing is left is what was asked for. */
static void looked_again(void *arg, const struct error *why)
{
    struct removal *self = arg;
    (void)why;
    http_reply_json(self->http, 200,
                    json_pack("{s:s,s:s,s:s}", "name", self->model, "version", self->version,
                              "state", "REMOVED"));
    free_removal(self);
}

static void remove_done(void *arg)
{
    struct removal *self = arg;
    if (self->why.status == STATUS_OK && !self->gateway->repository)
        fail(&self->why, STATUS_CANCELLED, "the gateway is shutting down");
    if (self->why.status == STATUS_OK) {
        repository_load(self->gateway->repository, self->model, looked_again, self);
        return;
    }
    http_reply_error(self->http, &self->why, NULL);
    free_removal(self);
}

void remove_handle(struct http_request *request, void *owner)
{
    struct gateway *gateway = owner;
    struct error why;
    const char *model = http_capture(request, "model"), *version = http_capture(request, "version");
    enum status s = model_name_check(model, &why);
    if (s == STATUS_OK && *version)
        s = models_version_check(version, &why);
    if (s != STATUS_OK) {
        http_reply_error(request, &why, NULL);
        return;
    }
    struct removal *self = xcalloc(1, sizeof *self);
    self->gateway = gateway;
    self->http = request;
    self->model = xstrdup(model);
    self->version = xstrdup(version);
    self->root = xstrdup(gateway->models_root);
    if (pool_submit(gateway->pool, remove_work, remove_done, self) != STATUS_OK) {
        http_reply_fail(request, STATUS_BUSY, "too much is being written: retry in a moment");
        free_removal(self);
    }
}
