/* sim_gateway - promises tasks, keeps them in a ledger, commits the first result of each */
#include "tests/sim/sim.h"

#include <string.h>

#define BUNDLE_MAX 16

static bool awaited(const struct entry *entry)
{
    return entry->state == TASK_PROMISED;
}

static void promise(struct sim *self, struct gateway_sim *gateway)
{
    if (gateway->next == gateway->room) {
        size_t room = MAX(gateway->room * 2, 1024);
        gateway->ledger = xrealloc(gateway->ledger, room * sizeof(struct entry));
        memset(gateway->ledger + gateway->room, 0, (room - gateway->room) * sizeof(struct entry));
        gateway->room = room;
    }
    gateway->ledger[gateway->next++] = (struct entry){
        .state = TASK_PROMISED,
        .model = (uint32_t)sim_random(self, MODELS),
        .rows = 1 + (uint32_t)sim_random(self, 64),
        .band = (uint32_t)sim_random(self, CORE_BANDS),
        .budget_ms = sim_chance(self, 10) ? 50 + (uint32_t)sim_random(self, 2000) : 0,
        .poison = sim_chance(self, 150),
    };
    gateway->open++;
}

void gateway_birth(struct sim *self, struct gateway_sim *gateway)
{
    gateway->peer.alive = true;
    gateway->peer.incarnation++;
    gateway->peer.dial_ns = self->now_ns;
    gateway->peer.state = LINK_OFF;
    gateway->first = MAX(gateway->first, 1);
    if (gateway->next == 0) {
        promise(self, gateway); /* number 0 names no task */
        gateway->ledger[0].state = TASK_NONE;
        gateway->open = 0;
    }
    /* What it knows of each task's way is gone; the ledger is not. All of them may have been sent,
     * so all are awaited: the broker will say which it does not know. */
    for (uint64_t i = 1; i < gateway->next; i++) {
        struct entry *entry = &gateway->ledger[i];
        entry->sent = entry->accepted = true;
        entry->resend = false;
        entry->sent_ns = entry->retry_ns = 0;
    }
}

void gateway_up(struct sim *self, struct gateway_sim *gateway, const struct message *welcome)
{
    (void)self;
    gateway->credit_tasks = welcome->credit_tasks;
    gateway->credit_bytes = welcome->credit_bytes;
    gateway->sent_tasks = gateway->sent_bytes = 0;
}

void gateway_list(struct sim *self, struct gateway_sim *gateway, struct message *message)
{
    for (uint64_t i = gateway->first; i < gateway->next; i++) {
        struct entry *entry = &gateway->ledger[i];
        if (!awaited(entry) || !entry->sent)
            continue;
        if (!entry->accepted && self->now_ns - entry->sent_ns <= BEAT_MS * MS)
            continue;
        struct item *item = net_item(message);
        item->gateway = gateway->peer.index;
        item->number = i;
    }
}

/* --- hearing -------------------------------------------------------------------------------------
 */

static void ended(struct gateway_sim *gateway)
{
    gateway->open--;
    while (gateway->first < gateway->next && !awaited(&gateway->ledger[gateway->first]))
        gateway->first++;
}

static void commit(struct sim *self, struct gateway_sim *gateway, const struct item *item)
{
    struct entry *entry = &gateway->ledger[item->number];
    bool again = self->mutation == MUTATE_COMMIT_TWICE && entry->state == TASK_COMMITTED;
    bool dead = self->mutation == MUTATE_COMMIT_CANCELLED && entry->state == TASK_CANCELLED;
    if (entry->state != TASK_PROMISED && !again && !dead)
        return;
    if (entry->state == TASK_CANCELLED)
        sim_violate(self, "task %u/%lu was cancelled and then committed", gateway->peer.index,
                    (unsigned long)item->number);
    if (++entry->commits > 1)
        sim_violate(self, "task %u/%lu was committed twice", gateway->peer.index,
                    (unsigned long)item->number);
    if (entry->poison && item->status == STATUS_OK)
        sim_violate(self, "a poisonous task has a result");
    bool awaits = awaited(entry);
    entry->state = TASK_COMMITTED;
    entry->outcome = item->status;
    self->committed++;
    if (awaits)
        ended(gateway);
}

static void on_result(struct sim *self, struct gateway_sim *gateway, const struct message *message)
{
    struct message *ack = net_message(SAY_RESULT_ACK);
    ack->worker = message->worker;
    for (size_t i = 0; i < message->len; i++) {
        const struct item *item = &message->items[i];
        if (item->gateway != gateway->peer.index || item->number >= gateway->next) {
            sim_violate(self, "a result of a task that was never promised");
            continue;
        }
        commit(self, gateway, item);
        struct item *id = net_item(ack);
        id->gateway = item->gateway;
        id->number = item->number;
    }
    peer_say(self, &gateway->peer, ack);
}

static void on_unknown(struct sim *self, struct gateway_sim *gateway, const struct item *item)
{
    struct entry *entry = &gateway->ledger[item->number];
    if (self->mutation == MUTATE_DROP_UNKNOWN || !entry->sent)
        return;
    entry->sent = entry->accepted = false;
    entry->resend = true;
}

static void on_id(struct sim *self, struct gateway_sim *gateway, const struct message *message,
                  const struct item *item)
{
    struct entry *entry = &gateway->ledger[item->number];
    if (item->gateway != gateway->peer.index || item->number >= gateway->next) {
        sim_violate(self, "message %d names a task of somebody else", (int)message->kind);
        return;
    }
    if (message->kind == SAY_HEARTBEAT) {
        on_unknown(self, gateway, item);
    } else if (message->kind == SAY_ACCEPTED) {
        entry->accepted = true;
    } else if (message->kind == SAY_REJECTED) {
        entry->sent = entry->accepted = false;
        entry->retry_ns = self->now_ns + 50 * MS;
    } else if (message->kind == SAY_STARTED) {
        entry->attempt++;
    } else if (message->kind == SAY_CRASHED) {
        entry->crashes++;
    }
}

void gateway_hears(struct sim *self, struct gateway_sim *gateway, const struct message *message)
{
    if (message->kind == SAY_RESULT) {
        on_result(self, gateway, message);
        return;
    }
    if (message->kind == SAY_CREDIT) {
        gateway->credit_tasks = MAX(gateway->credit_tasks, message->credit_tasks);
        gateway->credit_bytes = MAX(gateway->credit_bytes, message->credit_bytes);
    }
    for (size_t i = 0; i < message->len; i++)
        on_id(self, gateway, message, &message->items[i]);
}

/* --- speaking ------------------------------------------------------------------------------------
 */

static void put_task(struct sim *self, struct message *submit, struct gateway_sim *gateway,
                     uint64_t number)
{
    struct entry *entry = &gateway->ledger[number];
    struct item *item = net_item(submit);
    *item = (struct item){.gateway = gateway->peer.index,
                          .number = number,
                          .model = entry->model,
                          .rows = entry->rows,
                          .attempt = entry->attempt,
                          .crashes = entry->crashes,
                          .budget_ms = entry->budget_ms,
                          .band = entry->band,
                          .flags = entry->resend ? CORE_FLAG_RESENT : 0};
    entry->sent = true;
    entry->accepted = false;
    entry->sent_ns = self->now_ns;
    gateway->sent_tasks++;
    gateway->sent_bytes += entry->rows;
}

/* One SUBMIT of tasks of one model, within credit. */
static bool submit(struct sim *self, struct gateway_sim *gateway)
{
    struct message *message = NULL;
    for (uint64_t i = gateway->first; i < gateway->next; i++) {
        struct entry *entry = &gateway->ledger[i];
        if (!awaited(entry) || entry->sent || entry->retry_ns > self->now_ns)
            continue;
        if (message && message->model != entry->model)
            continue;
        if (gateway->sent_tasks >= gateway->credit_tasks ||
            gateway->sent_bytes + entry->rows > gateway->credit_bytes ||
            (message && message->len == BUNDLE_MAX))
            break;
        if (!message)
            message = net_message(SAY_SUBMIT);
        message->model = entry->model;
        put_task(self, message, gateway, i);
    }
    if (message)
        peer_say(self, &gateway->peer, message);
    return message != NULL;
}

static void cancel_one(struct sim *self, struct gateway_sim *gateway)
{
    uint64_t number = gateway->first + sim_random(self, gateway->next - gateway->first);
    struct entry *entry = &gateway->ledger[number];
    if (!awaited(entry))
        return;
    struct message *cancel = net_message(SAY_CANCEL);
    struct item *item = net_item(cancel);
    item->gateway = gateway->peer.index;
    item->number = number;
    entry->state = TASK_CANCELLED;
    self->cancelled++;
    ended(gateway);
    peer_say(self, &gateway->peer, cancel);
}

void gateway_turn(struct sim *self, struct gateway_sim *gateway)
{
    for (int i = 0; i < 8 && !self->calm && gateway->open < OPEN_MAX; i++)
        promise(self, gateway);
    if (!peer_turn(self, &gateway->peer))
        return;
    for (int i = 0; i < 4 && submit(self, gateway); i++)
        continue;
    if (!self->calm && gateway->first < gateway->next && sim_chance(self, 30))
        cancel_one(self, gateway);
}
