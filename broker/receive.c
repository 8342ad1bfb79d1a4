/* receive - one handler for each message that a peer may send */
#include "broker/body.h"
#include "broker/broker.h"

#include "common/clock.h"
#include "common/log.h"

#include <string.h>

/* A message in the hands of its handler. */
struct letter {
    struct broker *broker;
    uint64_t now_ns;
    uint64_t conn;         /* the core's number for the connection */
    struct core_peer peer; /* whose it is */
    struct wire_in *in;
};

/* False: the content is not as PROTOCOL.md says, with a sentence in in->why. */
typedef bool handler_fn(struct letter *letter);

static bool wrong(struct letter *letter, const char *text)
{
    fail(&letter->in->why, STATUS_MALFORMED, "%s: %s", wire_name(letter->in->type), text);
    return false;
}

static bool read_ids(struct letter *letter, enum wire_key key)
{
    if (sets_read(&letter->broker->sets, letter->in->map, key))
        return true;
    return wrong(letter, "RANGES must be ascending pairs of first and count that do not touch");
}

static size_t read_models(const struct wire_in *in, struct digest models[static CORE_MODELS_MAX])
{
    size_t len = MIN(wire_len(in->map, KEY_MODELS), (size_t)CORE_MODELS_MAX);
    for (size_t i = 0; i < len; i++)
        models[i] = wire_digest(wire_at(in->map, KEY_MODELS, i), KEY_MODEL);
    return len;
}

/* --- opening and liveness ------------------------------------------------------------------------
 */

static bool on_hello_data(struct letter *letter)
{
    const struct wire_in *in = letter->in;
    if (!access_attach(letter->broker, letter->conn, in, letter->now_ns))
        return true;
    struct uuid uuid = wire_uuid(in->map, KEY_UUID);
    core_attach(letter->broker->core, letter->now_ns, letter->conn, &uuid,
                wire_u64(in->map, KEY_INCARNATION), wire_u64(in->map, KEY_SESSION));
    return true;
}

static bool on_hello(struct letter *letter)
{
    struct broker *self = letter->broker;
    const struct wire_in *in = letter->in;
    enum core_role role = (enum core_role)wire_u64(in->map, KEY_ROLE);
    char name[CORE_NAME_SIZE], mode[CORE_MODE_SIZE] = "";
    struct digest models[CORE_MODELS_MAX];
    if (wire_u64(in->map, KEY_VERSION_MIN) > WIRE_MINOR) {
        broker_error(self, letter->conn, STATUS_VERSION,
                     "the peer needs a newer version of the wire than this broker speaks",
                     letter->now_ns);
        return true;
    }
    if (!access_hello(self, letter->conn, in, letter->now_ns))
        return true;
    if (!read_ids(letter, role == CORE_WORKER ? KEY_HELD : KEY_AWAITED))
        return false;
    if (wire_len(in->map, KEY_MODES) > 0)
        wire_text(wire_at(in->map, KEY_MODES, 0), KEY_MODE, mode, sizeof(mode));
    struct core_hello hello = {
        .role = role,
        .uuid = wire_uuid(in->map, KEY_UUID),
        .incarnation = wire_u64(in->map, KEY_INCARNATION),
        .name = wire_text(in->map, KEY_NAME, name, sizeof(name)),
        .cores = (uint32_t)wire_u64(in->map, KEY_CORES),
        .slots = (uint32_t)wire_u64(in->map, KEY_SLOTS),
        .mode = mode,
        .minor = (uint32_t)MIN(wire_u64(in->map, KEY_VERSION_MAX), UINT32_MAX),
        .models = models,
        .models_len = read_models(in, models),
        .lists = self->sets.sets,
        .lists_len = self->sets.len,
    };
    core_hello(self->core, letter->now_ns, letter->conn, &hello);
    access_greeted(self, letter->conn);
    return true;
}

static bool on_heartbeat(struct letter *letter)
{
    struct broker *self = letter->broker;
    const struct wire_in *in = letter->in;
    struct digest models[CORE_MODELS_MAX];
    if (!read_ids(letter, letter->peer.role == CORE_WORKER ? KEY_HELD : KEY_AWAITED))
        return false;
    struct core_beat beat = {
        .lists = self->sets.sets,
        .lists_len = self->sets.len,
        .models = wire_has(in->map, KEY_MODELS) ? models : NULL,
        .models_len = read_models(in, models),
        .running = wire_u64(in->map, KEY_RUNNING),
        .waiting = wire_u64(in->map, KEY_WAITING),
        .next_ms = (uint32_t)wire_u64(in->map, KEY_NEXT_MS),
    };
    core_heartbeat(self->core, letter->now_ns, letter->conn, &beat);
    return true;
}

static bool on_credit(struct letter *letter)
{
    core_credit(letter->broker->core, letter->conn, wire_u64(letter->in->map, KEY_CREDIT_TASKS),
                wire_u64(letter->in->map, KEY_CREDIT_BYTES));
    return true;
}

static bool on_drain(struct letter *letter)
{
    LOG_INFO("session_draining", "peer=%s", letter->peer.name);
    core_drain(letter->broker->core, letter->conn);
    return true;
}

static bool on_goodbye(struct letter *letter)
{
    core_goodbye(letter->broker->core, letter->now_ns, letter->conn);
    return true;
}

static bool on_error(struct letter *letter)
{
    char text[256];
    wire_text(letter->in->map, KEY_TEXT, text, sizeof(text));
    LOG_WARN("peer_complains", "peer=%s status=%s text=%s", letter->peer.name,
             status_name((enum status)wire_u64(letter->in->map, KEY_STATUS)), text);
    return true;
}

/* --- tasks -------------------------------------------------------------------------------------
 */

static bool on_submit(struct letter *letter)
{
    struct wire_in *in = letter->in;
    struct core_task tasks[CORE_TASKS_MAX];
    size_t len = wire_len(in->map, KEY_TASKS), frame = 0;
    struct body_head *head = body_head_new(in);
    for (size_t i = 0; i < len; i++) {
        struct wire_map map = wire_at(in->map, KEY_TASKS, i);
        struct body *body = body_take(in, i, frame, head);
        frame += body->frames_len;
        tasks[i] = (struct core_task){
            .number = wire_u64(map, KEY_TASK),
            .bytes = body->bytes,
            .map_bytes = body_map_bytes(body),
            .frames = body->frames_len,
            .attempt = (uint32_t)wire_u64(map, KEY_ATTEMPT),
            .crashes = (uint32_t)wire_u64(map, KEY_CRASHES),
            .budget_ms = (uint32_t)wire_u64(map, KEY_BUDGET_MS),
            .rows = (uint32_t)wire_u64(map, KEY_ROWS),
            .band = (uint32_t)wire_u64(map, KEY_BAND),
            .flags = (uint32_t)wire_u64(map, KEY_FLAGS),
            .tenant = body->tenant,
            .share = (uint32_t)wire_u64(map, KEY_SHARE),
            .avoid = wire_uuid(map, KEY_AVOID),
            .body = body,
        };
    }
    struct core_submit submit = {
        .model = wire_digest(in->map, KEY_MODEL),
        .mode = body_mode(head),
        .kind = body_kind(head),
        .minor = wire_kind_minor(body_kind(head)),
        .unknown = wire_kind_minor(body_kind(head)) > WIRE_MINOR,
        .tasks = tasks,
        .len = len,
    };
    core_submit(letter->broker->core, letter->now_ns, letter->conn, &submit);
    body_head_drop(head);
    return true;
}

static bool on_started(struct letter *letter)
{
    struct broker *self = letter->broker;
    if (!read_ids(letter, KEY_IDS))
        return false;
    core_started(self->core, letter->conn, self->sets.sets, self->sets.len);
    return true;
}

static bool on_nack(struct letter *letter)
{
    struct broker *self = letter->broker;
    char text[256];
    enum status status = (enum status)wire_u64(letter->in->map, KEY_STATUS);
    if (!read_ids(letter, KEY_IDS))
        return false;
    wire_text(letter->in->map, KEY_TEXT, text, sizeof(text));
    LOG_DEBUG("task_returned", "worker=%s status=%s text=%s", letter->peer.name,
              status_name(status), text);
    core_nack(self->core, letter->now_ns, letter->conn, self->sets.sets, self->sets.len, status,
              text, (uint32_t)wire_u64(letter->in->map, KEY_RETRY_MS));
    return true;
}

static bool on_crashed(struct letter *letter)
{
    struct broker *self = letter->broker;
    char text[1024];
    if (!read_ids(letter, KEY_IDS))
        return false;
    wire_text(letter->in->map, KEY_TEXT, text, sizeof(text));
    LOG_WARN("runner_crashed", "worker=%s text=%s", letter->peer.name, text);
    core_crashed(self->core, letter->conn, self->sets.sets, self->sets.len, text);
    return true;
}

static bool on_cancel(struct letter *letter)
{
    struct broker *self = letter->broker;
    if (!read_ids(letter, KEY_IDS))
        return false;
    core_cancel(self->core, letter->conn, self->sets.sets, self->sets.len);
    return true;
}

static bool on_result(struct letter *letter)
{
    struct broker *self = letter->broker;
    struct wire_in *in = letter->in;
    struct core_result results[CORE_TASKS_MAX];
    struct uuid gateway = wire_uuid(in->map, KEY_GATEWAY);
    struct uuid worker = wire_uuid(in->map, KEY_WORKER);
    size_t len = wire_len(in->map, KEY_TASKS);
    if (!id_equal(&worker, &letter->peer.uuid))
        return wrong(letter, "WORKER must be the sender, since results are acknowledged to it");
    for (size_t i = 0; i < len; i++) {
        struct wire_map map = wire_at(in->map, KEY_TASKS, i);
        results[i] = (struct core_result){
            .number = wire_u64(map, KEY_TASK),
            .status = (enum status)wire_u64(map, KEY_STATUS),
            .rows = (uint32_t)wire_u64(map, KEY_ROWS),
            .compute_ns = wire_u64(map, KEY_COMPUTE_NS),
        };
    }
    broker_pass_result(self, core_result(self->core, letter->conn, &gateway, results, len));
    return true;
}

static bool on_result_ack(struct letter *letter)
{
    struct broker *self = letter->broker;
    struct uuid worker = wire_uuid(letter->in->map, KEY_WORKER);
    if (!read_ids(letter, KEY_IDS))
        return false;
    core_result_ack(self->core, letter->conn, self->sets.sets, self->sets.len,
                    wire_has(letter->in->map, KEY_WORKER) ? &worker : NULL);
    return true;
}

static bool on_progress(struct letter *letter)
{
    struct uuid gateway = wire_uuid(letter->in->map, KEY_GATEWAY);
    broker_pass_progress(letter->broker, core_route(letter->broker->core, CORE_GATEWAY, &gateway));
    return true;
}

/* --- blobs and state ---------------------------------------------------------------------------
 */

static bool on_blob_get(struct letter *letter)
{
    struct broker *self = letter->broker;
    const struct wire_in *in = letter->in;
    struct uuid gateway = wire_uuid(in->map, KEY_GATEWAY);
    struct uuid worker = wire_uuid(in->map, KEY_WORKER);
    struct digest blob = wire_digest(in->map, KEY_BLOB);
    uint64_t to = core_route(self->core, CORE_GATEWAY, &gateway);
    if (!id_equal(&worker, &letter->peer.uuid))
        return wrong(letter, "WORKER must be the sender, since the answer goes to it");
    if (to) {
        self->counters.blobs_passed++;
        broker_pass(self, to);
        return true;
    }
    self->counters.blobs_unrouted++;
    wire_begin(self->out, WIRE_BLOB_CHUNK);
    wire_put_digest(self->out, KEY_BLOB, &blob);
    wire_put_uuid(self->out, KEY_WORKER, &worker);
    wire_put_u64(self->out, KEY_OFFSET, wire_u64(in->map, KEY_OFFSET));
    wire_put_u64(self->out, KEY_BYTES, 0);
    wire_put_u64(self->out, KEY_STATUS, STATUS_UNAVAILABLE);
    wire_put_text(self->out, KEY_TEXT, "the gateway that has this blob is not connected");
    broker_send(self, letter->conn);
    return true;
}

static bool on_blob_chunk(struct letter *letter)
{
    struct broker *self = letter->broker;
    struct uuid worker = wire_uuid(letter->in->map, KEY_WORKER);
    uint64_t to = core_route(self->core, CORE_WORKER, &worker);
    *(to ? &self->counters.blobs_passed : &self->counters.blobs_unrouted) += 1;
    broker_pass(self, to);
    return true;
}

static bool on_query(struct letter *letter)
{
    report_state(letter->broker, letter->conn, wire_u64(letter->in->map, KEY_WHAT),
                 wire_u64(letter->in->map, KEY_REQUEST));
    return true;
}

static bool on_nodes(struct letter *letter)
{
    return access_nodes(letter->broker, letter->conn, letter->in, letter->now_ns);
}

static bool on_rotate(struct letter *letter)
{
    access_rotate(letter->broker, letter->in);
    return true;
}

static bool on_enrolled(struct letter *letter)
{
    enrol_answer(letter->broker, letter->in, letter->now_ns);
    return true;
}

static bool on_unsupported(struct letter *letter)
{
    letter->broker->counters.messages_unsupported++;
    broker_error(letter->broker, letter->conn, STATUS_UNSUPPORTED,
                 "this message is reserved, or was sent to the wrong port", letter->now_ns);
    return true;
}

/* --- the table ---------------------------------------------------------------------------------
 */

/* Who may send what, and on which plane, is in wire.def; HELLO is handled before. */
static handler_fn *const handlers[] = {
    [WIRE_HEARTBEAT] = on_heartbeat,   [WIRE_CREDIT] = on_credit,
    [WIRE_SUBMIT] = on_submit,         [WIRE_INSPECT] = on_submit,
    [WIRE_STARTED] = on_started,       [WIRE_PROGRESS] = on_progress,
    [WIRE_RESULT] = on_result,         [WIRE_RESULT_ACK] = on_result_ack,
    [WIRE_CANCEL] = on_cancel,         [WIRE_NACK] = on_nack,
    [WIRE_CRASHED] = on_crashed,       [WIRE_QUERY] = on_query,
    [WIRE_BLOB_GET] = on_blob_get,     [WIRE_BLOB_PUT] = on_unsupported,
    [WIRE_BLOB_CHUNK] = on_blob_chunk, [WIRE_DRAIN] = on_drain,
    [WIRE_GOODBYE] = on_goodbye,       [WIRE_ERROR] = on_error,
    [WIRE_ENROL] = on_unsupported,     [WIRE_ENROLLED] = on_enrolled,
    [WIRE_NODES] = on_nodes,           [WIRE_ROTATE] = on_rotate,
};

/* Drop it and count it; the third within a minute, or one that broke a size limit, ends it. */
static void offend(struct broker *self, struct conn *conn, const struct wire_in *in,
                   uint64_t now_ns)
{
    struct core_peer peer;
    bool known = core_peer_of(self->core, conn->key, &peer);
    self->counters.messages_malformed++;
    LOG_WARN("message_malformed", "peer=%s why=%s", known ? peer.name : "unknown", in->why.text);
    if (!conn_strike(conn, now_ns) && !in->overrun) {
        broker_error(self, conn->key, in->why.status, in->why.text, now_ns);
        return;
    }
    conns_kick_later(&self->conns, conn, now_ns);
    core_expel(self->core, now_ns, conn->key, STATUS_MALFORMED, in->why.text);
}

/* The enrol port takes one message, and that one is nowhere else taken. */
static bool deliver_enrol(struct letter *letter)
{
    if (letter->in->type != WIRE_ENROL)
        return wrong(letter, "this port takes ENROL alone");
    enrol_ask(letter->broker, letter->conn, letter->in, letter->now_ns);
    return true;
}

static bool deliver(struct letter *letter, enum port_kind kind)
{
    struct broker *self = letter->broker;
    enum wire_type type = letter->in->type;
    if (kind == PORT_ENROL)
        return deliver_enrol(letter);
    if (type == WIRE_HELLO)
        return kind == PORT_DATA ? on_hello_data(letter) : on_hello(letter);
    if ((kind == PORT_DATA) != (wire_plane(type) == WIRE_DATA))
        return wrong(letter, "it came on the wrong one of the two connections");
    if (!core_heard(self->core, letter->now_ns, letter->conn) ||
        !core_peer_of(self->core, letter->conn, &letter->peer))
        return true;
    if (!wire_may_send(type, (enum wire_role)letter->peer.role))
        return wrong(letter, "a peer of this role may not send it");
    assert(type < ARRAY_LEN(handlers) && handlers[type]);
    return handlers[type](letter);
}

void broker_take(struct broker *self, size_t port, uint64_t now_ns)
{
    struct wire_in *in = &self->in;
    uint64_t key = conn_key((uint32_t)port, in->route, in->route_len);
    self->counters.messages_in++;
    if (key == 0) { /* a routing id of the peer's own making */
        net_kick(in->fd);
        return;
    }
    struct conn *conn = conns_meet(&self->conns, key, now_ns);
    if (conn->kick_ns)
        return;
    self->counters.sequence_gaps += in->sequence != conn->in_sequence + 1 ? 1 : 0;
    conn->in_sequence = in->sequence;
    if (in->type == WIRE_HELLO || in->type == WIRE_ENROL)
        conns_tie(&self->conns, conn, in->fd);
    struct letter letter = {.broker = self, .now_ns = now_ns, .conn = key, .in = in};
    if (!deliver(&letter, self->ports[port].kind))
        offend(self, conn, in, now_ns);
}

void broker_malformed(struct broker *self, size_t port, uint64_t now_ns)
{
    struct wire_in *in = &self->in;
    uint64_t key = conn_key((uint32_t)port, in->route, in->route_len);
    self->counters.messages_in++;
    if (key == 0) {
        self->counters.messages_malformed++;
        net_kick(in->fd);
        return;
    }
    struct conn *conn = conns_meet(&self->conns, key, now_ns);
    if (conn->kick_ns)
        return;
    conns_tie(&self->conns, conn, in->fd);
    offend(self, conn, in, now_ns);
}
