/* job - see job.h */
#include "gateway/cli/job.h"

#include "common/ids.h"
#include "gateway/cli/answer.h"
#include "gateway/cli/progress.h"

#include <errno.h>
#include <inttypes.h>
#include <libgen.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define ASK_AGAIN_MS 100 /* while a job runs */

static uint64_t count_of(const json_t *object, const char *key)
{
    json_int_t value = json_integer_value(json_object_get(object, key));
    return value > 0 ? (uint64_t)value : 0;
}

static void text_of(char *into, size_t size, const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    text_copy(into, size, text ? text : "");
}

/* "/v2/models/NAME[/versions/V]/infer" to NAME or NAME/V. */
static void model_of(char *into, size_t size, const char *endpoint)
{
    static const char prefix[] = "/v2/models/", versions[] = "/versions/";
    if (endpoint && strncmp(endpoint, prefix, sizeof prefix - 1) == 0)
        endpoint += sizeof prefix - 1;
    text_copy(into, size, endpoint ? endpoint : "");
    char *end = strstr(into, "/infer");
    if (end)
        *end = '\0';
    char *version = strstr(into, versions);
    if (version)
        memmove(version + 1, version + sizeof versions - 1,
                strlen(version + sizeof versions - 1) + 1);
}

static double number_of(const json_t *object, const char *key, double missing)
{
    const json_t *value = json_object_get(object, key);
    return json_is_number(value) ? json_number_value(value) : missing;
}

bool job_read(struct job *job, const json_t *object)
{
    const json_t *counts = json_object_get(object, "request_counts");
    const json_t *ours = json_object_get(object, "convoy");
    const json_t *errors = json_object_get(json_object_get(object, "errors"), "data");
    *job = (struct job){0};
    text_of(job->id, sizeof job->id, object, "id");
    text_of(job->status, sizeof job->status, object, "status");
    text_of(job->output_file, sizeof job->output_file, object, "output_file_id");
    text_of(job->error_file, sizeof job->error_file, object, "error_file_id");
    text_of(job->problem, sizeof job->problem, json_array_get(errors, 0), "message");
    model_of(job->model, sizeof job->model, json_string_value(json_object_get(object, "endpoint")));
    job->total = count_of(counts, "total");
    job->completed = count_of(counts, "completed");
    job->failed = count_of(counts, "failed");
    job->redelivered = count_of(ours, "redelivered");
    job->workers = count_of(ours, "workers");
    job->rows_per_s = number_of(ours, "rows_per_second", 0);
    job->eta_s = number_of(ours, "eta_s", -1);
    job->elapsed_s = number_of(ours, "elapsed_s", -1);
    return job->id[0] && job->status[0];
}

bool job_ended(const struct job *job)
{
    static const char *const ends[] = {"completed", "failed", "cancelled", "expired"};
    for (size_t i = 0; i < ARRAY_LEN(ends); i++)
        if (strcmp(job->status, ends[i]) == 0)
            return true;
    return false;
}

static void on_transfer(void *arg, uint64_t done, uint64_t total)
{
    progress_show(arg, done, total, 0, NULL);
}

/* --- beginning ---------------------------------------------------------------------------------
 */

enum status job_upload(struct client *client, const char *file, const char *purpose,
                       char id[static JOB_ID_SIZE], struct error *why)
{
    struct progress progress;
    json_t *answer;
    char *copy = xstrdup(file);
    char *name = client_escape(basename(copy));
    char *path = xasprintf("/v1/files?name=%s&purpose=%s", name, purpose);
    progress_start(&progress, "upload", true);
    enum status s = client_upload(client, path, file, on_transfer, &progress, &answer, why);
    progress_clear(&progress);
    if (s == STATUS_OK) {
        const char *got = json_string_value(json_object_get(answer, "id"));
        text_copy(id, JOB_ID_SIZE, got ? got : "");
        json_decref(answer);
    }
    free(path);
    free(name);
    free(copy);
    return s;
}

static char *endpoint_of(const char *model)
{
    char *copy = xstrdup(model), *slash = strchr(copy, '/');
    if (slash)
        *slash = '\0';
    char *name = client_escape(copy);
    char *endpoint = slash ? xasprintf("/v2/models/%s/versions/%s/infer", name, slash + 1)
                           : xasprintf("/v2/models/%s/infer", name);
    free(name);
    free(copy);
    return endpoint;
}

void job_forget_upload(struct client *client, const char *file_id)
{
    struct error ignored;
    json_t *answer = NULL;
    char *path = xasprintf("/v1/files/%s", file_id);
    if (client_call(client, "DELETE", path, NULL, NULL, &answer, &ignored) == STATUS_OK)
        json_decref(answer);
    free(path);
}

enum status job_create(struct client *client, const struct job_wish *wish, struct job *job,
                       struct error *why)
{
    char key[ID_TEXT_SIZE];
    struct uuid uuid = id_random();
    json_t *answer;
    char *endpoint = endpoint_of(wish->model);
    json_t *body = json_pack("{s:s, s:s, s:s, s:s}", "input_file_id", wish->file_id, "endpoint",
                             endpoint, "completion_window", "24h", "output_format", wish->format);
    if (wish->chunk_rows)
        json_object_set_new(body, "chunk_rows", json_integer(wish->chunk_rows));
    enum status s = client_call(client, "POST", "/v1/batches", body,
                                wish->key ? wish->key : id_text(key, &uuid), &answer, why);
    if (s == STATUS_OK) {
        if (!job_read(job, answer))
            s = fail(why, STATUS_INTERNAL, "the gateway's answer is no job");
        const char *input = json_string_value(json_object_get(answer, "input_file_id"));
        if (input && strcmp(input, wish->file_id) != 0)
            job_forget_upload(client, wish->file_id);
        json_decref(answer);
    }
    json_decref(body);
    free(endpoint);
    return s;
}

/* --- following ---------------------------------------------------------------------------------
 */

enum status job_get(struct client *client, const char *id, struct job *job, struct error *why)
{
    json_t *answer;
    char *escaped = client_escape(id);
    char *path = xasprintf("/v1/batches/%s", escaped);
    enum status s = client_get(client, path, &answer, why);
    if (s == STATUS_OK) {
        if (!job_read(job, answer))
            s = fail(why, STATUS_INTERNAL, "the gateway's answer is no job");
        json_decref(answer);
    }
    free(path);
    free(escaped);
    return s;
}

static char *extra_text(char *into, size_t size, const struct job *job)
{
    size_t used = 0;
    into[0] = '\0';
    if (job->failed)
        used += (size_t)snprintf(into, size, "%" PRIu64 " failed", job->failed);
    if (job->redelivered && used < size)
        used += (size_t)snprintf(into + used, size - used, "%s%" PRIu64 " redelivered",
                                 used ? ", " : "", job->redelivered);
    if (job->workers && used < size)
        snprintf(into + used, size - used, "%s%" PRIu64 " worker%s", used ? ", " : "", job->workers,
                 job->workers == 1 ? "" : "s");
    return into;
}

enum status job_follow(struct client *client, const char *id, struct job *job, struct error *why)
{
    struct progress progress;
    char extra[128];
    progress_start(&progress, "score", false);
    for (;;) {
        enum status s = job_get(client, id, job, why);
        if (s != STATUS_OK) {
            progress_clear(&progress);
            return s;
        }
        uint64_t done = job->completed + job->failed;
        extra_text(extra, sizeof extra, job);
        if (job_ended(job)) {
            progress_end(&progress, done, job->total, job->rows_per_s, extra);
            return STATUS_OK;
        }
        progress_show(&progress, done, job->total, job->rows_per_s, extra);
        if (cli_interrupted(NULL)) {
            progress_clear(&progress);
            return fail(why, STATUS_CANCELLED, "interrupted");
        }
        poll(NULL, 0, ASK_AGAIN_MS);
    }
}

static enum status fetch_file(struct client *client, const char *id, const char *file,
                              struct error *why)
{
    struct progress progress;
    char *path = xasprintf("/v1/files/%s/content", id);
    progress_start(&progress, "fetch", true);
    enum status s = client_download(client, path, file, on_transfer, &progress, why);
    progress_clear(&progress);
    free(path);
    return s;
}

enum status job_output_check(const char *output, struct error *why)
{
    struct stat stat_of;
    char *copy = xstrdup(output);
    int code = access(dirname(copy), W_OK | X_OK) == 0 ? 0 : errno;
    free(copy);
    if (code == 0 && stat(output, &stat_of) == 0 && S_ISDIR(stat_of.st_mode))
        code = EISDIR;
    return code == 0 ? STATUS_OK
                     : fail(why, STATUS_IO, "%s cannot be written: %s", output, strerror(code));
}

enum status job_fetch(struct client *client, const struct job *job, const char *output,
                      struct error *why)
{
    enum status s = STATUS_OK;
    if (job->output_file[0])
        s = fetch_file(client, job->output_file, output, why);
    if (s == STATUS_OK && job->failed && job->error_file[0]) {
        char *errors = xasprintf("%s.errors.jsonl", output);
        s = fetch_file(client, job->error_file, errors, why);
        free(errors);
    }
    return s;
}

int job_conclude(const struct job *job, const char *output)
{
    bool good = strcmp(job->status, "completed") == 0 && job->failed == 0;
    if (cli_options.json) {
        json_t *object = json_pack(
            "{s:s, s:s, s:I, s:I, s:I, s:I, s:f, s:f}", "id", job->id, "status", job->status,
            "total", (json_int_t)job->total, "completed", (json_int_t)job->completed, "failed",
            (json_int_t)job->failed, "redelivered", (json_int_t)job->redelivered, "rows_per_second",
            job->rows_per_s, "elapsed_s", job->elapsed_s);
        answer_print(object);
        json_decref(object);
    } else {
        printf("%s %s: rows %" PRIu64 " completed %" PRIu64 " failed %" PRIu64
               " redelivered %" PRIu64 " rate %.0f rows/s\n",
               job->id, job->status, job->total, job->completed, job->failed, job->redelivered,
               job->rows_per_s);
    }
    if (job->problem[0])
        fprintf(stderr, "%s: %s\n", cli_command, job->problem);
    if (job->failed && output)
        fprintf(stderr, "%s: %" PRIu64 " rows failed; each with its reason in %s.errors.jsonl\n",
                cli_command, job->failed, output);
    return good ? CLI_EXIT_OK : CLI_EXIT_ROWS_FAILED;
}
