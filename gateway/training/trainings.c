#include "gateway/training/training.h"

#include "common/clock.h"
#include "common/file.h"
#include "common/log.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define TICK_MS 100 /* how often jobs that wait are looked at */

struct training *trainings_find(const struct trainings *self, const struct uuid *id)
{
    return by_id_find(&self->all, id);
}

struct training *trainings_at(const struct trainings *self, size_t index)
{
    return self->all.entries[index];
}

struct training *trainings_add(struct trainings *self, struct ledger_training *record)
{
    struct training *training = xcalloc(1, sizeof *training);
    training->all = self;
    training->record = *record;
    memset(record, 0, sizeof *record);
    by_id_insert(&self->all, training);
    return training;
}

static void training_free(struct training *self)
{
    void *shown = self->shown, *committing = self->committing;
    ledger_record_destroy(LEDGER_training, &shown);
    ledger_record_destroy(LEDGER_training, &committing);
    ledger_record_clear(LEDGER_training, &self->record);
    fleet_result_free(&self->result);
    bytes_drop(&self->block);
    program_free(&self->program);
    json_decref(self->live);
    free(self);
}

void trainings_forget(struct trainings *self, struct training *training)
{
    by_id_remove(&self->all, training);
    training_free(training);
}

char *training_folder(const struct training *self)
{
    char text[ID_TEXT_SIZE];
    return xasprintf("%s/%s", self->all->folder, id_text(text, &self->record.id));
}

char *training_path(const struct training *self, const char *name)
{
    char text[ID_TEXT_SIZE];
    return xasprintf("%s/%s/%s", self->all->folder, id_text(text, &self->record.id), name);
}

void training_checkpoint(char into[static CHECKPOINT_NAME_SIZE], const struct training *self)
{
    snprintf(into, CHECKPOINT_NAME_SIZE, "checkpoint-%lld", (long long)self->record.step);
}

void training_remove(const char *folder)
{
    const struct dirent *entry;
    DIR *dir = opendir(folder);
    while (dir && (entry = readdir(dir))) {
        char *path = xasprintf("%s/%s", folder, entry->d_name);
        unlink(path); /* fails for . and .. */
        free(path);
    }
    if (dir)
        closedir(dir);
    rmdir(folder);
}

/* --- loading ---------------------------------------------------------------------------------- */
static void load_one(void *context, const void *record)
{
    struct ledger_training *copy = ledger_record_copy(LEDGER_training, record);
    struct training *self = trainings_add(context, copy);
    free(copy);
    self->created = true;
    self->shown = ledger_record_copy(LEDGER_training, record);
}

/* A job that was never put on record may have left its folder. */
static void remove_strays(const struct trainings *self)
{
    const struct dirent *entry;
    struct uuid id;
    DIR *dir = opendir(self->folder);
    while (dir && (entry = readdir(dir))) {
        if (!id_parse(&id, entry->d_name) || trainings_find(self, &id))
            continue;
        char *path = xasprintf("%s/%s", self->folder, entry->d_name);
        training_remove(path);
        free(path);
    }
    if (dir)
        closedir(dir);
}

/* What was under way goes on. */
static void resume(struct training *self)
{
    struct error why;
    if (training_terminal(self))
        return;
    program_pin(self, true);
    if (self->record.state == TRAINING_IN_PROGRESS)
        segment_expect(self);
    if (program_load(self, &why) != STATUS_OK) {
        LOG_ERROR("training_files", "job=%s why=%s", self->record.name, why.text);
        training_break(self, "files_lost", why.text);
    }
}

/* --- life ------------------------------------------------------------------------------------- */
static void tick(void *arg)
{
    struct trainings *self = arg;
    for (size_t i = 0; i < self->all.len; i++)
        training_pump(trainings_at(self, i));
    front_timer_set(self->config.front, &self->tick,
                    front_now_ns(self->config.front) + TICK_MS * NS_PER_MS, tick, self);
}

enum status trainings_open(struct trainings **out, const struct trainings_config *config,
                           struct error *why)
{
    struct trainings *self = xcalloc(1, sizeof *self);
    self->config = *config;
    self->config.models_root = xstrdup(config->models_root);
    self->folder = xasprintf("%s/training", config->folder);
    self->all.id_offset = offsetof(struct training, record.id);
    *out = self;
    enum status s = file_mkdirs(self->folder, why);
    if (s == STATUS_OK)
        s = ledger_load(config->ledger, LEDGER_training, false, load_one, self, why);
    if (s != STATUS_OK) {
        trainings_close(out);
        return s;
    }
    remove_strays(self);
    repository_lend(config->repository, program_find_blob, self);
    for (size_t i = 0; i < self->all.len; i++)
        resume(trainings_at(self, i));
    front_timer_set(config->front, &self->tick, clock_mono_ns() + TICK_MS * NS_PER_MS, tick, self);
    return STATUS_OK;
}

static void trainings_free(struct trainings *self)
{
    for (size_t i = 0; i < self->all.len; i++)
        training_free(trainings_at(self, i));
    by_id_free(&self->all);
    free(self->folder);
    free((char *)self->config.models_root);
    free(self);
}

bool trainings_drain(struct trainings *self)
{
    bool first = !self->draining;
    self->draining = true;
    for (size_t i = 0; first && i < self->all.len; i++)
        watchers_tell(trainings_at(self, i)->watchers); /* event streams end */
    return self->operations == self->loads;
}

void trainings_close(struct trainings **self_p)
{
    struct trainings *self = *self_p;
    *self_p = NULL;
    if (!self)
        return;
    front_timer_clear(self->config.front, &self->tick);
    repository_lend(self->config.repository, NULL, NULL);
    self->closed = true;
    if (self->operations == 0)
        trainings_free(self);
}

void trainings_begin(struct trainings *self)
{
    self->operations++;
}

bool trainings_end(struct trainings *self)
{
    assert(self->operations > 0);
    bool closed = self->closed;
    if (--self->operations == 0 && closed)
        trainings_free(self);
    return !closed;
}
