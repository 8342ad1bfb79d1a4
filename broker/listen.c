/* listen - the broker's sockets, its keys, and the proof that a stranger is kept out
 *
 * Order matters: keys and registry first, then the ZAP handler, then for each socket its options,
 * the self-test on an address of its own, and last the real address. Whatever fails, no port is
 * open. */
#include "broker/broker.h"

#include "common/clock.h"
#include "common/file.h"
#include "common/log.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SELF_TEST_MS    5000 /* a handshake on loopback takes milliseconds */
#define DATA_PORT_NEXT  1    /* of the data port behind control's, where CURVE is on */
#define ENROL_PORT_NEXT 2    /* and of the enrol port */

static const char *const domains[] = {
    [PORT_CONTROL] = ZAP_CONTROL, [PORT_DATA] = ZAP_DATA, [PORT_ENROL] = ZAP_ENROL};

const char *listen_name(enum port_kind kind)
{
    return domains[kind];
}

/* --- the self-test -----------------------------------------------------------------------------
 */

/* Whether a peer with the keys `identity` came through to `router`, which listens on `address`. */
static enum status try_key(struct broker *self, void *router, const char *address,
                           const struct curve_identity *identity, const struct curve_key *server,
                           bool *came, struct error *why)
{
    void *dealer = zmq_socket(self->zmq, ZMQ_DEALER);
    struct net_monitor *monitor = NULL;
    struct net_event event;
    uint64_t until_ns = clock_mono_ns() + SELF_TEST_MS * NS_PER_MS;
    bool refused = *came = false;
    enum status s = net_options(dealer, NET_CONNECT, NET_FRAME_MAX_CONTROL, why);
    if (s == STATUS_OK)
        s = curve_connect(dealer, identity, server, why);
    if (s == STATUS_OK)
        s = net_monitor_open(&monitor, self->zmq, dealer, why);
    if (s == STATUS_OK)
        s = net_connect(dealer, address, why);
    if (s == STATUS_OK)
        zmq_send(dealer, "", 0, ZMQ_DONTWAIT);
    while (s == STATUS_OK && !*came && !refused && clock_mono_ns() < until_ns) {
        zmq_pollitem_t items[] = {{.socket = router, .events = ZMQ_POLLIN},
                                  {.socket = net_monitor_socket(monitor), .events = ZMQ_POLLIN}};
        zmq_poll(items, ARRAY_LEN(items), 100);
        *came = items[0].revents & ZMQ_POLLIN;
        while (net_monitor_next(monitor, &event))
            refused = refused || event.kind == NET_REFUSED;
    }
    if (s == STATUS_OK && !*came && !refused)
        s = fail(why, STATUS_INTERNAL, "the self-test of CURVE got no answer within %d ms",
                 SELF_TEST_MS);
    net_monitor_close(&monitor);
    zmq_close(dealer);
    return s;
}

static void empty(void *router)
{
    char octet;
    while (zmq_recv(router, &octet, sizeof octet, ZMQ_DONTWAIT) >= 0)
        continue;
}

/* An unknown key must be refused and a known one must come in, before the port opens to others. */
static enum status self_test(struct broker *self, void *router, const struct curve_key *server,
                             struct error *why)
{
    struct curve_identity stranger, friend;
    char address[NET_ADDRESS_MAX];
    bool stranger_came = false, friend_came = false;
    curve_identity_make(&stranger);
    curve_identity_make(&friend);
    enum status s = net_bind(router, "tcp://127.0.0.1:0", address, why);
    zap_expect(self->zap, &friend.public_key, &stranger.public_key);
    if (s == STATUS_OK)
        s = try_key(self, router, address, &stranger, server, &stranger_came, why);
    if (s == STATUS_OK && !stranger_came)
        s = try_key(self, router, address, &friend, server, &friend_came, why);
    zap_expect(self->zap, NULL, NULL);
    if (s == STATUS_OK && (stranger_came || !friend_came))
        s = fail(why, STATUS_INTERNAL,
                 "the self-test of CURVE failed: %s; no port was opened, report it with libzmq's "
                 "version",
                 stranger_came ? "an unknown key was let in" : "a known key was refused");
    empty(router);
    zmq_unbind(router, address);
    curve_identity_wipe(&stranger);
    curve_identity_wipe(&friend);
    return s;
}

/* --- ports -------------------------------------------------------------------------------------
 */

/* One socket, ready, under `name`; its number is known then. */
static enum status open_port(struct broker *self, enum port_kind kind, bool next,
                             const char *address, const char *name, struct error *why)
{
    struct port *port = &self->ports[self->ports_len];
    const struct curve_identity *key = next ? &self->next_key : &self->key;
    size_t frame_max = kind == PORT_DATA ? NET_FRAME_MAX_DATA : NET_FRAME_MAX_CONTROL;
    char bound[NET_ADDRESS_MAX];
    struct endpoint endpoint;
    assert(self->ports_len < PORTS_MAX);
    *port = (struct port){.socket = zmq_socket(self->zmq, ZMQ_ROUTER), .kind = kind, .next = next};
    if (!port->socket)
        return fail(why, STATUS_INTERNAL, "no socket: %s", zmq_strerror(zmq_errno()));
    self->ports_len++;
    enum status s = net_options(port->socket, NET_BIND, frame_max, why);
    if (s == STATUS_OK && self->curve)
        s = curve_serve(port->socket, key, listen_name(kind), why);
    if (s == STATUS_OK && self->curve && kind != PORT_ENROL)
        s = self_test(self, port->socket, &key->public_key, why);
    if (s == STATUS_OK)
        s = net_monitor_open(&port->monitor, self->zmq, port->socket, why);
    if (s == STATUS_OK)
        s = net_bind(port->socket, address, bound, why);
    if (s == STATUS_OK)
        s = endpoint_parse(&endpoint, bound, why);
    if (s != STATUS_OK)
        return s;
    port->number = endpoint.port;
    daemon_endpoint(self->run, name, bound);
    return STATUS_OK;
}

/* Another port on the host of `endpoint`; 0: any free one. Returns `into`. */
static char *beside(char into[NET_ADDRESS_MAX + 16], const struct endpoint *endpoint, uint32_t port)
{
    snprintf(into, NET_ADDRESS_MAX + 16, endpoint->ipv6 ? "tcp://[%s]:%u" : "tcp://%s:%u",
             endpoint->host, port);
    return into;
}

/* The enrol port that belongs to the control port `control`. */
static enum status open_enrol(struct broker *self, bool next, const struct endpoint *control,
                              struct error *why)
{
    const char *listen = self->params->enrol_listen;
    char address[NET_ADDRESS_MAX + 16];
    if (!self->curve || !listen[0] || strcmp(listen, "off") == 0)
        return STATUS_OK;
    if (next || strcmp(listen, "auto") == 0)
        listen = beside(address, control, control->port ? control->port + ENROL_PORT_NEXT : 0);
    enum status s = open_port(self, PORT_ENROL, next, listen, next ? "next_enrol" : "enrol", why);
    return s == STATUS_OK ? s : fail_in(why, "--enrol-listen");
}

/* All ports under one server key. */
static enum status open_ports(struct broker *self, bool next, const char *listen,
                              uint32_t data_port, struct error *why)
{
    char address[NET_ADDRESS_MAX + 16];
    struct endpoint endpoint;
    enum status s = endpoint_parse(&endpoint, listen, why);
    if (s == STATUS_OK && self->curve && data_port == 0 && endpoint.port > 0) /* for firewalls */
        data_port = endpoint.port + DATA_PORT_NEXT;
    if (s == STATUS_OK)
        s = open_port(self, PORT_CONTROL, next, listen, next ? "next" : "control", why);
    if (s == STATUS_OK)
        s = open_port(self, PORT_DATA, next, beside(address, &endpoint, data_port),
                      next ? "next_data" : "data", why);
    return s == STATUS_OK ? open_enrol(self, next, &endpoint, why) : s;
}

/* --- keys --------------------------------------------------------------------------------------
 */

/* Where the state folder has this file. The caller frees it. */
static char *in_state(const struct broker *self, const char *name)
{
    return xasprintf("%s/%s", self->params->state, name);
}

static enum status open_key(const struct broker *self, const char *name, struct curve_identity *key,
                            struct error *why)
{
    char text[CURVE_TEXT_SIZE], print[CURVE_FINGERPRINT_SIZE], *path = in_state(self, name);
    enum status s = curve_identity_open(key, path, why);
    if (s == STATUS_OK)
        LOG_INFO("broker_key", "file=%s public=%s key=%s", path,
                 curve_key_text(text, &key->public_key),
                 curve_fingerprint(print, &key->public_key));
    free(path);
    return s;
}

static enum status open_registry(struct broker *self, struct error *why)
{
    char *path = in_state(self, "registry");
    self->registry = registry_new();
    enum status s = registry_configure(self->registry, self->params->gateway_keys, why);
    if (s == STATUS_OK)
        s = registry_open(self->registry, path, why);
    free(path);
    if (s == STATUS_OK && registry_gateways(self->registry) == 0)
        LOG_WARN("no_gateway_known", "hint=%s",
                 "no gateway can come in: give its public key in gateway_keys");
    return s;
}

static enum status open_curve(struct broker *self, struct error *why)
{
    enum status s = file_mkdirs(self->params->state, why);
    if (s == STATUS_OK)
        s = open_key(self, "broker.key", &self->key, why);
    if (s == STATUS_OK && self->params->next_listen[0])
        s = open_key(self, "broker.key.next", &self->next_key, why);
    if (s == STATUS_OK)
        s = open_registry(self, why);
    if (s == STATUS_OK)
        s = zap_open(&self->zap, self->zmq, self->registry, self->params->enrol_per_s, why);
    self->callers = xcalloc((size_t)self->conns.fds_max, sizeof *self->callers);
    return s;
}

/* Off loopback always, there when it is asked for. */
static enum status choose_curve(struct broker *self, const struct endpoint *control,
                                struct error *why)
{
    const char *curve = self->params->curve;
    if (strcmp(curve, "on") != 0 && strcmp(curve, "auto") != 0)
        return fail(why, STATUS_INVALID, "--curve is %s: expected on, or auto (off on loopback)",
                    curve);
    self->curve = strcmp(curve, "on") == 0 || !control->loopback;
    if (!self->curve && self->params->next_listen[0])
        return fail(why, STATUS_INVALID,
                    "--next-listen changes the server's key, and there is none on loopback: add "
                    "--curve on");
    return STATUS_OK;
}

enum status listen_open(struct broker *self, struct error *why)
{
    struct endpoint control;
    enum status s = endpoint_parse(&control, self->params->listen, why);
    if (s == STATUS_OK)
        s = choose_curve(self, &control, why);
    if (s == STATUS_OK && self->curve)
        s = open_curve(self, why);
    if (s == STATUS_OK)
        s = open_ports(self, false, self->params->listen, self->params->data_port, why);
    if (s == STATUS_OK && self->params->next_listen[0])
        s = open_ports(self, true, self->params->next_listen, self->params->next_data_port, why);
    return s;
}

void listen_close(struct broker *self)
{
    for (size_t i = 0; i < self->ports_len; i++) {
        net_monitor_close(&self->ports[i].monitor);
        zmq_close(self->ports[i].socket);
    }
    self->ports_len = 0;
    zap_close(&self->zap);
    registry_destroy(&self->registry);
    free(self->callers);
    curve_identity_wipe(&self->key);
    curve_identity_wipe(&self->next_key);
}

const struct port *listen_port(const struct broker *self, enum port_kind kind, bool next)
{
    for (size_t i = 0; i < self->ports_len; i++)
        if (self->ports[i].kind == kind && self->ports[i].next == next)
            return &self->ports[i];
    return NULL;
}
