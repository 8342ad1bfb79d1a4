#include "gateway/dataset/job.h"

#include "common/clock.h"
#include "common/file.h"
#include "common/log.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define TICK_MS 100 /* how often jobs that wait are looked at */

/* --- the two lists ---------------------------------------------------------------------------- */
struct file *jobs_file(const struct jobs *self, const struct uuid *id)
{
    return by_id_find(&self->files, id);
}

struct job *jobs_job(const struct jobs *self, const struct uuid *id)
{
    return by_id_find(&self->all, id);
}

struct file *jobs_file_at(const struct jobs *self, size_t index)
{
    return self->files.entries[index];
}

struct job *jobs_job_at(const struct jobs *self, size_t index)
{
    return self->all.entries[index];
}

struct file *jobs_add_file(struct jobs *self, struct ledger_file *record)
{
    struct file *file = xcalloc(1, sizeof(*file));
    file->record = *record;
    memset(record, 0, sizeof(*record));
    by_id_insert(&self->files, file);
    return file;
}

struct job *jobs_add_job(struct jobs *self, struct ledger_batch *record)
{
    struct job *job = xcalloc(1, sizeof(*job));
    job->jobs = self;
    job->record = *record;
    job->begun_ns = clock_mono_ns();
    memset(record, 0, sizeof(*record));
    by_id_insert(&self->all, job);
    return job;
}

void jobs_forget_file(struct jobs *self, struct file *file)
{
    by_id_remove(&self->files, file);
    ledger_record_clear(LEDGER_file, &file->record);
    free(file);
}

static void job_free(struct job *job)
{
    while (job->first) {
        struct chunk *chunk = job->first;
        job->first = chunk->next;
        chunk_letters_abandon(chunk);
        for (uint32_t i = 0; i < chunk->results_len; i++)
            fleet_result_free(&chunk->results[i]);
        free(chunk->results);
        free(chunk->marks);
        dataset_rows_free(&chunk->rows);
        bytes_drop(&chunk->block);
        ledger_record_clear(LEDGER_chunk, &chunk->record);
        free(chunk);
    }
    dataset_close(&job->dataset);
    output_close(&job->output);
    version_drop(&job->version);
    free(job->owed);
    ledger_record_clear(LEDGER_batch, &job->record);
    free(job);
}

void jobs_forget_job(struct jobs *self, struct job *job)
{
    by_id_remove(&self->all, job);
    job_free(job);
}

char *jobs_path(const struct jobs *self, const struct uuid *id)
{
    char text[ID_TEXT_SIZE];
    return xasprintf("%s/%s", self->files_folder, id_text(text, id));
}

/* --- loading ---------------------------------------------------------------------------------- */
static void load_file(void *context, const void *record)
{
    struct ledger_file *copy = ledger_record_copy(LEDGER_file, record);
    jobs_add_file(context, copy);
    free(copy);
}

static void load_job(void *context, const void *record)
{
    struct ledger_batch *copy = ledger_record_copy(LEDGER_batch, record);
    struct job *job = jobs_add_job(context, copy);
    free(copy);
    job->created = true;
    job->shown =
        (struct job_shown){(enum job_state)job->record.state, job->record.completed,
                           job->record.failed, job->record.output_bytes, job->record.error_bytes};
}

static void load_chunk(void *context, const void *record)
{
    const struct ledger_chunk *chunk = record;
    struct job *job = jobs_job(context, &chunk->batch);
    bool wanted = job && !job_terminal(job) && job->record.finalizing_ms == 0;
    if (wanted) /* else its rows have their answers, or were written off */
        chunk_expect(job, chunk);
}

/* Files that jobs under way need may not be deleted. */
static void pin_files(struct jobs *self)
{
    for (size_t i = 0; i < self->all.len; i++) {
        struct job *job = jobs_job_at(self, i);
        struct file *file = jobs_file(self, &job->record.input_file);
        if (!job_terminal(job) && file)
            file->pins++;
    }
}

static enum status load(struct jobs *self, struct error *why)
{
    enum status status = ledger_load(self->ledger, LEDGER_file, false, load_file, self, why);
    if (status == STATUS_OK)
        status = ledger_load(self->ledger, LEDGER_batch, false, load_job, self, why);
    if (status == STATUS_OK)
        status = ledger_load(self->ledger, LEDGER_chunk, true, load_chunk, self, why);
    pin_files(self);
    return status;
}

/* --- life ------------------------------------------------------------------------------------- */
static void tick(void *arg)
{
    struct jobs *self = arg;
    for (size_t i = self->all.len; i > 0; i--) {
        if (!job_terminal(jobs_job_at(self, i - 1)))
            job_pump(jobs_job_at(self, i - 1));
    }
    front_timer_set(self->config.front, &self->tick,
                    front_now_ns(self->config.front) + TICK_MS * NS_PER_MS, tick, self);
}

enum status jobs_open(struct jobs **out, const struct jobs_config *config, struct error *why)
{
    struct jobs *self = xcalloc(1, sizeof(*self));
    self->config = *config;
    self->config.folder = xstrdup(config->folder);
    self->files_folder = xasprintf("%s/files", config->folder);
    self->ledger = config->ledger;
    self->files.id_offset = offsetof(struct file, record.id);
    self->all.id_offset = offsetof(struct job, record.id);
    enum status status = file_mkdirs(self->files_folder, why);
    if (status == STATUS_OK)
        status = load(self, why);
    if (status == STATUS_OK)
        front_timer_set(config->front, &self->tick, clock_mono_ns() + TICK_MS * NS_PER_MS, tick,
                        self);
    else
        jobs_close(&self);
    *out = self;
    return status;
}

static void jobs_free(struct jobs *self)
{
    for (size_t i = 0; i < self->all.len; i++)
        job_free(jobs_job_at(self, i));
    while (self->files.len > 0)
        jobs_forget_file(self, jobs_file_at(self, self->files.len - 1));
    by_id_free(&self->all);
    by_id_free(&self->files);
    free(self->files_folder);
    free((char *)self->config.folder);
    free(self);
}

bool jobs_drain(struct jobs *self)
{
    bool first = !self->draining;
    self->draining = true;
    for (size_t i = 0; first && i < self->all.len; i++)
        job_changed(jobs_job_at(self, i)); /* event streams end */
    return self->operations == 0;
}

void jobs_close(struct jobs **self_p)
{
    struct jobs *self = *self_p;
    if (!self)
        return;
    *self_p = NULL;
    front_timer_clear(self->config.front, &self->tick);
    self->closed = true;
    if (self->operations == 0)
        jobs_free(self);
}

void jobs_begin(struct jobs *self)
{
    self->operations++;
}

bool jobs_end(struct jobs *self)
{
    assert(self->operations > 0);
    bool over = --self->operations == 0 && self->closed;
    bool closed = self->closed;
    if (over)
        jobs_free(self);
    return !closed;
}
