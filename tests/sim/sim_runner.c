/* sim_runner - a process that computes without a process: it takes batches out of the agent's ring
 * and puts results into it, some time later, or dies, or stands still */
#include "tests/sim/sim_runner.h"

#include "worker/agent_self.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define STEP_MS   300 /* an operator starts at least so often */
#define ROW_US    200
#define SLOW_MS   3000 /* longer than a lease */
#define SLOWS     300  /* one batch in so many */
#define LOAD_MS   40
#define PAUSE_MS  50 /* after its death */
#define SIGNATURE "{\"batchable\": true, \"outputs\": [{\"name\": \"y\", \"batch_axis\": 0}]}"

struct runner {
    struct process *process; /* the agent's */
    struct ring *ring;
    bool alive, ended;
    bool hangs;   /* stands still in a kernel */
    uint64_t run; /* which computation this is; 0: none */
    uint64_t left_ns;
    uint64_t start_ns;
    struct ring_batch *batch; /* being computed */
    char how[128];            /* it ended */
    struct {
        uint32_t gateway, sequence;
        uint64_t first, rows; /* in the batch */
    } tasks[RING_TASKS_MAX];  /* of the batch */
    size_t len;
    uint64_t from, end, rows; /* rows that are computed now, of all */
};

static uint64_t runs; /* of all, ever: an event of an older one is void */

struct runner *runner_new(const struct runner_config *config)
{
    struct runner *self = xcalloc(1, sizeof *self);
    self->process = sim_it->current;
    self->ring = config->ring;
    return self;
}

static void leave(struct runner *self, bool died)
{
    for (size_t i = 0; i < self->len; i++)
        history_stop(sim_it, self->tasks[i].gateway, self->tasks[i].sequence, died);
    self->len = 0;
    self->from = self->end = self->rows = 0;
    self->run = 0;
    self->batch = NULL;
}

void runner_destroy(struct runner **self_p)
{
    if (*self_p)
        leave(*self_p, false);
    free(*self_p);
    *self_p = NULL;
}

enum status runner_start(struct runner *self, uint64_t now_ns, struct error *why)
{
    (void)now_ns, (void)why;
    ring_reset(self->ring);
    ring_ready(self->ring, "sim", 1);
    self->alive = true;
    self->hangs = false;
    return STATUS_OK;
}

bool runner_alive(const struct runner *self)
{
    return self->alive;
}

uint64_t runner_start_ns(const struct runner *self)
{
    return self->alive ? 0 : self->start_ns;
}

pid_t runner_pid(const struct runner *self)
{
    return self->alive ? 1 : 0;
}

int runner_fd(const struct runner *self)
{
    (void)self;
    return -1;
}

bool runner_ended(struct runner *self, uint64_t now_ns, char *text, size_t size)
{
    if (!self->ended)
        return false;
    self->ended = false;
    self->start_ns = now_ns + PAUSE_MS * MS;
    text_copy(text, size, self->how);
    return true;
}

static void die(struct runner *self, const char *how, bool blame)
{
    if (!self->alive)
        return;
    sim_it->totals.crashes++;
    leave(self, blame);
    self->alive = false;
    self->ended = true;
    text_copy(self->how, sizeof self->how, how);
    sim_wake(self->process, sim_it->now_ns + MS);
}

void runner_kill(struct runner *self, const char *why)
{
    die(self, why, true);
}

/* --- computing ---------------------------------------------------------------------------------
 */

/* One row of a poisonous task ends the runner. */
static bool meets_poison(const struct runner *self)
{
    for (size_t i = 0; i < self->len; i++) {
        uint64_t row = self->tasks[i].first + self->tasks[i].sequence % self->tasks[i].rows;
        const struct fact *fact =
            history_find(sim_it, self->tasks[i].gateway, self->tasks[i].sequence);
        if (fact && fact->poison && row >= self->from && row < self->end)
            return true;
    }
    return false;
}

static const uint64_t *input_of(struct ring_batch *batch)
{
    const struct ring_value *values = ring_at(batch, batch->inputs_at, 1, sizeof *values);
    return ring_at(batch, values->data_at, values->bytes, 1);
}

static void step_later(struct runner *self)
{
    uint64_t step_ns = MIN(self->left_ns, STEP_MS * MS);
    self->left_ns -= step_ns;
    sim_at(sim_it, sim_it->now_ns + step_ns,
           (struct event){
               .kind = AT_RUNNER, .process = self->process, .thing = self, .life = self->run});
}

/* The next rows: as many as allowed, but few where a runner has died. */
static void begin_rows(struct runner *self)
{
    const struct ring_batch *batch = self->batch;
    uint64_t from = self->end, end = MIN(from + batch->rows_max, self->rows);
    if (batch->small_rows > 0 && from < batch->small_from)
        end = MIN(end, batch->small_from);
    else if (batch->small_rows > 0 && from < batch->small_end)
        end = MIN(end, MIN(from + batch->small_rows, batch->small_end));
    self->from = from;
    self->end = end;
    self->left_ns += (end - from) * ROW_US * 1000 * (1 + 3U * batch->model.bytes[0]);
    ring_do(self->batch, from, end);
}

static void begin_tasks(struct runner *self)
{
    struct ring_batch *batch = self->batch;
    const struct ring_task *tasks =
        ring_at(batch, batch->tasks_at, batch->tasks_len, sizeof *tasks);
    const uint64_t *rows = input_of(batch);
    self->end = self->rows = 0;
    for (uint32_t t = 0; t < batch->tasks_len; t++) {
        self->tasks[t].gateway = (uint32_t)(*rows >> 32);
        self->tasks[t].sequence = (uint32_t)*rows;
        self->tasks[t].first = self->rows;
        self->tasks[t].rows = tasks[t].rows;
        self->rows += tasks[t].rows;
        rows += tasks[t].rows;
        self->len++;
        history_start(sim_it, self->tasks[t].gateway, self->tasks[t].sequence);
    }
    begin_rows(self);
}

void runner_look(struct runner *self)
{
    if (!self->alive || self->run || ring_pending(self->ring) == 0)
        return;
    self->batch = ring_wait(self->ring);
    self->run = ++runs;
    self->left_ns = sim_random(sim_it, MS);
    if (self->batch->kind == RING_RUN)
        begin_tasks(self);
    else
        self->left_ns = sim_random(sim_it, LOAD_MS * MS);
    if (sim_rough(sim_it) && sim_chance(sim_it, SLOWS))
        self->left_ns += SLOW_MS * MS;
    step_later(self);
    sim_wake(self->process, sim_it->now_ns);
}

static void answer(struct ring_batch *batch, struct ring_task *task, const void *data,
                   uint64_t rows, uint64_t row_bytes, const char *name)
{
    const struct tensor output = {.name = name,
                                  .dtype = DTYPE_UINT8,
                                  .rank = rows ? 2 : 1,
                                  .dims = {(int64_t)(rows ? rows : row_bytes), (int64_t)row_bytes},
                                  .bytes = (rows ? rows : 1) * row_bytes};
    task->status = STATUS_OK;
    task->outputs_at = ring_take(batch, sizeof(struct ring_value));
    task->outputs_len = 1;
    struct ring_value *value = ring_at(batch, task->outputs_at, 1, sizeof *value);
    ring_describe(batch, value, &output);
    value->bytes = output.bytes;
    value->data_at = ring_take(batch, output.bytes);
    uint8_t *into = ring_at(batch, value->data_at, output.bytes, 1);
    for (uint64_t i = 0; i < output.bytes; i++)
        into[i] = ((const uint8_t *)data)[i];
}

static void finish(struct runner *self)
{
    struct ring_batch *batch = self->batch;
    struct ring_task *tasks = ring_at(batch, batch->tasks_at, batch->tasks_len, sizeof *tasks);
    bool stopped = *ring_stop_flag(self->ring) != 0;
    uint64_t output[ROWS_MAX];
    for (size_t t = 0; t < self->len; t++) {
        uint64_t input = history_input(self->tasks[t].gateway, self->tasks[t].sequence);
        for (size_t i = 0; i < ROWS_MAX; i++)
            output[i] = history_output(input);
        tasks[t].compute_ns = tasks[t].rows * ROW_US * 1000;
        if (stopped)
            tasks[t].status = STATUS_CANCELLED;
        else
            answer(batch, &tasks[t], output, tasks[t].rows, ROW_BYTES, "y");
    }
    if (batch->kind == RING_LOAD)
        answer(batch, &tasks[0], SIGNATURE, 0, sizeof SIGNATURE - 1, "signature");
    leave(self, false);
    ring_complete(self->ring);
    sim_wake(self->process, sim_it->now_ns);
}

static void come_to(struct runner *self)
{
    if (self->hangs)
        return;
    ++*ring_tick_counter(self->ring);
    bool stopped = *ring_stop_flag(self->ring) != 0;
    if (self->left_ns > 0 && !stopped) {
        step_later(self);
    } else if (!stopped && meets_poison(self)) {
        die(self, "killed by signal 11", true);
    } else if (!stopped && self->end < self->rows) {
        begin_rows(self);
        step_later(self);
    } else {
        finish(self);
        runner_look(self);
    }
}

static struct runner *runner_of(const struct process *worker)
{
    extern struct runner *worker_runner(const struct process *process);
    return worker->alive ? worker_runner(worker) : NULL;
}

void runner_event(struct sim *self, const struct event *event)
{
    struct runner *runner = runner_of(event->process);
    self->current = event->process;
    if (runner && runner->alive && runner->run == event->life)
        come_to(runner);
}

void runner_fault(struct process *worker, bool hangs)
{
    struct runner *runner = runner_of(worker);
    bool computes = runner && runner->run && runner->batch->kind == RING_RUN;
    /* Not by what loads a model: two deaths in a row are held against that. */
    if (!runner || !runner->alive || (!computes && (hangs || runner->run)))
        return;
    sim_note(worker->sim, "%s: its runner %s", sim_name(worker), hangs ? "hangs" : "is killed");
    worker->sim->current = worker;
    if (hangs)
        runner->hangs = true;
    else
        die(runner, "killed by signal 9", true);
}
