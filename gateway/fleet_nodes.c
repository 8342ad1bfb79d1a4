/* fleet_nodes - the registry of nodes on the wire: copies for the brokers, peers that ask to be let
 * in */
#include "gateway/fleet_private.h"

#include "common/log.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define PART_BYTES  (56 * KIB) /* of a control message, with room for its own keys */
#define ENTRY_BYTES 56         /* of a node in a message, its name aside */
#define PART_NODES  1024       /* by wire.def */

void fleet_serve_registry(struct fleet *self, const struct fleet_registry_calls *calls, void *arg)
{
    self->registry = calls;
    self->registry_arg = arg;
}

/* --- the brokers --------------------------------------------------------------------------------
 */

uint32_t fleet_brokers(const struct fleet *self)
{
    return (uint32_t)self->upstreams_len;
}

struct fleet_broker fleet_broker(const struct fleet *self, uint32_t index)
{
    struct fleet_broker out = {.up = false};
    assert(index < self->upstreams_len);
    const struct upstream *from = self->upstreams[index];
    out.up = upstream_up(from);
    out.trusted = from->address.keyed;
    out.key = from->address.key;
    text_copy(out.control, sizeof out.control, from->address.endpoint);
    if (from->link)
        link_enrol_address(from->link, out.enrol);
    return out;
}

void fleet_nodes_up(struct upstream *from)
{
    if (from->fleet->registry && from->address.keyed)
        from->fleet->registry->up(from->fleet->registry_arg, from->index);
}

void fleet_nodes_down(struct upstream *from)
{
    if (from->fleet->registry && from->address.keyed)
        from->fleet->registry->down(from->fleet->registry_arg, from->index);
}

/* --- what goes out ------------------------------------------------------------------------------
 */

/* The nodes from `from` on that fit a message. */
static size_t part_end(const struct fleet_node *nodes, size_t from, size_t len)
{
    size_t at = from;
    for (size_t bytes = 0; at < len && at - from < PART_NODES; at++) {
        bytes += ENTRY_BYTES + strlen(nodes[at].name);
        if (bytes > PART_BYTES)
            break;
    }
    return at;
}

static void put_node(struct wire_out *out, const struct fleet_node *node)
{
    wire_map_open(out);
    wire_put_bytes(out, KEY_PUBLIC, node->key.bytes, sizeof node->key.bytes);
    wire_put_u64(out, KEY_ROLE, node->role);
    wire_put_u64(out, KEY_STANDING, node->standing);
    if (node->name[0])
        wire_put_text(out, KEY_NAME, node->name);
    wire_map_close(out);
}

void fleet_send_nodes(struct fleet *self, uint32_t broker, uint64_t version,
                      const struct fleet_node *nodes, size_t len)
{
    struct upstream *to = self->upstreams[broker];
    uint64_t parts = 1, part = 1;
    if (!upstream_up(to))
        return;
    for (size_t end = part_end(nodes, 0, len); end < len; end = part_end(nodes, end, len))
        parts++;
    for (size_t at = 0; part <= parts; part++) {
        size_t end = part_end(nodes, at, len);
        wire_begin(self->out, WIRE_NODES);
        wire_put_u64(self->out, KEY_REGISTRY, version);
        wire_put_u64(self->out, KEY_PART, part);
        wire_put_u64(self->out, KEY_PARTS, parts);
        wire_list_open(self->out, KEY_NODES);
        for (; at < end; at++)
            put_node(self->out, &nodes[at]);
        wire_list_close(self->out);
        link_send(to->link, self->out);
    }
}

/* Every broker whose key we know: the new node is to join them all. */
static void put_brokers(const struct fleet *self)
{
    wire_list_open(self->out, KEY_BROKERS);
    for (size_t i = 0; i < self->upstreams_len; i++) {
        const struct broker_address *address = &self->upstreams[i]->address;
        if (!address->keyed)
            continue;
        wire_map_open(self->out);
        wire_put_text(self->out, KEY_ENDPOINT, address->endpoint);
        wire_put_bytes(self->out, KEY_PUBLIC, address->key.bytes, sizeof address->key.bytes);
        wire_map_close(self->out);
    }
    wire_list_close(self->out);
}

void fleet_send_enrolled(struct fleet *self, uint32_t broker, uint64_t request, enum status status,
                         const char *name, const char *text)
{
    struct upstream *to = self->upstreams[broker];
    if (!upstream_up(to))
        return; /* the peer asks again */
    wire_begin(self->out, WIRE_ENROLLED);
    wire_put_u64(self->out, KEY_REQUEST, request);
    wire_put_u64(self->out, KEY_STATUS, status);
    if (text)
        wire_put_text(self->out, KEY_TEXT, text);
    if (name)
        wire_put_text(self->out, KEY_NAME, name);
    if (status == STATUS_OK)
        put_brokers(self);
    link_send(to->link, self->out);
}

void fleet_send_rotate(struct fleet *self, const struct curve_key *key,
                       const uint8_t secret[static TOKEN_SECRET_BYTES])
{
    for (size_t i = 0; i < self->upstreams_len; i++) {
        struct upstream *to = self->upstreams[i];
        if (!upstream_up(to) || !to->address.keyed)
            continue;
        wire_begin(self->out, WIRE_ROTATE);
        wire_put_bytes(self->out, KEY_PUBLIC, key->bytes, sizeof key->bytes);
        wire_put_bytes(self->out, KEY_SECRET, secret, TOKEN_SECRET_BYTES);
        link_send(to->link, self->out);
    }
}

/* --- what comes in ------------------------------------------------------------------------------
 */

void fleet_take_nodes_ack(struct upstream *from, const struct wire_in *in)
{
    const struct fleet *self = from->fleet;
    if (self->registry)
        self->registry->acked(self->registry_arg, from->index, wire_u64(in->map, KEY_REGISTRY));
}

/* Only over a link whose broker we know by its key: it vouches for the peer's. */
void fleet_take_enrol(struct upstream *from, const struct wire_in *in)
{
    const struct fleet *self = from->fleet;
    struct fleet_enrol asked = {.broker = from->index,
                                .request = wire_u64(in->map, KEY_REQUEST),
                                .role = (uint32_t)wire_u64(in->map, KEY_ROLE)};
    size_t key_size, secret_size;
    const void *key = wire_bytes(in->map, KEY_PUBLIC, &key_size);
    const void *secret = wire_bytes(in->map, KEY_SECRET, &secret_size);
    if (!self->registry || !from->address.keyed || key_size != sizeof asked.key.bytes ||
        secret_size != sizeof asked.secret) {
        LOG_WARN("enrol_ignored", "broker=%s", from->address.endpoint);
        return;
    }
    memcpy(asked.key.bytes, key, sizeof asked.key.bytes);
    memcpy(asked.secret, secret, sizeof asked.secret);
    wire_text(in->map, KEY_NAME, asked.name, sizeof asked.name);
    self->registry->enrol(self->registry_arg, &asked);
}
