/* send - one function for each action that the core asks for */
#include "broker/body.h"
#include "broker/broker.h"

#include "common/clock.h"
#include "common/log.h"

#include <stdio.h>
#include <stdlib.h>

_Static_assert(CORE_TASKS_MAX == WIRE_TASKS_MAX && CORE_FRAMES_MAX == WIRE_FRAMES_MAX,
               "the core bundles by the wire's bounds");
_Static_assert(CORE_BYTES_MAX <= WIRE_MESSAGE_MAX && CORE_MAP_MAX + WIRE_SPEC_MAX <= WIRE_MAP_MAX,
               "a DISPATCH fits into a message");
_Static_assert((int)CORE_GATEWAY == (int)WIRE_GATEWAY && (int)CORE_WORKER == (int)WIRE_WORKER,
               "roles have the wire's codes");

static void note_gone(struct broker *self, uint64_t conn)
{
    self->counters.sends_refused++;
    if (self->gone_len == self->gone_room) {
        self->gone_room = MAX(self->gone_room * 2, (size_t)16);
        self->gone = xrealloc(self->gone, self->gone_room * sizeof(uint64_t));
    }
    self->gone[self->gone_len++] = conn;
}

/* What went wrong is not lost: the core covers each task with a lease and each peer with beats. */
static void sent(struct broker *self, uint64_t conn, enum status status)
{
    self->counters.messages_out++;
    if (status != STATUS_OK)
        note_gone(self, conn);
}

void broker_send(struct broker *self, uint64_t conn)
{
    uint8_t route[CONN_ROUTE_MAX];
    uint32_t unknown = 0;
    struct conn *entry = conns_find(&self->conns, conn);
    size_t len = conn_route(conn, route);
    sent(self, conn,
         wire_send(self->out, self->ports[conn_port(conn)].socket, route, len,
                   entry ? &entry->out_sequence : &unknown));
}

void broker_pass(struct broker *self, uint64_t conn)
{
    uint8_t route[CONN_ROUTE_MAX];
    uint32_t unknown = 0;
    if (conn == 0)
        return;
    struct conn *entry = conns_find(&self->conns, conn);
    size_t len = conn_route(conn, route);
    sent(self, conn,
         wire_forward(&self->in, self->ports[conn_port(conn)].socket, route, len,
                      entry ? &entry->out_sequence : &unknown));
}

/* What comes again, or is told better by what comes next, waits for nobody: it is counted. */
static void pass_or_drop(struct broker *self, uint64_t conn, uint64_t *dropped)
{
    struct conn *entry = conns_find(&self->conns, conn);
    if (!entry || !conn_clogged(entry, self->in.bodies_bytes))
        broker_pass(self, conn);
    else
        ++*dropped;
}

void broker_pass_result(struct broker *self, uint64_t conn)
{
    pass_or_drop(self, conn, &self->counters.results_deferred);
}

void broker_pass_progress(struct broker *self, uint64_t conn)
{
    pass_or_drop(self, conn, &self->counters.progress_dropped);
}

void broker_error(struct broker *self, uint64_t conn, enum status status, const char *text,
                  uint64_t now_ns)
{
    struct conn *entry = conns_find(&self->conns, conn);
    if (entry && !conn_may_complain(entry, now_ns))
        return;
    wire_begin(self->out, WIRE_ERROR);
    wire_put_u64(self->out, KEY_STATUS, status);
    if (text[0])
        wire_put_text(self->out, KEY_TEXT, text);
    broker_send(self, conn);
}

/* --- parts of messages --------------------------------------------------------------------------
 */

struct deed {
    struct broker *broker;
    const struct core_out *from; /* pools of the action */
    const struct action *action;
    uint64_t now_ns;
};

typedef void deed_fn(const struct deed *deed);

static const char *text_of(const struct deed *deed)
{
    return deed->action->text ? deed->from->chars + deed->action->text : "";
}

/* One SET under `key`: the core's ranges are in no order, a SET's are. */
static void put_ids(const struct deed *deed, enum wire_key key)
{
    struct broker *self = deed->broker;
    size_t next = 0;
    taskset_clear(&self->ids);
    for (uint32_t i = 0; i < deed->action->len; i++) {
        const struct task_range *range = &deed->from->ranges[deed->action->first + i];
        taskset_add_range(&self->ids, range->first, range->count);
    }
    wire_list_open(self->out, key);
    wire_put_set(self->out, &deed->action->uuid, &self->ids, &next, CORE_RANGES_MAX);
    wire_list_close(self->out);
}

static void put_text(const struct deed *deed)
{
    if (deed->action->text)
        wire_put_text(deed->broker->out, KEY_TEXT, text_of(deed));
}

static void put_credits(const struct deed *deed)
{
    wire_put_u64(deed->broker->out, KEY_CREDIT_TASKS, deed->action->credit_tasks);
    wire_put_u64(deed->broker->out, KEY_CREDIT_BYTES, deed->action->credit_bytes);
}

/* --- actions -----------------------------------------------------------------------------------
 */

/* Where this broker is found under its next key; `*`: on the host by which the peer found it. */
static void put_next(struct broker *self, const struct port *port)
{
    char endpoint[32];
    snprintf(endpoint, sizeof(endpoint), "tcp://*:%u", port->number);
    wire_map_open(self->out);
    wire_put_text(self->out, KEY_ENDPOINT, endpoint);
    wire_put_bytes(self->out, KEY_PUBLIC, self->next_key.public_key.bytes, CURVE_KEY_BYTES);
    wire_put_uuid(self->out, KEY_BROKER, &self->uuid);
    wire_map_close(self->out);
}

/* The others of the fleet, and this one's own next address while its key changes. */
static void put_brokers(struct broker *self, const struct port *next)
{
    if (!next && self->fleet.brokers.len == 0)
        return;
    wire_list_open(self->out, KEY_BROKERS);
    fleet_put(&self->fleet, self->out);
    if (next)
        put_next(self, next);
    wire_list_close(self->out);
}

static void do_welcome(const struct deed *deed)
{
    struct broker *self = deed->broker;
    bool next = self->ports[conn_port(deed->action->conn)].next;
    const struct port *data = listen_port(self, PORT_DATA, next);
    const struct port *enrol = listen_port(self, PORT_ENROL, next);
    const struct port *other = next ? NULL : listen_port(self, PORT_CONTROL, true);
    wire_begin(self->out, WIRE_WELCOME);
    wire_put_u64(self->out, KEY_SESSION, deed->action->token);
    wire_put_uuid(self->out, KEY_BROKER, &self->uuid);
    wire_put_u64(self->out, KEY_VERSION_MAX, WIRE_MINOR);
    wire_put_u64(self->out, KEY_DATA_PORT, data->number);
    if (enrol)
        wire_put_u64(self->out, KEY_ENROL_PORT, enrol->number);
    wire_put_u64(self->out, KEY_HEARTBEAT_MS, self->limits.heartbeat_ms);
    wire_put_u64(self->out, KEY_IDLE_MS, core_idle_ms(&self->limits));
    wire_put_u64(self->out, KEY_LEASE_MS, self->limits.lease_ms);
    wire_put_u64(self->out, KEY_MESSAGE_MAX, WIRE_MESSAGE_MAX);
    if (deed->action->credit_tasks > 0)
        put_credits(deed);
    put_brokers(self, other);
    broker_send(self, deed->action->conn);
}

static void do_heartbeat(const struct deed *deed)
{
    struct broker *self = deed->broker;
    wire_begin(self->out, WIRE_HEARTBEAT);
    wire_put_u64(self->out, KEY_WORKERS, deed->action->workers);
    wire_put_u64(self->out, KEY_WAITING, deed->action->waiting);
    if (deed->action->next_ms > self->limits.heartbeat_ms)
        wire_put_u64(self->out, KEY_NEXT_MS, deed->action->next_ms);
    if (deed->action->len > 0)
        put_ids(deed, KEY_UNKNOWN);
    broker_send(self, deed->action->conn);
}

static void do_credit(const struct deed *deed)
{
    wire_begin(deed->broker->out, WIRE_CREDIT);
    put_credits(deed);
    broker_send(deed->broker, deed->action->conn);
}

static void send_ids(const struct deed *deed, enum wire_type type)
{
    wire_begin(deed->broker->out, type);
    put_ids(deed, KEY_IDS);
    if (type == WIRE_CRASHED || type == WIRE_REJECTED)
        put_text(deed);
    if (type == WIRE_REJECTED) {
        wire_put_u64(deed->broker->out, KEY_STATUS, deed->action->status);
        wire_put_u64(deed->broker->out, KEY_RETRY_MS, deed->action->retry_ms);
    }
    broker_send(deed->broker, deed->action->conn);
}

static void do_accepted(const struct deed *deed)
{
    send_ids(deed, WIRE_ACCEPTED);
}

static void do_rejected(const struct deed *deed)
{
    send_ids(deed, WIRE_REJECTED);
}

static void do_started(const struct deed *deed)
{
    send_ids(deed, WIRE_STARTED);
}

static void do_crashed(const struct deed *deed)
{
    send_ids(deed, WIRE_CRASHED);
}

static void do_result_ack(const struct deed *deed)
{
    send_ids(deed, WIRE_RESULT_ACK);
}

static void do_revoke(const struct deed *deed)
{
    send_ids(deed, WIRE_REVOKE);
}

static void do_dispatch(const struct deed *deed)
{
    struct broker *self = deed->broker;
    const struct dispatch_row *rows = deed->from->rows + deed->action->first;
    wire_begin(self->out, WIRE_DISPATCH);
    body_put_head(rows[0].body, self->out);
    wire_put_u64(self->out, KEY_WAITING, deed->action->waiting);
    wire_list_open(self->out, KEY_TASKS);
    for (uint32_t i = 0; i < deed->action->len; i++) {
        const struct dispatch_row *row = &rows[i];
        wire_map_open(self->out);
        wire_put_u64(self->out, KEY_TASK, row->number);
        wire_put_uuid(self->out, KEY_GATEWAY, &row->gateway);
        wire_put_u64(self->out, KEY_ATTEMPT, row->attempt);
        wire_put_u64(self->out, KEY_CRASHES, row->crashes);
        wire_put_u64(self->out, KEY_BUDGET_MS, row->budget_ms);
        wire_put_u64(self->out, KEY_ROWS, row->rows);
        wire_put_u64(self->out, KEY_BYTES, row->bytes);
        wire_put_u64(self->out, KEY_BAND, row->band);
        wire_put_u64(self->out, KEY_FLAGS, row->flags);
        body_put(row->body, self->out);
        wire_map_close(self->out);
    }
    wire_list_close(self->out);
    broker_send(self, deed->action->conn);
}

static void do_answer(const struct deed *deed)
{
    struct broker *self = deed->broker;
    wire_begin(self->out, WIRE_RESULT);
    wire_put_uuid(self->out, KEY_GATEWAY, &deed->action->uuid);
    wire_list_open(self->out, KEY_TASKS);
    wire_map_open(self->out);
    wire_put_u64(self->out, KEY_TASK, deed->from->ranges[deed->action->first].first);
    wire_put_u64(self->out, KEY_STATUS, deed->action->status);
    wire_put_u64(self->out, KEY_FRAMES, 0);
    put_text(deed);
    wire_map_close(self->out);
    wire_list_close(self->out);
    broker_send(self, deed->action->conn);
}

static void do_drain(const struct deed *deed)
{
    wire_begin(deed->broker->out, WIRE_DRAIN);
    put_text(deed);
    broker_send(deed->broker, deed->action->conn);
}

static void do_error(const struct deed *deed)
{
    broker_error(deed->broker, deed->action->conn, deed->action->status, text_of(deed),
                 deed->now_ns);
}

static void do_goodbye(const struct deed *deed)
{
    wire_begin(deed->broker->out, WIRE_GOODBYE);
    wire_put_u64(deed->broker->out, KEY_STATUS, deed->action->status);
    put_text(deed);
    broker_send(deed->broker, deed->action->conn);
}

static void do_release(const struct deed *deed)
{
    body_free(deed->action->body);
}

static void do_opened(const struct deed *deed)
{
    report_opened(deed->broker, deed->action);
}

/* What waits for a peer that stands still would stay as long as its connection does. */
static void do_lost(const struct deed *deed)
{
    struct broker *self = deed->broker;
    struct conn *data = conns_find(&self->conns, deed->action->data);
    if (data && deed->action->status == STATUS_UNAVAILABLE)
        conns_kick_later(&self->conns, data, deed->now_ns);
    report_lost(self, deed->action, text_of(deed));
}

static deed_fn *const deeds[] = {
    [ACTION_WELCOME] = do_welcome,   [ACTION_HEARTBEAT] = do_heartbeat,
    [ACTION_CREDIT] = do_credit,     [ACTION_ACCEPTED] = do_accepted,
    [ACTION_REJECTED] = do_rejected, [ACTION_DISPATCH] = do_dispatch,
    [ACTION_STARTED] = do_started,   [ACTION_CRASHED] = do_crashed,
    [ACTION_ANSWER] = do_answer,     [ACTION_RESULT_ACK] = do_result_ack,
    [ACTION_REVOKE] = do_revoke,     [ACTION_DRAIN] = do_drain,
    [ACTION_ERROR] = do_error,       [ACTION_GOODBYE] = do_goodbye,
    [ACTION_RELEASE] = do_release,   [ACTION_OPENED] = do_opened,
    [ACTION_LOST] = do_lost,
};

void broker_flush(struct broker *self, uint64_t now_ns)
{
    do {
        const struct core_out *from = core_out(self->core);
        for (size_t i = 0; i < from->actions_len; i++) {
            struct deed deed = {self, from, &from->actions[i], now_ns};
            deeds[deed.action->kind](&deed);
        }
        core_taken(self->core);
        /* Closing a session makes actions again; each connection is closed once, so it ends. */
        for (size_t i = 0; i < self->gone_len; i++)
            core_closed(self->core, now_ns, self->gone[i]);
        self->gone_len = 0;
    } while (core_out(self->core)->actions_len > 0);
    report_requeued(self);
}
