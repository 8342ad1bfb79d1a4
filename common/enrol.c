/* enrol - one DEALER after the other; see enrol.h */
#include "common/enrol.h"

#include "common/clock.h"
#include "common/ids.h"
#include "common/log.h"
#include "common/wire.h"

#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ANSWER_MS  4000    /* for one broker: its gateway writes to a disk */
#define TOKEN_WORD "token" /* the identity's line with the hash of the token that made it */
#define PAUSE_MS   250     /* before all are asked again */

/* What one broker was asked, and what was seen of it. */
struct question {
    const struct enrol_config *config; /* the caller's */
    const struct token_broker *broker; /* whom we ask */
    const struct curve_identity *self; /* our new keys */
    void *socket;                      /* DEALER */
    struct net_monitor *monitor;       /* of the socket */
    struct wire_out *out;              /* ENROL */
    struct wire_in in;                 /* ENROLLED */
    bool connected;                    /* TCP is up */
    bool no_handshake;                 /* and CURVE is not: another key, or no CURVE */
};

static enum status open_question(struct question *self, struct error *why)
{
    self->socket = zmq_socket(self->config->zmq, ZMQ_DEALER);
    if (!self->socket)
        return fail(why, STATUS_INTERNAL, "no socket: %s", zmq_strerror(zmq_errno()));
    enum status s = net_options(self->socket, NET_CONNECT, NET_FRAME_MAX_CONTROL, why);
    if (s == STATUS_OK)
        s = curve_connect(self->socket, self->self, &self->broker->key, why);
    if (s == STATUS_OK)
        s = net_monitor_open(&self->monitor, self->config->zmq, self->socket, why);
    return s == STATUS_OK ? net_connect(self->socket, self->broker->enrol, why) : s;
}

static void send_question(struct question *self)
{
    uint32_t sequence = 0;
    wire_begin(self->out, WIRE_ENROL);
    wire_put_u64(self->out, KEY_REQUEST, random_u64());
    wire_put_u64(self->out, KEY_ROLE, self->config->token->role);
    wire_put_text(self->out, KEY_NAME, self->config->name);
    wire_put_bytes(self->out, KEY_SECRET, self->config->token->secret, TOKEN_SECRET_BYTES);
    wire_send(self->out, self->socket, NULL, 0, &sequence);
}

static void watch(struct question *self)
{
    struct net_event event;
    while (net_monitor_next(self->monitor, &event)) {
        self->connected |= event.kind == NET_CONNECTED;
        self->no_handshake |= event.kind == NET_NO_HANDSHAKE || event.kind == NET_REFUSED;
    }
}

static enum status no_answer(const struct question *self, struct error *why)
{
    const char *seen = "nothing answers there: is the broker up, does a firewall stand between?";
    if (self->no_handshake)
        seen = "what answers there has another key than the token says: is it the same fleet, and "
               "is the token newer than the broker's key?";
    else if (self->connected)
        seen = "it is reached, but says nothing: is its gateway up?";
    return fail(why, STATUS_UNAVAILABLE, "%s: %s", self->broker->enrol, seen);
}

/* The answer's status, its text, and what it tells of the fleet. */
static enum status take_answer(const struct question *self, struct curve_identity *out,
                               struct error *why)
{
    char text[ERROR_TEXT_MAX], endpoint[NET_ADDRESS_MAX];
    struct wire_map map = self->in.map;
    uint64_t status = wire_u64(map, KEY_STATUS);
    if (status != STATUS_OK)
        return fail(why, status_known(status) ? (enum status)status : STATUS_INTERNAL, "%s",
                    wire_text(map, KEY_TEXT, text, sizeof text));
    wire_text(map, KEY_NAME, out->name, sizeof out->name);
    for (size_t i = 0; i < wire_len(map, KEY_BROKERS); i++) {
        struct wire_map peer = wire_at(map, KEY_BROKERS, i);
        struct endpoint address;
        struct curve_key key;
        size_t size;
        const void *bytes = wire_bytes(peer, KEY_PUBLIC, &size);
        wire_text(peer, KEY_ENDPOINT, endpoint, sizeof endpoint);
        /* A gateway beside its broker may know it by an address that means another machine here. */
        if (size != sizeof key.bytes || endpoint_parse(&address, endpoint, NULL) != STATUS_OK ||
            address.loopback)
            continue;
        memcpy(key.bytes, bytes, sizeof key.bytes);
        curve_identity_add(out, endpoint, &key);
    }
    return STATUS_OK;
}

static enum status await(struct question *self, struct curve_identity *out, uint64_t end_ns,
                         struct error *why)
{
    zmq_pollitem_t items[] = {
        {self->socket, 0, ZMQ_POLLIN, 0},
        {net_monitor_socket(self->monitor), 0, ZMQ_POLLIN, 0},
        {NULL, self->config->stop_fd, ZMQ_POLLIN, 0},
    };
    int len = self->config->stop_fd < 0 ? 2 : 3;
    for (uint64_t now_ns; (now_ns = clock_mono_ns()) < end_ns;) {
        zmq_poll(items, len, (long)((end_ns - now_ns) / NS_PER_MS + 1));
        watch(self);
        if (len == 3 && items[2].revents)
            return fail(why, STATUS_CANCELLED, "interrupted while joining");
        enum status s;
        while ((s = wire_recv(self->socket, &self->in)) == STATUS_OK || s == STATUS_MALFORMED)
            if (s == STATUS_OK && self->in.type == WIRE_ENROLLED)
                return take_answer(self, out, why);
    }
    return no_answer(self, why);
}

static enum status ask(const struct enrol_config *config, const struct token_broker *broker,
                       struct curve_identity *out, uint64_t end_ns, struct error *why)
{
    struct question self = {.config = config, .broker = broker, .self = out};
    self.out = wire_out_new();
    enum status s = open_question(&self, why);
    if (s == STATUS_OK) {
        send_question(&self);
        s = await(&self, out, MIN(end_ns, clock_mono_ns() + ANSWER_MS * NS_PER_MS), why);
    }
    net_monitor_close(&self.monitor);
    if (self.socket)
        zmq_close(self.socket);
    wire_in_clear(&self.in);
    wire_out_destroy(&self.out);
    return s;
}

/* Whether another broker, or the same one later, may say something else. */
static bool may_change(enum status status)
{
    return status == STATUS_UNAVAILABLE || status == STATUS_BUSY || status == STATUS_STORAGE_FULL;
}

static bool stopped(const struct enrol_config *config)
{
    struct pollfd fd = {.fd = config->stop_fd, .events = POLLIN};
    return poll(&fd, config->stop_fd < 0 ? 0 : 1, PAUSE_MS) > 0;
}

enum status enrol_run(const struct enrol_config *config, struct curve_identity *out,
                      struct error *why)
{
    const struct token *token = config->token;
    uint64_t end_ns = clock_mono_ns() + config->patience_ms * NS_PER_MS;
    enum status s = STATUS_UNAVAILABLE;
    bool told = false;
    assert(token->brokers_len > 0);
    if (config->keys)
        *out = (struct curve_identity){.public_key = config->keys->public_key,
                                       .secret_key = config->keys->secret_key};
    else
        curve_identity_make(out);
    text_copy(out->role, sizeof out->role, token->role == WIRE_GATEWAY ? "gateway" : "worker");
    for (size_t i = 0; i < token->brokers_len; i++)
        curve_identity_add(out, token->brokers[i].control, &token->brokers[i].key);
    for (size_t i = random_u64() % token->brokers_len, n = 1;; i++, n++) {
        s = ask(config, &token->brokers[i % token->brokers_len], out, end_ns, why);
        if (!may_change(s))
            break;
        if (!told)
            LOG_WARN("join_waits", "reason=%s", why->text);
        told = true;
        if (clock_mono_ns() >= end_ns)
            break;
        if (n % token->brokers_len == 0 && stopped(config)) {
            s = fail(why, STATUS_CANCELLED, "interrupted while joining");
            break;
        }
    }
    if (s != STATUS_OK)
        curve_identity_wipe(out);
    return s;
}

/* --- by a line -----------------------------------------------------------------------------------
 */

static const char *role_name(uint32_t role)
{
    return role == WIRE_GATEWAY ? "gateway" : "worker";
}

static enum status read_line(struct token *token, const struct enrol_wish *wish, struct error *why)
{
    enum status s = token_read(token, wish->line, why);
    if (s == STATUS_OK && token->role != wish->role)
        s = fail(why, STATUS_INVALID,
                 "the token admits a %s, this is a %s: `convoy token create --role %s` makes one",
                 role_name(token->role), role_name(wish->role), role_name(wish->role));
    return s;
}

/* The identity at `path`, if this token made it. */
static bool made_before(struct curve_identity *out, const char *path, const char *hash)
{
    char made_by[DIGEST_TEXT_SIZE];
    if (curve_identity_read(out, path, NULL) != STATUS_OK)
        return false;
    if (curve_identity_other(out, TOKEN_WORD, made_by, sizeof made_by) &&
        strcmp(made_by, hash) == 0)
        return true;
    curve_identity_wipe(out);
    return false;
}

/* Where the keys are until the fleet took them. The caller frees it. */
static char *draft_of(const char *path)
{
    return xasprintf("%s.joining", path);
}

/* Keys are on the disk before anybody is asked: who ends before the answer is written asks with the
 * same ones again, which costs no second use; and a full disk costs none at all. */
static enum status open_draft(struct curve_identity *keys, const char *path, const char *hash,
                              struct error *why)
{
    if (made_before(keys, path, hash))
        return STATUS_OK;
    curve_identity_make(keys);
    curve_identity_set_other(keys, TOKEN_WORD, hash);
    enum status s = curve_identity_write(keys, path, why);
    if (s != STATUS_OK)
        curve_identity_wipe(keys);
    return s;
}

static enum status enrol_and_write(const struct enrol_wish *wish, const struct token *token,
                                   const char *hash, const struct curve_identity *keys,
                                   struct curve_identity *out, struct error *why)
{
    char host[128] = "", fingerprint[CURVE_FINGERPRINT_SIZE];
    gethostname(host, sizeof host - 1);
    host[strcspn(host, ".")] = '\0';
    const struct enrol_config config = {.zmq = wish->zmq,
                                        .token = token,
                                        .name = wish->name[0] ? wish->name : host,
                                        .keys = keys,
                                        .patience_ms = wish->patience_ms,
                                        .stop_fd = wish->stop_fd};
    enum status s = enrol_run(&config, out, why);
    if (s != STATUS_OK)
        return s;
    curve_identity_set_other(out, TOKEN_WORD, hash);
    s = curve_identity_write(out, wish->path, why);
    if (s == STATUS_OK)
        LOG_INFO("fleet_joined", "node=%s key=%s identity=%s", out->name,
                 curve_fingerprint(fingerprint, &out->public_key), wish->path);
    else
        curve_identity_wipe(out);
    return s;
}

static enum status enrol_anew(const struct enrol_wish *wish, const struct token *token,
                              const char *hash, struct curve_identity *out, struct error *why)
{
    char *draft = draft_of(wish->path);
    struct curve_identity keys;
    enum status s = open_draft(&keys, draft, hash, why);
    if (s == STATUS_OK) {
        s = enrol_and_write(wish, token, hash, &keys, out, why);
        curve_identity_wipe(&keys);
    }
    if (s == STATUS_OK)
        unlink(draft);
    free(draft);
    return s;
}

enum status enrol_join(const struct enrol_wish *wish, struct curve_identity *out, struct error *why)
{
    char hash_text[DIGEST_TEXT_SIZE];
    struct token token;
    *out = (struct curve_identity){0};
    enum status s = read_line(&token, wish, why);
    if (s == STATUS_OK) {
        struct digest hash = token_hash(token.secret);
        digest_text(hash_text, &hash);
        if (!made_before(out, wish->path, hash_text))
            s = enrol_anew(wish, &token, hash_text, out, why);
    }
    token_wipe(&token);
    return s == STATUS_OK ? s : fail_in(why, "--join");
}
