/* agent_brokers - the brokers that this worker serves
 *
 * The worker joins every broker that it knows of. All of them hear all that it holds; STARTED, NACK
 * and results go first to the broker whose lease the task is. When one is lost, the others are told
 * at once what is held here, so that they have nothing of it run again. */
#include "worker/agent_self.h"

#include "common/clock.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define BURST_MAX 64 /* messages taken from one broker in one turn */

bool upstream_up(const struct upstream *self)
{
    return self->link && link_up(self->link);
}

struct upstream *agent_reach(struct agent *self, uint32_t broker, uint32_t skip)
{
    struct upstream *found[BROKERS_MAX];
    size_t len = 0, first = broker == NO_BROKER ? 0 : broker;
    for (size_t i = 0; i < self->upstreams_len; i++) {
        struct upstream *one = self->upstreams[(first + i) % self->upstreams_len];
        if (upstream_up(one))
            found[len++] = one;
    }
    return len > 0 ? found[skip % len] : NULL;
}

/* --- joining ------------------------------------------------------------------------------------
 */

static void on_moved(void *owner, const char *old_endpoint, const struct broker_address *now)
{
    struct upstream *broker = owner;
    broker->address = *now;
    agent_join_moved(broker->agent->join, old_endpoint, now);
}

static void dial(struct agent *self, const struct broker_address *address)
{
    struct upstream *broker = xcalloc(1, sizeof *broker);
    broker->agent = self;
    broker->index = (uint32_t)self->upstreams_len;
    broker->address = *address;
    const struct link_config config = {
        .endpoint = address->endpoint,
        .role = WIRE_WORKER,
        .uuid = self->uuid,
        .incarnation = self->incarnation,
        .name = self->name,
        .server_key = address->keyed ? &address->key : NULL,
        .identity = address->keyed ? agent_join_identity(self->join) : NULL,
        .owner = broker,
        .fill_hello = agent_session_hello,
        .fill_heartbeat = agent_session_heartbeat,
        .idle = agent_session_idle,
        .moved = on_moved,
    };
    broker->link = link_new(self->zmq, &config);
    self->upstreams[self->upstreams_len++] = broker;
}

void agent_brokers_open(struct agent *self, const struct broker_list *list)
{
    self->incarnation = (uint64_t)clock_wall_ms();
    for (size_t i = 0; i < list->len; i++)
        dial(self, &list->list[i]);
}

void agent_brokers_rekey(struct agent *self)
{
    for (size_t i = 0; i < self->upstreams_len; i++)
        if (self->upstreams[i]->link && self->upstreams[i]->address.keyed)
            link_rekey(self->upstreams[i]->link, agent_join_identity(self->join));
}

void agent_brokers_close(struct agent *self)
{
    for (size_t i = 0; i < self->upstreams_len; i++) {
        struct upstream *broker = self->upstreams[i];
        link_destroy(&broker->link);
        agent_ids_free(&broker->started);
        agent_ids_free(&broker->busy);
        free(broker);
    }
    self->upstreams_len = 0;
}

size_t agent_brokers_poll(const struct agent *self, zmq_pollitem_t *items)
{
    size_t len = 0;
    for (size_t i = 0; i < self->upstreams_len; i++)
        if (self->upstreams[i]->link)
            len += link_poll_items(self->upstreams[i]->link, items + len);
    return len;
}

uint64_t agent_brokers_next_ns(const struct agent *self)
{
    uint64_t next_ns = UINT64_MAX;
    for (size_t i = 0; i < self->upstreams_len; i++)
        if (self->upstreams[i]->link)
            next_ns = MIN(next_ns, link_next_ns(self->upstreams[i]->link));
    return next_ns;
}

/* --- events -------------------------------------------------------------------------------------
 */

/* Brokers that this one knows of and we do not. */
static void learn(struct upstream *from)
{
    struct agent *self = from->agent;
    const struct broker_list *list = &link_terms(from->link)->brokers;
    for (size_t i = 0; i < list->len; i++) {
        bool known = false;
        for (size_t j = 0; j < self->upstreams_len; j++)
            known =
                known || strcmp(self->upstreams[j]->address.endpoint, list->list[i].endpoint) == 0;
        if (known || self->upstreams_len == BROKERS_MAX)
            continue;
        if (list->list[i].keyed && !agent_join_identity(self->join))
            continue; /* it would not let us in */
        agent_join_learnt(self->join, &list->list[i]);
        LOG_INFO("broker_learnt", "broker=%s from=%s", list->list[i].endpoint,
                 from->address.endpoint);
        dial(self, &list->list[i]);
    }
}

static void lost(struct upstream *broker)
{
    struct agent *self = broker->agent;
    store_link_lost(self->store, self->now_ns);
    tasks_orphan(self->tasks, broker->index);
    agent_results_all_again(self, broker->index);
    agent_ids_free(&broker->busy); /* nobody to give them back to: dropped, which lists will tell */
    for (size_t i = 0; i < self->upstreams_len; i++)
        if (upstream_up(self->upstreams[i]))
            link_beat(self->upstreams[i]->link);
}

/* Two addresses may lead to one broker, which keeps the newer session: the older name is retired.
 */
static void retire_twin(struct upstream *broker)
{
    struct agent *self = broker->agent;
    for (size_t i = 0; i < self->upstreams_len; i++) {
        struct upstream *other = self->upstreams[i];
        if (other == broker || !other->link || !id_equal(&other->broker, &broker->broker))
            continue;
        LOG_WARN("broker_named_twice", "broker=%s is=%s action=%s", other->address.endpoint,
                 broker->address.endpoint, "the first name is not used any more");
        link_destroy(&other->link);
        lost(other);
    }
}

static void joined(struct upstream *broker)
{
    struct agent *self = broker->agent;
    broker->broker = link_terms(broker->link)->broker;
    broker->received_tasks = broker->received_bytes = 0;
    broker->credit_tasks = broker->credit_bytes = 0;
    broker->backlog = 0;
    agent_results_all_again(self, broker->index);
    LOG_INFO("joined", "broker=%s name=%s threads=%u mode=%s held=%" PRIu64,
             link_endpoint(broker->link), self->name, self->threads, self->mode,
             tasks_count(self->tasks, TASK_HELD));
    retire_twin(broker);
    learn(broker);
    if (!self->draining)
        return;
    wire_begin(self->out, WIRE_DRAIN);
    link_send(broker->link, self->out);
}

static void step_broker(struct upstream *broker)
{
    struct agent *self = broker->agent;
    for (int i = 0; broker->link && i < BURST_MAX; i++) {
        enum link_event event = link_step(broker->link, self->now_ns, &self->in);
        if (event == LINK_NONE)
            return;
        if (event == LINK_UP)
            joined(broker);
        else if (event == LINK_DOWN)
            lost(broker);
        else if (event == LINK_NEWS)
            learn(broker);
        else
            agent_session_take(broker);
    }
}

void agent_brokers_step(struct agent *self)
{
    size_t len = self->upstreams_len;
    self->turn++;
    for (size_t i = 0; i < len; i++)
        step_broker(self->upstreams[(self->turn + i) % len]);
}

/* --- telling ------------------------------------------------------------------------------------
 */

void agent_brokers_started(struct agent *self, const struct task *task)
{
    struct upstream *leaser = agent_reach(self, task->via, 0);
    if (leaser)
        agent_ids_add(&leaser->started, &task->gateway, task->number);
}

void agent_brokers_busy(struct agent *self, const struct task *task)
{
    struct upstream *leaser = agent_reach(self, task->via, 0);
    if (leaser)
        agent_ids_add(&leaser->busy, &task->gateway, task->number);
}

void agent_brokers_flush(struct agent *self)
{
    const char *why = self->draining ? "this worker is being stopped" : "too many models at a time";
    for (size_t i = 0; i < self->upstreams_len; i++) {
        struct upstream *to = self->upstreams[i];
        if (!upstream_up(to)) {
            agent_ids_free(&to->started);
            agent_ids_free(&to->busy);
            continue;
        }
        agent_ids_send(&to->started, to->link, self->out, WIRE_STARTED, STATUS_OK, NULL);
        agent_ids_send(&to->busy, to->link, self->out, WIRE_NACK, STATUS_BUSY, why);
    }
}

void agent_brokers_drain(struct agent *self)
{
    for (size_t i = 0; i < self->upstreams_len; i++) {
        if (!upstream_up(self->upstreams[i]))
            continue;
        wire_begin(self->out, WIRE_DRAIN);
        link_send(self->upstreams[i]->link, self->out);
    }
}

bool agent_brokers_idle(const struct agent *self)
{
    size_t left = 0;
    for (size_t i = 0; i < self->upstreams_len; i++)
        left += self->upstreams[i]->busy.len;
    return left == 0;
}
