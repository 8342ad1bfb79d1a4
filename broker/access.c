/* access - what a peer's key allows: roles, revocation, draining; see broker.h */
#include "broker/broker.h"

#include "common/clock.h"
#include "common/log.h"

#include <inttypes.h>
#include <string.h>

#define SAVE_MS 1000 /* the registry is written so often at most: each time waits for the disk */

static const char *role_name(enum wire_role role)
{
    return role == WIRE_WORKER ? "worker" : "gateway";
}

const struct curve_key *access_key(struct broker *self, uint64_t conn)
{
    const struct conn *entry = conns_find(&self->conns, conn);
    return entry && entry->keyed ? &entry->curve : NULL;
}

/* --- HELLO -------------------------------------------------------------------------------------
 */

/* Say why, log it, and shut the connection down. */
static bool refuse(struct broker *self, uint64_t conn, const struct curve_key *key,
                   const char *node, const char *reason, uint64_t now_ns)
{
    char print[CURVE_FINGERPRINT_SIZE] = "none";
    struct conn *entry = conns_find(&self->conns, conn);
    if (key)
        curve_fingerprint(print, key);
    self->counters.peers_refused++;
    LOG_WARN("peer_refused", "socket=%s key=%s node=%s reason=%s",
             listen_name(self->ports[conn_port(conn)].kind), print, node, reason);
    wire_begin(self->out, WIRE_GOODBYE);
    wire_put_u64(self->out, KEY_STATUS, STATUS_FORBIDDEN);
    wire_put_text(self->out, KEY_TEXT, reason);
    broker_send(self, conn);
    if (entry)
        conns_kick_later(&self->conns, entry, now_ns);
    return false;
}

/* The node behind the connection's key, as the registry has it now. */
static bool identify(struct broker *self, uint64_t conn, const struct wire_in *in,
                     struct registry_node *node, uint64_t now_ns)
{
    struct conn *entry = conns_find(&self->conns, conn);
    *node = (struct registry_node){.name = ""};
    if (!entry || !curve_key_parse(&node->key, in->user))
        return refuse(self, conn, NULL, "", "the handshake gave no key", now_ns);
    entry->curve = node->key;
    entry->keyed = true;
    if (!registry_find(self->registry, &entry->curve, node))
        return refuse(self, conn, &entry->curve, "", "unknown key", now_ns);
    if (node->standing == WIRE_REVOKED)
        return refuse(self, conn, &entry->curve, node->name, "the key was revoked", now_ns);
    return true;
}

/* Whether the session of that peer, if there is one, was opened with this key. */
static bool owns(struct broker *self, enum core_role role, const struct uuid *uuid,
                 const struct curve_key *key)
{
    uint64_t control = core_control(self->core, role, uuid);
    const struct curve_key *opener = control ? access_key(self, control) : NULL;
    return control == 0 || (opener && curve_key_equal(opener, key));
}

bool access_hello(struct broker *self, uint64_t conn, const struct wire_in *in, uint64_t now_ns)
{
    struct registry_node node;
    enum wire_role role = (enum wire_role)wire_u64(in->map, KEY_ROLE);
    struct uuid uuid = wire_uuid(in->map, KEY_UUID);
    char text[128];
    if (!self->curve)
        return true;
    if (!identify(self, conn, in, &node, now_ns))
        return false;
    if (node.role != role) {
        bool out = zap_strike(self->zap, &node.key, now_ns);
        snprintf(text, sizeof text, "this key is a %s's: it opens no session of a %s%s",
                 role_name(node.role), role_name(role),
                 out ? ", and is kept out for a minute" : "");
        return refuse(self, conn, &node.key, node.name, text, now_ns);
    }
    if (!owns(self, (enum core_role)role, &uuid, &node.key))
        return refuse(self, conn, &node.key, node.name,
                      "the session of this UUID belongs to another key", now_ns);
    return true;
}

bool access_attach(struct broker *self, uint64_t conn, const struct wire_in *in, uint64_t now_ns)
{
    struct registry_node node;
    struct uuid uuid = wire_uuid(in->map, KEY_UUID);
    if (!self->curve)
        return true;
    if (!identify(self, conn, in, &node, now_ns))
        return false;
    if (owns(self, CORE_WORKER, &uuid, &node.key) && owns(self, CORE_GATEWAY, &uuid, &node.key))
        return true;
    return refuse(self, conn, &node.key, node.name,
                  "the session of this UUID belongs to another key", now_ns);
}

/* --- standing ----------------------------------------------------------------------------------
 */

static void drain(struct broker *self, uint64_t control, const char *name)
{
    LOG_INFO("node_draining", "node=%s", name);
    core_drain(self->core, control);
    wire_begin(self->out, WIRE_DRAIN);
    wire_put_u64(self->out, KEY_STANDING, WIRE_DRAINING);
    wire_put_text(self->out, KEY_TEXT, "this node is being drained: finish what you hold");
    broker_send(self, control);
}

void access_greeted(struct broker *self, uint64_t conn)
{
    struct registry_node node;
    struct conn *entry = conns_find(&self->conns, conn);
    if (!entry || !entry->keyed || !registry_find(self->registry, &entry->curve, &node))
        return;
    entry->drained = node.standing == WIRE_DRAINING;
    if (entry->drained) /* before it may be given anything */
        core_drain(self->core, conn);
}

void access_opened(struct broker *self, const struct core_peer *peer)
{
    const struct conn *entry = conns_find(&self->conns, peer->control);
    if (entry && entry->drained)
        drain(self, peer->control, peer->name);
}

/* End a session, and both of its connections. */
static void cut(struct broker *self, const struct core_peer *peer, enum status status,
                const char *text, uint64_t now_ns)
{
    uint64_t control = peer->control;
    struct conn *data = conns_find(&self->conns, core_route(self->core, peer->role, &peer->uuid));
    core_expel(self->core, now_ns, control, status, text);
    struct conn *entry = conns_find(&self->conns, control);
    if (entry)
        conns_kick_later(&self->conns, entry, now_ns);
    if (data)
        conns_kick_later(&self->conns, data, now_ns);
}

static void review_one(struct broker *self, const struct core_peer *peer, uint64_t now_ns)
{
    struct registry_node node;
    char print[CURVE_FINGERPRINT_SIZE];
    struct conn *entry = conns_find(&self->conns, peer->control);
    if (!entry || !entry->keyed)
        return;
    bool known = registry_find(self->registry, &entry->curve, &node);
    if (!known || node.standing == WIRE_REVOKED || (int)node.role != (int)peer->role) {
        LOG_WARN("session_cut", "role=%s node=%s key=%s name=%s reason=%s",
                 role_name((enum wire_role)peer->role), known ? node.name : "",
                 curve_fingerprint(print, &entry->curve), peer->name,
                 known && node.standing == WIRE_REVOKED ? "the key was revoked"
                                                        : "the key is no member any more");
        self->counters.sessions_cut++;
        cut(self, peer, STATUS_FORBIDDEN, "this node's key was revoked", now_ns);
    } else if (node.standing == WIRE_DRAINING && !entry->drained) {
        entry->drained = true;
        if (peer->open)
            drain(self, peer->control, peer->name);
        else
            core_drain(self->core, peer->control);
    } else if (node.standing == WIRE_MEMBER && entry->drained) {
        cut(self, peer, STATUS_OK, "this node is drained no longer: open a new session", now_ns);
    }
}

void access_review(struct broker *self, uint64_t now_ns)
{
    struct core_peer peer;
    for (uint32_t slot = 0; slot < self->limits.sessions_max; slot++)
        if (core_peer(self->core, slot, &peer))
            review_one(self, &peer, now_ns);
}

/* --- what gateways say of nodes ----------------------------------------------------------------
 */

static void read_node(struct registry_node *node, struct wire_map map)
{
    size_t size;
    memcpy(node->key.bytes, wire_bytes(map, KEY_PUBLIC, &size), CURVE_KEY_BYTES);
    node->role = (enum wire_role)wire_u64(map, KEY_ROLE);
    node->standing = (enum wire_standing)wire_u64(map, KEY_STANDING);
    wire_text(map, KEY_NAME, node->name, sizeof node->name);
}

static void acknowledge(struct broker *self, uint64_t conn, uint64_t version)
{
    wire_begin(self->out, WIRE_NODES_ACK);
    wire_put_u64(self->out, KEY_REGISTRY, version);
    broker_send(self, conn);
}

void access_save(struct broker *self, uint64_t now_ns)
{
    struct error why;
    if (!self->registry || !registry_unsaved(self->registry) || now_ns < self->save_ns)
        return;
    self->save_ns = now_ns + SAVE_MS * NS_PER_MS;
    if (registry_save(self->registry, &why) != STATUS_OK)
        LOG_WARN("registry_unsaved", "reason=%s action=%s", why.text,
                 "it is sent again by the gateways after a restart");
}

bool access_nodes(struct broker *self, uint64_t conn, struct wire_in *in, uint64_t now_ns)
{
    const struct curve_key *from = access_key(self, conn);
    struct registry_part part = {.version = wire_u64(in->map, KEY_REGISTRY),
                                 .part = (uint32_t)wire_u64(in->map, KEY_PART),
                                 .parts = (uint32_t)wire_u64(in->map, KEY_PARTS),
                                 .len = wire_len(in->map, KEY_NODES)};
    bool whole = part.part == part.parts, changed = false;
    if (!self->curve || !from) { /* plain links know no nodes */
        if (whole)
            acknowledge(self, conn, part.version);
        return true;
    }
    struct registry_node *nodes = xcalloc(part.len + 1, sizeof *nodes);
    for (size_t i = 0; i < part.len; i++)
        read_node(&nodes[i], wire_at(in->map, KEY_NODES, i));
    part.nodes = nodes;
    enum status s = registry_take(self->registry, from, &part, &whole, &changed, &in->why);
    free(nodes);
    if (s != STATUS_OK)
        return false;
    if (changed) {
        LOG_INFO("registry", "version=%" PRIu64 " members=%zu", part.version,
                 registry_members(self->registry));
        access_review(self, now_ns);
        broker_flush(self, now_ns); /* who is cut does not wait for the disk */
    }
    if (whole) {
        access_save(self, now_ns);
        acknowledge(self, conn, registry_version(self->registry, from));
    }
    return true;
}

void access_rotate(struct broker *self, const struct wire_in *in)
{
    struct core_peer peer;
    size_t size;
    const void *key = wire_bytes(in->map, KEY_PUBLIC, &size);
    const void *secret = wire_bytes(in->map, KEY_SECRET, &size);
    for (uint32_t slot = 0; slot < self->limits.sessions_max; slot++) {
        const struct curve_key *of =
            core_peer(self->core, slot, &peer) ? access_key(self, peer.control) : NULL;
        if (!of || !peer.open || memcmp(of->bytes, key, CURVE_KEY_BYTES) != 0)
            continue;
        wire_begin(self->out, WIRE_ROTATE);
        wire_put_bytes(self->out, KEY_PUBLIC, key, CURVE_KEY_BYTES);
        wire_put_bytes(self->out, KEY_SECRET, secret, CURVE_KEY_BYTES);
        broker_send(self, peer.control);
    }
}
