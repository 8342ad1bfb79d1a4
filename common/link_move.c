/* link_move - the brokers that a WELCOME names, and following one whose key changes
 *
 * While a broker's key changes it listens twice: under the old key, whose WELCOME tells of the next
 * address and key, and under the next one. The link goes there, and goes back where it fails. */
#include "common/link_private.h"

#include "common/log.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The broker's own next address; a host `*` is the one that we know it by. */
static void note_next(struct link *self, struct wire_map peer)
{
    char text[NET_ADDRESS_MAX];
    struct place next;
    size_t size;
    const void *key = wire_bytes(peer, KEY_PUBLIC, &size);
    wire_text(peer, KEY_ENDPOINT, text, sizeof text);
    if (!self->keyed || !key || endpoint_parse(&next.address, text, NULL) != STATUS_OK)
        return;
    memcpy(next.server.bytes, key, sizeof next.server.bytes);
    if (strcmp(next.address.host, "*") == 0) {
        uint16_t port = next.address.port;
        next.address = self->place.address;
        next.address.port = port;
    }
    self->next = next;
}

/* Brokers that this one knows of. */
void link_take_brokers(struct link *self, const struct wire_in *in)
{
    struct error why;
    self->terms.brokers.len = 0;
    self->next.address.port = 0;
    for (size_t i = 0; i < wire_len(in->map, KEY_BROKERS); i++) {
        struct wire_map peer = wire_at(in->map, KEY_BROKERS, i);
        struct uuid id = wire_uuid(peer, KEY_BROKER);
        struct broker_address address = {.keyed = wire_has(peer, KEY_PUBLIC)};
        size_t size;
        const void *key = wire_bytes(peer, KEY_PUBLIC, &size);
        if (wire_has(peer, KEY_BROKER) && id_equal(&id, &self->terms.broker)) {
            note_next(self, peer);
            continue;
        }
        if (address.keyed)
            memcpy(address.key.bytes, key, sizeof address.key.bytes);
        wire_text(peer, KEY_ENDPOINT, address.endpoint, sizeof address.endpoint);
        if (endpoint_check(address.endpoint, address.keyed, &why) == STATUS_OK)
            brokers_add(&self->terms.brokers, &address);
        else
            LOG_WARN("broker_ignored", "broker=%s why=%s", address.endpoint, why.text);
    }
}

/* --- moving to the broker's next key ------------------------------------------------------------
 */

void link_move(struct link *self, uint64_t now_ns)
{
    char print[CURVE_FINGERPRINT_SIZE];
    LOG_INFO("broker_moves", "broker=%s port=%u key=%s", self->config.endpoint,
             self->next.address.port, curve_fingerprint(print, &self->next.server));
    self->before = self->place;
    self->place = self->next;
    self->moving = MOVE_TRIES;
    self->tries = 0;
    link_dial(self, now_ns, 0);
}

/* Before another dial: enough of the next place? */
void link_move_back(struct link *self)
{
    if (self->moving == 0 || --self->moving > 0)
        return;
    LOG_WARN("broker_not_moved", "broker=%s port=%u hint=%s", self->config.endpoint,
             self->place.address.port,
             "its next port does not answer: is it open? The old one is used until a restart");
    self->place = self->before;
    self->stays = true;
}

/* The session at the next place is open. */
void link_move_done(struct link *self)
{
    struct broker_address now = {.keyed = true, .key = self->place.server};
    char key[CURVE_TEXT_SIZE], *old = (char *)self->config.endpoint;
    bool v6 = self->place.address.ipv6;
    snprintf(now.endpoint, sizeof now.endpoint, "tcp://%s%.200s%s:%u", v6 ? "[" : "",
             self->place.address.host, v6 ? "]" : "", self->place.address.port);
    self->moving = 0;
    self->config.endpoint = xstrdup(now.endpoint);
    LOG_INFO("broker_moved", "broker=%s before=%s public=%s hint=%s", now.endpoint, old,
             curve_key_text(key, &now.key), "put this address and key where the old ones stand");
    if (self->config.moved)
        self->config.moved(self->config.owner, old, &now);
    free(old);
}
