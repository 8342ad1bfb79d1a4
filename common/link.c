/* link - two DEALERs, HELLO on both, heartbeats, and starting afresh; see link.h
 *
 *            WELCOME on control        WELCOME on data
 *   [DIALING] ------------> [TYING] ------------> [UP]
 *       ^                      |                    |
 *       `- a break, silence, GOODBYE, HELLO_NEEDED -'
 */
#include "common/link_private.h"

#include "common/clock.h"
#include "common/log.h"
#include "common/netopts.h"

#include <inttypes.h>
#include <sodium/utils.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SILENT_BEATS  3    /* one lost beat is not a death, nor are two */
#define DIAL_AGAIN_MS 2000 /* no answer: new sockets, which also ends libzmq's back-off */
#define DIAL_PAUSE_MS 200  /* between two sessions: a broker that refuses us is not stormed */
#define REFUSED_MS    5000 /* the same where it refused our key: that takes a person to mend */
#define ENROL_AFTER   2    /* ports behind control's, where the broker said nothing */
#define COMPLAIN_MS   5000 /* how often to say that nobody answers */

/* --- sockets ------------------------------------------------------------------------------------
 */

static void close_socket(struct link *self, enum wire_plane plane)
{
    if (plane == WIRE_CONTROL)
        net_monitor_close(&self->monitor);
    if (self->sockets[plane])
        zmq_close(self->sockets[plane]);
    self->sockets[plane] = NULL;
    self->sequences[plane] = 0;
}

static void open_socket(struct link *self, enum wire_plane plane, uint16_t port)
{
    struct error why;
    char address[NET_ADDRESS_MAX + 16];
    bool v6 = self->place.address.ipv6;
    close_socket(self, plane);
    snprintf(address, sizeof address, "tcp://%s%s%s:%u", v6 ? "[" : "", self->place.address.host,
             v6 ? "]" : "", port);
    self->sockets[plane] = zmq_socket(self->zmq, ZMQ_DEALER);
    if (!self->sockets[plane])
        panic("no socket for %s: %s", address, zmq_strerror(zmq_errno()));
    size_t frame_max = plane == WIRE_CONTROL ? NET_FRAME_MAX_CONTROL : NET_FRAME_MAX_DATA;
    enum status s = net_options(self->sockets[plane], NET_CONNECT, frame_max, &why);
    if (s == STATUS_OK && self->keyed)
        s = curve_connect(self->sockets[plane], &self->own, &self->place.server, &why);
    if (s == STATUS_OK && plane == WIRE_CONTROL)
        s = net_monitor_open(&self->monitor, self->zmq, self->sockets[plane], &why);
    if (s == STATUS_OK)
        s = net_connect(self->sockets[plane], address, &why);
    if (s != STATUS_OK)
        panic("cannot connect to %s: %s", address, why.text);
}

void link_dial(struct link *self, uint64_t now_ns, uint64_t pause_ms)
{
    close_socket(self, WIRE_DATA);
    open_socket(self, WIRE_CONTROL, self->place.address.port);
    self->state = DIALING;
    self->greeted = false;
    self->heard_ns = now_ns;
    self->dial_ns = now_ns + pause_ms * NS_PER_MS;
}

/* No socket at all for a while: libzmq would try again by itself, much sooner. */
static void rest(struct link *self, uint64_t now_ns)
{
    close_socket(self, WIRE_DATA);
    close_socket(self, WIRE_CONTROL);
    self->state = DIALING;
    self->greeted = true; /* so that the next try begins with new sockets */
    self->dial_ns = now_ns + REFUSED_MS * NS_PER_MS;
    self->complain_ns = self->dial_ns + COMPLAIN_MS * NS_PER_MS; /* who refuses is not silent */
}

struct link *link_new(void *zmq, const struct link_config *config)
{
    struct link *self = xcalloc(1, sizeof *self);
    struct error why;
    self->zmq = zmq;
    self->config = *config;
    self->config.endpoint = xstrdup(config->endpoint);
    self->config.name = xstrdup(config->name ? config->name : "");
    assert(!config->server_key == !config->identity);
    self->keyed = config->server_key != NULL;
    if (self->keyed) {
        self->place.server = *config->server_key;
        self->own.public_key = config->identity->public_key;
        self->own.secret_key = config->identity->secret_key;
    }
    if (endpoint_parse(&self->place.address, config->endpoint, &why) != STATUS_OK)
        panic("an unchecked address reached the link: %s", why.text);
    self->out = wire_out_new();
    uint64_t now_ns = clock_mono_ns();
    self->complain_ns = now_ns + DIAL_AGAIN_MS * NS_PER_MS;
    link_dial(self, now_ns, 0);
    return self;
}

/* --- what we say on our own ---------------------------------------------------------------------
 */

static enum status say(struct link *self, enum wire_plane plane)
{
    return wire_send(self->out, self->sockets[plane], NULL, 0, &self->sequences[plane]);
}

static void say_hello(struct link *self, enum wire_plane plane)
{
    wire_begin(self->out, WIRE_HELLO);
    wire_put_u64(self->out, KEY_ROLE, self->config.role);
    wire_put_uuid(self->out, KEY_UUID, &self->config.uuid);
    wire_put_u64(self->out, KEY_INCARNATION, self->config.incarnation);
    wire_put_u64(self->out, KEY_VERSION_MIN, 0);
    wire_put_u64(self->out, KEY_VERSION_MAX, WIRE_MINOR);
    if (self->config.name[0])
        wire_put_text(self->out, KEY_NAME, self->config.name);
    if (plane == WIRE_DATA)
        wire_put_u64(self->out, KEY_SESSION, self->terms.session);
    else if (self->config.fill_hello)
        self->config.fill_hello(self->config.owner, self->out);
    say(self, plane);
}

static bool idle(const struct link *self)
{
    return self->config.idle && self->config.idle(self->config.owner);
}

/* We promised HEARTBEATs as of an idle peer, and have work now. */
static bool too_slow(const struct link *self)
{
    return self->pace_ms > self->terms.heartbeat_ms && !idle(self);
}

void link_beat(struct link *self)
{
    if (self->state != UP)
        return;
    uint64_t now_ns = clock_mono_ns();
    uint32_t pace_ms = self->terms.heartbeat_ms;
    if (too_slow(self)) { /* the broker answers it at once, and beats as we do */
        self->heard_ns = now_ns;
        self->broker_pace_ms = pace_ms;
    }
    wire_begin(self->out, WIRE_HEARTBEAT);
    if (self->terms.idle_ms > pace_ms && idle(self)) {
        pace_ms = self->terms.idle_ms;
        wire_put_u64(self->out, KEY_NEXT_MS, pace_ms);
    }
    if (self->config.fill_heartbeat)
        self->config.fill_heartbeat(self->config.owner, self->out);
    say(self, WIRE_CONTROL);
    self->pace_ms = pace_ms;
    self->beat_ns = now_ns + pace_ms * NS_PER_MS;
}

void link_destroy(struct link **self_p)
{
    struct link *self = *self_p;
    if (!self)
        return;
    if (self->state == UP) {
        const int linger_ms = 500; /* long enough for a GOODBYE to a broker that lives */
        wire_begin(self->out, WIRE_GOODBYE);
        say(self, WIRE_CONTROL);
        zmq_setsockopt(self->sockets[WIRE_CONTROL], ZMQ_LINGER, &linger_ms, sizeof linger_ms);
        zmq_setsockopt(self->sockets[WIRE_DATA], ZMQ_LINGER, &linger_ms, sizeof linger_ms);
    }
    close_socket(self, WIRE_CONTROL);
    close_socket(self, WIRE_DATA);
    wire_out_destroy(&self->out);
    free((char *)self->config.endpoint);
    free((char *)self->config.name);
    sodium_memzero(self, sizeof *self);
    free(self);
    *self_p = NULL;
}

/* --- what the broker says to the link itself ----------------------------------------------------
 */

static void lose(struct link *self, uint64_t now_ns, const char *reason)
{
    if (self->state == UP) {
        LOG_WARN("broker_lost", "broker=%s reason=%s action=%s", self->config.endpoint, reason,
                 "connecting again");
        self->announce_down = true;
        self->complain_ns = now_ns + COMPLAIN_MS * NS_PER_MS;
    }
    link_dial(self, now_ns, DIAL_PAUSE_MS);
}

/* When to give up a HELLO: later each time, and not at the same moment as everybody else. */
static uint64_t again_ns(const struct link *self, uint64_t now_ns)
{
    uint64_t ns = (uint64_t)DIAL_AGAIN_MS * NS_PER_MS << MIN(self->tries, 2u);
    return now_ns + ns + random_u64() % (ns / 2);
}

void link_rekey(struct link *self, const struct curve_identity *identity)
{
    assert(self->keyed);
    self->own.public_key = identity->public_key;
    self->own.secret_key = identity->secret_key;
    lose(self, clock_mono_ns(), "this side has a new key");
}

static void take_terms(struct link *self, const struct wire_in *in, uint64_t now_ns)
{
    self->terms = (struct link_terms){
        .session = wire_u64(in->map, KEY_SESSION),
        .broker = wire_uuid(in->map, KEY_BROKER),
        .minor = (uint32_t)wire_u64(in->map, KEY_VERSION_MAX),
        .heartbeat_ms = (uint32_t)wire_u64(in->map, KEY_HEARTBEAT_MS),
        .idle_ms = (uint32_t)wire_u64(in->map, KEY_IDLE_MS),
        .lease_ms = (uint32_t)wire_u64(in->map, KEY_LEASE_MS),
        .message_max = wire_u64(in->map, KEY_MESSAGE_MAX),
        .enrol_port = (uint16_t)wire_u64(in->map, KEY_ENROL_PORT),
        .credit_tasks = wire_u64(in->map, KEY_CREDIT_TASKS),
        .credit_bytes = wire_u64(in->map, KEY_CREDIT_BYTES),
    };
    link_take_brokers(self, in);
    if (self->next.address.port && !self->moving && !self->stays) {
        link_move(self, now_ns);
        return;
    }
    open_socket(self, WIRE_DATA, (uint16_t)wire_u64(in->map, KEY_DATA_PORT));
    self->state = TYING;
    say_hello(self, WIRE_DATA);
    self->dial_ns = again_ns(self, now_ns);
}

static enum link_event came_up(struct link *self, uint64_t now_ns)
{
    if (self->moving)
        link_move_done(self);
    self->state = UP;
    self->tries = 0;
    self->beat_ns = now_ns;
    self->pace_ms = self->broker_pace_ms = self->terms.heartbeat_ms;
    LOG_INFO("broker_joined", "broker=%s session=%016" PRIx64, self->config.endpoint,
             self->terms.session);
    return LINK_UP;
}

/* WELCOME in an open session: the broker's list of brokers has changed, nothing else may. */
static enum link_event take_news(struct link *self, const struct wire_in *in)
{
    if (wire_u64(in->map, KEY_SESSION) != self->terms.session)
        return LINK_NONE;
    link_take_brokers(self, in);
    return LINK_NEWS;
}

static void refused(struct link *self, const struct wire_in *in, uint64_t now_ns)
{
    char text[256];
    wire_text(in->map, KEY_TEXT, text, sizeof text);
    enum status status = (enum status)wire_u64(in->map, KEY_STATUS);
    if (status == STATUS_HELLO_NEEDED)
        lose(self, now_ns, "it does not know this session");
    else
        LOG_WARN("broker_refused", "broker=%s status=%s text=%s", self->config.endpoint,
                 status_name(status), text);
}

static void parted(struct link *self, const struct wire_in *in, uint64_t now_ns)
{
    char text[256];
    enum status status = (enum status)wire_u64(in->map, KEY_STATUS);
    wire_text(in->map, KEY_TEXT, text, sizeof text);
    lose(self, now_ns, text[0] ? text : "it said goodbye");
    if (status == STATUS_FORBIDDEN) {
        LOG_WARN("broker_refused", "broker=%s status=%s text=%s", self->config.endpoint,
                 status_name(status), text);
        rest(self, now_ns);
    }
}

/* Handshakes that failed since the last look, and the end of the connection. */
static void watch(struct link *self, uint64_t now_ns)
{
    bool broken = false;
    char key[CURVE_FINGERPRINT_SIZE] = "none";
    struct net_event event = {.fd = -1};
    if (self->keyed)
        curve_fingerprint(key, &self->own.public_key);
    while (self->monitor && net_monitor_next(self->monitor, &event)) {
        if (event.kind == NET_REFUSED) {
            LOG_WARN("key_refused", "broker=%s key=%s action=%s hint=%s", self->config.endpoint,
                     key, "trying again from time to time",
                     "the broker does not admit this key: `convoy nodes list` says whether it was "
                     "revoked; a new token lets it join again");
            rest(self, now_ns);
        } else if (event.kind == NET_DISCONNECTED) {
            broken = true;
        } else if (event.kind == NET_NO_HANDSHAKE) {
            LOG_WARN("handshake_failed", "broker=%s key=%s hint=%s", self->config.endpoint, key,
                     self->keyed ? "is the broker's key right, and has it CURVE on?"
                                 : "does the broker ask for CURVE? Then this side needs keys");
        }
    }
    if (broken && self->state != DIALING)
        lose(self, now_ns, "the connection broke");
}

/* One received message: for the link, or LINK_MESSAGE for the owner. */
static enum link_event handle(struct link *self, enum wire_plane plane, const struct wire_in *in,
                              uint64_t now_ns)
{
    self->heard_ns = now_ns;
    if (in->type == WIRE_HEARTBEAT) {
        self->broker_pace_ms = wire_has(in->map, KEY_NEXT_MS)
                                   ? (uint32_t)wire_u64(in->map, KEY_NEXT_MS)
                                   : self->terms.heartbeat_ms;
        if (self->broker_pace_ms < self->pace_ms)
            self->beat_ns = now_ns; /* it counts on an answer: work may be on its way */
    }
    if (!wire_may_send(in->type, WIRE_BROKER)) {
        LOG_WARN("message_dropped", "broker=%s type=%s reason=%s", self->config.endpoint,
                 wire_name(in->type), "a broker may not send it");
        return LINK_NONE;
    }
    if (in->type == WIRE_WELCOME && plane == WIRE_CONTROL && self->state == DIALING)
        take_terms(self, in, now_ns);
    else if (in->type == WIRE_WELCOME && plane == WIRE_DATA && self->state == TYING)
        return came_up(self, now_ns);
    else if (in->type == WIRE_WELCOME && plane == WIRE_CONTROL && self->state == UP)
        return take_news(self, in);
    else if (in->type == WIRE_GOODBYE)
        parted(self, in, now_ns);
    else if (in->type == WIRE_ERROR)
        refused(self, in, now_ns);
    else if (in->type != WIRE_WELCOME && self->state == UP)
        return LINK_MESSAGE;
    return LINK_NONE;
}

/* --- the owner's calls --------------------------------------------------------------------------
 */

static uint64_t patience_ns(const struct link *self)
{
    return (uint64_t)self->broker_pace_ms * SILENT_BEATS * NS_PER_MS;
}

/* What the clock asks for. */
static void timers(struct link *self, uint64_t now_ns)
{
    if (self->state == UP) {
        if (now_ns >= self->heard_ns + patience_ns(self))
            lose(self, now_ns, "silent for three heartbeats");
        else if (now_ns >= self->beat_ns || too_slow(self))
            link_beat(self);
        return;
    }
    if (now_ns >= self->complain_ns) {
        LOG_WARN("broker_silent", "broker=%s action=%s hint=%s", self->config.endpoint,
                 "still trying", "is convoy-broker running there?");
        self->complain_ns = now_ns + COMPLAIN_MS * NS_PER_MS;
    }
    if (now_ns < self->dial_ns)
        return;
    /* libzmq keeps what could not be sent: a second HELLO on one socket could arrive after the
     * first and end the session that the first had opened. So each socket says it once. */
    if (self->greeted) {
        link_move_back(self);
        link_dial(self, now_ns, 0);
    }
    say_hello(self, WIRE_CONTROL);
    self->greeted = true;
    self->dial_ns = again_ns(self, now_ns);
    self->tries++;
}

/* What is said on control to the session may overtake the WELCOME on data that opens it. */
static bool may_read(const struct link *self, enum wire_plane plane)
{
    return self->sockets[plane] && (plane == WIRE_DATA || self->state != TYING);
}

enum link_event link_step(struct link *self, uint64_t now_ns, struct wire_in *in)
{
    timers(self, now_ns);
    if (self->announce_down) {
        self->announce_down = false;
        return LINK_DOWN;
    }
    for (int turn = 0; turn < 2; turn++) {
        enum wire_plane plane = (enum wire_plane)self->next_plane;
        self->next_plane = 1 - self->next_plane;
        while (may_read(self, plane)) {
            enum status s = wire_recv(self->sockets[plane], in);
            if (s == STATUS_MALFORMED) {
                LOG_WARN("message_malformed", "broker=%s why=%s", self->config.endpoint,
                         in->why.text);
                continue;
            }
            if (s != STATUS_OK)
                break;
            enum link_event event = handle(self, plane, in, now_ns);
            if (self->announce_down) {
                self->announce_down = false;
                return LINK_DOWN;
            }
            if (event != LINK_NONE)
                return event;
        }
    }
    watch(self, now_ns); /* after all that could be read: what a dying broker still said counts */
    enum link_event event = self->announce_down ? LINK_DOWN : LINK_NONE;
    self->announce_down = false;
    return event;
}

size_t link_poll_items(const struct link *self, zmq_pollitem_t *items)
{
    size_t len = 0;
    for (int plane = 0; plane < 2; plane++)
        if (may_read(self, (enum wire_plane)plane))
            items[len++] = (zmq_pollitem_t){self->sockets[plane], 0, ZMQ_POLLIN, 0};
    if (self->monitor)
        items[len++] = (zmq_pollitem_t){net_monitor_socket(self->monitor), 0, ZMQ_POLLIN, 0};
    return len;
}

uint64_t link_next_ns(const struct link *self)
{
    if (self->state == UP && too_slow(self))
        return 0;
    if (self->state == UP)
        return MIN(self->beat_ns, self->heard_ns + patience_ns(self));
    return MIN(self->dial_ns, self->complain_ns);
}

bool link_up(const struct link *self)
{
    return self->state == UP;
}

const struct link_terms *link_terms(const struct link *self)
{
    return &self->terms;
}

const char *link_endpoint(const struct link *self)
{
    return self->config.endpoint;
}

enum status link_send(struct link *self, struct wire_out *out)
{
    if (self->state != UP)
        return STATUS_UNAVAILABLE;
    enum wire_plane plane = wire_plane(wire_out_type(out));
    return wire_send(out, self->sockets[plane], NULL, 0, &self->sequences[plane]);
}

void link_enrol_address(const struct link *self, char into[static NET_ADDRESS_MAX])
{
    const struct endpoint *at = &self->place.address;
    char address[NET_ADDRESS_MAX + 16];
    uint32_t port = self->terms.enrol_port ? self->terms.enrol_port : at->port + ENROL_AFTER;
    snprintf(address, sizeof address, "tcp://%s%s%s:%u", at->ipv6 ? "[" : "", at->host,
             at->ipv6 ? "]" : "", port);
    text_copy(into, NET_ADDRESS_MAX, address);
}
