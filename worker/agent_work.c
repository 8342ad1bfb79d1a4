/* agent_work - batches: from the models' queues into the ring, and back out as results */
#include "worker/agent_self.h"

#include "common/clock.h"

#include <inttypes.h>
#include <string.h>

/* Batches in the ring that are not done: one computed and one that the runner finds next. */
#define DEPTH 2
/* A load that evicted something is paid for by so many times its length of other work first. */
#define SWAP_RATIO  4
#define SWAP_MAX_NS (10 * NS_PER_S)

static struct task *task_of(struct batch_item *item)
{
    return (struct task *)(void *)((uint8_t *)item - offsetof(struct task, item));
}

void agent_work_unqueue(struct task *task)
{
    if (task->model)
        batch_remove(&task->model->queue, &task->item);
    task->model = NULL;
}

void agent_work_give_back(struct agent *self, struct task *task, bool alone)
{
    if (!tasks_step(self->tasks, task, TASK_GIVE_BACK)) {
        task_free(task);
        return;
    }
    task->item.alone = task->item.alone || alone;
    batch_push_front(&task->model->queue, &task->item);
}

/* --- tasks out of time -------------------------------------------------------------------------
 */
static void answer_late(struct agent *self, struct task *task)
{
    agent_results_add(self, task,
                      result_failed(STATUS_DEADLINE, "its time ran out before the worker could "
                                                     "compute it"));
}

void agent_work_expire(struct agent *self)
{
    for (size_t i = 0; i < self->models.len; i++) {
        struct batch_item *item, *next;
        for (item = TAILQ_FIRST(&self->models.list[i]->queue.items); item; item = next) {
            struct task *task = task_of(item);
            next = TAILQ_NEXT(item, link);
            if (task->deadline_ns > self->now_ns)
                continue;
            agent_work_unqueue(task);
            answer_late(self, task);
        }
    }
}

/* --- into the ring -----------------------------------------------------------------------------
 */
/* Describe one input of the batch and gather every task's octets of it, in the order of rows. */
static bool put_input(struct ring_batch *batch, const struct flight *flight, uint32_t index,
                      uint64_t rows, size_t *frames_at)
{
    struct ring_value *value = ring_at(batch, batch->inputs_at, batch->inputs_len, sizeof *value);
    struct tensor input = flight->tasks[0]->spec->inputs[index];
    uint64_t bytes = 0;
    value += index;
    for (size_t t = 0; t < flight->len; t++)
        bytes += flight->tasks[t]->spec->inputs[index].bytes;
    if (batch->batchable)
        input.dims[0] = (int64_t)rows;
    if (!ring_describe(batch, value, &input))
        return false;
    value->bytes = bytes;
    value->data_at = ring_take(batch, bytes);
    uint8_t *into = ring_at(batch, value->data_at, bytes, 1);
    if (!into)
        return false;
    for (size_t t = 0; t < flight->len; t++) {
        struct task *task = flight->tasks[t];
        size_t size = task->spec->inputs[index].bytes, frames = wire_frames_of(size);
        if (size > 0 && !wire_gather(&task->frames[frames_at[t]], frames, into, size))
            return false; /* checked when it came: cannot be */
        frames_at[t] += frames;
        into += size;
    }
    return true;
}

static bool put_tasks(struct ring_batch *batch, const struct flight *flight, uint64_t *rows)
{
    batch->tasks_len = (uint32_t)flight->len;
    batch->tasks_at = ring_take(batch, flight->len * sizeof(struct ring_task));
    struct ring_task *tasks = ring_at(batch, batch->tasks_at, flight->len, sizeof *tasks);
    if (!tasks)
        return false;
    memset(tasks, 0, flight->len * sizeof *tasks);
    *rows = 0;
    for (size_t t = 0; t < flight->len; t++) {
        const struct task *task = flight->tasks[t];
        tasks[t].rows = task->item.rows;
        if (task->suspect_from < task->suspect_end) { /* it is alone in this batch */
            batch->small_from = *rows + task->suspect_from;
            batch->small_end = *rows + task->suspect_end;
            batch->small_rows = agent_blame_step(task);
        }
        *rows += tasks[t].rows;
    }
    return true;
}

static bool put_model(struct ring_batch *batch, const struct agent_model *model)
{
    batch->model = model->version;
    batch->path_at = ring_take_text(batch, model->path);
    batch->rows_max = MAX(model->policy.rows_max, 1u);
    batch->axes_len = model->axes_len;
    memcpy(batch->axes, model->axes, model->axes_len * sizeof model->axes[0]);
    if (model->settings)
        batch->settings_at = ring_take_text(batch, model->settings);
    return batch->path_at != 0 && (!model->settings || batch->settings_at != 0);
}

static bool put_run(struct ring_batch *batch, const struct flight *flight)
{
    size_t frames_at[RING_TASKS_MAX] = {0};
    const struct task *first = flight->tasks[0];
    uint64_t rows;
    batch->kind = flight->kind;
    batch->batchable = flight->model->policy.batchable && first->item.rows > 0;
    batch->inputs_len = first->spec->inputs_len;
    if (!put_model(batch, flight->model) || !put_tasks(batch, flight, &rows))
        return false;
    batch->inputs_at = ring_take(batch, batch->inputs_len * sizeof(struct ring_value));
    if (batch->inputs_at == 0)
        return false;
    for (uint32_t i = 0; i < batch->inputs_len; i++)
        if (!put_input(batch, flight, i, rows, frames_at))
            return false;
    return true;
}

static void submit(struct agent *self, struct flight *flight)
{
    flight->model->running++;
    ring_submit(self->ring);
    if (ring_pending(self->ring) == 1)
        self->watch_ns = 0; /* look at it from now on */
}

static struct flight *next_flight(struct agent *self, struct ring_batch **batch)
{
    *batch = ring_next(self->ring);
    if (!*batch)
        return NULL;
    uint32_t number = ring_oldest(self->ring) + ring_depth(self->ring);
    return &self->flights[number % RING_SLOTS];
}

/* Ask the runner for the signature of a model that has just come. */
static bool submit_load(struct agent *self, struct agent_model *model)
{
    struct ring_batch *batch;
    struct flight *flight = next_flight(self, &batch);
    if (!flight)
        return false;
    *flight = (struct flight){.kind = RING_LOAD, .model = model};
    batch->kind = RING_LOAD;
    batch->tasks_len = 1;
    batch->tasks_at = ring_take(batch, sizeof(struct ring_task));
    memset(ring_at(batch, batch->tasks_at, 1, sizeof(struct ring_task)), 0,
           sizeof(struct ring_task));
    bool fits = put_model(batch, model);
    assert(fits);
    model->load_sent = true;
    submit(self, flight);
    return true;
}

static bool submit_run(struct agent *self, struct agent_model *model)
{
    struct batch_item *items[RING_TASKS_MAX];
    struct ring_batch *batch;
    struct flight *flight = next_flight(self, &batch);
    if (!flight)
        return false;
    *flight = (struct flight){.kind = model->settings ? RING_TRAIN : RING_RUN, .model = model};
    size_t picked = batch_pick(&model->queue, &model->policy, items);
    for (size_t i = 0; i < picked; i++) {
        struct task *task = task_of(items[i]);
        if (task->deadline_ns <= self->now_ns) {
            answer_late(self, task);
            continue;
        }
        tasks_step(self->tasks, task, TASK_PICK);
        task->begun_ns = 0;
        flight->tasks[flight->len++] = task;
    }
    if (flight->len == 0)
        return true; /* the slot was not handed over: the next batch takes it */
    if (put_run(batch, flight)) {
        LOG_DEBUG("batch", "model=%s tasks=%zu", model->name, flight->len);
        submit(self, flight);
        return true;
    }
    for (size_t i = 0; i < flight->len; i++)
        agent_results_add(self, flight->tasks[i],
                          result_failed(STATUS_TOO_LARGE, "the inputs do not fit the runner's "
                                                          "memory: send fewer rows at once"));
    return true;
}

/* Whether loading it now would take too large a part of the runner's time. */
static bool must_wait(const struct agent *self, const struct agent_model *model)
{
    return !model->resident && self->now_ns < self->swap_ns;
}

/* The model whose oldest task has waited longest, among those with a batch that is due. One that
 * must wait gets an idle runner only if nobody else has work for it. */
static struct agent_model *most_urgent(const struct agent *self, bool idle)
{
    struct agent_model *best = NULL;
    for (size_t i = 0; i < self->models.len; i++) {
        struct agent_model *model = self->models.list[i];
        if (model->state == MODEL_LOADING && !model->load_sent)
            return model;
        if (model->state != MODEL_READY ||
            !batch_due(&model->queue, &model->policy, self->now_ns, idle))
            continue;
        bool waits = must_wait(self, model), best_waits = best && must_wait(self, best);
        if (waits && !idle)
            continue;
        if (!best || best_waits > waits ||
            (best_waits == waits && TAILQ_FIRST(&model->queue.items)->arrived_ns <
                                        TAILQ_FIRST(&best->queue.items)->arrived_ns))
            best = model;
    }
    return best;
}

void agent_work_pump(struct agent *self)
{
    while (runner_alive(self->runner) && ring_state(self->ring) == RING_READY) {
        uint32_t pending = ring_pending(self->ring);
        struct agent_model *model = pending < DEPTH ? most_urgent(self, pending == 0) : NULL;
        if (!model)
            return;
        bool taken =
            model->state == MODEL_LOADING ? submit_load(self, model) : submit_run(self, model);
        if (!taken)
            return;
    }
}

uint64_t agent_work_next_ns(const struct agent *self)
{
    uint64_t soonest = UINT64_MAX;
    if (ring_state(self->ring) != RING_READY || ring_pending(self->ring) >= DEPTH)
        return soonest; /* the bell will ring */
    for (size_t i = 0; i < self->models.len; i++) {
        const struct agent_model *model = self->models.list[i];
        if (model->state == MODEL_READY)
            soonest = MIN(soonest, MAX(batch_due_ns(&model->queue, &model->policy),
                                       model->resident ? 0 : self->swap_ns));
    }
    return soonest;
}

/* --- out of the ring ---------------------------------------------------------------------------
 */
/* What the runner wrote of one task, as a result of our own; checked, for it may have gone wild. */
static struct result *read_result(struct ring_batch *batch, const struct ring_task *from,
                                  const struct task *task)
{
    struct tensor outputs[RING_VALUES_MAX];
    struct result *result;
    const struct ring_value *values =
        ring_at(batch, from->outputs_at, from->outputs_len, sizeof *values);
    if (from->status != STATUS_OK) {
        enum status status =
            status_known(from->status) ? (enum status)from->status : STATUS_INTERNAL;
        result = result_failed(status, ring_text(batch, from->text_at));
    } else {
        bool sound = values && from->outputs_len <= RING_VALUES_MAX;
        for (uint32_t i = 0; sound && i < from->outputs_len; i++)
            sound = ring_tensor(batch, &values[i], &outputs[i]);
        if (!sound)
            return result_failed(STATUS_INTERNAL, "the runner's answer does not hold together");
        result = result_new(outputs, from->outputs_len);
        memcpy(result->digest.bytes, from->digest, sizeof result->digest.bytes);
        result->has_digest = true;
    }
    result->rows = task->rows;
    result->compute_ns = from->compute_ns;
    result->queue_ns = task->begun_ns - MIN(task->begun_ns, task->item.arrived_ns);
    return result;
}

/* The file has left the store since it was loaded: another worker made room. Once is no failure. */
static bool fetch_again(struct agent *self, struct flight *flight)
{
    struct agent_model *model = flight->model;
    if (model->refetched)
        return false;
    for (size_t i = flight->len; i-- > 0;)
        agent_work_give_back(self, flight->tasks[i], false);
    flight->len = 0;
    model->refetched = true;
    model->load_sent = false;
    agent_fetch_again(self, model);
    return true;
}

static void harvest_load(struct agent *self, struct flight *flight, struct ring_batch *batch,
                         const struct ring_task *task)
{
    struct agent_model *model = flight->model;
    struct error why = {0};
    struct tensor json = {0};
    enum status status = (enum status)task->status;
    const struct ring_value *value = ring_at(batch, task->outputs_at, 1, sizeof *value);
    if (status == STATUS_NOT_FOUND && fetch_again(self, flight))
        return;
    if (status != STATUS_OK)
        fail(&why, status_known(status) ? status : STATUS_INTERNAL, "%s",
             ring_text(batch, task->text_at));
    else if (!value || !ring_tensor(batch, value, &json) || json.bytes == 0)
        status = fail(&why, STATUS_INTERNAL, "the runner's signature does not hold together");
    if (status == STATUS_OK)
        agent_fetch_loaded(self, model, json.data, json.bytes);
    else
        agent_fetch_failed(self, model, &why);
}

static void harvest_run(struct agent *self, struct flight *flight, struct ring_batch *batch,
                        const struct ring_task *from)
{
    if (from[0].status == STATUS_NOT_FOUND && fetch_again(self, flight))
        return;
    flight->model->refetched = false;
    flight->model->loads_crashed = 0;
    for (size_t i = 0; i < flight->len; i++) {
        struct task *task = flight->tasks[i];
        if (task->state == TASK_GONE)
            task_free(task);
        else if (from[i].status == STATUS_CANCELLED && task->deadline_ns <= self->now_ns)
            answer_late(self, task);
        else
            agent_results_add(self, task, read_result(batch, &from[i], task));
    }
}

/* What the runner loaded and evicted for a batch; a runner gone wild says too much. */
static void note_load(struct agent *self, struct agent_model *model, const struct ring_load *load)
{
    uint32_t evicted = MIN(load->evicted_len, (uint32_t)RING_MODELS_MAX);
    for (uint32_t i = 0; i < evicted; i++) {
        struct agent_model *gone = agent_models_find(&self->models, &load->evicted[i]);
        if (gone)
            gone->resident = false;
    }
    model->resident = model->resident || load->resident;
    if (evicted > 0)
        self->swap_ns = self->now_ns + MIN(SWAP_RATIO * load->load_ns, SWAP_MAX_NS);
    if (load->load_ns > 0)
        LOG_DEBUG("model_loaded", "model=%s ms=%" PRIu64 " evicted=%" PRIu32, model->name,
                  load->load_ns / NS_PER_MS, evicted);
}

void agent_work_harvest(struct agent *self)
{
    struct ring_batch *batch;
    while ((batch = ring_finished(self->ring))) {
        struct flight *flight = &self->flights[ring_oldest(self->ring) % RING_SLOTS];
        size_t len = flight->kind == RING_LOAD ? 1 : flight->len;
        const struct ring_task *tasks = ring_at(batch, batch->tasks_at, len, sizeof *tasks);
        static const struct ring_task nonsense = {.status = STATUS_INTERNAL};
        agent_runner_note_begun(self);
        flight->model->running--;
        note_load(self, flight->model, &batch->load);
        if (!tasks) { /* only a runner gone wild moves it */
            LOG_ERROR("runner_wild", "pid=%d", (int)runner_pid(self->runner));
            runner_kill(self->runner, "it overwrote the batch that it was given");
            tasks = &nonsense;
            for (size_t i = 0; i < flight->len; i++)
                agent_work_give_back(self, flight->tasks[i], true);
            flight->len = 0;
        }
        if (flight->kind == RING_LOAD)
            harvest_load(self, flight, batch, tasks);
        else if (flight->len > 0)
            harvest_run(self, flight, batch, tasks);
        ring_release(self->ring);
    }
}
