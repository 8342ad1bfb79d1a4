/* job_end - closing a job's files: rows that nobody will score, the last sizes and digests */
#include "gateway/dataset/job.h"

#include "common/clock.h"

/* Room or descriptors are waited for, any other trouble with the disk ends the process. True when
 * all is well. */
static bool disk_did(struct job *self)
{
    self->writing = false;
    if (self->ending.status == STATUS_OK)
        return true;
    if (!job_disk_recovers(self->ending.status))
        job_disk_failed(&self->ending);
    self->trouble = self->ending;
    self->retry_ns = clock_mono_ns() + NS_PER_S;
    self->closing = false; /* again, when there is room */
    return false;
}

static void in_pool(struct job *self, void (*work)(void *arg), void (*done)(void *arg))
{
    self->closing = true;
    self->writing = true;
    jobs_begin(self->jobs);
    pool_continue(self->jobs->config.pool, work, done, self);
}

/* --- closing: every row is recorded ----------------------------------------------------------- */
static void finish_work(void *arg)
{
    struct job *self = arg;
    self->ending.status = output_finish(self->output, &self->end, &self->ending);
}

/* The two files are whole: their records say so. */
static void settle_files(struct job *self)
{
    struct output_state state = output_state(self->output);
    struct file *answers = jobs_file(self->jobs, &self->record.output_file);
    struct file *errors = jobs_file(self->jobs, &self->record.error_file);
    self->record.output_bytes = (int64_t)state.bytes;
    self->record.error_bytes = (int64_t)state.error_bytes;
    if (answers) {
        answers->record.bytes = (int64_t)state.bytes;
        answers->record.sha256 = self->end.sha256;
        answers->record.rows = self->record.total;
        answers->record.dtype = state.dtype;
        ledger_text_set(&answers->record.state, "processed");
    }
    if (errors) {
        errors->record.bytes = (int64_t)state.error_bytes;
        errors->record.sha256 = self->end.error_sha256;
        errors->record.rows = self->record.failed;
        ledger_text_set(&errors->record.state, "processed");
    }
}

static void finish_done(void *arg)
{
    struct job *self = arg;
    if (!jobs_end(self->jobs) || !disk_did(self))
        return;
    settle_files(self);
    job_event(self, JOB_CLOSED);
    dataset_close(&self->dataset);
    output_close(&self->output);
    job_save(self, NULL, NULL);
}

/* --- before that: rows that nobody will score ------------------------------------------------- */
static const char *write_off_code(const struct job *self)
{
    return self->record.state == JOB_CANCELLING ? "batch_cancelled"
           : self->record.state == JOB_EXPIRING ? "batch_expired"
                                                : "batch_failed";
}

static const char *write_off_text(const struct job *self)
{
    return self->record.state == JOB_CANCELLING
               ? "these rows were not scored: the job was cancelled"
           : self->record.state == JOB_EXPIRING
               ? "these rows were not scored: the completion window ended"
               : "these rows were not scored: the model cannot run any more; see the job's errors";
}

static void write_off_run(struct job *self, int64_t first, int64_t end)
{
    if (end > first)
        output_write_off(self->output, (uint64_t)first, (uint64_t)(end - first),
                         write_off_code(self), write_off_text(self));
}

/* Rows without an answer count as failed; each run of them is one line of the error file. */
static void write_off(struct job *self)
{
    int64_t first = 0, end = 0, rest = self->record.total - self->record.cut_rows;
    while (self->first || rest > 0) {
        struct chunk *chunk = self->first;
        int64_t at = chunk ? chunk->record.first_row : self->record.cut_rows;
        int64_t rows = chunk ? chunk->record.rows : rest;
        if (at != end) {
            write_off_run(self, first, end);
            first = at;
        }
        end = at + rows;
        self->written_off += rows;
        if (chunk)
            chunk_drop(chunk);
        else
            rest = 0;
    }
    write_off_run(self, first, end);
}

static void write_off_work(void *arg)
{
    struct job *self = arg;
    self->ending.status = output_write_noted(self->output, &self->ending);
}

/* The lines are on the disk: the record says so before anybody puts them in order. */
static void write_off_done(void *arg)
{
    struct job *self = arg;
    if (!jobs_end(self->jobs) || !disk_did(self))
        return;
    self->closing = false;
    self->record.error_bytes = (int64_t)output_state(self->output).error_bytes;
    self->record.failed += self->written_off;
    self->record.cut_rows = self->record.total;
    self->record.finalizing_ms = clock_wall_ms();
    self->written_off = 0;
    job_save(self, NULL, NULL);
}

void job_finish(struct job *self)
{
    if (self->closing || self->reading || self->writing || self->saving || self->unsaved)
        return;
    for (struct chunk *chunk = self->first; chunk; chunk = chunk->next) {
        if (chunk->state == CHUNK_WRITTEN) {
            job_save(self, NULL, NULL);
            return;
        }
    }
    if (self->record.finalizing_ms == 0) {
        if (self->written_off == 0) /* else noted already, and the disk was full */
            write_off(self);
        in_pool(self, write_off_work, write_off_done);
    } else {
        in_pool(self, finish_work, finish_done);
    }
}
