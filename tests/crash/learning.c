/* learning - see learning.h */
#include "tests/crash/learning.h"

#include "common/file.h"
#include "gateway/training/training.h"
#include "tests/crash/rows.h"
#include "tests/crash/toy.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FILE_BYTES_MAX (64 * KIB)

/* --- what was told ---------------------------------------------------------------------------- */
static struct learning_fact *fact_of(struct learning_facts *self, const char *id)
{
    for (size_t i = 0; i < self->len; i++)
        if (strcmp(self->all[i].id, id) == 0)
            return &self->all[i];
    assert(self->len < LEARNING_MAX);
    struct learning_fact *fact = &self->all[self->len++];
    text_copy(fact->id, sizeof fact->id, id);
    text_copy(fact->key, sizeof fact->key, self->key);
    return fact;
}

static const char *member(const json_t *object, const char *name)
{
    const char *text = json_string_value(json_object_get(object, name));
    return text ? text : "";
}

void learning_asked(struct learning_facts *self, const char *method, const char *path,
                    const char *key)
{
    char id[64] = "", verb[16] = "";
    if (strcmp(method, "POST") == 0 && strcmp(path, "/v1/training/jobs") == 0)
        text_copy(self->key, sizeof self->key, key);
    if (sscanf(path, "/v1/training/jobs/train_%36[0-9a-f-]/%15s", id, verb) == 2)
        fact_of(self, id)->cancel = true;
}

void learning_replied(struct learning_facts *self, const char *path, const json_t *body)
{
    if (strncmp(path, "/v1/training/jobs", 17) != 0)
        return;
    const json_t *progress = json_object_get(body, "progress");
    struct learning_fact *fact = fact_of(self, member(body, "id") + strlen("train_"));
    text_copy(fact->status, sizeof fact->status, member(body, "status"));
    text_copy(fact->version, sizeof fact->version, member(body, "model_version"));
    fact->step = MAX(fact->step, (long)json_integer_value(json_object_get(progress, "step")));
}

void learning_acknowledged(struct learning_facts *self, const char *program, long step)
{
    assert(self->acknowledged_len < ARRAY_LEN(self->acknowledged));
    text_copy(self->acknowledged[self->acknowledged_len].program, DIGEST_TEXT_SIZE, program);
    self->acknowledged[self->acknowledged_len++].step = step;
}

/* --- what is there ---------------------------------------------------------------------------- */
struct look {
    const struct learning_facts *facts;
    const struct world *world;
    bool over; /* every job has come to its end */
    struct verdict *verdict;
};

/* `call` for each name in a folder, but for "." and "..". */
static void each_name(struct look *self, const char *folder,
                      void (*call)(struct look *self, const char *name, void *arg), void *arg)
{
    DIR *dir = opendir(folder);
    for (const struct dirent *entry; dir && (entry = readdir(dir));)
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            call(self, entry->d_name, arg);
    if (dir)
        closedir(dir);
}

/* The file is what there is behind this step of the job. */
static void check_octets(struct look *self, const struct training *job, const char *path, long step)
{
    char program[DIGEST_TEXT_SIZE], *octets = NULL;
    size_t size = 0;
    struct error why = {.status = STATUS_OK};
    enum status s = file_read(&octets, &size, path, FILE_BYTES_MAX, &why);
    demand(self->verdict, s == STATUS_OK, "job %s: %s", job->record.idempotency, why.text);
    if (s == STATUS_OK)
        demand(self->verdict,
               toy_step(digest_text(program, &job->record.program), octets, size) == step,
               "job %s: %s is not what step %ld gave", job->record.idempotency, path, step);
    free(octets);
}

/* A line for each segment. */
static void check_history(struct look *self, const struct training *job)
{
    char *path = training_path(job, "history.jsonl"), *text = NULL;
    size_t size = 0, bytes = (size_t)job->record.history_bytes;
    struct error why = {.status = STATUS_OK};
    enum status s = bytes ? file_read(&text, &size, path, FILE_BYTES_MAX, &why) : STATUS_OK;
    demand(self->verdict, s == STATUS_OK && size >= bytes,
           "job %s: %zu of %zu octets of history: %s", job->record.idempotency, size, bytes,
           why.text);
    size_t at = 0;
    for (long step = 1; self->verdict->right && step <= job->record.segments; step++) {
        json_t *report = toy_report(step);
        char *line = json_dumps(report, JSON_COMPACT);
        demand(self->verdict,
               at + strlen(line) < bytes && memcmp(text + at, line, strlen(line)) == 0 &&
                   text[at + strlen(line)] == '\n',
               "job %s: its history has no line for step %ld", job->record.idempotency, step);
        at += strlen(line) + 1;
        json_decref(report);
        free(line);
    }
    demand(self->verdict, at == bytes, "job %s: its history has more than its segments",
           job->record.idempotency);
    free(text);
    free(path);
}

/* --- versions --------------------------------------------------------------------------------- */
struct versions {
    const struct training *job; /* whose */
    long count;                 /* that say so */
    long number;                /* of the last of them */
    size_t files;               /* in its folder */
};

static void take_file(struct look *self, const char *name, void *arg)
{
    static const char *const known[] = {"curve.svg", "model.onnx", "training.json"};
    struct versions *versions = arg;
    bool right = false;
    for (size_t i = 0; i < ARRAY_LEN(known); i++)
        right = right || strcmp(name, known[i]) == 0;
    versions->files += right;
    demand(self->verdict, right, "version %ld has a file %s", versions->number, name);
}

static void take_version(struct look *self, const char *name, void *arg)
{
    struct versions *versions = arg;
    struct error why;
    char id[ID_TEXT_SIZE], *text = NULL;
    size_t size = 0;
    demand(self->verdict, name[0] != '.' || !self->over, "models/" TOY_MODEL "/%s was left", name);
    char *folder = xasprintf("%s/models/" TOY_MODEL "/%s", self->world->root, name);
    char *path = xasprintf("%s/training.json", folder);
    char *model = xasprintf("%s/model.onnx", folder);
    if (name[0] != '.' && file_read(&text, &size, path, FILE_BYTES_MAX, &why) == STATUS_OK) {
        json_t *summary = json_loadb(text, size, 0, NULL);
        demand(self->verdict, summary, "%s is no JSON", path);
        const char *job = member(summary, "job");
        if (strncmp(job, "train_", 6) == 0 &&
            strcmp(job + 6, id_text(id, &versions->job->record.id)) == 0) {
            versions->count++;
            versions->number = atol(name);
            versions->files = 0;
            each_name(self, folder, take_file, versions);
            demand(self->verdict, versions->files == 3, "%s has not all its files", folder);
            check_octets(self, versions->job, model, TOY_STEPS);
        }
        json_decref(summary);
    } else {
        demand(self->verdict, name[0] == '.', "%s has no training.json", folder);
    }
    free(text);
    free(path);
    free(model);
    free(folder);
}

static void check_version(struct look *self, const struct training *job)
{
    struct versions versions = {.job = job};
    const struct ledger_training *record = &job->record;
    char *folder = xasprintf("%s/models/" TOY_MODEL, self->world->root);
    each_name(self, folder, take_version, &versions);
    free(folder);
    long least = record->state == TRAINING_COMPLETED;
    long most = least || record->state == TRAINING_FINALIZING;
    demand(self->verdict, versions.count <= most && versions.count >= least,
           "job %s is %s and has %ld versions", record->idempotency,
           training_state_text((enum training_state)record->state), versions.count);
    demand(self->verdict, versions.count == 0 || versions.number == record->version,
           "job %s has version %ld, its record says %lld", record->idempotency, versions.number,
           (long long)record->version);
}

/* --- jobs ------------------------------------------------------------------------------------- */
static void check_job(struct look *self, const struct training *job)
{
    const struct ledger_training *record = &job->record;
    char name[CHECKPOINT_NAME_SIZE];
    bool trained = record->state == TRAINING_FINALIZING;
    training_checkpoint(name, job);
    char *path = training_path(job, trained ? "trained.onnx" : name);
    if (trained || (record->state == TRAINING_IN_PROGRESS && record->segments > 0))
        check_octets(self, job, path, record->step);
    free(path);
    demand(self->verdict, record->segments == record->step, "job %s: %lld segments to step %lld",
           record->idempotency, (long long)record->segments, (long long)record->step);
    check_history(self, job);
    check_version(self, job);
    if (self->over)
        demand(self->verdict,
               record->state == TRAINING_COMPLETED || record->state == TRAINING_CANCELLED,
               "job %s ends as %s: %s", record->idempotency,
               training_state_text((enum training_state)record->state), record->errors);
}

static void check_fact(struct look *self, const struct learning_fact *fact)
{
    struct uuid id = {{0}};
    struct trainings *trainings = self->world->gateway.trainings;
    const struct training *job = id_parse(&id, fact->id) ? trainings_find(trainings, &id) : NULL;
    demand(self->verdict, job, "the training job %s is lost", fact->key);
    if (!job)
        return;
    const char *state = training_state_text((enum training_state)job->record.state);
    demand(self->verdict, job->record.step >= fact->step, "job %s was at step %ld and is at %lld",
           fact->key, fact->step, (long long)job->record.step);
    demand(self->verdict, !rows_ended(fact->status) || strcmp(state, fact->status) == 0,
           "job %s was %s and is %s", fact->key, fact->status, state);
    demand(self->verdict, fact->cancel || strcmp(state, "cancelled") != 0,
           "job %s is cancelled, and nobody asked for it", fact->key);
    demand(self->verdict, !fact->version[0] || atol(fact->version) == job->record.version,
           "job %s was version %s and is %lld", fact->key, fact->version,
           (long long)job->record.version);
}

static void check_acknowledged(struct look *self, const char *program, long step)
{
    char hex[DIGEST_TEXT_SIZE];
    const struct trainings *trainings = self->world->gateway.trainings;
    bool found = false;
    for (size_t i = 0; i < trainings->all.len; i++) {
        const struct ledger_training *record = &trainings_at(trainings, i)->record;
        if (strcmp(digest_text(hex, &record->program), program) != 0)
            continue;
        found = true;
        demand(self->verdict, record->step >= step,
               "step %ld of job %s was acknowledged, it is at %lld", step, record->idempotency,
               (long long)record->step);
    }
    demand(self->verdict, found, "a segment was acknowledged, its job is lost");
}

/* --- what is left ----------------------------------------------------------------------------- */
static void take_left(struct look *self, const char *name, void *arg)
{
    static const char *const known[] = {"history.jsonl", "network.json", "program.json"};
    const char *folder = arg;
    bool right = false;
    for (size_t i = 0; i < ARRAY_LEN(known); i++)
        right = right || strcmp(name, known[i]) == 0;
    demand(self->verdict, right, "training/%s/%s was left", folder, name);
}

static void take_folder(struct look *self, const char *name, void *arg)
{
    (void)arg;
    struct uuid id;
    bool known = id_parse(&id, name) && trainings_find(self->world->gateway.trainings, &id);
    char *path = xasprintf("%s/training/%s", self->world->root, name), *folder = xstrdup(name);
    demand(self->verdict, known, "training/%s belongs to no job", name);
    if (self->over)
        each_name(self, path, take_left, folder);
    free(folder);
    free(path);
}

static bool at_rest(const struct training *job)
{
    return training_over(job) && job->tidied && !job->working;
}

bool learning_over(const struct world *world)
{
    const struct trainings *trainings = world->gateway.trainings;
    for (size_t i = 0; i < trainings->all.len; i++)
        if (!at_rest(trainings_at(trainings, i)))
            return false;
    return true;
}

void learning_check(const struct learning_facts *self, struct world *world, bool over,
                    struct verdict *verdict)
{
    struct look look = {.facts = self, .world = world, .over = over, .verdict = verdict};
    const struct trainings *trainings = world->gateway.trainings;
    for (size_t i = 0; i < trainings->all.len; i++) {
        const struct training *job = trainings_at(trainings, i);
        for (size_t k = 0; k < i; k++)
            demand(look.verdict,
                   strcmp(trainings_at(trainings, k)->record.idempotency,
                          job->record.idempotency) != 0,
                   "two training jobs with the key %s", job->record.idempotency);
        check_job(&look, job);
    }
    for (size_t i = 0; i < self->len; i++)
        check_fact(&look, &self->all[i]);
    for (size_t i = 0; i < self->acknowledged_len; i++)
        check_acknowledged(&look, self->acknowledged[i].program, self->acknowledged[i].step);
    char *folder = xasprintf("%s/training", world->root);
    each_name(&look, folder, take_folder, NULL);
    free(folder);
}

void learning_again(const struct learning_facts *self, struct world *world, const char *file,
                    struct verdict *verdict)
{
    char body[512];
    toy_job(body, self->key, file);
    struct answer answer =
        world_ask(world, "POST", "/v1/training/jobs", self->key, body, strlen(body));
    const char *got = member(answer.body, "id");
    for (size_t i = 0; i < self->len; i++) {
        const struct learning_fact *fact = &self->all[i];
        demand(verdict,
               strcmp(fact->key, self->key) != 0 ||
                   (answer.code == 200 && strcmp(got + strlen("train_"), fact->id) == 0),
               "the key %s belongs to job %s; asked again: %d %s", self->key, fact->id, answer.code,
               got);
    }
    json_decref(answer.body);
}
