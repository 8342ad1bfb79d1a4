/* job_json - jobs and files as the API shows them: the objects of OpenAI's, and ours in "convoy" */
#include "gateway/dataset/job.h"

#include "common/clock.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Unix seconds, or null for what has not happened. */
static json_t *seconds(int64_t wall_ms)
{
    return wall_ms > 0 ? json_integer(wall_ms / 1000) : json_null();
}

static json_t *prefixed_id(const char *prefix, const struct uuid *id)
{
    char text[ID_TEXT_SIZE];
    return id_is_zero(id) ? json_null() : json_sprintf("%s%s", prefix, id_text(text, id));
}

static json_t *parsed(const char *text)
{
    json_t *value = text && text[0] ? json_loads(text, JSON_DECODE_ANY, NULL) : NULL;
    return value ? value : json_null();
}

static json_t *text_or_null(const char *text)
{
    return text && text[0] ? json_string(text) : json_null();
}

/* --- speed ------------------------------------------------------------------------------------ */
/* Seconds from the start to the last committed row, or to now; negative: not begun. */
static double elapsed_s(const struct job *self)
{
    const struct ledger_batch *record = &self->record;
    int64_t end = record->finalizing_ms   ? record->finalizing_ms
                  : record->cancelling_ms ? record->cancelling_ms
                  : record->ended_ms      ? record->ended_ms
                                          : clock_wall_ms();
    return record->started_ms ? (double)MAX(end - record->started_ms, 1) / 1000 : -1;
}

/* Rows a second: over the last seconds while it runs, over all at the end. */
static double rate(const struct job *self)
{
    int64_t done = self->shown.completed + self->shown.failed;
    double elapsed = elapsed_s(self);
    if (elapsed < 0)
        return 0;
    if (self->record.state != JOB_IN_PROGRESS || self->samples_len < 2)
        return (double)(self->record.state == JOB_IN_PROGRESS ? done : self->shown.completed) /
               elapsed;
    uint32_t first = self->samples_len > JOB_SAMPLES ? self->samples_len - JOB_SAMPLES : 0;
    const struct job_sample *old = &self->samples[first % JOB_SAMPLES];
    double window = (double)(clock_mono_ns() - old->now_ns) / (double)NS_PER_S;
    return window > 0 ? (double)(done - old->done) / window : 0;
}

static json_t *ours(const struct job *self)
{
    const struct ledger_batch *record = &self->record;
    double speed = rate(self), elapsed = elapsed_s(self);
    int64_t left = record->total - self->shown.completed - self->shown.failed;
    uint32_t under_way = 0;
    for (const struct chunk *c = self->first; c; c = c->next)
        under_way += c->state == CHUNK_UNDERWAY;
    json_t *object = json_object();
    json_object_set_new(object, "rows_per_second", json_real(round(speed * 10) / 10));
    json_object_set_new(object, "eta_s",
                        record->state == JOB_IN_PROGRESS && speed > 0
                            ? json_real(round((double)left / speed * 10) / 10)
                            : json_null());
    json_object_set_new(object, "elapsed_s", elapsed >= 0 ? json_real(elapsed) : json_null());
    json_object_set_new(object, "redelivered", json_integer(record->redelivered));
    json_object_set_new(object, "workers", json_integer(self->workers_len));
    json_object_set_new(object, "chunks_live", json_integer(self->live));
    json_object_set_new(object, "chunks_in_fleet", json_integer(under_way));
    json_object_set_new(object, "compute_s", json_real((double)record->compute_ns / 1e9));
    json_object_set_new(object, "numeric_mode", text_or_null(record->mode));
    json_object_set_new(object, "model_version", text_or_null(record->version));
    json_object_set_new(object, "output_format", json_string(record->output_format));
    json_object_set_new(object, "output_bytes", json_integer(self->shown.bytes));
    json_object_set_new(object, "waiting_for",
                        self->trouble.status != STATUS_OK ? json_string(self->trouble.text)
                                                          : json_null());
    return object;
}

/* --- objects ---------------------------------------------------------------------------------- */
static void add_times(json_t *object, const struct job *self)
{
    const struct ledger_batch *record = &self->record;
    enum job_state state = self->shown.state;
    int64_t end = record->ended_ms, stop = record->cancelling_ms;
    bool cancel = state == JOB_CANCELLING || state == JOB_CANCELLED;
    json_object_set_new(object, "created_at", seconds(record->created_ms));
    json_object_set_new(object, "in_progress_at", seconds(record->started_ms));
    json_object_set_new(object, "expires_at", seconds(record->expires_ms));
    json_object_set_new(object, "finalizing_at", seconds(record->finalizing_ms));
    json_object_set_new(object, "completed_at", seconds(state == JOB_COMPLETED ? end : 0));
    json_object_set_new(object, "failed_at", seconds(state == JOB_FAILED ? end : 0));
    json_object_set_new(object, "expired_at", seconds(state == JOB_EXPIRED ? end : 0));
    json_object_set_new(object, "cancelling_at", seconds(cancel ? (stop ? stop : end) : 0));
    json_object_set_new(object, "cancelled_at", seconds(state == JOB_CANCELLED ? end : 0));
}

json_t *job_json(const struct job *self)
{
    const struct ledger_batch *record = &self->record;
    json_t *object = json_object(), *errors = parsed(record->errors);
    json_object_set_new(object, "id", prefixed_id("batch_", &record->id));
    json_object_set_new(object, "object", json_string("batch"));
    json_object_set_new(object, "endpoint", json_string(record->endpoint));
    json_object_set_new(
        object, "errors",
        json_is_array(errors) ? json_pack("{s:s, s:o}", "object", "list", "data", errors) : errors);
    json_object_set_new(object, "input_file_id", prefixed_id("file-", &record->input_file));
    json_object_set_new(object, "completion_window", json_string(record->window));
    json_object_set_new(object, "status", json_string(job_state_text(self->shown.state)));
    json_object_set_new(object, "output_file_id", prefixed_id("file-", &record->output_file));
    json_object_set_new(object, "error_file_id",
                        self->shown.failed > 0 ? prefixed_id("file-", &record->error_file)
                                               : json_null());
    add_times(object, self);
    json_object_set_new(object, "request_counts",
                        json_pack("{s:I, s:I, s:I}", "total", (json_int_t)record->total,
                                  "completed", (json_int_t)self->shown.completed, "failed",
                                  (json_int_t)self->shown.failed));
    json_object_set_new(object, "metadata", parsed(record->metadata));
    json_object_set_new(object, "convoy", ours(self));
    return object;
}

json_t *file_json(const struct jobs *self, const struct file *file)
{
    const struct ledger_file *record = &file->record;
    const struct job *job = id_is_zero(&record->batch) ? NULL : jobs_job(self, &record->batch);
    int64_t bytes = record->bytes;
    if (job && !job_over(job))
        bytes = id_equal(&record->id, &job->record.output_file) ? job->shown.bytes
                                                                : job->shown.error_bytes;
    json_t *object = json_object(), *extra = json_object();
    char sha256[DIGEST_TEXT_SIZE];
    json_object_set_new(object, "id", prefixed_id("file-", &record->id));
    json_object_set_new(object, "object", json_string("file"));
    json_object_set_new(object, "bytes", json_integer(bytes));
    json_object_set_new(object, "created_at", seconds(record->created_ms));
    json_object_set_new(object, "filename", json_string(record->name));
    json_object_set_new(object, "purpose", json_string(record->purpose));
    json_object_set_new(object, "status", json_string(record->state));
    json_object_set_new(object, "status_details", text_or_null(record->detail));
    json_object_set_new(extra, "format", json_string(record->format));
    json_object_set_new(extra, "rows", json_integer(record->rows));
    json_object_set_new(extra, "datatype",
                        record->dtype ? json_string(dtype_name((enum dtype)record->dtype))
                                      : json_null());
    json_object_set_new(extra, "row_shape", parsed(record->row_shape));
    json_object_set_new(extra, "sha256", json_string(digest_text(sha256, &record->sha256)));
    json_object_set_new(object, "convoy", extra);
    return object;
}
