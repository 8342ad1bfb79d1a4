/* version - folder, manifest and signature of one model version; see version.h */
#include "gateway/repository/version.h"

#include "common/file.h"
#include "common/log.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum status model_name_check(const char *name, struct error *why)
{
    size_t len = strlen(name);
    static const char allowed[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-";
    if (len == 0 || len > MODEL_NAME_MAX || name[0] == '.' || strspn(name, allowed) != len)
        return fail(why, STATUS_NO_MODEL,
                    "\"%.120s\" is no model name: use at most %d letters, digits, '.', '_' and "
                    "'-', the first no '.'",
                    name, MODEL_NAME_MAX);
    return STATUS_OK;
}

/* --- life ---------------------------------------------------------------------------------------
 */

struct version *version_ref(struct version *self)
{
    atomic_fetch_add_explicit(&self->refs, 1, memory_order_relaxed);
    return self;
}

void version_drop(struct version **self_p)
{
    struct version *self = *self_p;
    *self_p = NULL;
    if (!self || atomic_fetch_sub_explicit(&self->refs, 1, memory_order_acq_rel) > 1)
        return;
    for (size_t i = 0; i < self->files_len; i++)
        free(self->files[i].path);
    signature_free(&self->signature);
    json_decref(self->config);
    free(self->files);
    free(self->folder);
    free(self->manifest);
    free(self->stats);
    free(self);
}

void version_fail(struct version *self, const struct error *why)
{
    self->state = VERSION_UNAVAILABLE;
    self->reason = *why;
}

void version_inspected(struct version *self, const void *json, size_t size)
{
    struct error why;
    if (signature_parse(&self->signature, json, size, &why) == STATUS_OK)
        self->state = VERSION_READY;
    else
        version_fail(self, &why);
}

/* --- files --------------------------------------------------------------------------------------
 */

/* Files in the making and hidden ones are not part of a version. */
static bool travels(const char *name)
{
    return name[0] != '.' && !strstr(name, ".part-");
}

static enum status add_file(struct version *self, const char *name, struct error *why)
{
    struct stat info;
    char *path = xasprintf("%s/%s", self->folder, name);
    struct version_file *file = &self->files[self->files_len];
    enum status s = STATUS_OK;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0 || fstat(fd, &info) != 0)
        s = fail(why, STATUS_IO, "cannot open %s: %s", path, strerror(errno));
    else if (!S_ISREG(info.st_mode))
        s = fail(why, STATUS_BAD_MODEL, "%s is no plain file: only files may be beside model.onnx",
                 path);
    else
        s = digest_of_fd(&file->sha256, fd, path, why);
    if (s == STATUS_OK) {
        file->path = xstrdup(name);
        file->bytes = (uint64_t)info.st_size;
        self->files_len++;
    }
    if (fd >= 0)
        close(fd);
    free(path);
    return s;
}

static int by_path(const void *a, const void *b)
{
    return strcmp(((const struct version_file *)a)->path, ((const struct version_file *)b)->path);
}

static enum status read_files(struct version *self, struct error *why)
{
    enum status s = STATUS_OK;
    struct dirent *entry;
    DIR *dir = opendir(self->folder);
    bool found = false;
    if (!dir)
        return fail(why, STATUS_IO, "cannot read the folder %s: %s", self->folder, strerror(errno));
    self->files = xcalloc(VERSION_FILES_MAX, sizeof *self->files);
    while (s == STATUS_OK && (entry = readdir(dir))) {
        if (!travels(entry->d_name))
            continue;
        found = found || strcmp(entry->d_name, "model.onnx") == 0;
        if (self->files_len == VERSION_FILES_MAX)
            s = fail(why, STATUS_BAD_MODEL, "%s has more than %d files", self->folder,
                     VERSION_FILES_MAX);
        else
            s = add_file(self, entry->d_name, why);
    }
    closedir(dir);
    if (s == STATUS_OK && !found)
        s = fail(why, STATUS_BAD_MODEL, "%s has no model.onnx: put the model there under that name",
                 self->folder);
    qsort(self->files, self->files_len, sizeof *self->files, by_path);
    return s;
}

/* An object in a file; STATUS_OK and NULL when there is no such file: every one is optional. */
static enum status read_object(json_t **out, const char *path, struct error *why)
{
    char *text = NULL;
    size_t size;
    json_error_t at;
    *out = NULL;
    enum status s = file_read(&text, &size, path, CONFIG_MAX, why);
    json_t *config = s == STATUS_OK ? json_loadb(text, size, JSON_REJECT_DUPLICATES, &at) : NULL;
    if (s == STATUS_OK && !config)
        s = fail(why, STATUS_BAD_MODEL, "%s, line %d: %s", path, at.line, at.text);
    else if (s == STATUS_OK && !json_is_object(config))
        s = fail(why, STATUS_BAD_MODEL, "%s must be a JSON object {...}", path);
    else if (s == STATUS_NOT_FOUND)
        s = STATUS_OK;
    if (s == STATUS_OK)
        *out = json_incref(config);
    json_decref(config);
    free(text);
    return s;
}

/* What all versions of the model share, and how this one was trained. */
static enum status read_config(struct version *self, const char *root, struct error *why)
{
    char *shared = xasprintf("%s/%s/config.json", root, self->model);
    char *trained = xasprintf("%s/training.json", self->folder);
    json_t *config, *training = NULL;
    enum status s = read_object(&config, shared, why);
    if (s == STATUS_OK)
        s = read_object(&training, trained, why);
    if (config) {
        json_decref(self->config);
        self->config = config;
    }
    if (training)
        json_object_set_new(self->config, "training", training);
    free(shared);
    free(trained);
    return s;
}

static void make_manifest(struct version *self)
{
    char hex[DIGEST_TEXT_SIZE];
    json_t *files = json_array();
    for (size_t i = 0; i < self->files_len; i++)
        json_array_append_new(files, json_pack("{s:s,s:I,s:s}", "path", self->files[i].path,
                                               "bytes", (json_int_t)self->files[i].bytes, "sha256",
                                               digest_text(hex, &self->files[i].sha256)));
    json_t *root = json_pack("{s:O,s:o}", "config", self->config, "files", files);
    self->manifest = json_dumps(root, JSON_COMPACT | JSON_SORT_KEYS);
    json_decref(root);
    if (!self->manifest)
        self->manifest = xstrdup("{}");
    self->manifest_size = strlen(self->manifest);
    self->id = digest_of(self->manifest, self->manifest_size);
}

/* --- signatures, kept by version id -------------------------------------------------------------
 */

static char *cache_path(const char *cache, const struct version *self)
{
    char hex[DIGEST_TEXT_SIZE];
    return xasprintf("%s/%s.json", cache, digest_text(hex, &self->id));
}

static void recall(struct version *self, const char *cache)
{
    char *path = cache_path(cache, self), *text = NULL;
    size_t size;
    struct error why;
    if (file_read(&text, &size, path, SIGNATURE_MAX, &why) == STATUS_OK)
        version_inspected(self, text, size);
    if (self->state == VERSION_UNAVAILABLE) {
        LOG_WARN("signature_damaged", "path=%s action=%s", path, "asking a worker again");
        self->state = VERSION_LOADING;
    }
    free(text);
    free(path);
}

void version_remember(const char *cache, const struct version *self, const void *json, size_t size)
{
    struct error why;
    char *path = cache_path(cache, self);
    if (file_write(path, json, size, false, &why) != STATUS_OK)
        LOG_WARN("signature_not_kept", "why=%s", why.text);
    free(path);
}

struct version *version_read(const char *root, const char *cache, const char *model,
                             uint32_t number)
{
    struct error why;
    struct version *self = xcalloc(1, sizeof *self);
    atomic_init(&self->refs, 1);
    self->config = json_object();
    self->stats = xcalloc(1, sizeof *self->stats);
    self->number = number;
    text_copy(self->model, sizeof self->model, model);
    snprintf(self->name, sizeof self->name, "%s/%u", model, number);
    self->folder = xasprintf("%s/%s/%u", root, model, number);
    enum status s = read_config(self, root, &why);
    if (s == STATUS_OK)
        s = read_files(self, &why);
    if (s == STATUS_OK) {
        make_manifest(self);
        recall(self, cache);
    } else {
        version_fail(self, &why);
    }
    return self;
}
