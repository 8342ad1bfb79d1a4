/* sim_peer - the link of a gateway or worker: two connections, HELLO, heartbeats, starting afresh
 */
#include "tests/sim/sim.h"

#define DIAL_AGAIN_MS 300

struct peer *sim_peer(struct sim *self, uint32_t index)
{
    return index < GATEWAYS ? &self->gateways[index].peer : &self->workers[index - GATEWAYS].peer;
}

struct peer *sim_peer_by(struct sim *self, const struct uuid *uuid)
{
    for (uint32_t i = 0; i < PEERS; i++)
        if (id_equal(&sim_peer(self, i)->uuid, uuid))
            return sim_peer(self, i);
    return NULL;
}

static void list(struct sim *self, const struct peer *peer, struct message *message)
{
    if (peer->index < GATEWAYS)
        gateway_list(self, &self->gateways[peer->index], message);
    else
        worker_list(&self->workers[peer->index - GATEWAYS], message);
}

void peer_down(struct sim *self, struct peer *peer)
{
    for (int plane = 0; plane < 2; plane++) {
        net_close(self, peer->conns[plane]);
        peer->conns[plane] = 0;
    }
    peer->state = LINK_OFF;
}

void peer_dial(struct sim *self, struct peer *peer, uint64_t pause_ms)
{
    peer_down(self, peer);
    peer->dial_ns = self->now_ns + pause_ms * MS;
}

void peer_say(struct sim *self, struct peer *peer, struct message *message)
{
    bool data =
        message->kind == SAY_SUBMIT || message->kind == SAY_RESULT || message->kind == SAY_TIE;
    net_say(self, peer->conns[data ? 1 : 0], true, message);
}

static void hello(struct sim *self, struct peer *peer)
{
    struct message *message = net_message(SAY_HELLO);
    peer->conns[0] = net_open(self, peer->index, 0);
    peer->state = LINK_DIALING;
    peer->heard_ns = self->now_ns;
    peer->dial_ns = self->now_ns + DIAL_AGAIN_MS * MS;
    list(self, peer, message);
    peer_say(self, peer, message);
}

static void beat(struct sim *self, struct peer *peer)
{
    struct message *message = net_message(SAY_HEARTBEAT);
    peer->beat_ns = self->now_ns + BEAT_MS * MS;
    list(self, peer, message);
    peer_say(self, peer, message);
}

bool peer_turn(struct sim *self, struct peer *peer)
{
    if (peer->state == LINK_UP) {
        if (self->now_ns - peer->heard_ns > 3 * BEAT_MS * MS) {
            sim_note(self, "peer %u: broker silent", peer->index);
            peer_dial(self, peer, 20);
            return false;
        }
        if (self->now_ns >= peer->beat_ns)
            beat(self, peer);
        return true;
    }
    if (self->now_ns < peer->dial_ns)
        return false;
    peer_down(self, peer);
    hello(self, peer);
    return false;
}

bool peer_hears(struct sim *self, struct peer *peer, const struct message *message)
{
    bool data = message->conn == peer->conns[1] && message->conn != 0;
    if (message->conn != peer->conns[0] && !data)
        return true; /* of a connection that was given up */
    peer->heard_ns = self->now_ns;
    if (message->kind == SAY_WELCOME && !data && peer->state == LINK_DIALING) {
        struct message *tie = net_message(SAY_TIE);
        peer->token = tie->token = message->token;
        peer->conns[1] = net_open(self, peer->index, 1);
        peer->state = LINK_TYING;
        peer->dial_ns = self->now_ns + DIAL_AGAIN_MS * MS;
        if (peer->index < GATEWAYS)
            gateway_up(self, &self->gateways[peer->index], message);
        peer_say(self, peer, tie);
    } else if (message->kind == SAY_WELCOME && data && peer->state == LINK_TYING) {
        peer->state = LINK_UP;
        peer->beat_ns = self->now_ns;
        if (peer->index >= GATEWAYS)
            worker_up(self, &self->workers[peer->index - GATEWAYS]);
    } else if (message->kind == SAY_GOODBYE || message->kind == SAY_ERROR) {
        peer_dial(self, peer, 20);
    } else {
        return message->kind == SAY_WELCOME || peer->state != LINK_UP;
    }
    return true;
}
