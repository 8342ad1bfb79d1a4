/* files - uploads and outputs: list, look, read, delete */
#include "gateway/api/jobs_api.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LIST_MAX 10000 /* as OpenAI's */

void files_list(struct http_request *request, void *owner)
{
    struct jobs *jobs = owner;
    const char *after = http_query(request, "after"), *purpose = http_query(request, "purpose");
    struct uuid last;
    bool paged = api_read_id(&last, "file-", after), more = false;
    size_t limit = 0;
    if (!api_limit(request, LIST_MAX, LIST_MAX, &limit))
        return;
    json_t *data = json_array();
    for (size_t i = jobs->files.len; i > 0 && !more; i--) {
        const struct file *file = jobs_file_at(jobs, i - 1);
        if (!http_caller_sees(http_caller(request), file->record.tenant) ||
            (paged && id_compare(&file->record.id, &last) >= 0) ||
            (purpose && strcmp(purpose, file->record.purpose) != 0))
            continue;
        more = json_array_size(data) == limit;
        if (!more)
            json_array_append_new(data, file_json(jobs, file));
    }
    http_reply_json(request, 200, api_list_json(data, more));
}

void files_get(struct http_request *request, void *owner)
{
    struct file *file = api_file(owner, request);
    if (file)
        http_reply_json(request, 200, file_json(owner, file));
}

/* --- content ---------------------------------------------------------------------------------- */
struct content {
    struct http_request *request; /* to be replied */
    struct jobs *jobs;            /* counted */
    char *path;                   /* what to open */
    const char *type;             /* Content-Type */
    uint64_t first, size;         /* the octets asked for */
    uint64_t whole;               /* octets that can be read */
    bool part;                    /* a range was asked for */
    int fd;                       /* opened */
    int failed;                   /* errno of that */
};

/* "bytes=A-B", "bytes=A-" or "bytes=-N"; anything else counts as no range. False: beyond the end.
 */
static bool read_range(const char *text, struct content *content)
{
    uint64_t whole = content->whole, last = whole ? whole - 1 : 0, first = 0;
    char *end = NULL;
    content->size = whole;
    if (!text || strncmp(text, "bytes=", 6) != 0)
        return true;
    text += 6;
    if (*text == '-') {
        uint64_t tail = strtoull(text + 1, &end, 10);
        first = tail < whole ? whole - tail : 0;
    } else {
        first = strtoull(text, &end, 10);
        if (*end == '-' && end[1]) {
            uint64_t given = strtoull(end + 1, &end, 10);
            last = MIN(last, given);
        } else if (*end == '-') {
            end++;
        }
    }
    if (*end)
        return true;
    if (first >= whole || last < first)
        return false;
    content->first = first;
    content->size = last - first + 1;
    content->part = true;
    return true;
}

static void content_work(void *arg)
{
    struct content *self = arg;
    self->fd = open(self->path, O_RDONLY | O_CLOEXEC);
    self->failed = self->fd < 0 ? errno : 0;
}

static void content_done(void *arg)
{
    struct content *self = arg;
    char range[96];
    jobs_end(self->jobs);
    if (self->fd < 0 && self->failed == ENOENT && self->whole == 0) {
        http_reply_bytes(self->request, 200, self->type, NULL); /* a job that wrote nothing yet */
    } else if (self->fd < 0) {
        http_reply_fail(self->request, STATUS_IO, "the file cannot be opened: %s",
                        strerror(self->failed));
    } else {
        snprintf(range, sizeof(range), "bytes %" PRIu64 "-%" PRIu64 "/%" PRIu64, self->first,
                 self->first + self->size - 1, self->whole);
        if (self->part)
            http_reply_header(self->request, "Content-Range", range);
        http_reply_file(self->request, self->part ? 206 : 200, self->type, self->fd, self->first,
                        self->size);
    }
    free(self->path);
    free(self);
}

static const char *content_type(const struct file *file)
{
    return strcmp(file->record.format, "jsonl") == 0 ? "application/jsonl"
                                                     : "application/octet-stream";
}

void files_content(struct http_request *request, void *owner)
{
    struct jobs *jobs = owner;
    struct file *file = api_file(jobs, request);
    if (!file)
        return;
    json_t *shown = file_json(jobs, file);
    struct content *content = xcalloc(1, sizeof(*content));
    content->request = request;
    content->jobs = jobs;
    content->type = content_type(file);
    content->whole = (uint64_t)json_integer_value(json_object_get(shown, "bytes"));
    json_decref(shown);
    if (!read_range(http_header(request, "Range"), content)) {
        http_reply_fail(request, STATUS_INVALID, "Range: the file has %" PRIu64 " octets now",
                        content->whole);
        free(content);
        return;
    }
    content->path = jobs_path(jobs, &file->record.id);
    jobs_begin(jobs);
    pool_continue(jobs->config.pool, content_work, content_done, content);
}

/* --- deleting --------------------------------------------------------------------------------- */
struct deletion {
    struct http_request *request; /* to be replied */
    struct jobs *jobs;            /* counted */
    struct uuid id;               /* of the file */
    char *path;                   /* to be removed, once the ledger forgot it */
};

static void delete_work(void *arg)
{
    struct deletion *self = arg;
    unlink(self->path);
    dataset_index_remove(self->path);
}

static void delete_done(void *arg)
{
    struct deletion *self = arg;
    char id[ID_TEXT_SIZE];
    jobs_end(self->jobs);
    json_t *reply =
        json_pack("{s:o, s:s, s:b}", "id", json_sprintf("file-%s", id_text(id, &self->id)),
                  "object", "file", "deleted", 1);
    http_reply_json(self->request, 200, reply);
    free(self->path);
    free(self);
}

static void forgotten(void *arg, enum status status, const struct error *why)
{
    struct deletion *self = arg;
    struct file *file = self->jobs->closed ? NULL : jobs_file(self->jobs, &self->id);
    if (status == STATUS_OK && file) {
        jobs_forget_file(self->jobs, file);
        pool_continue(self->jobs->config.pool, delete_work, delete_done, self);
        return;
    }
    jobs_end(self->jobs);
    if (status != STATUS_OK)
        http_reply_error(self->request, why, NULL);
    else
        http_reply_fail(self->request, STATUS_NOT_FOUND, "the file is deleted already");
    free(self->path);
    free(self);
}

void files_delete(struct http_request *request, void *owner)
{
    struct jobs *jobs = owner;
    struct file *file = api_file(jobs, request);
    if (!file)
        return;
    const struct job *writer =
        id_is_zero(&file->record.batch) ? NULL : jobs_job(jobs, &file->record.batch);
    if (file->pins > 0 || (writer && !job_over(writer))) {
        http_reply_fail(request, STATUS_CONFLICT,
                        "a batch that has not ended needs this file: cancel it first, or wait");
        return;
    }
    struct deletion *deletion = xcalloc(1, sizeof(*deletion));
    struct ledger_change *change = ledger_change_new();
    deletion->request = request;
    deletion->jobs = jobs;
    deletion->id = file->record.id;
    deletion->path = jobs_path(jobs, &file->record.id);
    ledger_remove(change, LEDGER_file, &file->record);
    jobs_begin(jobs);
    ledger_commit(jobs->ledger, &change, forgotten, deletion);
}
