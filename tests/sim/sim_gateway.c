/* sim_gateway - the gateway's fleet under an owner of our own: clients, and a ledger that survives
 *
 * Durable tasks are promised once they are in the ledger and end in it; online ones end with the
 * process. A client that heard nothing asks again under the same key. */
#include "tests/sim/sim.h"

#include "common/clock.h"
#include "gateway/fleet_private.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CLIENT_MS  40 /* mean time between two clients' turns */
#define BURST      12 /* tasks that come at once */
#define LEDGER_MS  15 /* a commit takes up to so long */
#define WAITS_MAX  256
#define FLOOD      160 /* unfinished tasks of the first tenant where there is peace */
#define OTHERS     40  /* of each other one */
#define ID_BITS    40
#define COMMITTING 1 /* the mark of a wait: a result; else a client's request */

/* What the ledger's thread has at the moment: on disk when `due` comes. */
struct wait {
    uint32_t sequence; /* whose result this is; 0: a request */
    enum status status;
    struct fact fact; /* of a request */
};

struct gateway_sim {
    struct process *process;
    struct fleet *fleet; /* NULL while it is dead */
    struct front *front;
    struct front_timer client, ledger;
    struct uuid uuid;
    struct broker_list brokers;
    uint32_t base;   /* sequence before the first of this life */
    uint32_t undone; /* tasks in the fleet, by our count */
    struct wait waits[WAITS_MAX];
    size_t waits_len;
    uint64_t keys;            /* that its clients made */
    struct fact again;        /* a request whose client heard nothing; key 0: none */
    bool expected;            /* in birth */
    uint32_t life_base[4096]; /* sequence before the first of each life */
};

static struct sim *sim_of(const struct gateway_sim *self)
{
    return self->process->sim;
}

static uint64_t id_of(const struct gateway_sim *self, uint32_t sequence)
{
    uint64_t life = self->process->births;
    while (self->life_base[life] >= sequence)
        life--;
    return (life << ID_BITS) + (sequence - self->life_base[life]);
}

static uint32_t sequence_of(const struct gateway_sim *self, uint64_t id)
{
    uint64_t life = id >> ID_BITS;
    if (life == 0 || life > self->process->births)
        return UINT32_MAX;
    return self->life_base[life] + (uint32_t)(id & ((UINT64_C(1) << ID_BITS) - 1));
}

/* --- the ledger --------------------------------------------------------------------------------
 */

static void submit(struct gateway_sim *self, uint32_t sequence);

/* The request is in the ledger: its client is told, or was cut off and asks again. */
static void promise(struct gateway_sim *self, const struct fact *asked)
{
    struct sim *sim = sim_of(self);
    const struct history *history = &sim->histories[self->process->number];
    uint32_t n = history->len;
    while (asked->key && n > 1 && history->facts[n - 1].key != asked->key && history->len - n < 512)
        n--; /* the ledger's index of keys */
    bool known = asked->key && n > 1 && history->facts[n - 1].key == asked->key;
    if (!known) {
        uint64_t id = fleet_next_ids(self->fleet, 1);
        uint32_t sequence = history_add(sim, self->process->number, asked);
        if (sequence_of(self, id) != sequence)
            sim_violate(sim, "I2 a number was given twice: %u/%u", self->process->number, sequence);
        submit(self, sequence);
    }
    self->again = !sim->peace && sim_chance(sim, 20) ? *asked : (struct fact){.key = 0};
}

static void write_ledger(void *arg)
{
    struct gateway_sim *self = arg;
    struct sim *sim = sim_of(self);
    size_t len = self->waits_len;
    for (size_t i = 0; i < len; i++) {
        const struct wait *wait = &self->waits[i];
        if (wait->sequence == 0) {
            promise(self, &wait->fact);
            continue;
        }
        const struct fact *fact = history_find(sim, self->process->number, wait->sequence);
        if (fact->state == FACT_PROMISED) {
            history_commit(sim, self->process->number, wait->sequence, wait->status);
            self->undone--;
            fleet_commit(self->fleet, id_of(self, wait->sequence));
        }
    }
    self->waits_len = 0;
}

static void wait_for_disk(struct gateway_sim *self, const struct wait *wait)
{
    assert(self->waits_len < WAITS_MAX);
    self->waits[self->waits_len++] = *wait;
    if (!self->ledger.slot)
        front_timer_set(self->front, &self->ledger,
                        clock_mono_ns() + (1 + sim_random(sim_of(self), LEDGER_MS)) * MS,
                        write_ledger, self);
}

/* --- what the fleet tells ------------------------------------------------------------------------
 */

static void on_result(void *arg, struct fleet_result *result)
{
    struct gateway_sim *self = arg;
    struct sim *sim = sim_of(self);
    uint32_t number = self->process->number, sequence = sequence_of(self, result->id);
    uint64_t output = 0;
    if (!self->process->alive) { /* its memory is only freed */
        fleet_result_free(&result);
        return;
    }
    bool whole =
        result->outputs_len == 1 && result->outputs[0].tensor.bytes <= ROW_BYTES * ROWS_MAX;
    if (whole) {
        uint64_t rows[ROWS_MAX];
        fleet_output_gather(&result->outputs[0], rows);
        output = rows[0];
    }
    history_answer(sim, number, sequence, result->status, whole ? &output : NULL);
    struct fact *fact = history_find(sim, number, sequence);
    if (fact && fact->answered == self->process->births)
        sim_violate(sim, "I3 task %u/%u: a second result in one life", number, sequence);
    if (fact)
        fact->answered = (uint32_t)self->process->births;
    if (fact && fact->durable && result->status != STATUS_DEADLINE) {
        wait_for_disk(self, &(struct wait){.sequence = sequence, .status = result->status});
    } else if (fact && fact->state == FACT_PROMISED) {
        history_commit(sim, number, sequence, result->status);
        self->undone--;
        if (pending_find(&self->fleet->pending, result->id))
            fleet_commit(self->fleet, result->id);
    }
    fleet_result_free(&result);
}

static void on_started(void *arg, uint64_t id)
{
    struct gateway_sim *self = arg;
    struct fact *fact = history_find(sim_of(self), self->process->number, sequence_of(self, id));
    if (fact)
        fact->attempt++;
}

static void on_crashed(void *arg, uint64_t id, const char *text)
{
    struct gateway_sim *self = arg;
    struct fact *fact = history_find(sim_of(self), self->process->number, sequence_of(self, id));
    (void)text;
    if (!fact)
        return;
    fact->crashes++;
    sim_note(sim_of(self), "task %u/%u crashed a runner: %u", self->process->number,
             sequence_of(self, id), fact->crashes);
}

static void on_unknown(void *arg, uint64_t id)
{
    struct gateway_sim *self = arg;
    submit(self, sequence_of(self, id));
}

static const struct fleet_calls calls = {on_result, on_started, on_crashed, on_unknown, NULL};

static const char *const tenants[TENANTS] = {"flood", "patient", "quiet"};

static void submit(struct gateway_sim *self, uint32_t sequence)
{
    struct sim *sim = sim_of(self);
    const struct fact *fact = history_find(sim, self->process->number, sequence);
    struct bytes *owner = bytes_new(fact->rows * ROW_BYTES);
    struct error why;
    uint64_t id = id_of(self, sequence);
    for (uint32_t i = 0; i < fact->rows; i++)
        ((uint64_t *)owner->data)[i] = history_input(self->process->number, sequence);
    const struct tensor input = {.name = "x",
                                 .dtype = DTYPE_UINT8,
                                 .rank = 2,
                                 .dims = {fact->rows, ROW_BYTES},
                                 .data = owner->data,
                                 .bytes = owner->size};
    const struct fleet_task task = {
        .id = id,
        .model = {{(uint8_t)(fact->model + 1)}},
        .model_name = "m",
        .kind = WIRE_KIND_INFER,
        .inputs = &input,
        .inputs_len = 1,
        .owner = owner,
        .rows = fact->rows,
        .band = fact->band,
        .attempt = fact->attempt,
        .crashes = fact->crashes,
        .budget_ms = fact->budget_ms,
        .patient = fact->durable,
        .tenant = tenants[fact->tenant],
        .calls = &calls,
        .arg = self,
    };
    bool known = pending_find(&self->fleet->pending, id) != NULL;
    enum status status = fleet_submit(self->fleet, &task, NULL, &why);
    if (status == STATUS_OK && !known) {
        self->undone++;
    } else if (status != STATUS_OK) {
        if (fact->durable)
            sim_violate(sim, "I1 a promised task was refused: %s", why.text);
        history_end(sim, self->process->number, sequence, FACT_VANISHED);
    }
}

/* --- clients -----------------------------------------------------------------------------------
 */

static void ask(struct gateway_sim *self, uint32_t tenant)
{
    struct sim *sim = sim_of(self);
    bool durable = sim->peace || !sim_chance(sim, 4);
    struct fact fact = {
        .state = FACT_PROMISED,
        .durable = durable,
        .tenant = tenant,
        .model = sim->peace ? 0 : (uint32_t)sim_random(sim, MODELS),
        .rows = 1 + (uint32_t)sim_random(sim, ROWS_MAX),
        .band = sim->peace ? 2
                : durable  ? 1 + (uint32_t)sim_random(sim, 3)
                           : 0,
        .budget_ms = durable ? 0 : 200 + (uint32_t)sim_random(sim, 5000),
        .poison = !sim->peace && sim_chance(sim, 150),
    };
    if (durable && self->again.key) {
        fact = self->again;
        self->again.key = 0;
    } else if (durable) {
        fact.key = ++self->keys;
    }
    if (durable && self->waits_len < WAITS_MAX / 2) {
        wait_for_disk(self, &(struct wait){.fact = fact});
    } else if (!durable) {
        fleet_next_ids(self->fleet, 1);
        submit(self, history_add(sim, self->process->number, &fact));
    }
}

static void cancel_one(struct gateway_sim *self)
{
    struct sim *sim = sim_of(self);
    const struct history *history = &sim->histories[self->process->number];
    if (history->open == 0)
        return;
    uint32_t sequence = history->first + (uint32_t)sim_random(sim, history->len - history->first);
    if (history->facts[sequence].state != FACT_PROMISED)
        return;
    history_end(sim, self->process->number, sequence, FACT_CANCELLED);
    self->undone--;
    fleet_cancel(self->fleet, id_of(self, sequence));
}

/* Each tenant has as many unfinished as it may. */
static void fill(struct gateway_sim *self)
{
    const struct history *history = &sim_of(self)->histories[self->process->number];
    uint32_t open[TENANTS] = {0};
    for (uint32_t n = MAX(history->first, 1U); n < history->len; n++)
        open[history->facts[n].tenant] += history->facts[n].state == FACT_PROMISED ? 1 : 0;
    for (uint32_t t = 0; t < TENANTS; t++)
        for (; open[t] < (t == 0 ? FLOOD : OTHERS) && self->waits_len < WAITS_MAX / 2; open[t]++)
            ask(self, t);
}

static void clients(void *arg)
{
    struct gateway_sim *self = arg;
    struct sim *sim = sim_of(self);
    const struct history *history = &sim->histories[self->process->number];
    uint64_t more = sim->peace ? 0 : sim_random(sim, BURST);
    if (sim->peace && !sim->calm && self->waits_len == 0)
        fill(self);
    for (uint64_t i = 0; i < more && !sim->calm && history->open + self->waits_len < OPEN_MAX; i++)
        ask(self, (uint32_t)sim_random(sim, TENANTS));
    if (sim_rough(sim) && sim_chance(sim, 10))
        cancel_one(self);
    front_timer_set(self->front, &self->client,
                    clock_mono_ns() + sim_random(sim, 2 * CLIENT_MS) * MS, clients, self);
}

/* --- life --------------------------------------------------------------------------------------
 */

static void start_fleet(struct gateway_sim *self)
{
    const struct history *history = &sim_of(self)->histories[self->process->number];
    const struct fleet_config config = {
        .zmq = zmq_ctx_new(),
        .brokers = self->brokers,
        .uuid = self->uuid,
        .incarnation = self->process->births,
        .name = sim_name(self->process),
        .front = self->front,
        .online_max = OPEN_MAX,
        .online_bytes_max = MIB,
    };
    self->fleet = fleet_new(&config);
    self->undone = 0;
    for (uint32_t n = MAX(history->first, 1U); n < history->len; n++)
        if (history->facts[n].state == FACT_PROMISED) {
            fleet_expect(self->fleet, id_of(self, n), &calls, self);
            self->undone++;
        }
    fleet_start(self->fleet);
}

static void birth(struct process *process)
{
    struct gateway_sim *self = process->state;
    struct error why;
    if (!self) {
        self = process->state = xcalloc(1, sizeof *self);
        self->process = process;
        self->uuid = id_random();
        if (brokers_parse(&self->brokers, "tcp://127.0.0.1:7700,tcp://127.0.0.1:7710", &why) !=
            STATUS_OK)
            panic("the brokers' addresses: %s", why.text);
    }
    struct history *history = &process->sim->histories[process->number];
    assert(process->births < ARRAY_LEN(self->life_base));
    for (uint32_t n = MAX(history->first, 1U); n < history->len; n++)
        if (history->facts[n].state == FACT_PROMISED && !history->facts[n].durable)
            history_end(process->sim, process->number, n, FACT_VANISHED);
    self->life_base[process->births] = history->len ? history->len - 1 : 0;
    self->front = front_new();
    self->client = self->ledger = (struct front_timer){.slot = 0};
    self->waits_len = 0;
    start_fleet(self);
    clients(self);
}

static void turn(struct process *process)
{
    struct gateway_sim *self = process->state;
    uint64_t now_ns = clock_mono_ns();
    front_turn(self->front, now_ns);
    fleet_step(self->fleet, now_ns);
    fleet_flush(self->fleet, now_ns);
}

static uint64_t next_ns(struct process *process)
{
    const struct gateway_sim *self = process->state;
    return MIN(front_next_ns(self->front), fleet_next_ns(self->fleet));
}

static bool drained(struct process *process)
{
    const struct gateway_sim *self = process->state;
    return fleet_view(self->fleet).tasks == 0 && self->waits_len == 0;
}

static void death(struct process *process)
{
    struct gateway_sim *self = process->state;
    for (size_t i = 0; i < self->waits_len; i++)
        if (self->waits[i].sequence == 0 && !process->sim->calm)
            self->again = self->waits[i].fact; /* its client asks the next one */
    front_timer_clear(self->front, &self->client);
    front_timer_clear(self->front, &self->ledger);
    fleet_destroy(&self->fleet);
    front_destroy(&self->front);
}

static void end(struct process *process)
{
    free(process->state);
}

/* --- checks ------------------------------------------------------------------------------------
 */

static void check(struct process *process)
{
    const struct gateway_sim *self = process->state;
    const struct history *history = &process->sim->histories[process->number];
    size_t tasks = fleet_view(self->fleet).tasks;
    if (tasks != self->undone || self->undone != history->open)
        sim_violate(process->sim, "I1 %s has %zu tasks in its fleet, %u undone, %u promised",
                    sim_name(process), tasks, self->undone, history->open);
    if (tasks > 3 * OPEN_MAX)
        sim_violate(process->sim, "I8 %s has %zu tasks", sim_name(process), tasks);
}

const struct sim_role sim_gateway = {birth, turn, next_ns, drained, death, check, end};
