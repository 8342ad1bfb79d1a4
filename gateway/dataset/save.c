/* save - answers to the disk, then the ledger, then the acknowledgement; in this order */
#include "gateway/dataset/job.h"

#include "common/clock.h"
#include "common/log.h"
#include "gateway/access/usage.h"
#include "gateway/counters.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WRITE_CHUNKS 256 /* chunks that one visit to the disk writes */
#define EXIT_DISK    74  /* EX_IOERR of sysexits.h: the disk failed */

void job_disk_failed(const struct error *why)
{
    LOG_ERROR("output_failed", "why=%s action=%s", why->text,
              "end now with nothing acknowledged; the next start goes on");
    log_flush();
    _Exit(EXIT_DISK);
}

/* --- writing ---------------------------------------------------------------------------------- */
struct writing {
    struct job *job;
    struct chunk *chunks[WRITE_CHUNKS];      /* in the order of rows */
    struct output_chunk *outs[WRITE_CHUNKS]; /* theirs */
    size_t len;                              /* of both */
    enum status status;                      /* outcome */
    struct error why;                        /* when not OK */
};

static void write_work(void *arg)
{
    struct writing *self = arg;
    self->status = output_write(self->job->output, self->outs, self->len, &self->why);
    for (size_t i = 0; self->status == STATUS_OK && i < self->len; i++)
        chunk_letters_write(self->chunks[i]);
}

/* Type and shape of .npy become known with the first answer. */
static void note_shape(struct job *self, const struct output_state *state)
{
    if (self->record.output_dtype != 0 || state->dtype == DTYPE_NONE)
        return;
    json_t *list = json_array();
    for (uint32_t i = 0; i < state->rank; i++)
        json_array_append_new(list, json_integer(state->dims[i]));
    char *text = json_dumps(list, JSON_COMPACT);
    self->record.output_dtype = state->dtype;
    ledger_text_set(&self->record.output_shape, text);
    free(text);
    json_decref(list);
}

static void count_written(struct job *self, struct chunk *chunk)
{
    chunk->state = CHUNK_WRITTEN;
    chunk->record.done = 1;
    chunk->record.completed = chunk->out.completed;
    chunk->record.failed = chunk->out.failed;
    chunk->record.output_bytes = (int64_t)chunk->out.output_bytes;
    self->record.completed += chunk->out.completed;
    self->record.failed += chunk->out.failed;
    self->record.compute_ns += chunk->record.compute_ns;
}

static void write_done(void *arg)
{
    struct writing *self = arg;
    struct job *job = self->job;
    if (jobs_end(job->jobs)) {
        job->writing = false;
        if (job_disk_recovers(self->status)) {
            job->trouble = self->why;
            job->retry_ns = clock_mono_ns() + NS_PER_S;
            LOG_WARN("output_waits", "status=%s why=%s action=%s", status_name(self->status),
                     self->why.text, "try again in 1 s");
        } else if (self->status != STATUS_OK) {
            job_disk_failed(&self->why);
        }
        struct output_state state = output_state(job->output);
        for (size_t i = 0; i < self->len; i++) {
            if (self->status == STATUS_OK)
                count_written(job, self->chunks[i]);
            else
                self->chunks[i]->state = CHUNK_ANSWERED;
        }
        job->record.output_bytes = (int64_t)state.bytes;
        job->record.error_bytes = (int64_t)state.error_bytes;
        note_shape(job, &state);
        if (self->status == STATUS_OK)
            job_save(job, NULL, NULL);
        job_pump(job);
    }
    free(self);
}

void answers_pump(struct job *self)
{
    bool in_order = strcmp(self->record.output_format, "npy") != 0;
    if (self->writing || clock_mono_ns() < self->retry_ns)
        return;
    struct writing *writing = xcalloc(1, sizeof(*writing));
    writing->job = self;
    for (struct chunk *c = self->first; c && writing->len < WRITE_CHUNKS; c = c->next) {
        if (in_order && c->state != CHUNK_ANSWERED && c->state != CHUNK_WRITTEN)
            break;
        if (c->state != CHUNK_ANSWERED)
            continue;
        c->state = CHUNK_WRITING;
        chunk_bury(c);
        c->out.results = c->results;
        writing->outs[writing->len] = &c->out;
        writing->chunks[writing->len++] = c;
    }
    if (writing->len == 0) {
        free(writing);
        return;
    }
    self->writing = true;
    jobs_begin(self->jobs);
    pool_continue(self->jobs->config.pool, write_work, write_done, writing);
}

/* --- the ledger ------------------------------------------------------------------------------- */
static void add_chunks(struct job *self, struct ledger_change *change)
{
    for (struct chunk *c = self->first; c; c = c->next) {
        bool fresh = c->state == CHUNK_READ || c->state == CHUNK_WRITTEN;
        if (!fresh && !(c->dirty && c->recorded))
            continue;
        c->recording = fresh;
        c->dirty = false;
        ledger_put(change, LEDGER_chunk, &c->record);
        if (c->state == CHUNK_WRITTEN)
            chunk_letters_put(c, change);
    }
}

/* Rows whose chunks the ledger has, or gets with this change. Chunks that are still being read are
 * cut anew after a crash: no record of theirs is there to tell that they are missing. */
static int64_t rows_recorded(const struct job *self)
{
    for (const struct chunk *c = self->first; c; c = c->next)
        if (!c->recorded && (c->state == CHUNK_CUT || c->state == CHUNK_READING))
            return c->record.first_row;
    return self->record.cut_rows;
}

static void add_files(struct job *self, struct ledger_change *change)
{
    const struct file *answers = jobs_file(self->jobs, &self->record.output_file);
    const struct file *errors = jobs_file(self->jobs, &self->record.error_file);
    if (answers && !id_is_zero(&self->record.output_file))
        ledger_put(change, LEDGER_file, &answers->record);
    if (errors && !id_is_zero(&self->record.error_file))
        ledger_put(change, LEDGER_file, &errors->record);
}

/* The octets of the output that can be read now: all of JSON Lines; of .npy up to the first row
 * that is still missing. */
static int64_t readable(const struct job *self)
{
    int64_t rows = self->first ? self->first->record.first_row : self->record.cut_rows;
    uint64_t row_bytes = 0;
    struct output_state state = {.header_bytes = 0};
    if (strcmp(self->record.output_format, "npy") != 0 || job_terminal(self))
        return self->record.output_bytes;
    if (self->output && !self->writing)
        state = output_state(self->output);
    row_bytes = state.row_bytes;
    return state.header_bytes
               ? MAX(self->shown.bytes, (int64_t)(state.header_bytes + (uint64_t)rows * row_bytes))
               : self->shown.bytes;
}

static void publish(struct job *self, const struct job_shown *committed)
{
    count(COUNT_job_rows_completed_total, (uint64_t)(committed->completed - self->shown.completed));
    count(COUNT_job_rows_failed_total, (uint64_t)(committed->failed - self->shown.failed));
    self->shown.state = committed->state;
    self->shown.completed = committed->completed;
    self->shown.failed = committed->failed;
    self->shown.error_bytes = committed->error_bytes;
    self->shown.bytes = readable(self);
}

/* Committed work is charged, once. */
static void charge(const struct job *self, const struct ledger_chunk *record)
{
    struct usage *usage = self->jobs->config.usage;
    usage_add(usage, record->tenant, USAGE_rows_total, (uint64_t)record->completed);
    usage_add(usage, record->tenant, USAGE_failed_rows_total, (uint64_t)record->failed);
    usage_add(usage, record->tenant, USAGE_input_bytes_total, (uint64_t)record->input_bytes);
    usage_add(usage, record->tenant, USAGE_output_bytes_total, (uint64_t)record->output_bytes);
    usage_add(usage, record->tenant, USAGE_compute_ns_total, (uint64_t)record->compute_ns);
}

/* The change is durable: what was read goes to the fleet, what was written is acknowledged. */
static void advance_chunks(struct job *self)
{
    struct chunk *next;
    for (struct chunk *c = self->first; c; c = next) {
        next = c->next;
        if (!c->recording)
            continue;
        c->recording = false;
        c->recorded = true;
        if (c->state == CHUNK_READ) {
            chunk_submit(c);
        } else {
            count(COUNT_job_chunks_committed_total, 1);
            charge(self, &c->record);
            chunk_letters_hand_over(c);
            chunk_drop(c);
        }
    }
}

static void keep_chunks(struct job *self)
{
    for (struct chunk *c = self->first; c; c = c->next) {
        c->dirty = c->dirty || c->recording;
        c->recording = false;
    }
}

struct saving {
    struct job *job;
    struct job_shown committed; /* what the change says */
    size_t owed_len;            /* tasks that may be acknowledged then */
};

/* The parts of chunks that were cut anew are recorded. */
static void acknowledge_owed(struct job *self, size_t len)
{
    for (size_t i = 0; i < len; i++)
        fleet_commit(self->jobs->config.fleet, self->owed[i]);
    self->owed_len -= len;
    if (self->owed_len > 0)
        memmove(self->owed, self->owed + len, self->owed_len * sizeof(*self->owed));
}

static void save_done(void *arg, enum status status, const struct error *why)
{
    struct saving *saving = arg;
    struct job *self = saving->job;
    struct job_shown committed = saving->committed;
    size_t owed_len = saving->owed_len;
    free(saving);
    if (!jobs_end(self->jobs))
        return;
    struct commit_waiter *waiters = self->saving_waiters;
    bool was_created = self->created;
    self->saving = false;
    self->saving_waiters = NULL;
    if (status == STATUS_OK) {
        self->created = true;
        acknowledge_owed(self, owed_len);
        advance_chunks(self);
        publish(self, &committed);
        job_changed(self);
    } else {
        keep_chunks(self);
        self->unsaved = true;
        self->trouble = *why;
        self->retry_ns = clock_mono_ns() + NS_PER_S;
    }
    waiters_tell(waiters, status, why);
    if (status != STATUS_OK && !was_created)
        return; /* the waiter has forgotten the job */
    if (self->unsaved && status == STATUS_OK)
        job_save(self, NULL, NULL);
    job_pump(self);
}

static void start_change(struct job *self)
{
    struct ledger_change *change = ledger_change_new();
    struct saving *saving = xcalloc(1, sizeof(*saving));
    saving->job = self;
    saving->owed_len = self->owed_len;
    saving->committed = (struct job_shown){.state = (enum job_state)self->record.state,
                                           .completed = self->record.completed,
                                           .failed = self->record.failed,
                                           .error_bytes = self->record.error_bytes};
    struct ledger_batch record = self->record;
    record.cut_rows = rows_recorded(self);
    ledger_put(change, LEDGER_batch, &record);
    add_files(self, change);
    add_chunks(self, change);
    self->saving_waiters = self->waiters;
    self->waiters = NULL;
    self->saving = true;
    self->unsaved = false;
    jobs_begin(self->jobs);
    ledger_commit(self->jobs->ledger, &change, save_done, saving);
}

void job_save(struct job *self, waiter_call *call, void *arg)
{
    waiters_add(&self->waiters, call, arg);
    self->unsaved = true;
    if (!self->saving && clock_mono_ns() >= self->retry_ns)
        start_change(self);
}
