/* facts - what was told to others must be so after every start; see script.h */
#include "tests/crash/script.h"

#include "common/file.h"
#include "tests/crash/learning.h"
#include "tests/crash/letters.h"
#include "tests/crash/rows.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FACTS_MAX 64   /* files, and jobs */
#define TASKS_MAX 4096 /* results that were acknowledged */

struct file_fact {
    char id[ID_TEXT_SIZE];         /* without prefix */
    char sha256[DIGEST_TEXT_SIZE]; /* as replied; "": an output */
    bool known;                    /* a reply named it */
    bool asked;                    /* it may be gone */
    bool gone;                     /* it is */
};

struct job_fact {
    char id[ID_TEXT_SIZE];  /* without prefix */
    char key[16];           /* Idempotency-Key */
    char status[16];        /* the last that was shown */
    long completed, failed; /* the most that was shown */
    bool cancel;            /* it may be cancelled */
};

struct facts {
    size_t count; /* marks that told something */
    struct file_fact files[FACTS_MAX];
    size_t files_len; /* used */
    struct job_fact jobs[FACTS_MAX];
    size_t jobs_len;              /* used */
    char key[16];                 /* of the last request to make a job */
    uint64_t tasks[TASKS_MAX];    /* acknowledged to their worker */
    size_t tasks_len;             /* used */
    char model[DIGEST_TEXT_SIZE]; /* of the model file, as replied; "": not yet */
    char array[ID_TEXT_SIZE];     /* the upload of each kind */
    char lines[ID_TEXT_SIZE];
    struct letter_facts letters;    /* of dead ones */
    struct learning_facts learning; /* of training jobs */
};

struct facts *facts_new(void)
{
    return xcalloc(1, sizeof(struct facts));
}

void facts_free(struct facts *self)
{
    free(self);
}

size_t facts_count(const struct facts *self)
{
    return self->count;
}

/* --- learning --------------------------------------------------------------------------------- */
static struct file_fact *file_fact(struct facts *self, const char *id)
{
    for (size_t i = 0; i < self->files_len; i++)
        if (strcmp(self->files[i].id, id) == 0)
            return &self->files[i];
    assert(self->files_len < FACTS_MAX);
    struct file_fact *file = &self->files[self->files_len++];
    text_copy(file->id, sizeof file->id, id);
    return file;
}

static struct job_fact *job_fact(struct facts *self, const char *id)
{
    for (size_t i = 0; i < self->jobs_len; i++)
        if (strcmp(self->jobs[i].id, id) == 0)
            return &self->jobs[i];
    assert(self->jobs_len < FACTS_MAX);
    struct job_fact *job = &self->jobs[self->jobs_len++];
    text_copy(job->id, sizeof job->id, id);
    text_copy(job->key, sizeof job->key, self->key);
    return job;
}

static const char *member(json_t *object, const char *name)
{
    const char *text = json_string_value(json_object_get(object, name));
    return text ? text : "";
}

static void learn_asked(struct facts *self, const char *method, const char *path, const char *key)
{
    char id[64] = "", verb[16] = "";
    if (strcmp(path, "/v1/batches") == 0)
        text_copy(self->key, sizeof self->key, key);
    if (strcmp(method, "DELETE") == 0 && sscanf(path, "/v1/files/file-%63s", id) == 1)
        file_fact(self, id)->asked = true;
    letters_asked(&self->letters, method, path);
    learning_asked(&self->learning, method, path, key);
    if (sscanf(path, "/v1/batches/batch_%36[0-9a-f-]/%15s", id, verb) == 2)
        job_fact(self, id)->cancel = true;
}

static void learn_job(struct facts *self, json_t *body)
{
    json_t *counts = json_object_get(body, "request_counts");
    struct job_fact *job = job_fact(self, member(body, "id") + strlen("batch_"));
    text_copy(job->status, sizeof job->status, member(body, "status"));
    job->completed =
        MAX(job->completed, (long)json_integer_value(json_object_get(counts, "completed")));
    job->failed = MAX(job->failed, (long)json_integer_value(json_object_get(counts, "failed")));
}

static void learn_file(struct facts *self, json_t *body)
{
    struct file_fact *file = file_fact(self, member(body, "id") + strlen("file-"));
    json_t *ours = json_object_get(body, "convoy");
    file->known = true;
    text_copy(file->sha256, sizeof file->sha256, member(ours, "sha256"));
    bool lines = strcmp(member(ours, "format"), "jsonl") == 0;
    text_copy(lines ? self->lines : self->array, ID_TEXT_SIZE, file->id);
}

static void learn_reply(struct facts *self, const char *method, const char *path, const char *text)
{
    json_t *body = json_loads(text, 0, NULL);
    if (strncmp(path, "/v1/dead", 8) == 0)
        letters_replied(&self->letters, method, path, body);
    else if (strncmp(path, "/v1/training", 12) == 0)
        learning_replied(&self->learning, path, body);
    else if (strncmp(path, "/v1/batches", 11) == 0)
        learn_job(self, body);
    else if (strcmp(method, "PUT") == 0 && strcmp(path, "/v1/files") == 0)
        learn_file(self, body);
    else if (strcmp(method, "DELETE") == 0)
        file_fact(self, member(body, "id") + strlen("file-"))->gone = true;
    else if (strcmp(method, "PUT") == 0)
        text_copy(self->model, sizeof self->model, member(body, "sha256"));
    json_decref(body);
}

void facts_take(struct facts *self, const struct disk_call *call)
{
    const char *text = (const char *)call->data;
    char method[8] = "", path[200] = "", key[16] = "", program[DIGEST_TEXT_SIZE] = "";
    unsigned long long task = 0;
    long step = 0;
    int at = 0;
    if (call->op != DISK_MARK)
        return;
    self->count++;
    if (sscanf(text, "acknowledged %llu %64s %ld", &task, program, &step) == 3) {
        learning_acknowledged(&self->learning, program, step);
    } else if (sscanf(text, "acknowledged %llu", &task) == 1) {
        assert(self->tasks_len < TASKS_MAX);
        self->tasks[self->tasks_len++] = task;
    } else if (sscanf(text, "asked %7s %199s %15s", method, path, key) >= 2) {
        learn_asked(self, method, path, key);
    } else if (sscanf(text, "reply %7s %199s %n", method, path, &at) == 2) {
        learn_reply(self, method, path, text + at);
    }
}

/* --- checking --------------------------------------------------------------------------------- */
struct check {
    const struct facts *facts;
    struct world world;
    struct verdict *verdict;
};

static bool digest_is(const char *path, const char *sha256)
{
    char hex[DIGEST_TEXT_SIZE];
    struct digest digest;
    struct error why;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    bool same = fd >= 0 && digest_of_fd(&digest, fd, path, &why) == STATUS_OK &&
                strcmp(digest_text(hex, &digest), sha256) == 0;
    if (fd >= 0)
        close(fd);
    return same;
}

static void check_files(struct check *self)
{
    const struct facts *facts = self->facts;
    struct jobs *jobs = self->world.gateway.jobs;
    for (size_t i = 0; i < facts->files_len; i++) {
        const struct file_fact *fact = &facts->files[i];
        char hex[DIGEST_TEXT_SIZE];
        struct uuid id = {{0}};
        bool named = id_parse(&id, fact->id);
        const struct file *file = named ? jobs_file(jobs, &id) : NULL;
        demand(self->verdict, !fact->known || fact->asked || file, "the upload %s is lost",
               fact->id);
        demand(self->verdict, !fact->gone || !file, "the file %s was deleted and is back",
               fact->id);
        if (file && fact->known)
            demand(self->verdict, strcmp(digest_text(hex, &file->record.sha256), fact->sha256) == 0,
                   "the upload %s has another digest", fact->id);
    }
    for (size_t i = 0; i < jobs->files.len; i++) { /* known to a client or not */
        const struct ledger_file *record = &jobs_file_at(jobs, i)->record;
        char hex[DIGEST_TEXT_SIZE], *path = jobs_path(jobs, &record->id);
        if (strcmp(record->state, "processed") == 0)
            demand(self->verdict, digest_is(path, digest_text(hex, &record->sha256)),
                   "a record without its octets: %s %s", record->purpose, record->name);
        free(path);
    }
    if (facts->model[0]) {
        char *path = xasprintf("%s/models/echo/1/model.onnx", self->world.root);
        demand(self->verdict, digest_is(path, facts->model), "the model's file is lost");
        free(path);
    }
}

static void check_jobs(struct check *self)
{
    const struct facts *facts = self->facts;
    struct jobs *jobs = self->world.gateway.jobs;
    for (size_t i = 0; i < jobs->all.len; i++)
        for (size_t k = 0; k < i; k++)
            demand(self->verdict,
                   strcmp(jobs_job_at(jobs, i)->record.idempotency,
                          jobs_job_at(jobs, k)->record.idempotency) != 0,
                   "two jobs with the key %s", jobs_job_at(jobs, i)->record.idempotency);
    for (size_t i = 0; i < facts->jobs_len && self->verdict->right; i++) {
        const struct job_fact *fact = &facts->jobs[i];
        struct uuid id = {{0}};
        bool named = id_parse(&id, fact->id);
        const struct job *job = named ? jobs_job(jobs, &id) : NULL;
        demand(self->verdict, job, "the job %s is lost", fact->id);
        if (!job)
            return;
        const char *state = job_state_text((enum job_state)job->record.state);
        demand(self->verdict,
               job->record.completed >= fact->completed && job->record.failed >= fact->failed,
               "the job %s (%s) had %ld + %ld rows and now has %lld + %lld", fact->key, state,
               fact->completed, fact->failed, (long long)job->record.completed,
               (long long)job->record.failed);
        if (rows_ended(fact->status))
            demand(self->verdict, strcmp(state, fact->status) == 0, "the job %s was %s and is %s",
                   fact->key, fact->status, state);
        if (strncmp(fact->status, "cancel", 6) == 0)
            demand(self->verdict, strncmp(state, "cancel", 6) == 0, "the job %s was %s and is %s",
                   fact->key, fact->status, state);
    }
}

struct chunks {
    struct check *check;
    const struct job *job; /* whose chunks are summed up */
    int64_t done;          /* rows of those that are done */
};

static void take_chunk(void *context, const void *record)
{
    struct chunks *self = context;
    const struct ledger_chunk *chunk = record;
    const struct facts *facts = self->check->facts;
    struct job *job = jobs_job(self->check->world.gateway.jobs, &chunk->batch);
    if (self->job == job && chunk->done)
        self->done += chunk->rows;
    for (size_t i = 0; !self->job && i < facts->tasks_len; i++) {
        bool inside = (int64_t)facts->tasks[i] >= chunk->task &&
                      (int64_t)facts->tasks[i] < chunk->task + (chunk->alone ? chunk->rows : 1);
        if (inside && job && job->record.cancelling_ms == 0)
            demand(self->check->verdict, chunk->done,
                   "task %llu was acknowledged, its rows are not there",
                   (unsigned long long)facts->tasks[i]);
    }
}

static void check_chunks(struct check *self)
{
    struct jobs *jobs = self->world.gateway.jobs;
    struct error why = {.status = STATUS_OK};
    struct chunks chunks = {.check = self};
    enum status s =
        ledger_load(self->world.gateway.ledger, LEDGER_chunk, false, take_chunk, &chunks, &why);
    for (size_t i = 0; i < jobs->all.len && s == STATUS_OK; i++) {
        const struct ledger_batch *record = &jobs_job_at(jobs, i)->record;
        int64_t rows = record->completed + record->failed;
        chunks = (struct chunks){.check = self, .job = jobs_job_at(jobs, i)};
        s = ledger_load(self->world.gateway.ledger, LEDGER_chunk, false, take_chunk, &chunks, &why);
        if (record->cancelling_ms == 0)
            demand(self->verdict, chunks.done == rows,
                   "the job %s has %lld rows, its chunks have %lld", record->idempotency,
                   (long long)rows, (long long)chunks.done);
    }
    demand(self->verdict, s == STATUS_OK, "the chunks cannot be read: %s", why.text);
}

static void check_letters(struct check *self)
{
    if (self->verdict->right)
        letters_check(&self->facts->letters, &self->world, self->verdict);
}

static void check_learning(struct check *self, bool over)
{
    if (self->verdict->right)
        learning_check(&self->facts->learning, &self->world, over, self->verdict);
}

/* --- going on --------------------------------------------------------------------------------- */
static bool all_ended(struct world *world, void *arg)
{
    const struct jobs *jobs = world->gateway.jobs;
    (void)arg;
    for (size_t i = 0; i < jobs->all.len; i++)
        if (!job_terminal(jobs_job_at(jobs, i)) || jobs_job_at(jobs, i)->saving ||
            jobs_job_at(jobs, i)->unsaved)
            return false;
    return learning_over(world);
}

/* What a client does that heard no answer: ask again, with the same key. */
static void ask_again(struct check *self, const char *key)
{
    bool lines = strcmp(key, "k0") != 0;
    const char *id = lines ? self->facts->lines : self->facts->array;
    char body[512], file[64];
    snprintf(file, sizeof file, "file-%s", id);
    rows_job(body, file, strcmp(key, "k1") == 0 ? "jsonl" : "npy",
             strcmp(key, "k0") == 0   ? 3
             : strcmp(key, "k3") == 0 ? 1
                                      : 2);
    struct answer answer = world_ask(&self->world, "POST", "/v1/batches", key, body, strlen(body));
    const char *got = member(answer.body, "id");
    for (size_t i = 0; i < self->facts->jobs_len; i++) {
        const struct job_fact *fact = &self->facts->jobs[i];
        if (strcmp(fact->key, key) == 0)
            demand(self->verdict,
                   answer.code == 200 && strcmp(got + strlen("batch_"), fact->id) == 0,
                   "the key %s belongs to job %s; asked again: %d %s", key, fact->id, answer.code,
                   got);
    }
    json_decref(answer.body);
}

static void train_again(struct check *self)
{
    const struct learning_facts *facts = &self->facts->learning;
    char file[64];
    bool array = strcmp(facts->key, "t0") == 0;
    snprintf(file, sizeof file, "file-%s", array ? self->facts->array : self->facts->lines);
    if (self->verdict->right && facts->key[0])
        learning_again(facts, &self->world, file, self->verdict);
}

static void check_ends(struct check *self)
{
    struct jobs *jobs = self->world.gateway.jobs;
    demand(self->verdict, world_until(&self->world, all_ended, NULL),
           "a job does not come to its end");
    for (size_t i = 0; i < jobs->all.len && self->verdict->right; i++) {
        const struct ledger_batch *record = &jobs_job_at(jobs, i)->record;
        const char *state = job_state_text((enum job_state)record->state);
        char wrong[512];
        char *output = jobs_path(jobs, &record->output_file);
        char *errors = jobs_path(jobs, &record->error_file);
        struct rows_files files = {.output = output,
                                   .errors = errors,
                                   .npy = strcmp(record->output_format, "npy") == 0,
                                   .lines = strcmp(record->idempotency, "k0") != 0,
                                   .some = strcmp(state, "cancelled") == 0,
                                   .completed = (long)record->completed,
                                   .failed = (long)record->failed};
        bool hopeless = strcmp(state, "failed") == 0 && !self->facts->model[0];
        demand(self->verdict, strcmp(state, "completed") == 0 || files.some || hopeless,
               "the job %s ends as %s: %s", record->idempotency, state, record->errors);
        if (!hopeless && jobs_file(jobs, &record->output_file))
            demand(self->verdict, rows_right(&files, wrong, sizeof wrong),
                   "the files of job %s: %s", record->idempotency, wrong);
        free(output);
        free(errors);
    }
    check_files(self); /* what the new life recorded is true as well */
    check_letters(self);
    check_learning(self, true);
}

bool facts_hold(const struct facts *self, const char *root, char *text, size_t size)
{
    struct verdict verdict = {.text = text, .size = size, .right = true};
    struct check check = {.facts = self, .verdict = &verdict};
    struct error why = {.status = STATUS_OK};
    if (world_open(&check.world, root, &why) != STATUS_OK) {
        snprintf(text, size, "the gateway does not start: %s", why.text);
        return false;
    }
    check_files(&check);
    check_jobs(&check);
    check_chunks(&check);
    check_letters(&check);
    check_learning(&check, false);
    if (verdict.right && self->key[0])
        ask_again(&check, self->key); /* the last request, answered or not */
    train_again(&check);
    if (verdict.right)
        check_ends(&check);
    return verdict.right;
}
