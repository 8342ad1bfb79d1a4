/* inspect - asking a worker what a model takes and gives */
#include "gateway/repository/private.h"

#include "common/clock.h"
#include "common/log.h"

#include <stdlib.h>

#define AGAIN_NS (2 * NS_PER_S) /* after an answer that says nothing about the model */

struct inspection {
    LIST_ENTRY(inspection) link;
    struct repository *repository; /* whose */
    struct version *version;       /* one reference */
    uint64_t task;                 /* at the fleet; 0: it waits for its next try */
    struct front_timer timer;      /* the next try */
};

/* A signature on its way to the cache. */
struct keeping {
    struct repository *repository; /* whose cache */
    struct version *version;       /* one reference */
    struct bytes *json;            /* one reference */
};

static void end(struct inspection *self)
{
    front_timer_clear(self->repository->front, &self->timer);
    if (self->task)
        fleet_cancel(self->repository->fleet, self->task);
    LIST_REMOVE(self, link);
    version_drop(&self->version);
    free(self);
}

static void keep_work(void *arg)
{
    struct keeping *self = arg;
    version_remember(self->repository->cache, self->version, self->json->data, self->json->size);
}

static void keep_done(void *arg)
{
    struct keeping *self = arg;
    repository_pool_back(self->repository);
    version_drop(&self->version);
    bytes_drop(&self->json);
    free(self);
}

static void take_signature(struct inspection *self, const struct fleet_output *output)
{
    struct version *version = self->version;
    struct bytes *json = bytes_new(output->tensor.bytes);
    fleet_output_gather(output, json->data);
    version_inspected(version, json->data, json->size);
    if (version->state != VERSION_READY) {
        bytes_drop(&json);
        return;
    }
    struct keeping *keeping = xmalloc(sizeof *keeping);
    *keeping = (struct keeping){self->repository, version_ref(version), json};
    self->repository->at_pool++;
    pool_continue(self->repository->pool, keep_work, keep_done, keeping);
}

static void ask(void *arg);

static void answered(void *arg, struct fleet_result *result)
{
    struct inspection *self = arg;
    struct repository *repository = self->repository;
    enum status s = result->status;
    struct error why;
    fleet_commit(repository->fleet, result->id);
    self->task = 0;
    bool says_nothing = s == STATUS_BUSY || s == STATUS_UNAVAILABLE || s == STATUS_CANCELLED ||
                        s == STATUS_DEADLINE || s == STATUS_NO_MODEL;
    if (says_nothing) {
        LOG_INFO("inspect_again", "model=%s status=%s text=%s", self->version->name, status_name(s),
                 result->text);
        front_timer_set(repository->front, &self->timer, front_now_ns(repository->front) + AGAIN_NS,
                        ask, self);
        fleet_result_free(&result);
        return;
    }
    if (s == STATUS_OK) {
        take_signature(self, &result->outputs[0]);
    } else {
        fail(&why, s, "%s", result->text);
        version_fail(self->version, &why);
    }
    fleet_result_free(&result);
    if (self->version->state == VERSION_READY)
        LOG_INFO("model", "name=%s state=%s", self->version->name, "READY");
    else
        LOG_WARN("model", "name=%s state=%s reason=%s", self->version->name, "UNAVAILABLE",
                 self->version->reason.text);
    end(self);
    repository_decided(repository);
}

static void ask(void *arg)
{
    struct inspection *self = arg;
    static const struct fleet_calls calls = {.result = answered};
    struct error why;
    const struct fleet_task task = {
        .model = self->version->id,
        .model_name = self->version->name,
        .kind = WIRE_KIND_INSPECT,
        .patient = true,
        .calls = &calls,
        .arg = self,
    };
    enum status s = fleet_submit(self->repository->fleet, &task, &self->task, &why);
    assert(s == STATUS_OK); /* patient and without octets: nothing to refuse */
}

void repository_inspect(struct repository *self, struct version *version)
{
    struct inspection *inspection = xcalloc(1, sizeof *inspection);
    inspection->repository = self;
    inspection->version = version_ref(version);
    LIST_INSERT_HEAD(&self->inspections, inspection, link);
    ask(inspection);
}

void repository_inspect_end(struct repository *self, const struct version *version)
{
    struct inspection *next;
    for (struct inspection *at = LIST_FIRST(&self->inspections); at; at = next) {
        next = LIST_NEXT(at, link);
        if (!version || at->version == version)
            end(at);
    }
}
