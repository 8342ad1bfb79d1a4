/* program - see program.h: epochs, steps, validation, early stopping */
#include "worker/program/program.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

#include "common/clock.h"
#include "worker/kernels/cpu.h"
#include "worker/program/program_parts.h"

static void check(const struct program *self)
{
    assert(self && self->magic == PROGRAM_MAGIC);
}

bool program_done(const struct program *self)
{
    check(self);
    return self->at.stopped || self->at.step >= self->steps;
}

bool program_has_accuracy(const struct program *self)
{
    return self->loss != LOSS_MSE;
}

double program_accuracy(const struct program *self, const struct sums *sums)
{
    if (!program_has_accuracy(self) || !sums->rows)
        return -1;
    return (double)sums->correct / (double)sums->rows;
}

static double mean(const struct sums *sums)
{
    return sums->rows ? sums->loss / (double)sums->rows : 0;
}

static void add(struct sums *sums, const struct trainer_result *r)
{
    sums->loss += r->loss * (double)r->rows;
    sums->rows += r->rows;
    sums->correct += r->correct;
}

static void tick(const struct program_watch *watch)
{
    if (watch->ticks)
        __atomic_fetch_add(watch->ticks, 1, __ATOMIC_RELAXED);
}

static bool stopped(const struct program_watch *watch)
{
    return watch->stop && __atomic_load_n(watch->stop, __ATOMIC_RELAXED);
}

static void note(struct program *self, const struct trainer_result *r)
{
    struct sums one = {0};
    add(&one, r);
    if (self->points_len == self->points_room) {
        self->points_room = MAX(64, 2 * self->points_room);
        self->points = xrealloc(self->points, self->points_room * sizeof *self->points);
    }
    double *p = self->points[self->points_len++];
    p[0] = (double)self->at.step;
    p[1] = r->loss;
    p[2] = program_accuracy(self, &one);
}

static void tell(struct program *self, const struct program_watch *watch, uint64_t begun_ns)
{
    if (!watch->progress)
        return;
    double seconds = (double)(clock_mono_ns() - begun_ns) * 1e-9;
    struct program_progress now = {
        .step = self->at.step,
        .steps = self->steps,
        .epoch = (self->at.step - 1) / self->epoch_steps + 1,
        .epochs = (uint64_t)self->settings.program_epochs,
        .rows = self->train.rows,
        .loss = mean(&self->at.sums),
        .accuracy = program_accuracy(self, &self->at.sums),
        .rows_s = seconds > 0 ? (double)self->run_rows / seconds : 0,
    };
    watch->progress(watch->arg, &now);
}

static enum status step(struct program *self, struct error *why)
{
    uint64_t epoch = self->at.step / self->epoch_steps, i = self->at.step % self->epoch_steps;
    uint64_t number = self->at.step + 1, batch = (uint64_t)self->settings.program_batch;
    struct tensor inputs, target;
    struct trainer_result result = {0};
    if (!i)
        self->at.sums = (struct sums){0};
    uint64_t rows = program_batch(self, &self->train, i * batch, epoch,
                                  self->settings.program_shuffle, &inputs, &target);
    double rate = settings_rate(&self->settings, number, self->steps, self->epoch_steps);
    if (trainer_step(self->trainer, &inputs, 1, &target, number, rate, &result, why) != STATUS_OK)
        return fail_in(why, "step %" PRIu64, number);
    self->at.step = number;
    self->run_rows += rows;
    add(&self->at.sums, &result);
    note(self, &result);
    return STATUS_OK;
}

static enum status validate(struct program *self, const struct program_watch *watch,
                            struct error *why)
{
    struct sums sums = {0};
    for (uint64_t from = 0; from < self->validation.rows;) {
        struct tensor inputs, target;
        struct trainer_result result = {0};
        if (stopped(watch))
            return fail(why, STATUS_CANCELLED, "cancelled in the validation");
        from += program_batch(self, &self->validation, from, 0, false, &inputs, &target);
        if (trainer_evaluate(self->trainer, &inputs, 1, &target, &result, why) != STATUS_OK)
            return fail_in(why, "validation");
        add(&sums, &result);
        tick(watch);
    }
    self->end.validation = sums;
    self->end.validated = self->validation.rows > 0;
    return STATUS_OK;
}

/* Whether what is watched has got no better for too long. */
static void consider_stopping(struct program *self)
{
    const struct settings *s = &self->settings;
    bool accuracy = settings_watch_accuracy(s);
    const struct sums *sums =
        settings_watch_validation(s) ? &self->end.validation : &self->end.train;
    if (s->early_stopping_monitor == WATCH_NOTHING)
        return;
    double now = accuracy ? -program_accuracy(self, sums) : mean(sums); /* less is better */
    if (isnan(self->at.best) || now < self->at.best - s->early_stopping_min_delta) {
        self->at.best = now;
        self->at.since = 0;
    } else if ((double)++self->at.since >= s->early_stopping_patience) {
        self->at.stopped = 1;
    }
}

static enum status end_epoch(struct program *self, const struct program_watch *watch,
                             struct error *why)
{
    self->end = (struct epoch_end){
        .there = true, .epoch = self->at.step / self->epoch_steps, .train = self->at.sums};
    enum status s = validate(self, watch, why);
    if (s == STATUS_OK)
        consider_stopping(self);
    return s;
}

static enum status run(struct program *self, uint64_t budget_ms, const struct program_watch *watch,
                       struct error *why)
{
    uint64_t begun_ns = clock_mono_ns();
    enum status s = STATUS_OK;
    do {
        if (stopped(watch))
            return fail(why, STATUS_CANCELLED, "cancelled before step %" PRIu64, self->at.step + 1);
        s = step(self, why);
        tick(watch);
        if (s == STATUS_OK)
            tell(self, watch, begun_ns);
        self->run_ns = clock_mono_ns() - begun_ns;
        if (s == STATUS_OK && self->at.step % self->epoch_steps == 0)
            return end_epoch(self, watch, why);
    } while (s == STATUS_OK && self->run_ns < budget_ms * NS_PER_MS);
    return s;
}

enum status program_run(struct program *self, uint64_t budget_ms, const struct program_watch *watch,
                        struct error *why)
{
    static const struct program_watch none;
    uint32_t before = kernels_threads();
    check(self);
    self->points_len = 0;
    self->run_ns = self->run_rows = 0;
    self->end = (struct epoch_end){0};
    if (program_done(self))
        return STATUS_OK;
    if (!self->at.threads)
        self->at.threads =
            self->settings.program_threads > 0 ? (uint32_t)self->settings.program_threads : before;
    kernels_set_threads(self->at.threads);
    enum status s = run(self, budget_ms, watch ? watch : &none, why);
    kernels_set_threads(before);
    return s;
}
