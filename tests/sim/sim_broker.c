/* sim_broker - the real core: messages become events, actions become messages */
#include "tests/sim/sim.h"

#include <stdlib.h>
#include <string.h>

/* What the core takes for a body: it knows whose it is and whether it was freed. */
struct sim_body {
    struct sim *sim;
    bool freed;
};

static void *body_new(struct sim *self)
{
    struct sim_body *body = xcalloc(1, sizeof(*body));
    body->sim = self;
    self->bodies++;
    return body;
}

static void body_free(void *opaque)
{
    struct sim_body *body = opaque;
    if (body->freed)
        sim_violate(body->sim, "a body was freed twice");
    body->freed = true;
    body->sim->bodies--;
    free(body);
}

static struct digest model_of(uint32_t model)
{
    return (struct digest){{(uint8_t)(model + 1)}};
}

/* --- actions
 * -------------------------------------------------------------------------------------- */

static void put_ids(struct sim *self, struct message *message, const struct core_out *out,
                    const struct action *action)
{
    const struct peer *owner = sim_peer_by(self, &action->uuid);
    if (!owner)
        sim_violate(self, "an action names an unknown gateway");
    for (uint32_t i = 0; owner && i < action->len; i++)
        for (uint64_t k = 0; k < out->ranges[action->first + i].count; k++) {
            struct item *item = net_item(message);
            item->gateway = owner->index;
            item->number = out->ranges[action->first + i].first + k;
            item->status = action->status;
        }
}

static void put_rows(struct sim *self, struct message *message, const struct core_out *out,
                     const struct action *action)
{
    for (uint32_t i = 0; i < action->len; i++) {
        const struct dispatch_row *row = &out->rows[action->first + i];
        const struct peer *owner = sim_peer_by(self, &row->gateway);
        struct item *item = net_item(message);
        *item = (struct item){.gateway = owner->index,
                              .number = row->number,
                              .rows = row->rows,
                              .attempt = row->attempt,
                              .crashes = row->crashes};
        item->model = self->gateways[item->gateway].ledger[item->number].model;
        if (((const struct sim_body *)row->body)->freed)
            sim_violate(self, "a freed body was dispatched");
    }
}

static const enum message_kind spoken[] = {
    [ACTION_WELCOME] = SAY_WELCOME,   [ACTION_HEARTBEAT] = SAY_HEARTBEAT,
    [ACTION_CREDIT] = SAY_CREDIT,     [ACTION_ACCEPTED] = SAY_ACCEPTED,
    [ACTION_REJECTED] = SAY_REJECTED, [ACTION_DISPATCH] = SAY_DISPATCH,
    [ACTION_STARTED] = SAY_STARTED,   [ACTION_CRASHED] = SAY_CRASHED,
    [ACTION_ANSWER] = SAY_RESULT,     [ACTION_RESULT_ACK] = SAY_RESULT_ACK,
    [ACTION_REVOKE] = SAY_REVOKE,     [ACTION_DRAIN] = SAY_DRAIN,
    [ACTION_ERROR] = SAY_ERROR,       [ACTION_GOODBYE] = SAY_GOODBYE,
};

static void say(struct sim *self, const struct core_out *out, const struct action *action)
{
    struct message *message = net_message(spoken[action->kind]);
    message->status = action->status;
    message->token = action->token;
    message->credit_tasks = action->credit_tasks;
    message->credit_bytes = action->credit_bytes;
    if (action->kind == ACTION_DISPATCH)
        put_rows(self, message, out, action);
    else if (action->len > 0)
        put_ids(self, message, out, action);
    if (action->kind == ACTION_DISPATCH && self->mutation == MUTATE_REPEAT_DISPATCH)
        for (size_t i = 0, len = message->len; i < len; i++) {
            struct item item = message->items[i];
            *net_item(message) = item;
        }
    if ((action->kind == ACTION_RESULT_ACK && self->mutation == MUTATE_DROP_ACK) ||
        (action->kind == ACTION_ANSWER && self->mutation == MUTATE_DROP_ANSWER)) {
        net_free(message);
        return;
    }
    net_say(self, action->conn, false, message);
}

static void act(struct sim *self)
{
    const struct core_out *out = core_out(self->core);
    for (size_t i = 0; i < out->actions_len; i++) {
        const struct action *action = &out->actions[i];
        if (action->kind == ACTION_RELEASE) {
            if (self->mutation == MUTATE_DROP_RELEASE)
                free(action->body); /* not counted: for the sanitizer alone */
            else
                body_free(action->body);
        } else if (action->kind != ACTION_OPENED && action->kind != ACTION_LOST) {
            say(self, out, action);
        }
    }
    core_taken(self->core);
    core_check(self->core);
    self->events++;
}

/* --- events
 * --------------------------------------------------------------------------------------- */

static int by_id(const void *a, const void *b)
{
    const struct item *x = a, *y = b;
    if (x->gateway != y->gateway)
        return x->gateway < y->gateway ? -1 : 1;
    return x->number < y->number ? -1 : x->number > y->number;
}

struct lists {
    struct core_set sets[GATEWAYS];
    size_t len;
    struct task_range *ranges;
};

/* Ids as sets of ranges, as the shell decodes them. */
static struct lists lists_of(struct sim *self, struct message *message)
{
    struct lists lists = {.ranges = xcalloc(MAX(message->len, 1), sizeof(struct task_range))};
    size_t used = 0;
    if (message->len > 0)
        qsort(message->items, message->len, sizeof(struct item), by_id);
    for (size_t i = 0; i < message->len; i++) {
        const struct item *item = &message->items[i];
        bool new_set = i == 0 || message->items[i - 1].gateway != item->gateway;
        if (new_set)
            lists.sets[lists.len++] =
                (struct core_set){self->gateways[item->gateway].peer.uuid, &lists.ranges[used], 0};
        struct core_set *set = &lists.sets[lists.len - 1];
        uint64_t end = 0; /* first number after the last range */
        if (set->len > 0)
            end = lists.ranges[used - 1].first + lists.ranges[used - 1].count;
        if (set->len > 0 && end == item->number) {
            lists.ranges[used - 1].count++;
        } else if (set->len == 0 || end < item->number) {
            lists.ranges[used++] = (struct task_range){item->number, 1};
            set->len++;
        }
    }
    return lists;
}

static void hello(struct sim *self, const struct peer *peer, const struct message *message,
                  const struct lists *lists)
{
    struct digest models[MODELS];
    for (uint32_t i = 0; i < MODELS; i++)
        models[i] = model_of(i);
    bool worker = peer->index >= GATEWAYS;
    struct core_hello hello = {
        .role = worker ? CORE_WORKER : CORE_GATEWAY,
        .uuid = peer->uuid,
        .incarnation = peer->incarnation,
        .name = "sim",
        .slots = worker ? self->workers[peer->index - GATEWAYS].slots : 0,
        .mode = "",
        .models = models,
        .models_len = worker ? peer->index % MODELS : 0,
        .lists = lists->sets,
        .lists_len = lists->len,
    };
    core_hello(self->core, self->now_ns, message->conn, &hello);
}

static void submit(struct sim *self, const struct message *message)
{
    struct core_task tasks[CORE_TASKS_MAX];
    for (size_t i = 0; i < message->len; i++) {
        const struct item *item = &message->items[i];
        tasks[i] = (struct core_task){.number = item->number,
                                      .bytes = item->rows,
                                      .map_bytes = 100,
                                      .frames = 1,
                                      .attempt = item->attempt,
                                      .crashes = item->crashes,
                                      .budget_ms = item->budget_ms,
                                      .rows = item->rows,
                                      .band = item->band,
                                      .flags = item->flags,
                                      .body = body_new(self)};
    }
    struct core_submit submit = {model_of(message->model), "", 1, tasks, message->len};
    core_submit(self->core, self->now_ns, message->conn, &submit);
}

static void result(struct sim *self, struct message *message)
{
    const struct item *item = &message->items[0];
    struct core_result result = {item->number, item->status, item->rows, item->rows * 20000};
    uint64_t to = core_result(self->core, message->conn, &self->gateways[item->gateway].peer.uuid,
                              &result, 1);
    if (to == 0)
        return;
    struct message *copy = net_message(SAY_RESULT);
    copy->worker = message->worker;
    *net_item(copy) = *item;
    net_say(self, to, false, copy);
}

static void feed(struct sim *self, struct message *message, const struct lists *lists)
{
    struct core *core = self->core;
    uint64_t conn = message->conn, now_ns = self->now_ns;
    const struct core_set *sets = lists->sets;
    struct core_beat beat = {.lists = sets, .lists_len = lists->len};
    switch (message->kind) {
    case SAY_HEARTBEAT:
        core_heartbeat(core, now_ns, conn, &beat);
        break;
    case SAY_CREDIT:
        core_credit(core, conn, message->credit_tasks, message->credit_bytes);
        break;
    case SAY_SUBMIT:
        submit(self, message);
        break;
    case SAY_STARTED:
        core_started(core, conn, sets, lists->len);
        break;
    case SAY_RESULT:
        result(self, message);
        break;
    case SAY_RESULT_ACK:
        core_result_ack(core, conn, sets, lists->len,
                        message->worker < WORKERS ? &self->workers[message->worker].peer.uuid
                                                  : NULL);
        break;
    case SAY_CANCEL:
        core_cancel(core, conn, sets, lists->len);
        break;
    case SAY_NACK:
        core_nack(core, now_ns, conn, sets, lists->len, message->status, "refused", 20);
        break;
    case SAY_CRASHED:
        core_crashed(core, conn, sets, lists->len, "signal 11");
        break;
    case SAY_DRAIN:
        core_drain(core, conn);
        break;
    case SAY_GOODBYE:
        core_goodbye(core, now_ns, conn);
        break;
    default:
        sim_violate(self, "a peer said %d", (int)message->kind);
    }
}

void broker_hears(struct sim *self, struct message *message)
{
    const struct peer *peer = sim_peer(self, self->conns[message->conn].peer);
    struct lists lists = lists_of(self, message);
    if (message->kind == SAY_HELLO)
        hello(self, peer, message, &lists);
    else if (message->kind == SAY_TIE)
        core_attach(self->core, self->now_ns, message->conn, &peer->uuid, peer->incarnation,
                    message->token);
    else if (core_heard(self->core, self->now_ns, message->conn))
        feed(self, message, &lists);
    free(lists.ranges);
    act(self);
    if (sim_chance(self, 2))
        broker_tick(self);
}

void broker_closed(struct sim *self, uint64_t conn)
{
    struct core_peer peer;
    core_closed(self->core, self->now_ns, conn);
    if (core_peer_of(self->core, conn, &peer))
        sim_violate(self, "a closed connection has a session");
    act(self);
}

void broker_tick(struct sim *self)
{
    if (self->mutation == MUTATE_NO_TIME)
        return;
    core_tick(self->core, self->now_ns);
    act(self);
}

void broker_birth(struct sim *self)
{
    struct core_limits limits = core_limits_default;
    limits.heartbeat_ms = BEAT_MS;
    limits.lease_ms = LEASE_MS;
    limits.tasks_max = 200;
    limits.done_max = 60;
    limits.queue_bytes_max = 8000;
    limits.queues_max = MODELS;
    limits.sessions_max = PEERS;
    limits.gateway_tasks = 90;
    limits.gateway_bytes = 3500;
    limits.gateway_keep_ms = 4000;
    limits.cold_ms = 20;
    limits.refuse_ms = 300;
    limits.retry_ms = 20;
    self->core = core_new(&limits, sim_random(self, UINT64_MAX), self->now_ns);
    self->broker_born = self->conns_len;
}

void broker_death(struct sim *self)
{
    core_destroy(&self->core, body_free);
    if (self->bodies != 0)
        sim_violate(self, "%lu bodies were never freed", (unsigned long)self->bodies);
}
