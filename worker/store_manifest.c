/* store_manifest - see store_manifest.h */
#include "worker/store_manifest.h"

#include "common/clock.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#define ROWS_MAX     65536
#define DELAY_MS_MAX 10000.0

bool manifest_path_ok(const char *path)
{
    size_t length = strlen(path);
    if (length == 0 || length > MANIFEST_PATH_MAX)
        return false;
    for (const char *at = path; *at; at++)
        if ((unsigned char)*at < 0x20 || *at == 0x7f || *at == '\\')
            return false;
    for (const char *part = path;; part++) {
        size_t size = strcspn(part, "/");
        if (size == 0 || (size == 1 && part[0] == '.') ||
            (size == 2 && part[0] == '.' && part[1] == '.'))
            return false;
        part += size;
        if (*part == '\0')
            return true;
    }
}

static enum status read_file(struct manifest_file *file, const json_t *json, size_t index,
                             struct error *why)
{
    const char *path = json_string_value(json_object_get(json, "path"));
    const char *sha256 = json_string_value(json_object_get(json, "sha256"));
    const json_t *bytes = json_object_get(json, "bytes");
    if (!path || !manifest_path_ok(path))
        return fail(why, STATUS_BAD_MODEL,
                    "manifest: files[%zu].path is %s: expected a relative path without \"..\"",
                    index, path ? path : "missing");
    if (!json_is_integer(bytes) || json_integer_value(bytes) < 0)
        return fail(why, STATUS_BAD_MODEL, "manifest: files[%zu].bytes of %s: expected a number",
                    index, path);
    if (!sha256 || !digest_parse(&file->sha256, sha256))
        return fail(why, STATUS_BAD_MODEL,
                    "manifest: files[%zu].sha256 of %s: expected 64 hexadecimal digits", index,
                    path);
    file->path = xstrdup(path);
    file->bytes = (uint64_t)json_integer_value(bytes);
    return STATUS_OK;
}

static enum status read_files(struct manifest *self, const json_t *files, uint64_t bytes_max,
                              struct error *why)
{
    uint64_t left = bytes_max;
    size_t len = json_array_size(files);
    if (!json_is_array(files) || len == 0 || len > MANIFEST_FILES_MAX)
        return fail(why, STATUS_BAD_MODEL, "manifest: files: expected a list of 1 to %d files",
                    MANIFEST_FILES_MAX);
    self->files = xcalloc(len, sizeof *self->files);
    self->model = len;
    for (size_t i = 0; i < len; i++) {
        struct manifest_file *file = &self->files[i];
        enum status status = read_file(file, json_array_get(files, i), i, why);
        if (status != STATUS_OK)
            return status;
        self->files_len = i + 1;
        if (file->bytes > left)
            return fail(why, STATUS_TOO_LARGE,
                        "manifest: its files take more than the %" PRIu64
                        " bytes of this worker's store: raise --store-bytes",
                        bytes_max);
        left -= file->bytes;
        if (strcmp(file->path, MANIFEST_MODEL) == 0)
            self->model = i;
    }
    return STATUS_OK;
}

/* Which of the two it is, and what that needs. */
static enum status read_training(struct manifest *self, const json_t *config, struct error *why)
{
    const json_t *training = json_object_get(config, "training");
    bool program = false;
    for (size_t i = 0; i < self->files_len; i++)
        program |= strncmp(self->files[i].path, MANIFEST_DATA, strlen(MANIFEST_DATA)) == 0;
    if (!program && self->model == self->files_len)
        return fail(why, STATUS_BAD_MODEL, "manifest: no file " MANIFEST_MODEL " in it");
    if (program && training && !json_is_object(training))
        return fail(why, STATUS_BAD_MODEL, "config: training: expected an object");
    if (program)
        self->training =
            training ? json_dumps(training, JSON_COMPACT | JSON_SORT_KEYS) : xstrdup("{}");
    return STATUS_OK;
}

static enum status read_axes(struct manifest *self, json_t *axes, struct error *why)
{
    const char *output;
    json_t *axis;
    if (!axes)
        return STATUS_OK;
    if (!json_is_object(axes) || json_object_size(axes) > MANIFEST_AXES_MAX)
        return fail(why, STATUS_BAD_MODEL,
                    "config: batching.output_batch_axis: expected {\"OUTPUT\": AXIS}");
    self->axes = xcalloc(json_object_size(axes), sizeof *self->axes);
    json_object_foreach(axes, output, axis)
    {
        json_int_t value = json_integer_value(axis);
        if (!json_is_integer(axis) || value < 0 || value > 7)
            return fail(why, STATUS_BAD_MODEL,
                        "config: batching.output_batch_axis of %s: expected 0 to 7", output);
        self->axes[self->axes_len++] =
            (struct manifest_axis){.output = xstrdup(output), .axis = (uint32_t)value};
    }
    return STATUS_OK;
}

static enum status read_batching(struct manifest *self, const json_t *batching, struct error *why)
{
    const json_t *rows = json_object_get(batching, "max_rows");
    const json_t *delay = json_object_get(batching, "max_delay_ms");
    self->delay_ns = UINT64_MAX;
    if (rows) {
        json_int_t value = json_integer_value(rows);
        if (!json_is_integer(rows) || value < 1 || value > ROWS_MAX)
            return fail(why, STATUS_BAD_MODEL, "config: batching.max_rows: expected 1 to %d",
                        ROWS_MAX);
        self->rows_max = (uint64_t)value;
    }
    if (delay) {
        double value = json_number_value(delay);
        if (!json_is_number(delay) || !(value >= 0.0 && value <= DELAY_MS_MAX))
            return fail(why, STATUS_BAD_MODEL, "config: batching.max_delay_ms: expected 0 to %.0f",
                        DELAY_MS_MAX);
        self->delay_ns = (uint64_t)(value * (double)NS_PER_MS);
    }
    return read_axes(self, json_object_get(batching, "output_batch_axis"), why);
}

enum status manifest_parse(struct manifest *out, const char *text, size_t size, uint64_t bytes_max,
                           struct error *why)
{
    json_error_t error;
    *out = (struct manifest){0};
    json_t *root = json_loadb(text, size, JSON_REJECT_DUPLICATES, &error);
    if (!root)
        return fail(why, STATUS_BAD_MODEL, "manifest: no JSON: line %d: %s", error.line,
                    error.text);
    enum status status = read_files(out, json_object_get(root, "files"), bytes_max, why);
    if (status == STATUS_OK)
        status =
            read_batching(out, json_object_get(json_object_get(root, "config"), "batching"), why);
    if (status == STATUS_OK)
        status = read_training(out, json_object_get(root, "config"), why);
    json_decref(root);
    if (status != STATUS_OK)
        manifest_free(out);
    return status;
}

void manifest_free(struct manifest *self)
{
    for (size_t i = 0; i < self->files_len; i++)
        free(self->files[i].path);
    for (size_t i = 0; i < self->axes_len; i++)
        free(self->axes[i].output);
    free(self->files);
    free(self->axes);
    free(self->training);
    *self = (struct manifest){0};
}
