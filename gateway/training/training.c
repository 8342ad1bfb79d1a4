#include "gateway/training/training.h"

#include "common/clock.h"
#include "common/limits.h"
#include "common/log.h"
#include "gateway/access/usage.h"
#include "gateway/counters.h"

#include <stdlib.h>

/* --- states ----------------------------------------------------------------------------------- */
static const struct {
    const char *shown;
    bool terminal;
} states[TRAINING_STATES] = {
#define STATE(name, text, last) [TRAINING_##name] = {text, last},
#include "gateway/training/states.def"
};

/* 0 is QUEUED, which no step leads to: so it means "forbidden". */
static const enum training_state steps[TRAINING_STATES][TRAINING_EVENTS] = {
#define STEP(from, event, to) [TRAINING_##from][TRAINING_##event] = TRAINING_##to,
#include "gateway/training/states.def"
};

const char *training_state_text(enum training_state state)
{
    return states[state].shown;
}

bool training_terminal(const struct training *self)
{
    return states[self->record.state].terminal;
}

bool training_over(const struct training *self)
{
    return self->shown && states[self->shown->state].terminal && !self->saving && !self->unsaved;
}

bool training_event(struct training *self, enum training_event event)
{
    enum training_state from = (enum training_state)self->record.state, to = steps[from][event];
    int64_t now_ms = clock_wall_ms();
    char id[ID_TEXT_SIZE];
    if (to == TRAINING_QUEUED)
        return false;
    self->record.state = to;
    if (to == TRAINING_IN_PROGRESS)
        self->record.started_ms = now_ms;
    else if (to == TRAINING_FINALIZING)
        self->record.finalizing_ms = now_ms;
    else
        self->record.ended_ms = now_ms;
    LOG_INFO("training_state", "job=%s name=%s from=%s to=%s step=%lld",
             id_text(id, &self->record.id), self->record.name, states[from].shown, states[to].shown,
             (long long)self->record.step);
    if (states[to].terminal)
        program_pin(self, false);
    return true;
}

void training_break(struct training *self, const char *code, const char *text)
{
    if (!training_event(self, TRAINING_BREAK))
        return;
    char *errors = job_errors_text(code, 0, text);
    ledger_text_set(&self->record.errors, errors);
    free(errors);
    training_save(self, NULL, NULL);
}

/* --- the ledger ------------------------------------------------------------------------------- */
/* The change is durable. */
static void committed(struct training *self)
{
    void *old = self->shown;
    ledger_record_destroy(LEDGER_training, &old);
    self->shown = self->committing;
    self->committing = NULL;
    self->created = true;
    if (self->saving_ack) {
        fleet_commit(self->all->config.fleet, self->saving_ack);
        count(COUNT_training_segments_committed_total, 1);
        usage_add(self->all->config.usage, self->record.tenant, USAGE_compute_ns_total,
                  (uint64_t)self->charged_ns);
        self->charged_ns = 0;
        self->saving_ack = 0;
    }
    watchers_tell(self->watchers);
}

static void kept_back(struct training *self, const struct error *why)
{
    void *change = self->committing;
    ledger_record_destroy(LEDGER_training, &change);
    self->committing = NULL;
    self->ack = self->ack ? self->ack : self->saving_ack;
    self->saving_ack = 0;
    self->unsaved = true;
    self->trouble = *why;
    self->retry_ns = clock_mono_ns() + NS_PER_S;
}

static void save_done(void *arg, enum status status, const struct error *why)
{
    struct training *self = arg;
    if (!trainings_end(self->all))
        return;
    struct commit_waiter *waiters = self->saving_waiters;
    bool was_created = self->created;
    self->saving = false;
    self->saving_waiters = NULL;
    if (status == STATUS_OK)
        committed(self);
    else
        kept_back(self, why);
    waiters_tell(waiters, status, why);
    if (status == STATUS_OK || was_created) /* else the waiter has forgotten the job */
        training_pump(self);
}

static void start_change(struct training *self)
{
    struct ledger_change *change = ledger_change_new();
    ledger_put(change, LEDGER_training, &self->record);
    self->committing = ledger_record_copy(LEDGER_training, &self->record);
    self->saving_waiters = self->waiters;
    self->waiters = NULL;
    self->saving_ack = self->ack;
    self->ack = 0;
    self->saving = true;
    self->unsaved = false;
    trainings_begin(self->all);
    ledger_commit(self->all->config.ledger, &change, save_done, self);
}

void training_save(struct training *self, waiter_call *call, void *arg)
{
    waiters_add(&self->waiters, call, arg);
    self->unsaved = true;
    if (!self->saving && clock_mono_ns() >= self->retry_ns)
        start_change(self);
}

/* --- everything ------------------------------------------------------------------------------- */
static bool may_start(struct training *self)
{
    const struct trainings *all = self->all;
    uint32_t running = 0;
    for (size_t i = 0; i < all->all.len; i++)
        running += trainings_at(all, i)->record.state == TRAINING_IN_PROGRESS;
    if (running >= all->config.running_max)
        fail(&self->trouble, STATUS_BUSY,
             "waiting for another training job to end: %u are under way, as many as "
             "training_jobs_max allows",
             running);
    else if (ledger_full(all->config.ledger))
        fail(&self->trouble, STATUS_STORAGE_FULL, "the gateway's disk is full: free some space");
    else
        return true;
    return false;
}

static void start(struct training *self)
{
    if (!may_start(self) || !training_event(self, TRAINING_START))
        return;
    self->record.task = (int64_t)fleet_next_ids(self->all->config.fleet, 1);
    training_save(self, NULL, NULL);
}

/* In the fleet, and nobody has begun. */
static void look_for_worker(struct training *self)
{
    const char *mode = self->record.mode;
    const struct fleet_view view = fleet_view(self->all->config.fleet);
    uint32_t minor = wire_kind_minor(WIRE_KIND_TRAIN);
    bool waits = self->in_fleet && !self->started && self->submitted_ns &&
                 clock_mono_ns() - self->submitted_ns > 3 * NS_PER_S;
    if (waits && view.up && view.minor < minor)
        fail(&self->trouble, STATUS_UNAVAILABLE,
             "waiting for a broker that takes training: expected one of wire %d.%u or later, the "
             "newest here speaks %d.%u; upgrade the brokers",
             WIRE_MAJOR, minor, WIRE_MAJOR, view.minor);
    else if (waits)
        fail(&self->trouble, STATUS_UNAVAILABLE, "waiting for a worker that trains%s%s%s",
             mode && mode[0] ? " and computes in mode " : "", mode && mode[0] ? mode : "",
             mode && mode[0] ? ", as the segments before" : "");
}

static void run(struct training *self)
{
    bool idle = !self->in_fleet && !self->ack && clock_mono_ns() >= self->again_ns;
    if (self->result)
        result_take(self);
    else if ((idle || self->wanted) && !self->all->draining)
        segment_begin(self);
    else
        look_for_worker(self);
}

static void end(struct training *self)
{
    segment_drop(self);
    program_free(&self->program);
    bytes_drop(&self->block);
    if (!self->tidied && training_over(self))
        training_tidy(self);
}

void training_pump(struct training *self)
{
    uint64_t now_ns = clock_mono_ns();
    if (self->all->closed || now_ns < self->retry_ns)
        return;
    if (self->unsaved && !self->saving)
        start_change(self);
    if (!self->created || self->saving || self->working)
        return;
    if (now_ns >= self->again_ns)
        self->trouble.status = STATUS_OK;
    if (training_terminal(self))
        end(self);
    else if (self->record.state == TRAINING_QUEUED && !self->all->draining)
        start(self);
    else if (self->record.state == TRAINING_IN_PROGRESS)
        run(self);
    else if (self->record.state == TRAINING_FINALIZING && !self->loading && !self->all->draining)
        publish_pump(self);
}
