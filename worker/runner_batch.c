/* runner_batch - see runner_batch.h */
#include "worker/runner_batch.h"

#include "common/clock.h"

#include <inttypes.h>
#include <sodium/crypto_generichash.h>
#include <stdlib.h>
#include <string.h>

/* One batch while it is computed. */
struct job {
    struct ring_batch *batch;
    const struct runner_model *model;
    struct runner_scratch *scratch;
    struct ring_task *tasks;               /* in the slot */
    struct tensor inputs[RING_VALUES_MAX]; /* whole inputs of the batch */
    uint64_t starts[RING_TASKS_MAX + 1];   /* first row of each task; then all rows */
    uint64_t names_at[RING_VALUES_MAX];    /* outputs' names, 0 until first needed */
    bool stopped;                          /* a run was cancelled */
};

void runner_scratch_free(struct runner_scratch *self)
{
    for (size_t i = 0; i < RING_VALUES_MAX; i++)
        free(self->bytes[i]);
    *self = (struct runner_scratch){0};
}

static void fail_task(struct ring_batch *batch, struct ring_task *task, enum status status,
                      const char *text)
{
    if (task->status != STATUS_OK)
        return; /* the first reason counts */
    task->status = status;
    task->outputs_len = 0;
    task->bytes = 0;
    task->text_at = ring_take_text(batch, text);
}

void runner_batch_fail(struct ring_batch *batch, enum status status, const char *text)
{
    struct ring_task *tasks = ring_at(batch, batch->tasks_at, batch->tasks_len, sizeof *tasks);
    for (uint32_t t = 0; tasks && t < batch->tasks_len; t++)
        fail_task(batch, &tasks[t], status, text);
}

/* Room for a task's output of this shape; the description takes the name from the first task. */
static enum status place_output(struct job *self, struct ring_task *task, uint32_t index,
                                const struct tensor *shape, struct error *why)
{
    struct ring_value *value =
        ring_at(self->batch, task->outputs_at, self->model->outputs_len, sizeof *value);
    value += index;
    *value = (struct ring_value){.dtype = shape->dtype, .rank = shape->rank};
    memcpy(value->dims, shape->dims, sizeof value->dims);
    if (self->names_at[index] == 0)
        self->names_at[index] = ring_take_text(self->batch, shape->name);
    value->name_at = self->names_at[index];
    value->bytes = shape->bytes;
    value->data_at = ring_take(self->batch, shape->bytes);
    task->bytes += shape->bytes;
    if (value->name_at == 0 || value->data_at == 0 || task->bytes > RUNNER_OUTPUT_MAX)
        return fail(why, STATUS_TOO_LARGE,
                    "output %s of shape and type given by the input takes %zu bytes; the outputs "
                    "of one request may take %" PRIu64 ": send fewer rows at once",
                    shape->name, shape->bytes, RUNNER_OUTPUT_MAX);
    return STATUS_OK;
}

/* Octets of `rows` rows of an output, for a task that has so many in all. */
static enum status task_shape(const struct tensor *output, uint32_t axis, uint64_t run_rows,
                              uint64_t task_rows, struct tensor *shape, struct error *why)
{
    uint64_t bytes = 0;
    if (axis >= output->rank || output->dims[axis] != (int64_t)run_rows) {
        char dims[128];
        return fail(why, STATUS_BAD_MODEL,
                    "output %s has shape %s for %" PRIu64 " rows, which are not on axis %" PRIu32
                    ": say output_batch_axis, or batchable false, in the model's config",
                    output->name, dims_text(dims, sizeof dims, output->dims, output->rank),
                    run_rows, axis);
    }
    *shape = *output;
    shape->dims[axis] = (int64_t)task_rows;
    if (!tensor_size(shape->dtype, shape->dims, shape->rank, &bytes))
        return fail(why, STATUS_TOO_LARGE, "output %s does not fit an address", output->name);
    shape->bytes = (size_t)bytes;
    return STATUS_OK;
}

static bool same_dims(const struct ring_value *value, const struct tensor *shape)
{
    return value->dtype == shape->dtype && value->rank == shape->rank &&
           memcmp(value->dims, shape->dims, shape->rank * sizeof shape->dims[0]) == 0;
}

/* Copy rows [from, from + rows) of a run's output to row `to` of the task's. */
static void copy_rows(const struct tensor *output, uint32_t axis, uint64_t run_rows, uint64_t from,
                      uint64_t rows, uint8_t *into, uint64_t task_rows, uint64_t to)
{
    uint64_t outer = 1, inner = dtype_bytes(output->dtype);
    for (uint32_t d = 0; d < axis; d++)
        outer *= (uint64_t)output->dims[d];
    for (uint32_t d = axis + 1; d < output->rank; d++)
        inner *= (uint64_t)output->dims[d];
    const uint8_t *source = (const uint8_t *)output->data + from * inner;
    uint8_t *target = into + to * inner;
    for (uint64_t o = 0; o < outer && rows * inner > 0; o++)
        memcpy(target + o * task_rows * inner, source + o * run_rows * inner, rows * inner);
}

/* Give one task its rows of a run over rows [first, first + run_rows) of the batch. */
static enum status scatter(struct job *self, uint32_t t, uint64_t first, uint64_t run_rows,
                           const struct tensor *outputs, struct error *why)
{
    struct ring_task *task = &self->tasks[t];
    uint32_t len = self->model->outputs_len;
    uint64_t begin = MAX(first, self->starts[t]);
    uint64_t end = MIN(first + run_rows, self->starts[t + 1]);
    bool fresh = task->outputs_at == 0;
    if (fresh) {
        task->outputs_at = ring_take(self->batch, len * sizeof(struct ring_value));
        task->outputs_len = len;
    }
    struct ring_value *values = ring_at(self->batch, task->outputs_at, len, sizeof *values);
    if (!values)
        return fail(why, STATUS_TOO_LARGE, "the outputs do not fit the runner's memory");
    for (uint32_t i = 0; i < len; i++) {
        struct tensor shape;
        uint32_t axis = self->model->axes[i];
        enum status status = task_shape(&outputs[i], axis, run_rows, task->rows, &shape, why);
        if (status == STATUS_OK && fresh)
            status = place_output(self, task, i, &shape, why);
        if (status != STATUS_OK)
            return status;
        if (!same_dims(&values[i], &shape))
            return fail(why, STATUS_BAD_MODEL,
                        "output %s changes its shape with the values of the rows: say batchable "
                        "false in the model's config",
                        outputs[i].name);
        copy_rows(&outputs[i], axis, run_rows, begin - first, end - begin,
                  (uint8_t *)self->batch + values[i].data_at, task->rows, begin - self->starts[t]);
    }
    return STATUS_OK;
}

/* Rows [first, first + rows) of every input, aligned. */
static void view_rows(struct job *self, uint64_t first, uint64_t rows, struct tensor *views)
{
    for (uint32_t i = 0; i < self->batch->inputs_len; i++) {
        struct tensor *view = &views[i];
        *view = self->inputs[i];
        size_t row_bytes = view->bytes / (size_t)self->starts[self->batch->tasks_len];
        view->dims[0] = (int64_t)rows;
        view->bytes = row_bytes * (size_t)rows;
        if (row_bytes == 0)
            continue;
        view->data = (uint8_t *)view->data + row_bytes * (size_t)first;
        if ((uintptr_t)view->data % TENSOR_ALIGN == 0)
            continue;
        struct runner_scratch *scratch = self->scratch;
        if (scratch->room[i] < view->bytes) {
            free(scratch->bytes[i]);
            scratch->bytes[i] = xaligned(view->bytes);
            scratch->room[i] = view->bytes;
        }
        memcpy(scratch->bytes[i], view->data, view->bytes);
        view->data = scratch->bytes[i];
    }
}

/* Tasks [t, end) lie at least partly in the run; each task that is still well gets its rows. */
static enum status run_rows(struct job *self, uint32_t t, uint32_t end, uint64_t first,
                            uint64_t rows, struct error *why)
{
    struct tensor views[RING_VALUES_MAX], outputs[RING_VALUES_MAX];
    view_rows(self, first, rows, views);
    ring_do(self->batch, first, first + rows);
    uint64_t start_ns = clock_mono_ns();
    enum status status =
        self->model->run(self->model->model, views, self->batch->inputs_len, outputs, why);
    uint64_t ns = clock_mono_ns() - start_ns;
    for (; t < end; t++) {
        uint64_t from = MAX(first, self->starts[t]);
        uint64_t to = MIN(first + rows, self->starts[t + 1]);
        self->tasks[t].compute_ns += ns * (to - from) / rows;
        if (status != STATUS_OK || self->tasks[t].status != STATUS_OK)
            continue;
        struct error own = {0};
        if (scatter(self, t, first, rows, outputs, &own) != STATUS_OK)
            fail_task(self->batch, &self->tasks[t], own.status, own.text);
    }
    return status;
}

/* One run; when it fails for several tasks, one more for each of them. */
static void run_or_split(struct job *self, uint64_t first, uint64_t rows)
{
    struct error why = {0};
    uint32_t t = 0, end;
    while (self->starts[t + 1] <= first)
        t++;
    for (end = t; end < self->batch->tasks_len && self->starts[end] < first + rows; end++)
        ;
    enum status status = run_rows(self, t, end, first, rows, &why);
    for (uint32_t i = t; i < end && status != STATUS_OK && !self->stopped; i++) {
        uint64_t from = MAX(first, self->starts[i]);
        uint64_t to = MIN(first + rows, self->starts[i + 1]);
        enum status own = status;
        if (end - t > 1 && status != STATUS_CANCELLED)
            own = run_rows(self, i, i + 1, from, to - from, &why);
        if (own != STATUS_OK)
            fail_task(self->batch, &self->tasks[i], own, why.text);
        self->stopped = own == STATUS_CANCELLED;
    }
}

/* A model whose rows are not independent: the one task as it came. */
static void run_whole(struct job *self)
{
    struct tensor outputs[RING_VALUES_MAX];
    struct ring_task *task = &self->tasks[0];
    uint32_t len = self->model->outputs_len;
    struct error why = {0};
    ring_do(self->batch, 0, 1);
    uint64_t start_ns = clock_mono_ns();
    enum status status =
        self->model->run(self->model->model, self->inputs, self->batch->inputs_len, outputs, &why);
    task->compute_ns = clock_mono_ns() - start_ns;
    if (status == STATUS_OK) {
        task->outputs_at = ring_take(self->batch, len * sizeof(struct ring_value));
        task->outputs_len = len;
        if (!ring_at(self->batch, task->outputs_at, len, sizeof(struct ring_value)))
            status = fail(&why, STATUS_TOO_LARGE, "the outputs do not fit the runner's memory");
    }
    for (uint32_t i = 0; i < len && status == STATUS_OK; i++) {
        status = place_output(self, task, i, &outputs[i], &why);
        if (status != STATUS_OK || outputs[i].bytes == 0)
            continue;
        const struct ring_value *values =
            ring_at(self->batch, task->outputs_at, len, sizeof *values);
        memcpy((uint8_t *)self->batch + values[i].data_at, outputs[i].data, outputs[i].bytes);
    }
    if (status != STATUS_OK)
        fail_task(self->batch, task, status, why.text);
}

void runner_batch_digest(struct ring_batch *batch, struct ring_task *task)
{
    const struct ring_value *values =
        ring_at(batch, task->outputs_at, task->outputs_len, sizeof *values);
    crypto_generichash_state state;
    crypto_generichash_init(&state, NULL, 0, sizeof task->digest);
    for (uint32_t i = 0; values && i < task->outputs_len; i++)
        crypto_generichash_update(&state, (uint8_t *)batch + values[i].data_at, values[i].bytes);
    crypto_generichash_final(&state, task->digest, sizeof task->digest);
}

static bool open_job(struct job *self)
{
    struct ring_batch *batch = self->batch;
    const struct ring_value *inputs =
        ring_at(batch, batch->inputs_at, batch->inputs_len, sizeof *inputs);
    self->tasks = ring_at(batch, batch->tasks_at, batch->tasks_len, sizeof *self->tasks);
    if (!self->tasks || !inputs || batch->inputs_len > RING_VALUES_MAX ||
        batch->tasks_len > RING_TASKS_MAX)
        return false;
    for (uint32_t i = 0; i < batch->inputs_len; i++)
        if (!ring_tensor(batch, &inputs[i], &self->inputs[i]))
            return false;
    for (uint32_t t = 0; t < batch->tasks_len; t++)
        self->starts[t + 1] = self->starts[t] + self->tasks[t].rows;
    return true;
}

/* Rows of the next run: as many as allowed, but few where a runner has died. */
static uint64_t run_length(const struct ring_batch *batch, uint64_t first, uint64_t rows)
{
    uint64_t end = MIN(first + (uint64_t)batch->rows_max, rows);
    if (batch->small_rows == 0)
        return end - first;
    if (first < batch->small_from)
        end = MIN(end, batch->small_from);
    else if (first < batch->small_end)
        end = MIN(end, MIN(first + batch->small_rows, batch->small_end));
    return end - first;
}

void runner_batch(struct ring_batch *batch, const struct runner_model *model,
                  struct runner_scratch *scratch)
{
    struct job job = {.batch = batch, .model = model, .scratch = scratch};
    if (!open_job(&job)) {
        runner_batch_fail(batch, STATUS_INTERNAL, "the agent's batch does not hold together");
        return;
    }
    uint64_t rows = job.starts[batch->tasks_len];
    if (!batch->batchable)
        run_whole(&job);
    for (uint64_t first = 0; batch->batchable && first < rows && !job.stopped;) {
        uint64_t len = run_length(batch, first, rows);
        run_or_split(&job, first, len);
        first += len;
    }
    if (job.stopped)
        runner_batch_fail(batch, STATUS_CANCELLED, "stopped on request");
    for (uint32_t t = 0; t < batch->tasks_len; t++)
        if (job.tasks[t].status == STATUS_OK)
            runner_batch_digest(batch, &job.tasks[t]);
}
