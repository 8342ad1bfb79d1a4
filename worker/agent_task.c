/* agent_task - the table of tasks and of their states; see agent_task.h */
#include "worker/agent_task.h"

#include <stdlib.h>
#include <string.h>

/* Ids of one gateway in one set: more runs than this never stay within the credit. */
#define RANGES_MAX 65536

struct gateway {
    struct uuid uuid;
    struct taskset ids; /* of its tasks in the table */
};

struct tasks {
    struct task **buckets; /* chains through task->next */
    size_t buckets_len;    /* a power of two */
    size_t len;            /* tasks in all chains */
    uint64_t counts[TASK_STATES];
    struct tasks_share shares[BROKERS_MAX + 1]; /* unfinished, by broker */
    uint64_t held_bytes;
    struct gateway *gateways; /* those that have tasks here */
    size_t gateways_len;
};

#define NO (-1)
static const int steps[TASK_STATES][TASK_EVENTS] = {
    /*                  READY         PICK          GIVE_BACK     ANSWER     DROP */
    [TASK_FETCHING] = {TASK_WAITING, NO, NO, TASK_HELD, TASK_GONE},
    [TASK_WAITING] = {NO, TASK_RUNNING, NO, TASK_HELD, TASK_GONE},
    [TASK_RUNNING] = {NO, NO, TASK_WAITING, TASK_HELD, TASK_GONE},
    [TASK_HELD] = {NO, NO, NO, NO, TASK_GONE},
    [TASK_GONE] = {NO, NO, NO, NO, NO},
};

struct tasks *tasks_new(void)
{
    struct tasks *self = xcalloc(1, sizeof *self);
    self->buckets_len = 1024;
    self->buckets = xcalloc(self->buckets_len, sizeof(struct task *));
    return self;
}

void task_free(struct task *task)
{
    for (size_t i = 0; i < task->frames_len; i++)
        zmq_msg_close(&task->frames[i]);
    task_spec_unref(task->spec);
    if (task->result)
        result_unref(task->result);
    free(task);
}

void tasks_destroy(struct tasks **self_p)
{
    struct tasks *self = *self_p;
    if (!self)
        return;
    for (size_t i = 0; i < self->buckets_len; i++)
        for (struct task *task = self->buckets[i], *next; task; task = next) {
            next = task->next;
            task_free(task);
        }
    for (size_t i = 0; i < self->gateways_len; i++)
        taskset_free(&self->gateways[i].ids);
    free(self->gateways);
    free(self->buckets);
    free(self);
    *self_p = NULL;
}

static struct task **bucket(const struct tasks *self, const struct uuid *gateway, uint64_t number)
{
    uint64_t salt;
    memcpy(&salt, gateway->bytes + 8, sizeof salt); /* the random half of an id */
    uint64_t mixed = (number ^ salt) * UINT64_C(0x9e3779b97f4a7c15);
    return &self->buckets[(mixed >> 32) & (self->buckets_len - 1)];
}

struct task *tasks_find(const struct tasks *self, const struct uuid *gateway, uint64_t number)
{
    struct task *task = *bucket(self, gateway, number);
    while (task && (task->number != number || !id_equal(&task->gateway, gateway)))
        task = task->next;
    return task;
}

static void grow(struct tasks *self)
{
    struct task **old = self->buckets;
    size_t old_len = self->buckets_len;
    self->buckets_len *= 2;
    self->buckets = xcalloc(self->buckets_len, sizeof(struct task *));
    for (size_t i = 0; i < old_len; i++)
        for (struct task *task = old[i], *next; task; task = next) {
            next = task->next;
            struct task **home = bucket(self, &task->gateway, task->number);
            task->next = *home;
            *home = task;
        }
    free(old);
}

static struct gateway *gateway_of(struct tasks *self, const struct uuid *uuid)
{
    for (size_t i = 0; i < self->gateways_len; i++)
        if (id_equal(&self->gateways[i].uuid, uuid))
            return &self->gateways[i];
    return NULL;
}

static void remember(struct tasks *self, const struct uuid *uuid, uint64_t number)
{
    struct gateway *gateway = gateway_of(self, uuid);
    if (!gateway) {
        self->gateways =
            xrealloc(self->gateways, (self->gateways_len + 1) * sizeof *self->gateways);
        gateway = &self->gateways[self->gateways_len++];
        *gateway = (struct gateway){.uuid = *uuid, .ids = taskset_make(RANGES_MAX)};
    }
    taskset_add(&gateway->ids, number);
}

static void forget(struct tasks *self, const struct uuid *uuid, uint64_t number)
{
    struct gateway *gateway = gateway_of(self, uuid);
    taskset_remove(&gateway->ids, number);
    if (gateway->ids.count > 0)
        return;
    taskset_free(&gateway->ids);
    *gateway = self->gateways[--self->gateways_len];
}

/* To the account of the broker whose lease it is, or off it. */
static void charge(struct tasks *self, const struct task *task, bool more)
{
    struct tasks_share *share = &self->shares[task->via];
    share->tasks += more ? 1 : UINT64_MAX;
    share->bytes += more ? task->item.bytes : 0 - task->item.bytes;
}

struct tasks_share tasks_share(const struct tasks *self, uint32_t broker)
{
    return self->shares[broker];
}

void tasks_lease(struct tasks *self, struct task *task, uint32_t broker)
{
    bool unfinished = task->state != TASK_HELD && task->state != TASK_GONE;
    if (unfinished)
        charge(self, task, false);
    task->via = broker;
    if (unfinished)
        charge(self, task, true);
}

void tasks_orphan(struct tasks *self, uint32_t broker)
{
    for (size_t i = 0; i < self->buckets_len; i++)
        for (struct task *task = self->buckets[i]; task; task = task->next)
            if (task->via == broker)
                tasks_lease(self, task, NO_BROKER);
}

struct task *tasks_add(struct tasks *self, const struct uuid *gateway, uint64_t number,
                       struct task_spec *spec, zmq_msg_t *frames, size_t frames_len)
{
    struct task *task = xcalloc(1, sizeof *task + frames_len * sizeof(zmq_msg_t));
    assert(!tasks_find(self, gateway, number));
    task->gateway = *gateway;
    task->number = number;
    task->state = TASK_FETCHING;
    task->kind = WIRE_KIND_INFER;
    task->deadline_ns = UINT64_MAX;
    task->via = task->sent_via = NO_BROKER;
    task->spec = spec;
    if (spec) {
        spec->refs++;
        task->item.inputs = spec->inputs;
        task->item.inputs_len = spec->inputs_len;
        task->item.rows = spec->rows;
        task->item.bytes = spec->bytes;
    }
    task->frames_len = frames_len;
    for (size_t i = 0; i < frames_len; i++) {
        zmq_msg_init(&task->frames[i]);
        zmq_msg_move(&task->frames[i], &frames[i]);
    }
    if (self->len >= self->buckets_len)
        grow(self);
    struct task **home = bucket(self, gateway, number);
    task->next = *home;
    *home = task;
    self->len++;
    self->counts[task->state]++;
    charge(self, task, true);
    remember(self, gateway, number);
    return task;
}

static void unlink_task(struct tasks *self, struct task *task)
{
    struct task **at = bucket(self, &task->gateway, task->number);
    while (*at != task)
        at = &(*at)->next;
    *at = task->next;
    self->len--;
    forget(self, &task->gateway, task->number);
}

bool tasks_step(struct tasks *self, struct task *task, enum task_event event)
{
    int next = steps[task->state][event];
    if (next == NO)
        return false;
    bool was_finished = task->state == TASK_HELD;
    bool is_finished = next == TASK_HELD;
    self->counts[task->state]--;
    self->counts[next]++;
    if (was_finished)
        self->held_bytes -= task->result->size;
    else if (is_finished || next == TASK_GONE)
        charge(self, task, false);
    task->state = (enum task_state)next;
    if (is_finished) {
        assert(task->result);
        self->held_bytes += task->result->size;
        for (size_t i = 0; i < task->frames_len; i++)
            zmq_msg_close(&task->frames[i]);
        task->frames_len = 0;
    }
    if (next == TASK_GONE) {
        self->counts[TASK_GONE] = 0;
        unlink_task(self, task);
    }
    return true;
}

uint64_t tasks_count(const struct tasks *self, enum task_state state)
{
    return self->counts[state];
}

uint64_t tasks_held_bytes(const struct tasks *self)
{
    return self->held_bytes;
}

size_t tasks_gateways(const struct tasks *self)
{
    return self->gateways_len;
}

const struct taskset *tasks_of(const struct tasks *self, size_t index, struct uuid *gateway)
{
    assert(index < self->gateways_len);
    *gateway = self->gateways[index].uuid;
    return &self->gateways[index].ids;
}

/* The lowest member of `ids` in [from, end), or `end`. */
static uint64_t first_in(const struct taskset *ids, uint64_t from, uint64_t end)
{
    size_t low = 0, high = ids->len;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (ids->ranges[middle].first + ids->ranges[middle].count <= from)
            low = middle + 1;
        else
            high = middle;
    }
    return low < ids->len ? MIN(end, MAX(from, ids->ranges[low].first)) : end;
}

void tasks_each(struct tasks *self, const struct uuid *gateway, uint64_t first, uint64_t count,
                void (*call)(void *owner, struct task *task), void *owner)
{
    struct uuid uuid = *gateway; /* may point into the table, which `call` may change */
    uint64_t end = count > UINT64_MAX - first ? UINT64_MAX : first + count;
    while (first < end) {
        struct gateway *known = gateway_of(self, &uuid);
        uint64_t number = known ? first_in(&known->ids, first, end) : end;
        if (number == end)
            return;
        call(owner, tasks_find(self, &uuid, number));
        first = number + 1;
    }
}
