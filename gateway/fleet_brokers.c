/* fleet_brokers - the brokers that the gateway speaks with: who is there, who gets what, and what
 * becomes of the tasks of one that dies
 *
 * When a broker is lost, its tasks are given to another one in name only: that one hears of them in
 * the next list of what is awaited, answers with those that neither it nor any worker has, and only
 * these are sent again. */
#include "gateway/fleet_private.h"

#include "common/clock.h"
#include "common/log.h"
#include "gateway/counters.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define TRY_NS (3 * NS_PER_S) /* after the start: who did not answer by then is not waited for */

/* --- who is there -------------------------------------------------------------------------------
 */

struct upstream *fleet_add_broker(struct fleet *self, const struct broker_address *address)
{
    if (self->upstreams_len == BROKERS_MAX)
        return NULL;
    for (size_t i = 0; i < self->upstreams_len; i++)
        if (strcmp(self->upstreams[i]->address.endpoint, address->endpoint) == 0)
            return NULL;
    struct upstream *broker = xcalloc(1, sizeof *broker);
    broker->fleet = self;
    broker->index = (uint32_t)self->upstreams_len;
    broker->address = *address;
    broker->cancels = taskset_make(AWAITED_MAX);
    broker->moved = taskset_make(AWAITED_MAX);
    self->upstreams[self->upstreams_len++] = broker;
    return broker;
}

/* For new tokens; its own list is a parameter, and the link has logged what to write there. */
static void on_moved(void *owner, const char *old_endpoint, const struct broker_address *now)
{
    struct upstream *broker = owner;
    (void)old_endpoint;
    broker->address = *now;
}

void fleet_dial(struct upstream *self)
{
    const struct fleet_config *fleet = &self->fleet->config;
    const struct link_config config = {
        .endpoint = self->address.endpoint,
        .role = WIRE_GATEWAY,
        .uuid = fleet->uuid,
        .incarnation = fleet->incarnation,
        .name = fleet->name,
        .server_key = self->address.keyed ? &self->address.key : NULL,
        .identity = self->address.keyed ? fleet->identity : NULL,
        .owner = self,
        .fill_hello = fleet_fill_hello,
        .fill_heartbeat = fleet_fill_awaited,
        .idle = fleet_awaits_nothing,
        .moved = on_moved,
    };
    self->link = link_new(fleet->zmq, &config);
}

void fleet_free_broker(struct upstream *self)
{
    link_destroy(&self->link);
    for (size_t i = 0; i < self->ackers_len; i++)
        taskset_free(&self->ackers[i].ids);
    taskset_free(&self->cancels);
    taskset_free(&self->moved);
    free(self);
}

bool upstream_up(const struct upstream *self)
{
    return self->link && link_up(self->link);
}

bool upstream_usable(const struct upstream *self)
{
    return upstream_up(self) && !self->draining;
}

void fleet_presence(struct upstream *from, uint32_t workers)
{
    struct fleet *self = from->fleet;
    uint32_t before = self->workers;
    from->workers = workers;
    self->workers = 0;
    for (size_t i = 0; i < self->upstreams_len; i++)
        if (upstream_up(self->upstreams[i]))
            self->workers = MAX(self->workers, self->upstreams[i]->workers);
    bool there = self->workers > 0;
    bool news = self->workers != before || there == (self->absent_ns != 0);
    if (self->workers != before)
        LOG_INFO("workers", "count=%u before=%u", self->workers, before);
    if (there)
        self->absent_ns = 0;
    else if (!self->absent_ns)
        self->absent_ns = self->now_ns;
    if (news)
        fleet_changed(self);
}

/* --- who gets what ------------------------------------------------------------------------------
 */

struct upstream *fleet_pick(const struct fleet *self, uint32_t minor, uint64_t bytes)
{
    struct upstream *best = NULL;
    for (size_t i = 0; i < self->upstreams_len; i++) {
        struct upstream *one = self->upstreams[(self->turn + i) % self->upstreams_len];
        if (!upstream_usable(one) || link_terms(one->link)->minor < minor ||
            one->used_tasks >= one->credit_tasks || one->used_bytes + bytes > one->credit_bytes)
            continue;
        bool better = !best || (one->workers > 0) > (best->workers > 0) ||
                      ((one->workers > 0) == (best->workers > 0) && one->tasks < best->tasks);
        if (better)
            best = one;
    }
    return best;
}

struct upstream *fleet_reach(const struct fleet *self, uint32_t broker)
{
    if (broker != NO_BROKER && upstream_up(self->upstreams[broker]))
        return self->upstreams[broker];
    for (size_t i = 0; i < self->upstreams_len; i++)
        if (upstream_up(self->upstreams[i]))
            return self->upstreams[i];
    return NULL;
}

void fleet_place(struct fleet *self, struct task *task, const struct upstream *broker)
{
    if (task->broker != NO_BROKER)
        self->upstreams[task->broker]->tasks--;
    task->broker = broker ? broker->index : NO_BROKER;
    if (task->broker != NO_BROKER)
        self->upstreams[task->broker]->tasks++;
}

bool fleet_all_strangers(const struct fleet *self, const struct task *task)
{
    for (size_t i = 0; i < self->upstreams_len; i++) {
        const struct upstream *broker = self->upstreams[i];
        bool may_know = upstream_up(broker) ||
                        (!broker->tried && self->now_ns < self->start_ns + TRY_NS && broker->link);
        if (may_know && !(task->strangers & 1u << i))
            return false;
    }
    return true;
}

/* Tasks of brokers that are not there: others are asked about them from now on. */
static void move_strays(struct fleet *self)
{
    struct task *task;
    uint64_t moved = 0;
    TAILQ_FOREACH(task, &self->pending.all, all)
    {
        if (task->broker == NO_BROKER || task->state == TASK_DONE ||
            upstream_up(self->upstreams[task->broker]))
            continue;
        struct upstream *to = fleet_pick(self, 0, 0);
        if (!to)
            to = fleet_reach(self, NO_BROKER);
        if (!to)
            return; /* whoever comes first */
        taskset_add(&self->upstreams[task->broker]->moved, task->id);
        fleet_place(self, task, to);
        task->sent_session = 0;
        task->sent_ns = 0; /* listed from the next heartbeat on */
        moved++;
    }
    if (moved)
        LOG_INFO("tasks_moved", "tasks=%" PRIu64 " action=%s", moved,
                 "reconciled through another broker");
    count(COUNT_tasks_moved_total, moved);
}

/* --- events -------------------------------------------------------------------------------------
 */

/* Two addresses may lead to one broker, which keeps the newer session: the older name is retired.
 */
static void retire_twin(struct upstream *self)
{
    for (size_t i = 0; i < self->fleet->upstreams_len; i++) {
        struct upstream *other = self->fleet->upstreams[i];
        if (other == self || !other->link || !id_equal(&other->broker, &self->broker))
            continue;
        LOG_WARN("broker_named_twice", "broker=%s is=%s action=%s", other->address.endpoint,
                 self->address.endpoint, "the first name is not used any more");
        link_destroy(&other->link);
        fleet_presence(other, 0);
    }
}

void fleet_upstream_news(struct upstream *self)
{
    const struct broker_list *brokers = &link_terms(self->link)->brokers;
    for (size_t i = 0; i < brokers->len; i++) {
        if (brokers->list[i].keyed && !self->fleet->config.identity)
            continue; /* it would not let us in */
        struct upstream *more = fleet_add_broker(self->fleet, &brokers->list[i]);
        if (!more)
            continue;
        LOG_INFO("broker_learnt", "broker=%s from=%s", more->address.endpoint,
                 self->address.endpoint);
        more->tried = true;
        fleet_dial(more);
    }
}

void fleet_upstream_up(struct upstream *self)
{
    const struct link_terms *terms = link_terms(self->link);
    count(COUNT_broker_sessions_total, 1);
    self->session++;
    self->tried = true;
    self->draining = false;
    self->credit_tasks = terms->credit_tasks;
    self->credit_bytes = terms->credit_bytes;
    self->used_tasks = self->used_bytes = 0;
    /* The same start of it: it still has what went to others meanwhile. */
    if (id_equal(&self->broker, &terms->broker))
        taskset_add_all(&self->cancels, &self->moved);
    taskset_clear(&self->moved);
    self->broker = terms->broker;
    retire_twin(self);
    fleet_upstream_news(self);
    fleet_nodes_up(self);
    move_strays(self->fleet);
    fleet_changed(self->fleet);
}

void fleet_upstream_down(struct upstream *self)
{
    fleet_queries_end(self->fleet, self->index, "the broker went away: retry in a moment");
    for (size_t i = 0; i < self->ackers_len; i++)
        taskset_free(&self->ackers[i].ids); /* the workers will ask again */
    self->ackers_len = 0;
    taskset_clear(&self->cancels);
    fleet_presence(self, 0);
    fleet_nodes_down(self);
    move_strays(self->fleet);
    fleet_changed(self->fleet);
}
