#include "gateway/dataset/job.h"

#include "common/clock.h"
#include "common/file.h"
#include "common/log.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define TICK_MS 100 /* how often jobs that wait are looked at */

/* --- sorted lists of pointers ----------------------------------------------------------------- */
/* Index of the first entry whose id is not below `id`; an entry's first field is a record whose
 * first column is its id. */
static size_t lower_bound(void *const *entries, size_t len, size_t id_offset, const struct uuid *id)
{
    size_t low = 0, high = len;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        const struct uuid *at = (const void *)((const char *)entries[middle] + id_offset);
        if (id_compare(at, id) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static void *list_find(void *const *entries, size_t len, size_t id_offset, const struct uuid *id)
{
    size_t at = lower_bound(entries, len, id_offset, id);
    if (at == len || !id_equal((const void *)((const char *)entries[at] + id_offset), id))
        return NULL;
    return entries[at];
}

static void *list_insert(void **entries, size_t *len, size_t *room, size_t id_offset, void *entry)
{
    const struct uuid *id = (const void *)((const char *)entry + id_offset);
    if (*len == *room) {
        *room = *room ? 2 * *room : 64;
        entries = xrealloc(entries, *room * sizeof(*entries));
    }
    size_t at = lower_bound(entries, *len, id_offset, id);
    memmove(entries + at + 1, entries + at, (*len - at) * sizeof(*entries));
    entries[at] = entry;
    ++*len;
    return entries;
}

static void list_remove(void **entries, size_t *len, const void *entry)
{
    for (size_t i = 0; i < *len; i++) {
        if (entries[i] != entry)
            continue;
        memmove(entries + i, entries + i + 1, (--*len - i) * sizeof(*entries));
        return;
    }
}

#define FILE_ID offsetof(struct file, record.id)
#define JOB_ID  offsetof(struct job, record.id)

struct file *jobs_file(const struct jobs *self, const struct uuid *id)
{
    return list_find((void *const *)self->files, self->files_len, FILE_ID, id);
}

struct job *jobs_job(const struct jobs *self, const struct uuid *id)
{
    return list_find((void *const *)self->all, self->all_len, JOB_ID, id);
}

struct file *jobs_add_file(struct jobs *self, struct ledger_file *record)
{
    struct file *file = xcalloc(1, sizeof(*file));
    file->record = *record;
    memset(record, 0, sizeof(*record));
    self->files =
        list_insert((void **)self->files, &self->files_len, &self->files_room, FILE_ID, file);
    return file;
}

struct job *jobs_add_job(struct jobs *self, struct ledger_batch *record)
{
    struct job *job = xcalloc(1, sizeof(*job));
    job->jobs = self;
    job->record = *record;
    job->begun_ns = clock_mono_ns();
    memset(record, 0, sizeof(*record));
    self->all = list_insert((void **)self->all, &self->all_len, &self->all_room, JOB_ID, job);
    return job;
}

void jobs_forget_file(struct jobs *self, struct file *file)
{
    list_remove((void **)self->files, &self->files_len, file);
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
    ledger_record_clear(LEDGER_batch, &job->record);
    free(job);
}

void jobs_forget_job(struct jobs *self, struct job *job)
{
    list_remove((void **)self->all, &self->all_len, job);
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
    for (size_t i = 0; i < self->all_len; i++) {
        struct job *job = self->all[i];
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
    for (size_t i = self->all_len; i > 0; i--) {
        if (!job_terminal(self->all[i - 1]))
            job_pump(self->all[i - 1]);
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
    for (size_t i = 0; i < self->all_len; i++)
        job_free(self->all[i]);
    while (self->files_len > 0)
        jobs_forget_file(self, self->files[self->files_len - 1]);
    free(self->all);
    free(self->files);
    free(self->files_folder);
    free((char *)self->config.folder);
    free(self);
}

bool jobs_drain(struct jobs *self)
{
    bool first = !self->draining;
    self->draining = true;
    for (size_t i = 0; first && i < self->all_len; i++)
        job_changed(self->all[i]); /* event streams end */
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
