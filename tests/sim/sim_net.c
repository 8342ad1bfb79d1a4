/* sim_net - connections that keep order on one plane, lose everything at a break, and promise no
 * more
 */
#include "tests/sim/sim.h"

#include <stdlib.h>

struct message *net_message(enum message_kind kind)
{
    struct message *message = xcalloc(1, sizeof(*message));
    message->kind = kind;
    message->worker = WORKERS;
    return message;
}

struct item *net_item(struct message *message)
{
    /* Room grows at powers of two. */
    if ((message->len & (message->len - 1)) == 0)
        message->items = xrealloc(message->items, MAX(message->len * 2, 1) * sizeof(struct item));
    struct item *item = &message->items[message->len++];
    *item = (struct item){0};
    return item;
}

void net_free(struct message *message)
{
    free(message->items);
    free(message);
}

uint64_t net_open(struct sim *self, uint32_t peer, uint32_t plane)
{
    assert(self->conns_len < CONNS_MAX);
    uint64_t conn = self->conns_len++;
    self->conns[conn] =
        (struct conn_sim){.peer = peer, .plane = plane, .open = true, .known = true};
    return conn;
}

void net_close(struct sim *self, uint64_t conn)
{
    if (conn == 0 || !self->conns[conn].open)
        return;
    self->conns[conn].open = false;
    /* The broker's machine is told at once, later, or (a cut cable) never. */
    if (!sim_chance(self, 8))
        sim_at(self, self->now_ns + sim_random(self, 5 * MS),
               (struct event){.kind = AT_CLOSED, .conn = conn});
}

static bool lost(struct sim *self, const struct conn_sim *conn, bool to_broker,
                 const struct message *message)
{
    if (self->now_ns < self->cut_ns[conn->peer] &&
        (self->cut_ways[conn->peer] & (to_broker ? 2U : 1U)))
        return true;
    bool opening = message->kind == SAY_HELLO || message->kind == SAY_TIE;
    return !self->calm && !opening && sim_chance(self, 400);
}

static struct message *copy_of(const struct message *message)
{
    struct message *copy = net_message(message->kind);
    *copy = *message;
    copy->items = NULL;
    copy->len = 0;
    for (size_t i = 0; i < message->len; i++)
        *net_item(copy) = message->items[i];
    return copy;
}

static void deliver(struct sim *self, struct conn_sim *conn, struct message *message)
{
    uint64_t delay_ns = sim_chance(self, 50) ? 60 * MS : 3 * MS;
    uint64_t *last_ns = &conn->last_ns[message->to_broker ? 1 : 0];
    *last_ns = MAX(*last_ns + 1, self->now_ns + 1 + sim_random(self, delay_ns));
    sim_at(self, *last_ns, (struct event){.kind = AT_MESSAGE, .message = message});
}

void net_say(struct sim *self, uint64_t conn, bool to_broker, struct message *message)
{
    if (conn == 0 || conn >= self->conns_len || !self->conns[conn].open ||
        lost(self, &self->conns[conn], to_broker, message)) {
        net_free(message);
        return;
    }
    message->conn = conn;
    message->to_broker = to_broker;
    /* TCP repeats nothing, but resends and replays must be harmless; a repeated HELLO is another
     * session, a repeated SUBMIT another use of credit. */
    bool again = !self->calm && message->kind != SAY_HELLO && message->kind != SAY_TIE &&
                 message->kind != SAY_SUBMIT && message->kind != SAY_DISPATCH &&
                 sim_chance(self, 200);
    struct message *copy = again ? copy_of(message) : NULL;
    deliver(self, &self->conns[conn], message);
    if (copy)
        deliver(self, &self->conns[conn], copy);
}
