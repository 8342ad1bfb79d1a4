/* chunk - rows of a job on their way: cut, read, in the fleet, answered */
#include "gateway/dataset/job.h"

#include "common/clock.h"
#include "common/limits.h"
#include "common/log.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* How much of a job is under way at a time: enough that every worker has work while answers are
 * written and recorded (some 50 ms), little enough that memory stays small. */
#define WINDOW_CHUNKS     16   /* besides WINDOW_PER_WORKER for each worker */
#define WINDOW_PER_WORKER 8    /* chunks */
#define WINDOW_ROWS       4096 /* small chunks: as many as make so many rows */
#define WINDOW_TASKS      2048 /* for models that run one row a task */
#define READ_CHUNKS       128  /* chunks that one visit to the pool reads */

/* --- the list --------------------------------------------------------------------------------- */
struct chunk *chunk_add(struct job *self, struct chunk *before, int64_t first, int64_t rows)
{
    struct chunk *chunk = xcalloc(1, sizeof(*chunk));
    chunk->job = self;
    chunk->record.batch = self->record.id;
    chunk->record.tenant = xstrdup(self->record.tenant);
    chunk->record.first_row = first;
    chunk->record.rows = rows;
    chunk->next = before;
    chunk->prev = before ? before->prev : self->last;
    *(chunk->prev ? &chunk->prev->next : &self->first) = chunk;
    *(before ? &before->prev : &self->last) = chunk;
    self->live++;
    return chunk;
}

/* The number of the task that result or input `index` belongs to. */
static uint64_t task_of(const struct chunk *chunk, uint32_t index)
{
    return (uint64_t)chunk->record.task + index;
}

static void owe(struct job *self, uint64_t task)
{
    self->owed = xrealloc(self->owed, (self->owed_len + 1) * sizeof(*self->owed));
    self->owed[self->owed_len++] = task;
}

static void take_no_more(struct chunk *chunk, bool replaced)
{
    struct job *job = chunk->job;
    for (uint32_t i = 0; i < chunk->results_len; i++) {
        if (chunk->results[i] && replaced)
            owe(job, task_of(chunk, i));
        else if (chunk->results[i])
            fleet_commit(job->jobs->config.fleet, task_of(chunk, i));
        else
            fleet_cancel(job->jobs->config.fleet, task_of(chunk, i));
        fleet_result_free(&chunk->results[i]);
    }
    job->tasks -= chunk->left;
    chunk->left = 0;
}

static void let_rows_go(struct chunk *chunk)
{
    if (chunk->rows)
        chunk->job->live_bytes -= (uint64_t)chunk->record.input_bytes;
    dataset_rows_free(&chunk->rows);
    bytes_drop(&chunk->block);
}

static void leave(struct chunk *chunk, bool replaced)
{
    struct job *job = chunk->job;
    assert(chunk->state != CHUNK_READING && chunk->state != CHUNK_WRITING);
    take_no_more(chunk, replaced);
    chunk_letters_abandon(chunk);
    let_rows_go(chunk);
    *(chunk->prev ? &chunk->prev->next : &job->first) = chunk->next;
    *(chunk->next ? &chunk->next->prev : &job->last) = chunk->prev;
    job->live--;
    free(chunk->results);
    free(chunk->marks);
    ledger_record_clear(LEDGER_chunk, &chunk->record);
    free(chunk);
}

void chunk_drop(struct chunk *chunk)
{
    leave(chunk, false);
}

void chunk_replace(struct chunk *chunk)
{
    leave(chunk, true);
}

/* --- cutting ---------------------------------------------------------------------------------- */
static bool window_open(const struct job *self)
{
    uint32_t workers = MIN(fleet_view(self->jobs->config.fleet).workers, 64);
    uint64_t chunks = MAX(WINDOW_CHUNKS + WINDOW_PER_WORKER * workers,
                          WINDOW_ROWS / (uint64_t)chunk_rows_next(self));
    return self->live < chunks && self->tasks < WINDOW_TASKS &&
           self->live_bytes < CHUNK_WINDOW_BYTES;
}

/* --- reading ---------------------------------------------------------------------------------- */
struct reading {
    struct job *job;
    struct dataset_ask asks[READ_CHUNKS];   /* what to read */
    struct chunk *chunks[READ_CHUNKS];      /* for whom */
    struct dataset_rows *rows[READ_CHUNKS]; /* made */
    size_t len;                             /* of all three */
    enum status status;                     /* outcome */
    struct error why;                       /* when not OK */
};

static void read_work(void *arg)
{
    struct reading *self = arg;
    for (size_t i = 0; i < self->len && self->status == STATUS_OK; i++)
        self->status = dataset_read(self->job->dataset, &self->asks[i], &self->rows[i], &self->why);
}

/* A fresh chunk: how many tasks it makes is known now. */
static void plan_tasks(struct chunk *chunk)
{
    struct job *job = chunk->job;
    chunk->record.alone = chunk->rows->alone;
    chunk->results_len = chunk->rows->alone ? chunk->rows->rows : 1;
    chunk->results = xcalloc(chunk->results_len, sizeof(struct fleet_result *));
    chunk->marks = xcalloc(chunk->results_len, 1);
    chunk->left = chunk->rows->alone ? chunk->rows->good_len : chunk->rows->good_len > 0;
    job->tasks += chunk->left;
    chunk->state = CHUNK_READ;
}

static void submit_one(struct chunk *chunk, uint32_t index);
static void settle(struct chunk *chunk);

/* There is no such task after all, even if the fleet has asked for its data. */
static void forget_task(struct chunk *chunk, uint32_t index)
{
    fleet_cancel(chunk->job->jobs->config.fleet, task_of(chunk, index));
    chunk->marks[index] = 0;
}

/* A chunk of an earlier life has its tasks already: rows that are bad never had one. */
static void rejoin_tasks(struct chunk *chunk)
{
    const struct dataset_rows *rows = chunk->rows;
    bool none = !rows->alone && rows->good_len == 0;
    for (size_t i = 0; rows->alone && i < rows->bad_len; i++)
        forget_task(chunk, rows->bad[i].row);
    if (none)
        forget_task(chunk, 0);
    uint32_t gone = rows->alone ? (uint32_t)rows->bad_len : none;
    chunk->left -= gone;
    chunk->job->tasks -= gone;
    chunk->state = CHUNK_UNDERWAY;
    for (uint32_t i = 0; i < chunk->results_len; i++) {
        if (chunk->marks[i] & MARK_WANTED && !chunk->results[i])
            submit_one(chunk, i);
    }
    if (chunk->left == 0)
        settle(chunk);
}

/* It was recorded before anybody had read it, and is not made of such tasks: none was sent. */
static void begin_anew(struct chunk *chunk)
{
    for (uint32_t i = 0; i < chunk->results_len; i++)
        forget_task(chunk, i);
    chunk->job->tasks -= chunk->left;
    free(chunk->results);
    free(chunk->marks);
    chunk->expected = false;
    plan_tasks(chunk);
}

static void take_rows(struct chunk *chunk, struct dataset_rows *rows)
{
    chunk->rows = rows;
    chunk->record.input_bytes = (int64_t)rows->data_bytes;
    chunk->job->live_bytes += rows->data_bytes;
    chunk->block = bytes_take(rows->data, rows->data_bytes);
    rows->data = NULL;
    chunk->out.rows = rows;
    if (chunk->expected && rows->alone == (chunk->record.alone != 0))
        rejoin_tasks(chunk);
    else if (chunk->expected)
        begin_anew(chunk);
    else
        plan_tasks(chunk);
}

static void read_done(void *arg)
{
    struct reading *self = arg;
    struct job *job = self->job;
    bool alive = jobs_end(job->jobs);
    if (alive)
        job->reading = false;
    for (size_t i = 0; i < self->len; i++) {
        if (!alive || self->status != STATUS_OK) {
            dataset_rows_free(&self->rows[i]);
            if (alive)
                self->chunks[i]->state = CHUNK_CUT;
        } else {
            take_rows(self->chunks[i], self->rows[i]);
        }
    }
    if (alive && self->status != STATUS_OK)
        job_break(job, "input_lost", 0, self->why.text);
    else if (alive)
        job_save(job, NULL, NULL);
    free(self);
    if (alive)
        job_pump(job);
}

static void read_chunks(struct job *self)
{
    struct reading *reading = xcalloc(1, sizeof(*reading));
    reading->job = self;
    for (struct chunk *c = self->first; c && reading->len < READ_CHUNKS; c = c->next) {
        if (c->state != CHUNK_CUT)
            continue;
        c->state = CHUNK_READING;
        reading->asks[reading->len] = (struct dataset_ask){.first = (uint64_t)c->record.first_row,
                                                           .rows = (uint32_t)c->record.rows,
                                                           .model = &self->version->signature,
                                                           .endpoint = self->record.endpoint,
                                                           .alone = c->record.alone != 0};
        reading->chunks[reading->len++] = c;
    }
    if (reading->len == 0) {
        free(reading);
        return;
    }
    self->reading = true;
    jobs_begin(self->jobs);
    pool_continue(self->jobs->config.pool, read_work, read_done, reading);
}

void chunks_pump(struct job *self)
{
    if (self->jobs->draining)
        return;
    bool storage = !ledger_full(self->jobs->ledger);
    if (!storage)
        fail(&self->trouble, STATUS_STORAGE_FULL, "the gateway's disk is full: free some space");
    while (storage && self->record.cut_rows < self->record.total && window_open(self)) {
        int64_t rows = chunk_rows_next(self);
        struct chunk *chunk = chunk_add(self, NULL, self->record.cut_rows, rows);
        chunk->record.task = (int64_t)fleet_next_ids(self->jobs->config.fleet, (uint32_t)rows);
        self->record.cut_rows += rows;
    }
    if (!self->reading)
        read_chunks(self);
}

/* --- in the fleet ----------------------------------------------------------------------------- */
static void count_redelivered(struct chunk *chunk)
{
    if (chunk->redelivered)
        return;
    chunk->redelivered = true;
    chunk->job->record.redelivered++;
    job_changed(chunk->job);
}

static void on_started(void *arg, uint64_t id)
{
    struct chunk *chunk = arg;
    uint32_t index = (uint32_t)(id - (uint64_t)chunk->record.task);
    if (index >= chunk->results_len)
        return;
    chunk->record.attempts++;
    chunk->dirty = true;
    if (chunk->marks[index] & MARK_STARTED)
        count_redelivered(chunk);
    chunk->marks[index] |= MARK_STARTED;
}

static void on_crashed(void *arg, uint64_t id, const char *text)
{
    struct chunk *chunk = arg;
    char job[ID_TEXT_SIZE];
    chunk->record.crashes++;
    chunk->dirty = true;
    LOG_WARN("chunk_crashed", "job=%s task=%" PRIu64 " first_row=%lld rows=%lld why=%s",
             id_text(job, &chunk->record.batch), id, (long long)chunk->record.first_row,
             (long long)chunk->record.rows, text);
    job_save(chunk->job, NULL, NULL);
}

static void on_unknown(void *arg, uint64_t id)
{
    struct chunk *chunk = arg;
    uint32_t index = (uint32_t)(id - (uint64_t)chunk->record.task);
    if (index >= chunk->results_len || chunk->results[index])
        return;
    chunk->marks[index] |= MARK_WANTED;
    if (chunk->state == CHUNK_UNDERWAY)
        submit_one(chunk, index);
}

static void note_worker(struct job *job, const struct fleet_result *result)
{
    if (id_is_zero(&result->worker))
        return;
    for (uint32_t i = 0; i < job->workers_len; i++) {
        if (id_equal(&job->workers[i], &result->worker))
            return;
    }
    if (job->workers_len < JOB_WORKERS_MAX)
        job->workers[job->workers_len++] = result->worker;
}

static void note_cost(struct job *job, const struct fleet_result *result)
{
    if (result->status != STATUS_OK || result->rows == 0 || result->compute_ns == 0)
        return;
    double sample = (double)result->compute_ns / result->rows;
    uint64_t bytes = 0;
    job->ns_per_row = job->ns_per_row > 0 ? 0.8 * job->ns_per_row + 0.2 * sample : sample;
    for (size_t i = 0; i < result->outputs_len; i++)
        bytes += result->outputs[i].tensor.bytes;
    job->answer_bytes = bytes / result->rows;
}

/* What a whole chunk's failure means: the model's, or some row's. */
static bool is_models_fault(enum status status)
{
    return status == STATUS_NO_MODEL || status == STATUS_BAD_MODEL;
}

/* All tasks have ended. */
static void settle(struct chunk *chunk)
{
    struct job *job = chunk->job;
    chunk->state = CHUNK_ANSWERED;
    const char *mode = job->record.mode ? job->record.mode : "";
    for (uint32_t i = 0; i < chunk->results_len; i++) {
        const struct fleet_result *result = chunk->results[i];
        if (!result)
            continue;
        if (is_models_fault(result->status)) {
            job_break(job, "bad_model", 0, result->text);
            return;
        }
        if (result->status != STATUS_OK && !chunk->record.alone && chunk->rows->rows > 1) {
            if (result->row >= 0)
                chunk_cut_around(chunk, result);
            else
                chunk_cut_again(chunk, 2);
            return;
        }
        if (result->status == STATUS_OK && !mode[0]) {
            ledger_text_set(&job->record.mode, result->mode);
            mode = job->record.mode;
        } else if (result->status == STATUS_OK && strcmp(mode, result->mode) != 0) {
            chunk_cut_again(chunk,
                            1); /* a job has one numeric mode: this came before it was known */
            return;
        }
    }
}

static void on_result(void *arg, struct fleet_result *result)
{
    struct chunk *chunk = arg;
    struct job *job = chunk->job;
    uint32_t index = (uint32_t)(result->id - (uint64_t)chunk->record.task);
    if (job->jobs->closed || index >= chunk->results_len || chunk->results[index]) {
        fleet_result_free(&result);
        return;
    }
    chunk->results[index] = result;
    chunk->record.compute_ns += (int64_t)result->compute_ns;
    note_worker(job, result);
    note_cost(job, result);
    if (result->again || (result->attempt > 0 && !chunk->expected))
        count_redelivered(chunk);
    chunk->left--;
    job->tasks--;
    if (chunk->left == 0 && chunk->state == CHUNK_UNDERWAY)
        settle(chunk);
    job_pump(job);
}

static const struct fleet_calls calls = {
    .result = on_result, .started = on_started, .crashed = on_crashed, .unknown = on_unknown};

static uint32_t good_index(const struct dataset_rows *rows, uint32_t offset)
{
    uint32_t low = 0, high = rows->good_len;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (rows->good[middle] < offset)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static void submit_one(struct chunk *chunk, uint32_t index)
{
    struct job *job = chunk->job;
    const struct dataset_rows *rows = chunk->rows;
    uint32_t place = rows->alone ? good_index(rows, index) : 0;
    struct error why = {.status = STATUS_OK};
    /* Of rows that are tasks of their own it is not known which one was charged: none is. */
    bool charged = chunk->results_len == 1;
    char name[MODEL_NAME_MAX + 20];
    snprintf(name, sizeof(name), "%s/%s", job->record.model, job->record.version);
    struct fleet_task task = {.id = task_of(chunk, index),
                              .model = job->record.model_id,
                              .model_name = name,
                              .kind = WIRE_KIND_INFER,
                              .mode =
                                  job->record.mode && job->record.mode[0] ? job->record.mode : NULL,
                              .inputs = rows->inputs + (size_t)place * rows->inputs_len,
                              .inputs_len = rows->inputs_len,
                              .owner = bytes_ref(chunk->block),
                              .rows = rows->alone ? 1 : rows->good_len,
                              .band = 3,
                              .tenant = job->record.tenant[0] ? job->record.tenant : NULL,
                              .attempt = charged ? (uint32_t)MIN(chunk->record.attempts, 1000) : 0,
                              .crashes = charged ? (uint32_t)MIN(chunk->record.crashes, 1000) : 0,
                              .avoid = chunk->avoid,
                              .flags = job->version->signature.batchable ? 0 : WIRE_FLAG_ALONE,
                              .patient = true,
                              .calls = &calls,
                              .arg = chunk};
    if (fleet_submit(job->jobs->config.fleet, &task, NULL, &why) == STATUS_OK)
        return;
    /* Its inputs do not fit a message: the writer names the row. */
    LOG_WARN("chunk_refused", "task=%" PRIu64 " why=%s", task.id, why.text);
    chunk->left--;
    job->tasks--;
}

void chunk_submit(struct chunk *chunk)
{
    const struct dataset_rows *rows = chunk->rows;
    chunk->state = CHUNK_UNDERWAY;
    if (!rows->alone && rows->good_len > 0)
        submit_one(chunk, 0);
    for (uint32_t g = 0; rows->alone && g < rows->good_len; g++)
        submit_one(chunk, rows->good[g]);
    if (chunk->left == 0)
        settle(chunk);
}

void chunk_expect(struct job *self, const struct ledger_chunk *record)
{
    struct chunk *before = self->first;
    while (before && before->record.first_row < record->first_row)
        before = before->next;
    struct chunk *chunk = chunk_add(self, before, record->first_row, record->rows);
    struct ledger_chunk *copy = ledger_record_copy(LEDGER_chunk, record);
    ledger_record_clear(LEDGER_chunk, &chunk->record);
    chunk->record = *copy;
    free(copy);
    chunk->recorded = true;
    chunk->expected = true;
    chunk->results_len = chunk->record.alone ? (uint32_t)chunk->record.rows : 1;
    chunk->results = xcalloc(chunk->results_len, sizeof(struct fleet_result *));
    chunk->marks = xcalloc(chunk->results_len, 1);
    chunk->left = chunk->results_len;
    self->tasks += chunk->left;
    for (uint32_t i = 0; i < chunk->results_len; i++) {
        chunk->marks[i] = chunk->record.attempts > 0 ? MARK_STARTED : 0;
        fleet_expect(self->jobs->config.fleet, task_of(chunk, i), &calls, chunk);
    }
}
