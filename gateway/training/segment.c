/* segment - a piece of training as a task of the fleet */
#include "gateway/training/training.h"

#include "common/clock.h"
#include "common/file.h"
#include "common/limits.h"
#include "common/log.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define AGAIN_NS NS_PER_S /* after a worker's passing trouble */

/* --- what the fleet tells --------------------------------------------------------------------- */
static void on_started(void *arg, uint64_t id)
{
    struct training *self = arg;
    if (id != (uint64_t)self->record.task)
        return;
    if (self->started || self->record.attempts > 0)
        self->record.redelivered++;
    self->record.attempts++;
    self->started = true;
}

static void on_crashed(void *arg, uint64_t id, const char *text)
{
    struct training *self = arg;
    if (id != (uint64_t)self->record.task)
        return;
    self->record.crashes++;
    LOG_WARN("segment_crashed", "job=%s step=%lld task=%" PRIu64 " why=%s", self->record.name,
             (long long)self->record.step, id, text);
    training_save(self, NULL, NULL);
}

static void on_unknown(void *arg, uint64_t id)
{
    struct training *self = arg;
    self->wanted = id == (uint64_t)self->record.task && !self->result;
    training_pump(self);
}

static void on_progress(void *arg, uint64_t id, const char *text, size_t size)
{
    struct training *self = arg;
    json_t *live = id == (uint64_t)self->record.task && size <= TRAINING_REPORT_MAX
                       ? json_loadb(text, size, 0, NULL)
                       : NULL;
    if (!json_is_object(live)) {
        json_decref(live);
        return;
    }
    json_decref(self->live);
    self->live = live;
    watchers_tell(self->watchers);
}

/* A worker's trouble, or the fleet's: another one may do it, or the same one later. */
static bool passes(enum status status)
{
    static const enum status list[] = {STATUS_BUSY,         STATUS_NO_MODEL, STATUS_DEADLINE,
                                       STATUS_CANCELLED,    STATUS_IO,       STATUS_UNAVAILABLE,
                                       STATUS_STORAGE_FULL, STATUS_NOT_FOUND};
    for (size_t i = 0; i < ARRAY_LEN(list); i++)
        if (list[i] == status)
            return true;
    return false;
}

/* The same segment once more, as a new task. */
static void try_again(struct training *self, const struct fleet_result *result)
{
    LOG_WARN("segment_again", "job=%s step=%lld status=%s why=%s", self->record.name,
             (long long)self->record.step, status_name(result->status), result->text);
    fail(&self->trouble, result->status, "%s", result->text);
    self->again_ns = clock_mono_ns() + AGAIN_NS;
    self->ack = result->id;
    self->in_fleet = self->started = self->wanted = false;
    self->record.task = (int64_t)fleet_next_ids(self->all->config.fleet, 1);
    self->record.attempts = self->record.crashes = 0;
    training_save(self, NULL, NULL);
}

static void break_by(struct training *self, const struct fleet_result *result)
{
    char code[32];
    size_t i;
    const char *name = status_name(result->status);
    for (i = 0; name[i] && i + 1 < sizeof code; i++)
        code[i] = (char)(name[i] >= 'A' && name[i] <= 'Z' ? name[i] - 'A' + 'a' : name[i]);
    code[i] = '\0';
    self->ack = result->id;
    self->in_fleet = false;
    training_break(self, code, result->text);
}

static void on_result(void *arg, struct fleet_result *result)
{
    struct training *self = arg;
    bool ours = !self->all->closed && result->id == (uint64_t)self->record.task && !self->result;
    if (ours && self->record.state == TRAINING_IN_PROGRESS && result->status == STATUS_OK) {
        if (result->again && self->record.attempts < 2)
            self->record.redelivered++;
        self->result = result;
        result = NULL;
    } else if (ours && self->record.state == TRAINING_IN_PROGRESS) {
        self->charged_ns += (int64_t)result->compute_ns;
        if (passes(result->status))
            try_again(self, result);
        else
            break_by(self, result);
    }
    fleet_result_free(&result);
    if (!self->all->closed)
        training_pump(self);
}

static const struct fleet_calls calls = {.result = on_result,
                                         .started = on_started,
                                         .crashed = on_crashed,
                                         .unknown = on_unknown,
                                         .progress = on_progress};

/* --- giving it -------------------------------------------------------------------------------- */
/* {"budget_ms": N} as a tensor of one text, at the beginning of the block. */
static struct tensor put_segment(const struct training *self)
{
    uint8_t *at = self->block->data;
    char *text = (char *)at + sizeof(uint32_t);
    uint32_t size = (uint32_t)snprintf(text, SEGMENT_ROOM - sizeof(uint32_t), "{\"budget_ms\":%u}",
                                       self->all->config.segment_ms);
    memcpy(at, &size, sizeof size);
    return (struct tensor){.name = "segment",
                           .dtype = DTYPE_BYTES,
                           .rank = 1,
                           .dims = {1},
                           .data = at,
                           .bytes = sizeof size + size};
}

static void submit(struct training *self)
{
    struct error why;
    size_t size = self->block->size - SEGMENT_ROOM;
    const struct tensor inputs[] = {put_segment(self),
                                    {.name = "checkpoint",
                                     .dtype = DTYPE_UINT8,
                                     .rank = 1,
                                     .dims = {(int64_t)size},
                                     .data = (uint8_t *)self->block->data + SEGMENT_ROOM,
                                     .bytes = size}};
    const char *mode = self->record.mode, *tenant = self->record.tenant;
    const struct fleet_task task = {.id = (uint64_t)self->record.task,
                                    .model = self->record.program,
                                    .model_name = self->record.name,
                                    .kind = WIRE_KIND_TRAIN,
                                    .mode = mode && mode[0] ? mode : NULL,
                                    .inputs = inputs,
                                    .inputs_len = size ? 2 : 1,
                                    .owner = self->block,
                                    .rows = 1,
                                    .band = 3,
                                    .tenant = tenant && tenant[0] ? tenant : NULL,
                                    .attempt = (uint32_t)MIN(self->record.attempts, 1000),
                                    .crashes = (uint32_t)MIN(self->record.crashes, 1000),
                                    .flags = WIRE_FLAG_ALONE,
                                    .patient = true,
                                    .calls = &calls,
                                    .arg = self};
    self->block = NULL; /* the fleet's from here on */
    self->wanted = false;
    self->in_fleet = true;
    self->submitted_ns = clock_mono_ns();
    if (fleet_submit(self->all->config.fleet, &task, NULL, &why) != STATUS_OK) {
        self->in_fleet = false;
        training_break(self, "too_large", why.text);
    }
}

/* --- from the disk ---------------------------------------------------------------------------- */
struct loading {
    struct training *training;  /* whose */
    char *path;                 /* of the checkpoint; NULL: none, it is the first segment */
    struct digest sha256;       /* of it */
    struct program_file *files; /* the uploads to compare; borrowed */
    size_t files_len;           /* how many; 0: none */
    struct bytes *block;        /* made */
    struct error why;           /* or why not */
};

static enum status verify(const struct loading *self, struct error *why)
{
    enum status s = STATUS_OK;
    int64_t never = 0;
    for (size_t i = 0; i < self->files_len && s == STATUS_OK; i++)
        if (!id_is_zero(&self->files[i].upload))
            s = dataset_verify(self->files[i].disk, &self->files[i].sha256, &never, why);
    return s;
}

static enum status read_checkpoint(struct loading *self, struct error *why)
{
    struct file_map map = {.bytes = NULL};
    enum status s = self->path ? file_map(&map, self->path, why) : STATUS_OK;
    if (s != STATUS_OK)
        return s;
    struct digest is = digest_of(map.bytes, map.size);
    if (self->path && !digest_equal(&is, &self->sha256))
        s = fail(why, STATUS_IO, "%s was altered: its SHA-256 is not the ledger's", self->path);
    self->block = bytes_new(SEGMENT_ROOM + map.size);
    if (map.size)
        memcpy((uint8_t *)self->block->data + SEGMENT_ROOM, map.bytes, map.size);
    file_unmap(&map);
    return s;
}

static void load_work(void *arg)
{
    struct loading *self = arg;
    enum status s = verify(self, &self->why);
    if (s == STATUS_OK)
        s = read_checkpoint(self, &self->why);
    self->why.status = s;
}

static void loaded(struct training *self, struct bytes **block, const struct error *why)
{
    self->working = false;
    if (job_disk_recovers(why->status)) {
        self->trouble = *why;
        self->again_ns = clock_mono_ns() + AGAIN_NS;
    } else if (why->status != STATUS_OK) {
        training_break(self, "files_lost", why->text);
    } else {
        self->verified = true;
        self->block = *block;
        *block = NULL;
    }
    training_pump(self);
}

static void load_done(void *arg)
{
    struct loading *self = arg;
    if (trainings_end(self->training->all))
        loaded(self->training, &self->block, &self->why);
    bytes_drop(&self->block);
    free(self->path);
    free(self);
}

void segment_begin(struct training *self)
{
    if (self->block) {
        submit(self);
        return;
    }
    struct loading *loading = xcalloc(1, sizeof *loading);
    char name[CHECKPOINT_NAME_SIZE];
    training_checkpoint(name, self);
    loading->training = self;
    loading->path = self->record.segments > 0 ? training_path(self, name) : NULL;
    loading->sha256 = self->record.checkpoint;
    loading->files = self->program.files;
    loading->files_len = self->verified ? 0 : self->program.files_len;
    self->working = true;
    trainings_begin(self->all);
    pool_continue(self->all->config.pool, load_work, load_done, loading);
}

void segment_expect(struct training *self)
{
    self->in_fleet = true;
    self->started = self->record.attempts > 0;
    fleet_expect(self->all->config.fleet, (uint64_t)self->record.task, &calls, self);
}

void segment_drop(struct training *self)
{
    struct fleet *fleet = self->all->config.fleet;
    if (self->in_fleet)
        fleet_cancel(fleet, (uint64_t)self->record.task);
    fleet_result_free(&self->result);
    self->in_fleet = self->wanted = false;
}
