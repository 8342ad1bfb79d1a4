/* publish - what was trained becomes the next version in the repository, exactly once
 *
 *   number -> [record] -> folder beside the versions -> rename -> load -> [record]
 *
 * The number is on record before the folder has it. So after a restart a version of that number is
 * either ours, which its training.json says, and was published; or another's, and we take the next.
 * All here but the pump runs in the pool. */
#include "gateway/training/training.h"

#include "common/clock.h"
#include "common/file.h"
#include "common/log.h"
#include "gateway/counters.h"
#include "gateway/training/curve.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define SUMMARY_MAX (256 * KIB) /* octets of a training.json */

struct publishing {
    struct training *training; /* whose */
    char *folder;              /* of the job */
    char *model;               /* ROOT/NAME */
    char *job;                 /* "train_..." */
    char *summary;             /* training.json */
    struct curve_text text;    /* for the curve */
    struct digest sha256;      /* of the trained model */
    int64_t history_bytes;     /* committed */
    uint32_t version;          /* 0: find one; else place it there */
    struct error why;          /* CONFLICT: that version is another's */
};

/* --- a number --------------------------------------------------------------------------------- */
static uint32_t highest_version(const char *model)
{
    uint32_t highest = 0;
    const struct dirent *entry;
    DIR *dir = opendir(model);
    while (dir && (entry = readdir(dir)))
        highest = MAX(highest, version_number(entry->d_name));
    if (dir)
        closedir(dir);
    return highest;
}

/* --- the folder ------------------------------------------------------------------------------- */
/* Whether this version was made by our job. */
static bool is_ours(const struct publishing *self, const char *version)
{
    struct error ignored;
    char *path = xasprintf("%s/training.json", version), *text = NULL;
    size_t size;
    bool ours = false;
    if (file_read(&text, &size, path, SUMMARY_MAX, &ignored) == STATUS_OK) {
        json_t *summary = json_loadb(text, size, 0, NULL);
        const char *job = json_string_value(json_object_get(summary, "job"));
        ours = job && strcmp(job, self->job) == 0;
        json_decref(summary);
    }
    free(text);
    free(path);
    return ours;
}

static enum status put_text(const char *folder, const char *name, const char *text,
                            struct error *why)
{
    char *path = xasprintf("%s/%s", folder, name);
    enum status s = file_write(path, text, strlen(text), true, why);
    free(path);
    return s;
}

static enum status put_model(const struct publishing *self, const char *folder, struct error *why)
{
    struct file_map map = {.bytes = NULL};
    char *from = xasprintf("%s/trained.onnx", self->folder);
    char *to = xasprintf("%s/model.onnx", folder);
    enum status s = file_map(&map, from, why);
    struct digest is = digest_of(map.bytes, map.size);
    if (s == STATUS_OK && !digest_equal(&is, &self->sha256))
        s = fail(why, STATUS_INVALID, "%s was altered: its SHA-256 is not the ledger's", from);
    if (s == STATUS_OK)
        s = file_write(to, map.bytes, map.size, true, why);
    file_unmap(&map);
    free(from);
    free(to);
    return s;
}

static enum status put_curve(const struct publishing *self, const char *folder, struct error *why)
{
    char *svg = NULL, *path = xasprintf("%s/history.jsonl", self->folder);
    enum status s = curve_of_file(&svg, path, self->history_bytes, &self->text, why);
    if (s == STATUS_OK)
        s = put_text(folder, "curve.svg", svg, why);
    free(svg);
    free(path);
    return s;
}

/* Under a name that no scan takes for a version, until it is whole. */
static enum status fill(const struct publishing *self, const char *draft, struct error *why)
{
    enum status s = file_mkdirs(draft, why);
    if (s == STATUS_OK)
        s = put_model(self, draft, why);
    if (s == STATUS_OK)
        s = put_text(draft, "training.json", self->summary, why);
    if (s == STATUS_OK)
        s = put_curve(self, draft, why);
    return s;
}

static enum status place(const struct publishing *self, struct error *why)
{
    char *version = xasprintf("%s/%u", self->model, self->version);
    char *draft = xasprintf("%s/.%s", self->model, self->job);
    struct stat info;
    enum status s = STATUS_OK;
    if (stat(version, &info) == 0) {
        if (!is_ours(self, version))
            s = fail(why, STATUS_CONFLICT, "%s is there already", version);
    } else {
        training_remove(draft); /* of a life before: there may be half a file in it */
        s = fill(self, draft, why);
        bool taken = s == STATUS_OK && rename(draft, version) != 0;
        if (taken && (errno == EEXIST || errno == ENOTEMPTY))
            s = fail(why, STATUS_CONFLICT, "%s is there already", version);
        else if (taken)
            s = file_fail(why, "name", version);
        if (s != STATUS_OK)
            training_remove(draft);
    }
    if (s == STATUS_OK)
        s = file_sync_folder_of(version, why);
    free(version);
    free(draft);
    return s;
}

static void publish_work(void *arg)
{
    struct publishing *self = arg;
    if (self->version == 0)
        self->version = highest_version(self->model) + 1;
    else
        self->why.status = place(self, &self->why);
}

/* --- the front thread ------------------------------------------------------------------------- */
json_t *publish_summary(const struct training *self)
{
    const struct ledger_training *record = &self->record;
    char id[ID_TEXT_SIZE], hex[DIGEST_TEXT_SIZE];
    json_t *report = json_loads(record->report, 0, NULL);
    json_t *metrics = json_loads(record->metrics, 0, NULL);
    json_t *summary =
        json_pack("{s:o, s:s, s:o, s:o, s:o, s:s, s:s}", "job",
                  json_sprintf("train_%s", id_text(id, &record->id)), "source", record->source,
                  "settings", json_loads(record->settings, 0, NULL), "data",
                  json_loads(record->data, 0, NULL), "metrics", metrics ? metrics : json_null(),
                  "mode", record->mode, "program", digest_text(hex, &record->program));
    static const char *const figures[] = {"step", "epoch", "rows", "threads", "parameters"};
    for (size_t i = 0; i < ARRAY_LEN(figures); i++)
        if (json_object_get(report, figures[i]))
            json_object_set(summary, figures[i], json_object_get(report, figures[i]));
    json_decref(report);
    return summary;
}

/* Free, and not promised to another job. */
static bool promised(const struct training *self, int64_t version)
{
    for (size_t i = 0; i < self->all->all.len; i++) {
        const struct training *other = trainings_at(self->all, i);
        if (other != self && !training_over(other) && other->record.version == version &&
            strcmp(other->record.name, self->record.name) == 0)
            return true;
    }
    return false;
}

/* A worker has looked at the version, or none was there in time: then it goes on loading. */
static void loaded(void *arg, const struct error *why)
{
    struct training *self = arg;
    char number[24];
    struct version *version = NULL;
    struct error ignored;
    (void)why;
    self->all->loads--;
    if (!trainings_end(self->all))
        return;
    self->loading = false;
    snprintf(number, sizeof number, "%lld", (long long)self->record.version);
    repository_look(self->all->config.repository, self->record.name, number, &version, &ignored);
    if (version && version->state == VERSION_UNAVAILABLE) {
        training_break(self, "bad_model", version->reason.text);
    } else if (training_event(self, TRAINING_PUBLISHED)) {
        count(COUNT_trainings_published_total, 1);
        training_save(self, NULL, NULL);
    }
    version_drop(&version);
    training_pump(self);
}

static void settle(struct training *self, const struct publishing *publishing)
{
    const struct error *why = &publishing->why;
    self->working = false;
    if (job_disk_recovers(why->status)) {
        self->trouble = *why;
        self->retry_ns = clock_mono_ns() + NS_PER_S;
    } else if (why->status == STATUS_CONFLICT) {
        self->record.version = 0; /* somebody put a version there: the next one */
    } else if (why->status == STATUS_INVALID || why->status == STATUS_NOT_FOUND) {
        training_break(self, "files_lost", why->text);
    } else if (why->status != STATUS_OK) {
        job_disk_failed(why);
    } else if (self->record.version == 0) {
        self->record.version = publishing->version;
        while (promised(self, self->record.version))
            self->record.version++;
        training_save(self, NULL, NULL);
    } else {
        self->placed = true;
    }
}

static void publish_done(void *arg)
{
    struct publishing *self = arg;
    struct training *training = self->training;
    bool alive = trainings_end(training->all);
    if (alive)
        settle(training, self);
    free(self->folder);
    free(self->model);
    free(self->job);
    free(self->summary);
    free(self);
    if (alive)
        training_pump(training);
}

static void to_pool(struct training *self)
{
    struct publishing *publishing = xcalloc(1, sizeof *publishing);
    char id[ID_TEXT_SIZE];
    json_t *summary = publish_summary(self);
    *publishing = (struct publishing){
        .training = self,
        .folder = training_folder(self),
        .model = xasprintf("%s/%s", self->all->config.models_root, self->record.name),
        .job = xasprintf("train_%s", id_text(id, &self->record.id)),
        .summary = json_dumps(summary, JSON_INDENT(2)),
        .sha256 = self->record.checkpoint,
        .history_bytes = self->record.history_bytes,
        .version = (uint32_t)self->record.version};
    json_decref(summary);
    curve_text_set(&publishing->text, "%s/%u", self->record.name, publishing->version);
    self->working = true;
    trainings_begin(self->all);
    pool_continue(self->all->config.pool, publish_work, publish_done, publishing);
}

void publish_pump(struct training *self)
{
    if (!self->placed) {
        to_pool(self);
        return;
    }
    self->loading = true;
    self->all->loads++;
    trainings_begin(self->all);
    repository_load(self->all->config.repository, self->record.name, loaded, self);
}
