/* enrol - a small table of questions; see enrol.h */
#include "broker/broker.h"

#include "common/clock.h"
#include "common/log.h"

#include <inttypes.h>
#include <sodium/utils.h>
#include <string.h>

#define ANSWER_MS 15000 /* a gateway may wait for other brokers before it answers */
#define IDLE_MS   30000 /* a connection's whole life, then */

/* --- connections -------------------------------------------------------------------------------
 */

/* It may have gone by itself, and its descriptor may be another peer's by now. */
static void hang_up(struct broker *self, const struct enrol_caller *caller)
{
    char address[NET_PEER_SIZE];
    net_peer_address(caller->fd, address);
    if (address[0] == '\0' || strcmp(address, caller->address) != 0)
        return;
    self->counters.peers_kicked++;
    net_kick(caller->fd);
}

/* A free place; else that of the one that is silent, or only waits, for longest. */
static struct enrol_caller *place_of_caller(struct enrol *self)
{
    struct enrol_caller *oldest = &self->callers[0];
    for (size_t i = 0; i < ENROL_MAX; i++) {
        struct enrol_caller *caller = &self->callers[i];
        if (caller->fd == 0)
            return caller;
        if (caller->asked < oldest->asked ||
            (caller->asked == oldest->asked && caller->kick_ns < oldest->kick_ns))
            oldest = caller;
    }
    return oldest;
}

void enrol_came(struct broker *self, int fd, uint64_t now_ns)
{
    struct enrol_caller *caller = place_of_caller(&self->enrol);
    if (caller->fd) {
        LOG_WARN("enrol_full", "connections=%d shut_down=%s", ENROL_MAX, caller->address);
        hang_up(self, caller);
    }
    *caller = (struct enrol_caller){.fd = fd, .kick_ns = now_ns + IDLE_MS * NS_PER_MS};
    net_peer_address(fd, caller->address);
}

void enrol_went(struct broker *self, int fd)
{
    for (size_t i = 0; i < ENROL_MAX; i++)
        if (self->enrol.callers[i].fd == fd)
            self->enrol.callers[i].fd = 0;
}

static void note_asked(struct broker *self, uint64_t conn)
{
    const struct conn *entry = conns_find(&self->conns, conn);
    for (size_t i = 0; entry && i < ENROL_MAX; i++)
        if (self->enrol.callers[i].fd && self->enrol.callers[i].fd == entry->fd)
            self->enrol.callers[i].asked = true;
}

/* --- questions ---------------------------------------------------------------------------------
 */

static void forget(struct enrol_question *question)
{
    sodium_memzero(question, sizeof *question);
}

static void put_brokers(struct wire_out *out, struct wire_map map)
{
    char endpoint[NET_ADDRESS_MAX];
    size_t size;
    wire_list_open(out, KEY_BROKERS);
    for (size_t i = 0; i < wire_len(map, KEY_BROKERS); i++) {
        struct wire_map peer = wire_at(map, KEY_BROKERS, i);
        const void *key = wire_bytes(peer, KEY_PUBLIC, &size);
        wire_map_open(out);
        wire_put_text(out, KEY_ENDPOINT, wire_text(peer, KEY_ENDPOINT, endpoint, sizeof endpoint));
        if (key)
            wire_put_bytes(out, KEY_PUBLIC, key, size);
        wire_map_close(out);
    }
    wire_list_close(out);
}

/* The outcome, to the peer and into the log. `from`: a gateway's answer to pass on, NULL: ours. */
static void finish(struct broker *self, struct enrol_question *question, enum status status,
                   const char *text, const struct wire_in *from, uint64_t now_ns)
{
    char print[CURVE_FINGERPRINT_SIZE];
    struct conn *conn = conns_find(&self->conns, question->conn);
    curve_fingerprint(print, &question->key);
    if (status == STATUS_OK)
        LOG_INFO("node_enrolled", "key=%s name=%s", print, question->name);
    else
        LOG_WARN("enrol_refused", "key=%s name=%s status=%s reason=%s", print, question->name,
                 status_name(status), text);
    wire_begin(self->out, WIRE_ENROLLED);
    wire_put_u64(self->out, KEY_REQUEST, question->his_request);
    wire_put_u64(self->out, KEY_STATUS, status);
    if (text[0])
        wire_put_text(self->out, KEY_TEXT, text);
    if (from && wire_has(from->map, KEY_NAME))
        wire_put_text(self->out, KEY_NAME,
                      wire_text(from->map, KEY_NAME, question->name, sizeof question->name));
    if (from)
        put_brokers(self->out, from->map);
    broker_send(self, question->conn);
    if (conn)
        conns_kick_later(&self->conns, conn, now_ns);
    forget(question);
}

/* Ask the next gateway with a session; false when there is no other. */
static bool ask_next(struct broker *self, struct enrol_question *question)
{
    struct core_peer peer;
    for (; question->slot < self->limits.sessions_max; question->slot++) {
        if (!core_peer(self->core, question->slot, &peer) || peer.role != CORE_GATEWAY ||
            !peer.open)
            continue;
        question->slot++;
        wire_begin(self->out, WIRE_ENROL);
        wire_put_u64(self->out, KEY_REQUEST, question->request);
        wire_put_bytes(self->out, KEY_PUBLIC, question->key.bytes, CURVE_KEY_BYTES);
        wire_put_u64(self->out, KEY_ROLE, question->role);
        if (question->name[0])
            wire_put_text(self->out, KEY_NAME, question->name);
        wire_put_bytes(self->out, KEY_SECRET, question->secret, sizeof question->secret);
        broker_send(self, peer.control);
        return true;
    }
    return false;
}

static struct enrol_question *place_for(struct enrol *self, uint64_t conn)
{
    struct enrol_question *free_place = NULL;
    for (size_t i = 0; i < ENROL_MAX; i++) {
        if (self->questions[i].request && self->questions[i].conn == conn)
            return NULL; /* asked twice: once is enough */
        if (!self->questions[i].request && !free_place)
            free_place = &self->questions[i];
    }
    return free_place;
}

void enrol_ask(struct broker *self, uint64_t conn, const struct wire_in *in, uint64_t now_ns)
{
    struct enrol_question *question = place_for(&self->enrol, conn);
    size_t size;
    if (!question)
        return;
    note_asked(self, conn);
    *question = (struct enrol_question){.request = ++self->enrol.requests,
                                        .conn = conn,
                                        .his_request = wire_u64(in->map, KEY_REQUEST),
                                        .until_ns = now_ns + ANSWER_MS * NS_PER_MS,
                                        .role = (enum wire_role)wire_u64(in->map, KEY_ROLE)};
    memcpy(question->secret, wire_bytes(in->map, KEY_SECRET, &size), sizeof question->secret);
    wire_text(in->map, KEY_NAME, question->name, sizeof question->name);
    if (!curve_key_parse(&question->key, in->user))
        finish(self, question, STATUS_INTERNAL, "the handshake gave no key", NULL, now_ns);
    else if (!ask_next(self, question))
        finish(self, question, STATUS_UNAVAILABLE,
               "no gateway is connected to this broker, and only a gateway knows its tokens: try "
               "again when one is",
               NULL, now_ns);
}

void enrol_answer(struct broker *self, const struct wire_in *in, uint64_t now_ns)
{
    uint64_t request = wire_u64(in->map, KEY_REQUEST);
    enum status status = (enum status)wire_u64(in->map, KEY_STATUS);
    char text[1024];
    wire_text(in->map, KEY_TEXT, text, sizeof text);
    for (size_t i = 0; request && i < ENROL_MAX; i++) {
        struct enrol_question *question = &self->enrol.questions[i];
        if (question->request != request)
            continue;
        if (status != STATUS_NOT_FOUND || !ask_next(self, question))
            finish(self, question, status, text, in, now_ns);
        return;
    }
}

void enrol_tick(struct broker *self, uint64_t now_ns)
{
    for (size_t i = 0; i < ENROL_MAX; i++) {
        struct enrol_question *question = &self->enrol.questions[i];
        if (question->request && now_ns >= question->until_ns)
            finish(self, question, STATUS_UNAVAILABLE,
                   "the gateway did not answer: ask again, the token may still be good", NULL,
                   now_ns);
        struct enrol_caller *caller = &self->enrol.callers[i];
        if (caller->fd && now_ns >= caller->kick_ns) {
            hang_up(self, caller);
            caller->kick_ns = now_ns + IDLE_MS * NS_PER_MS;
        }
    }
}
