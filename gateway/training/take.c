/* take - a segment's result to the disk, then the ledger, then the acknowledgement; in this order
 */
#include "gateway/training/training.h"

#include "common/clock.h"
#include "common/file.h"
#include "common/limits.h"
#include "common/log.h"
#include "gateway/training/history.h"

#include <dirent.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct taking {
    struct training *training;             /* whose */
    struct fleet_result *result;           /* borrowed from it */
    char *folder;                          /* of the job */
    char checkpoint[CHECKPOINT_NAME_SIZE]; /* the one that the ledger names */
    int64_t step;                          /* behind it; then: behind the new one */
    int64_t history_bytes;                 /* committed before; then: to be committed */
    json_t *report;                        /* read */
    bool done;                             /* it was the last segment */
    struct bytes *block;                   /* SEGMENT_ROOM and the checkpoint */
    struct digest sha256;                  /* of the checkpoint, or of the model when it is done */
    struct error why;                      /* or why not */
};

/* --- files that nobody needs any more --------------------------------------------------------- */
/* What a job keeps for good. */
static bool stays(const char *name)
{
    static const char *const always[] = {"history.jsonl", "program.json", "network.json"};
    for (size_t i = 0; i < ARRAY_LEN(always); i++)
        if (strcmp(name, always[i]) == 0)
            return true;
    return name[0] == '.';
}

/* Checkpoints other than this one; NULL, at the end: all that does not stay. */
static void sweep(const char *folder, const char *checkpoint)
{
    const struct dirent *entry;
    DIR *dir = opendir(folder);
    while (dir && (entry = readdir(dir))) {
        const char *name = entry->d_name;
        bool old = strncmp(name, "checkpoint-", 11) == 0;
        if (checkpoint ? !old || strcmp(name, checkpoint) == 0 : stays(name))
            continue;
        char *path = xasprintf("%s/%s", folder, name);
        unlink(path);
        free(path);
    }
    if (dir)
        closedir(dir);
}

/* --- in the pool ------------------------------------------------------------------------------ */
static const struct fleet_output *find_output(const struct fleet_result *result, const char *name)
{
    for (size_t i = 0; i < result->outputs_len; i++)
        if (strcmp(result->outputs[i].tensor.name, name) == 0)
            return &result->outputs[i];
    return NULL;
}

static enum status needed(const struct fleet_output *output, const char *name, size_t max,
                          struct error *why)
{
    if (!output || output->tensor.bytes == 0)
        return fail(why, STATUS_INVALID, "the worker's result has no %s", name);
    if (output->tensor.bytes > max)
        return fail(why, STATUS_INVALID, "the worker's %s has %zu octets, at most %zu are taken",
                    name, output->tensor.bytes, max);
    return STATUS_OK;
}

/* The one text of "report" as an object that says how far it is. */
static enum status read_report(struct taking *self, struct error *why)
{
    const struct fleet_output *output = find_output(self->result, "report");
    enum status s = needed(output, "report", TRAINING_REPORT_MAX, why);
    if (s != STATUS_OK)
        return s;
    uint32_t size = 0;
    char *octets = xmalloc(output->tensor.bytes);
    fleet_output_gather(output, octets);
    if (output->tensor.bytes > sizeof size)
        memcpy(&size, octets, sizeof size);
    if (size == output->tensor.bytes - sizeof size)
        self->report = json_loadb(octets + sizeof size, size, 0, NULL);
    free(octets);
    json_int_t step = json_integer_value(json_object_get(self->report, "step"));
    self->done = json_is_true(json_object_get(self->report, "done"));
    if (step <= self->step)
        return fail(why, STATUS_INVALID,
                    "the worker's report makes no sense: expected a JSON object whose \"step\" is "
                    "more than %" PRId64,
                    self->step);
    self->step = step;
    return STATUS_OK;
}

static enum status write_checkpoint(struct taking *self, struct error *why)
{
    const struct fleet_output *output = find_output(self->result, "checkpoint");
    enum status s = needed(output, "checkpoint", WIRE_MESSAGE_MAX, why);
    if (s != STATUS_OK)
        return s;
    sweep(self->folder, self->checkpoint);
    size_t size = output->tensor.bytes;
    self->block = bytes_new(SEGMENT_ROOM + size);
    uint8_t *octets = (uint8_t *)self->block->data + SEGMENT_ROOM;
    fleet_output_gather(output, octets);
    self->sha256 = digest_of(octets, size);
    char *path = xasprintf("%s/checkpoint-%" PRId64, self->folder, self->step);
    s = file_write(path, octets, size, true, why);
    free(path);
    return s;
}

static enum status write_model(struct taking *self, struct error *why)
{
    const struct fleet_output *output = find_output(self->result, "model");
    enum status s = needed(output, "model", WIRE_MESSAGE_MAX, why);
    if (s != STATUS_OK)
        return s;
    char *octets = xmalloc(output->tensor.bytes);
    char *path = xasprintf("%s/trained.onnx", self->folder);
    fleet_output_gather(output, octets);
    self->sha256 = digest_of(octets, output->tensor.bytes);
    s = file_write(path, octets, output->tensor.bytes, true, why);
    free(path);
    free(octets);
    return s;
}

static void take_work(void *arg)
{
    struct taking *self = arg;
    char *history = xasprintf("%s/history.jsonl", self->folder);
    enum status s = read_report(self, &self->why);
    if (s == STATUS_OK)
        s = self->done ? write_model(self, &self->why) : write_checkpoint(self, &self->why);
    if (s == STATUS_OK)
        s = history_append(history, &self->history_bytes, self->report, &self->why);
    free(history);
    self->why.status = s;
}

/* --- back on the front thread ----------------------------------------------------------------- */
static void set_json(char **field, const json_t *value)
{
    char *text = json_dumps(value, JSON_COMPACT);
    ledger_text_set(field, text ? text : "");
    free(text);
}

static void note(struct training *self, const struct taking *taking)
{
    struct ledger_training *record = &self->record;
    const struct fleet_result *result = self->result;
    json_t *epoch = json_object_get(taking->report, "epoch_end");
    if (json_is_object(epoch))
        set_json(&record->metrics, epoch);
    json_object_del(taking->report, "points");
    set_json(&record->report, taking->report);
    if (!record->mode || !record->mode[0])
        ledger_text_set(&record->mode, result->mode);
    record->step = taking->step;
    record->checkpoint = taking->sha256;
    record->history_bytes = taking->history_bytes;
    record->segments++;
    record->compute_ns += (int64_t)result->compute_ns;
    self->charged_ns += (int64_t)result->compute_ns;
}

/* It is on the disk: the ledger gets it, and with it the next segment's number. */
static void taken(struct training *self, struct taking *taking)
{
    note(self, taking);
    self->ack = self->result->id;
    self->in_fleet = self->started = self->wanted = false;
    self->record.attempts = self->record.crashes = 0;
    fleet_result_free(&self->result);
    bytes_drop(&self->block);
    if (taking->done) {
        training_event(self, TRAINING_TRAINED);
    } else {
        self->block = taking->block;
        taking->block = NULL;
        self->record.task = (int64_t)fleet_next_ids(self->all->config.fleet, 1);
    }
    training_save(self, NULL, NULL);
}

static void settle(struct training *self, struct taking *taking)
{
    const struct error *why = &taking->why;
    self->working = false;
    if (self->record.state != TRAINING_IN_PROGRESS)
        return; /* cancelled meanwhile: training_pump() drops it */
    if (why->status == STATUS_OK) {
        taken(self, taking);
    } else if (job_disk_recovers(why->status)) {
        self->trouble = *why;
        self->retry_ns = clock_mono_ns() + NS_PER_S;
        LOG_WARN("checkpoint_waits", "status=%s why=%s action=%s", status_name(why->status),
                 why->text, "try again in 1 s");
    } else if (why->status == STATUS_INVALID) {
        self->ack = self->result->id;
        self->in_fleet = false;
        fleet_result_free(&self->result);
        training_break(self, "bad_result", why->text);
    } else {
        job_disk_failed(why);
    }
}

static void take_done(void *arg)
{
    struct taking *self = arg;
    struct training *training = self->training;
    bool alive = trainings_end(training->all);
    if (alive)
        settle(training, self);
    bytes_drop(&self->block);
    json_decref(self->report);
    free(self->folder);
    free(self);
    if (alive)
        training_pump(training);
}

void result_take(struct training *self)
{
    struct taking *taking = xcalloc(1, sizeof *taking);
    *taking = (struct taking){.training = self,
                              .result = self->result,
                              .folder = training_folder(self),
                              .step = self->record.step,
                              .history_bytes = self->record.history_bytes};
    training_checkpoint(taking->checkpoint, self);
    self->working = true;
    trainings_begin(self->all);
    pool_continue(self->all->config.pool, take_work, take_done, taking);
}

/* --- at the end ------------------------------------------------------------------------------- */
static void tidy_work(void *arg)
{
    const struct taking *self = arg;
    sweep(self->folder, NULL);
}

static void tidy_done(void *arg)
{
    struct taking *self = arg;
    struct training *training = self->training;
    bool alive = trainings_end(training->all);
    free(self->folder);
    free(self);
    if (!alive)
        return;
    training->working = false;
    training_pump(training);
}

void training_tidy(struct training *self)
{
    struct taking *taking = xcalloc(1, sizeof *taking);
    *taking = (struct taking){.training = self, .folder = training_folder(self)};
    self->tidied = true;
    self->working = true;
    trainings_begin(self->all);
    pool_continue(self->all->config.pool, tidy_work, tidy_done, taking);
}
