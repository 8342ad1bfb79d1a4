/* agent_fetch - models: wanted by tasks, brought by the store, loaded by the runner */
#include "worker/agent_self.h"

#include "common/clock.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* A broken model's reason answers its tasks for so long before it is tried afresh. */
#define FAILED_KEEP_NS (5 * NS_PER_S)
#define TOUCH_NS       (60 * NS_PER_S)
#define REQUESTS_MAX   16 /* BLOB_GETs in one turn */

static struct task *task_of(struct batch_item *item)
{
    return (struct task *)(void *)((uint8_t *)item - offsetof(struct task, item));
}

/* Reasons that lie with this worker and this moment: another worker may do better. */
static bool is_ours(enum status status)
{
    return status == STATUS_UNAVAILABLE || status == STATUS_STORAGE_FULL || status == STATUS_IO ||
           status == STATUS_BUSY;
}

/* The task cannot be run because of its model. */
static void refuse(struct agent *self, struct task *task, const struct error *why)
{
    struct agent_ids ids = {0};
    if (!is_ours(why->status)) {
        agent_results_add(self, task, result_failed(why->status, why->text));
        return;
    }
    struct upstream *leaser = agent_reach(self, task->via, 0);
    agent_ids_add(&ids, &task->gateway, task->number);
    if (leaser)
        agent_ids_send(&ids, leaser->link, self->out, WIRE_NACK, STATUS_NO_MODEL, why->text);
    agent_results_drop(self, task);
    agent_ids_free(&ids);
}

void agent_fetch_failed(struct agent *self, struct agent_model *model, const struct error *why)
{
    struct batch_item *item;
    model->state = MODEL_FAILED;
    model->why = *why;
    model->failed_ns = self->now_ns;
    store_forget(self->store, &model->version);
    LOG_WARN("model_refused", "model=%s status=%s text=%s", model->name, status_name(why->status),
             why->text);
    while ((item = TAILQ_FIRST(&model->queue.items))) {
        struct task *task = task_of(item);
        agent_work_unqueue(task);
        refuse(self, task, why);
    }
}

static void fetch(struct agent *self, struct agent_model *model)
{
    model->state = MODEL_FETCHING;
    model->load_sent = false;
    model->loads_crashed = 0;
    model->began_ns = self->now_ns;
    if (store_want(self->store, &model->version, &model->gateway, self->now_ns) != STATUS_OK) {
        struct error why;
        fail(&why, STATUS_BUSY, "the store follows too many models at the moment");
        agent_fetch_failed(self, model, &why);
    }
}

void agent_fetch_again(struct agent *self, struct agent_model *model)
{
    model->refetched = true;
    store_forget(self->store, &model->version);
    fetch(self, model);
}

/* The entry of the task's version, made when there is none; NULL while all are in use. */
static struct agent_model *model_of(struct agent *self, const struct task *task, const char *name)
{
    struct agent_model *model = agent_models_find(&self->models, &task->version);
    struct digest gone;
    bool evicted;
    if (model)
        return model;
    model = agent_models_add(&self->models, &task->version, name, &evicted, &gone);
    if (evicted)
        store_forget(self->store, &gone);
    if (model) {
        model->gateway = task->gateway;
        self->blobs_via = task->via; /* its gateway is there */
        fetch(self, model);
    }
    return model;
}

static void answer_inspect(struct agent *self, struct task *task, const struct agent_model *model)
{
    const struct tensor json = {
        .name = "signature",
        .dtype = DTYPE_UINT8,
        .rank = 1,
        .dims = {(int64_t)model->signature_size},
        .data = model->signature,
        .bytes = model->signature_size,
    };
    agent_results_add(self, task, result_new(&json, 1));
}

/* A training program can be trained and a model cannot. False: the task has its answer. */
static bool fits(struct agent *self, struct task *task, const struct agent_model *model)
{
    bool program = model->settings != NULL;
    if (program == (task->kind == WIRE_KIND_TRAIN))
        return true;
    agent_results_add(self, task,
                      result_failed(STATUS_INVALID,
                                    program ? "this is a training program, no model that can be run"
                                            : "this is a model; a segment of a training needs a "
                                              "training program"));
    return false;
}

/* Other workers that share the store make room by the time of last use. */
static void touch(struct agent *self, struct agent_model *model)
{
    if (self->now_ns < model->touched_ns + TOUCH_NS)
        return;
    model->touched_ns = self->now_ns;
    store_touch(self->store, &model->version);
}

void agent_fetch_take(struct agent *self, struct task *task, const char *name)
{
    struct agent_model *model = model_of(self, task, name);
    if (!model) {
        agent_brokers_busy(self, task);
        agent_results_drop(self, task);
        return;
    }
    model->used_ns = self->now_ns;
    model->gateway = task->gateway;
    if (model->state == MODEL_FAILED && self->now_ns > model->failed_ns + FAILED_KEEP_NS)
        fetch(self, model);
    if (model->state == MODEL_FAILED) {
        refuse(self, task, &model->why);
        return;
    }
    if (model->state == MODEL_READY) {
        tasks_step(self->tasks, task, TASK_READY);
        touch(self, model);
    }
    if (model->state == MODEL_READY && !fits(self, task, model))
        return;
    if (model->state == MODEL_READY && task->kind == WIRE_KIND_INSPECT) {
        answer_inspect(self, task, model);
        return;
    }
    task->model = model;
    batch_push(&model->queue, &task->item);
}

/* The model can be run now: so can the tasks that waited for it. */
static void release_tasks(struct agent *self, struct agent_model *model)
{
    struct batch_item *item, *next;
    for (item = TAILQ_FIRST(&model->queue.items); item; item = next) {
        struct task *task = task_of(item);
        next = TAILQ_NEXT(item, link);
        tasks_step(self->tasks, task, TASK_READY);
        bool fitting = (task->kind == WIRE_KIND_TRAIN) == (model->settings != NULL);
        if (fitting && task->kind != WIRE_KIND_INSPECT)
            continue;
        agent_work_unqueue(task);
        if (fits(self, task, model))
            answer_inspect(self, task, model);
    }
}

void agent_fetch_loaded(struct agent *self, struct agent_model *model, const char *signature,
                        size_t size)
{
    const struct batch_defaults defaults = {
        .rows_max = self->params->batch_rows * self->threads, /* each has a cache of its own */
        .delay_ns = self->params->batch_delay_us * UINT64_C(1000),
        .bytes_max = WIRE_MESSAGE_MAX,
        .tasks_max = RING_TASKS_MAX,
    };
    struct error why;
    enum status status = agent_model_ready(
        model, signature, size, store_manifest(self->store, &model->version), &defaults, &why);
    if (status != STATUS_OK) {
        agent_fetch_failed(self, model, &why);
        return;
    }
    LOG_INFO("model_ready", "model=%s batch_rows=%u ms=%" PRIu64, model->name,
             model->policy.batchable && model->policy.tasks_max > 1 ? model->policy.rows_max : 1,
             (self->now_ns - model->began_ns) / NS_PER_MS);
    release_tasks(self, model);
}

/* A training program is on disk: its files get their names. */
static void take_program(struct agent *self, struct agent_model *model,
                         const struct manifest *manifest)
{
    struct error why;
    char *folder;
    if (store_program_path(self->store, &model->version, &folder, &why) != STATUS_OK) {
        agent_fetch_failed(self, model, &why);
        return;
    }
    agent_model_program(model, folder, xstrdup(manifest->training));
    release_tasks(self, model);
}

/* --- the store ---------------------------------------------------------------------------------
 */
static void take_files(struct agent *self, struct agent_model *model)
{
    const struct manifest *manifest = store_manifest(self->store, &model->version);
    if (manifest->training) {
        take_program(self, model, manifest);
        return;
    }
    free(model->path);
    model->path = store_model_path(self->store, &model->version);
    model->state = MODEL_LOADING;
}

static void follow(struct agent *self, struct agent_model *model)
{
    struct error why = {0};
    switch (store_state(self->store, &model->version, &why)) {
    case STORE_WORKING:
        return;
    case STORE_READY:
        store_touch(self->store, &model->version);
        if (store_fetched(self->store, &model->version) > 0)
            LOG_INFO("model_fetched", "model=%s bytes=%" PRIu64 " ms=%" PRIu64, model->name,
                     store_fetched(self->store, &model->version),
                     (self->now_ns - model->began_ns) / NS_PER_MS);
        take_files(self, model);
        return;
    case STORE_FAILED:
        agent_fetch_failed(self, model, &why);
        return;
    case STORE_ABSENT:
        fetch(self, model);
        return;
    }
}

static void ask(struct agent *self)
{
    struct store_request request;
    struct upstream *through = agent_reach(self, self->blobs_via, 0);
    for (int i = 0; i < REQUESTS_MAX && through; i++) {
        if (!store_next_request(self->store, self->now_ns, &request))
            return;
        wire_begin(self->out, WIRE_BLOB_GET);
        wire_put_digest(self->out, KEY_BLOB, &request.blob);
        wire_put_uuid(self->out, KEY_GATEWAY, &request.gateway);
        wire_put_uuid(self->out, KEY_WORKER, &self->uuid);
        wire_put_u64(self->out, KEY_OFFSET, request.offset);
        wire_put_u64(self->out, KEY_LENGTH, request.length);
        if (link_send(through->link, self->out) != STATUS_OK)
            return; /* asked again after a while */
    }
}

bool agent_fetch_step(struct agent *self)
{
    bool more = store_step(self->store, self->now_ns);
    for (size_t i = 0; i < self->models.len; i++)
        if (self->models.list[i]->state == MODEL_FETCHING)
            follow(self, self->models.list[i]);
    ask(self);
    return more;
}
