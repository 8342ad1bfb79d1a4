#include "gateway/training/history.h"

#include "common/file.h"
#include "common/limits.h"

#include <fcntl.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* --- writing ---------------------------------------------------------------------------------- */
static enum status write_line(const char *path, int64_t at, const char *line, size_t size,
                              struct error *why)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
    if (fd < 0)
        return file_fail(why, "open", path);
    enum status s = file_pwrite_all(fd, line, size, (uint64_t)at, path, why);
    if (s == STATUS_OK && ftruncate(fd, (off_t)((uint64_t)at + size)) != 0)
        s = file_fail(why, "cut", path);
    if (s == STATUS_OK && fdatasync(fd) != 0)
        s = file_fail(why, "flush", path);
    close(fd);
    return s == STATUS_OK && at == 0 ? file_sync_folder_of(path, why) : s;
}

enum status history_append(const char *path, int64_t *bytes, const json_t *report,
                           struct error *why)
{
    char *text = json_dumps(report, JSON_COMPACT);
    char *line = xasprintf("%s\n", text ? text : "{}");
    int64_t size = (int64_t)strlen(line);
    enum status s = STATUS_OK;
    if (*bytes + size <= (int64_t)TRAINING_HISTORY_MAX) {
        s = write_line(path, *bytes, line, (size_t)size, why);
        *bytes += s == STATUS_OK ? size : 0;
    }
    free(line);
    free(text);
    return s;
}

/* --- reading ---------------------------------------------------------------------------------- */
static double number(const json_t *value)
{
    return json_is_number(value) ? json_number_value(value) : NAN;
}

static void add(struct history_point **list, size_t *len, struct history_point point)
{
    if (isnan(point.step) || (isnan(point.loss) && isnan(point.accuracy)))
        return;
    if ((*len & (*len - 1)) == 0) /* full at each power of two */
        *list = xrealloc(*list, (*len ? 2 * *len : 1) * sizeof **list);
    (*list)[(*len)++] = point;
}

static void add_report(struct history *self, const json_t *report)
{
    size_t i;
    const json_t *point, *end = json_object_get(report, "epoch_end");
    double step = number(json_object_get(report, "step"));
    json_array_foreach(json_object_get(report, "points"), i, point) add(
        &self->points, &self->points_len,
        (struct history_point){number(json_array_get(point, 0)), number(json_array_get(point, 1)),
                               number(json_array_get(point, 2))});
    self->steps = fmax(number(json_object_get(report, "steps")), self->steps);
    self->epochs_all = fmax(number(json_object_get(report, "epochs")), self->epochs_all);
    if (!json_is_object(end))
        return;
    add(&self->epochs, &self->epochs_len,
        (struct history_point){step, number(json_object_get(end, "loss")),
                               number(json_object_get(end, "accuracy"))});
    add(&self->validations, &self->validations_len,
        (struct history_point){step, number(json_object_get(end, "validation_loss")),
                               number(json_object_get(end, "validation_accuracy"))});
}

enum status history_read(struct history *out, const char *path, int64_t bytes, struct error *why)
{
    struct file_map map = {.bytes = NULL};
    *out = (struct history){.points = NULL};
    enum status s = bytes > 0 ? file_map(&map, path, why) : STATUS_OK;
    if (s != STATUS_OK)
        return s;
    const char *at = (const char *)map.bytes, *end = at + MIN(map.size, (size_t)bytes);
    while (at < end) {
        const char *newline = memchr(at, '\n', (size_t)(end - at));
        size_t size = (size_t)((newline ? newline : end) - at);
        json_t *report = json_loadb(at, size, 0, NULL);
        add_report(out, report);
        json_decref(report);
        at += size + 1;
    }
    file_unmap(&map);
    return STATUS_OK;
}

void history_free(struct history *self)
{
    free(self->points);
    free(self->epochs);
    free(self->validations);
    *self = (struct history){.points = NULL};
}
