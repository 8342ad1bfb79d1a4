/* sim_worker - holds tasks, computes a few at a time, keeps each result until it is acknowledged */
#include "tests/sim/sim.h"

#define CREDIT        24 /* tasks that it lets come beyond those it has got */
#define CREDIT_BYTES  2048
#define RESEND_MS     150 /* first pause before a result is sent again; doubles */
#define RESEND_MAX_MS 1200

static struct held *find(struct worker_sim *worker, const struct item *id)
{
    for (size_t i = 0; i < worker->held_len; i++)
        if (worker->held[i].item.gateway == id->gateway &&
            worker->held[i].item.number == id->number)
            return &worker->held[i];
    return NULL;
}

static void drop(struct worker_sim *worker, struct held *held)
{
    *held = worker->held[--worker->held_len];
}

void worker_birth(struct sim *self, struct worker_sim *worker)
{
    worker->peer.alive = true;
    worker->peer.draining = false;
    worker->peer.incarnation++;
    worker->peer.dial_ns = self->now_ns;
    worker->peer.state = LINK_OFF;
    worker->held_len = 0;
    worker->slots = 1 + (uint32_t)sim_random(self, 3);
    for (size_t i = 0; i < MODELS; i++)
        worker->refuses_ns[i] = 0;
}

void worker_list(struct worker_sim *worker, struct message *message)
{
    for (size_t i = 0; i < worker->held_len; i++)
        *net_item(message) = worker->held[i].item;
}

static void tell_credit(struct sim *self, struct worker_sim *worker)
{
    struct message *message = net_message(SAY_CREDIT);
    size_t open = 0;
    for (size_t i = 0; i < worker->held_len; i++)
        open += worker->held[i].state != HELD_RESULT ? 1 : 0;
    if (open < CREDIT) {
        worker->credit = MAX(worker->credit, worker->got + CREDIT - open);
        worker->bytes = MAX(worker->bytes, worker->got_bytes + CREDIT_BYTES);
    }
    message->credit_tasks = worker->credit;
    message->credit_bytes = worker->bytes;
    peer_say(self, &worker->peer, message);
}

static void send_result(struct sim *self, struct worker_sim *worker, struct held *held)
{
    struct message *message = net_message(SAY_RESULT);
    message->worker = worker->peer.index - GATEWAYS;
    *net_item(message) = held->item;
    held->due_ns = self->now_ns + held->pause_ns;
    held->pause_ns = MIN(held->pause_ns * 2, RESEND_MAX_MS * MS);
    peer_say(self, &worker->peer, message);
}

void worker_up(struct sim *self, struct worker_sim *worker)
{
    worker->got = worker->got_bytes = worker->credit = worker->bytes = 0;
    worker->peer.draining = false;
    tell_credit(self, worker);
    for (size_t i = 0; i < worker->held_len; i++)
        if (worker->held[i].state == HELD_RESULT) {
            worker->held[i].pause_ns = RESEND_MS * MS;
            send_result(self, worker, &worker->held[i]);
        }
}

/* --- hearing -------------------------------------------------------------------------------------
 */

static void say_id(struct sim *self, struct worker_sim *worker, enum message_kind kind,
                   const struct item *id, enum status status)
{
    struct message *message = net_message(kind);
    message->status = status;
    *net_item(message) = *id;
    peer_say(self, &worker->peer, message);
}

static void take(struct sim *self, struct worker_sim *worker, const struct item *item)
{
    struct held *held = find(worker, item);
    worker->got++;
    worker->got_bytes += item->rows;
    if (worker->got > worker->credit || worker->got_bytes > worker->bytes)
        sim_violate(self, "worker %u got more than its credit", worker->peer.index);
    if (item->crashes >= core_limits_default.crashes_max)
        sim_violate(self, "a task that crashed %u runners was dispatched", item->crashes);
    if (item->attempt >= core_limits_default.attempts_max)
        sim_violate(self, "a task was dispatched after %u attempts", item->attempt);
    if (held) {
        if (held->state == HELD_RESULT)
            send_result(self, worker, held);
        return;
    }
    if (worker->refuses_ns[item->model] > self->now_ns) {
        say_id(self, worker, SAY_NACK, item, STATUS_BAD_MODEL);
        return;
    }
    if (worker->held_len == HELD_MAX || (!self->calm && sim_chance(self, 100))) {
        say_id(self, worker, SAY_NACK, item, STATUS_BUSY);
        return;
    }
    worker->held[worker->held_len++] = (struct held){.item = *item, .state = HELD_WAITING};
}

void worker_hears(struct sim *self, struct worker_sim *worker, const struct message *message)
{
    for (size_t i = 0; i < message->len; i++) {
        const struct item *item = &message->items[i];
        struct held *held = find(worker, item);
        if (message->kind == SAY_DISPATCH)
            take(self, worker, item);
        else if (message->kind == SAY_REVOKE && held)
            drop(worker, held);
        else if (message->kind == SAY_RESULT_ACK && held && held->state == HELD_RESULT)
            drop(worker, held);
    }
    worker_turn(self, worker);
}

/* --- computing -----------------------------------------------------------------------------------
 */

static bool is_poison(struct sim *self, const struct item *item)
{
    return self->gateways[item->gateway].ledger[item->number].poison;
}

static void start(struct sim *self, struct worker_sim *worker, struct held *held)
{
    uint64_t row_ns = (1 + held->item.model * 4) * 20 * 1000;
    held->state = HELD_RUNNING;
    held->due_ns = self->now_ns + row_ns * held->item.rows + sim_random(self, MS);
    if (!self->calm && sim_chance(self, 200))
        held->due_ns += 3000 * MS; /* a very slow one, longer than a lease */
    self->computed++;
    say_id(self, worker, SAY_STARTED, &held->item, STATUS_OK);
}

static void finish(struct sim *self, struct worker_sim *worker, struct held *held)
{
    if (is_poison(self, &held->item) || (!self->calm && sim_chance(self, 500))) {
        say_id(self, worker, SAY_CRASHED, &held->item, STATUS_CRASHED);
        drop(worker, held);
        return;
    }
    held->state = HELD_RESULT;
    held->item.status = STATUS_OK;
    held->pause_ns = RESEND_MS * MS;
    send_result(self, worker, held);
}

static void drain(struct sim *self, struct worker_sim *worker)
{
    worker->peer.draining = true;
    peer_say(self, &worker->peer, net_message(SAY_DRAIN));
    for (size_t i = worker->held_len; i-- > 0;)
        if (worker->held[i].state == HELD_WAITING) {
            say_id(self, worker, SAY_NACK, &worker->held[i].item, STATUS_BUSY);
            drop(worker, &worker->held[i]);
        }
}

static void compute(struct sim *self, struct worker_sim *worker, bool up)
{
    uint32_t running = 0;
    for (size_t i = worker->held_len; i-- > 0;) {
        struct held *held = &worker->held[i];
        bool due = held->due_ns <= self->now_ns;
        if (held->state == HELD_RUNNING && due)
            finish(self, worker, held); /* may take another one's place: it was seen already */
        else if (held->state == HELD_RESULT && due && up)
            send_result(self, worker, held);
    }
    for (size_t i = 0; i < worker->held_len; i++)
        running += worker->held[i].state == HELD_RUNNING ? 1 : 0;
    for (size_t i = 0; i < worker->held_len && running < worker->slots; i++)
        if (worker->held[i].state == HELD_WAITING) {
            start(self, worker, &worker->held[i]);
            running++;
        }
}

void worker_turn(struct sim *self, struct worker_sim *worker)
{
    bool up = peer_turn(self, &worker->peer);
    compute(self, worker, up);
    if (!up)
        return;
    if (worker->peer.draining && worker->held_len == 0) {
        peer_say(self, &worker->peer, net_message(SAY_GOODBYE));
        peer_dial(self, &worker->peer, 50);
        return;
    }
    if (!self->calm && !worker->peer.draining && sim_chance(self, 2000))
        drain(self, worker);
    if (!self->calm && sim_chance(self, 3000))
        worker->refuses_ns[sim_random(self, MODELS)] = self->now_ns + 500 * MS;
    if (worker->credit - worker->got < CREDIT / 2 ||
        worker->peer.beat_ns == self->now_ns + BEAT_MS * MS)
        tell_credit(self, worker);
}
