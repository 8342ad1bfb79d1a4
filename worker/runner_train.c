/* runner_train - see runner_train.h */
#include "worker/runner_train.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/limits.h"
#include "worker/runner_batch.h"

#define BUDGET_DEFAULT_MS 5000
#define BUDGET_MAX_MS     600000

struct runner_train {
    struct ring *ring;
    struct program *program; /* NULL: none */
    struct digest id;        /* of the program */
    bool begun;              /* it has computed something */
    struct digest state;     /* SHA-256 of the checkpoint that it gave last; zero: none */
};

/* What comes out: in this order in the message. */
enum { REPORT, CHECKPOINT, MODEL, OUTPUTS };

struct output {
    const char *name;
    enum dtype dtype;
    uint8_t *bytes;
    size_t size;
};

struct runner_train *runner_train_new(struct ring *ring)
{
    struct runner_train *self = xcalloc(1, sizeof *self);
    self->ring = ring;
    return self;
}

static void forget(struct runner_train *self)
{
    program_destroy(&self->program);
    self->begun = false;
    self->state = (struct digest){{0}};
}

/* --- in ------------------------------------------------------------------------------------------
 */
static bool find_input(struct ring_batch *batch, const char *name, struct tensor *out)
{
    const struct ring_value *values =
        ring_at(batch, batch->inputs_at, batch->inputs_len, sizeof *values);
    for (uint32_t i = 0; values && i < batch->inputs_len && i < RING_VALUES_MAX; i++)
        if (ring_tensor(batch, &values[i], out) && strcmp(out->name, name) == 0)
            return true;
    return false;
}

static enum status read_budget(struct ring_batch *batch, uint64_t *budget_ms, struct error *why)
{
    struct tensor segment;
    json_error_t error;
    *budget_ms = BUDGET_DEFAULT_MS;
    if (!find_input(batch, "segment", &segment) || segment.dtype != DTYPE_BYTES ||
        segment.bytes < sizeof(uint32_t))
        return fail(why, STATUS_INVALID, "input segment: expected one text of JSON");
    json_t *root = json_loadb((const char *)segment.data + sizeof(uint32_t),
                              segment.bytes - sizeof(uint32_t), 0, &error);
    if (!root)
        return fail(why, STATUS_INVALID, "input segment: %s", error.text);
    const json_t *said = json_object_get(root, "budget_ms");
    json_int_t value = json_integer_value(said);
    bool good = !said || (json_is_integer(said) && value >= 0 && value <= BUDGET_MAX_MS);
    if (said && good)
        *budget_ms = (uint64_t)value;
    json_decref(root);
    return good ? STATUS_OK
                : fail(why, STATUS_INVALID, "input segment: budget_ms: expected 0 to %d",
                       BUDGET_MAX_MS);
}

enum status runner_train_fits(const struct program_sizes *sizes, struct error *why)
{
    const uint64_t room = RUNNER_OUTPUT_MAX - TRAINING_REPORT_MAX;
    if (sizes->checkpoint <= room && sizes->model <= room - sizes->checkpoint)
        return STATUS_OK;
    return fail(why, STATUS_TOO_LARGE,
                "the network has %" PRIu64
                " parameters: checkpoint (%zu octets) and model (%zu) are expected to have at most "
                "%" PRIu64 " octets together, what a worker's answer carries; take a smaller "
                "network, freeze layers, or train it with convoy-run train, which has no such "
                "bound",
                sizes->parameters, sizes->checkpoint, sizes->model, room);
}

/* The program stands where the segment begins. */
static enum status prepare(struct runner_train *self, struct ring_batch *batch, struct error *why)
{
    static const struct digest none;
    struct tensor checkpoint;
    bool going_on = find_input(batch, "checkpoint", &checkpoint);
    struct digest wanted = going_on ? digest_of(checkpoint.data, checkpoint.bytes) : none;
    bool other = !digest_equal(&self->id, &batch->model) || (!going_on && self->begun);
    enum status s = STATUS_OK;
    if (self->program && other)
        forget(self);
    if (!self->program)
        s = program_open(&self->program, ring_text(batch, batch->path_at),
                         ring_text(batch, batch->settings_at), why);
    const struct program_sizes sizes =
        s == STATUS_OK ? program_sizes(self->program) : (struct program_sizes){0};
    if (s == STATUS_OK)
        s = runner_train_fits(&sizes, why);
    self->id = batch->model;
    if (s == STATUS_OK && going_on && !digest_equal(&wanted, &self->state))
        s = program_restore(self->program, checkpoint.data, checkpoint.bytes, why);
    return s;
}

/* --- while it runs
 * --------------------------------------------------------------------------------- */
static void tell(void *arg, const struct program_progress *now)
{
    const struct runner_train *self = arg;
    const struct ring_progress progress = {
        .step = now->step,
        .steps = now->steps,
        .epoch = now->epoch,
        .epochs = now->epochs,
        .rows = now->rows,
        .loss = now->loss,
        .accuracy = now->accuracy,
        .rows_s = now->rows_s,
    };
    ring_tell(self->ring, &progress);
}

/* --- out -----------------------------------------------------------------------------------------
 */
/* A text as an element of BYTES: its length in front. */
static void report_text(const struct program *program, struct output *out)
{
    json_t *report = program_report(program);
    char *text = json_dumps(report, JSON_COMPACT);
    uint32_t size = (uint32_t)strlen(text);
    json_decref(report);
    out->size = sizeof size + size;
    out->bytes = xmalloc(out->size);
    memcpy(out->bytes, &size, sizeof size);
    memcpy(out->bytes + sizeof size, text, size);
    free(text);
}

static enum status put_outputs(struct ring_batch *batch, struct ring_task *task,
                               const struct output *outputs, uint32_t len, struct error *why)
{
    for (uint32_t i = 0; i < len; i++)
        task->bytes += outputs[i].size;
    assert(task->bytes <= RUNNER_OUTPUT_MAX); /* as runner_train_fits() found */
    task->outputs_at = ring_take(batch, len * sizeof(struct ring_value));
    struct ring_value *values = ring_at(batch, task->outputs_at, len, sizeof *values);
    for (uint32_t i = 0; i < len && values; i++) {
        const struct output *o = &outputs[i];
        struct tensor shape = {.name = o->name,
                               .dtype = o->dtype,
                               .rank = 1,
                               .dims = {o->dtype == DTYPE_BYTES ? 1 : (int64_t)o->size},
                               .bytes = o->size};
        uint8_t *into = NULL;
        if (ring_describe(batch, &values[i], &shape)) {
            values[i].bytes = o->size;
            values[i].data_at = ring_take(batch, o->size);
            into = ring_at(batch, values[i].data_at, o->size, 1);
        }
        if (!into)
            return fail(why, STATUS_TOO_LARGE, "the outputs do not fit the runner's memory");
        memcpy(into, o->bytes, o->size);
    }
    task->outputs_len = values ? len : 0;
    return STATUS_OK;
}

static enum status answer(struct runner_train *self, struct ring_batch *batch,
                          struct ring_task *task, struct error *why)
{
    struct output outputs[OUTPUTS] = {[REPORT] = {.name = "report", .dtype = DTYPE_BYTES},
                                      [CHECKPOINT] = {.name = "checkpoint", .dtype = DTYPE_UINT8},
                                      [MODEL] = {.name = "model", .dtype = DTYPE_UINT8}};
    bool done = program_done(self->program);
    enum status s = STATUS_OK;
    report_text(self->program, &outputs[REPORT]);
    program_checkpoint(self->program, &outputs[CHECKPOINT].bytes, &outputs[CHECKPOINT].size);
    self->state = digest_of(outputs[CHECKPOINT].bytes, outputs[CHECKPOINT].size);
    if (done)
        s = program_model(self->program, &outputs[MODEL].bytes, &outputs[MODEL].size, why);
    if (s == STATUS_OK)
        s = put_outputs(batch, task, outputs, done ? OUTPUTS : MODEL, why);
    for (size_t i = 0; i < OUTPUTS; i++)
        free(outputs[i].bytes);
    return s;
}

void runner_train(struct runner_train *self, struct ring_batch *batch)
{
    struct ring_task *task = ring_at(batch, batch->tasks_at, 1, sizeof *task);
    struct error why = {0};
    uint64_t budget_ms, begun_ns = clock_mono_ns();
    struct program_watch watch = {.stop = ring_stop_flag(self->ring),
                                  .ticks = ring_tick_counter(self->ring),
                                  .progress = tell,
                                  .arg = self};
    enum status s = task ? read_budget(batch, &budget_ms, &why)
                         : fail(&why, STATUS_INTERNAL, "the agent's batch does not hold together");
    if (s == STATUS_OK)
        s = prepare(self, batch, &why);
    if (s == STATUS_OK) {
        ring_do(batch, 0, 1);
        self->begun = true;
        s = program_run(self->program, budget_ms, &watch, &why);
    }
    if (s == STATUS_OK)
        s = answer(self, batch, task, &why);
    if (s == STATUS_OK) {
        task->compute_ns = clock_mono_ns() - begun_ns;
        runner_batch_digest(batch, task);
    } else {
        forget(self); /* it stands where nobody expects it */
        runner_batch_fail(batch, s, why.text);
    }
}
