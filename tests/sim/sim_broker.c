/* sim_broker - the broker's own start, step, drain and stop; its core is walked after each turn */
#include "tests/sim/sim.h"

#include "broker/body.h"
#include "broker/broker.h"
#include "broker/core/state.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PORT_FIRST  7700
#define PORT_STRIDE 10
#define LIST_SIZE   128

struct broker_sim {
    void *role; /* of the program; NULL while it is dead */
    struct broker_params params;
    char listen[32];
    char brokers[LIST_SIZE]; /* the others */
    uint64_t bodies;         /* alive */
};

/* --- bodies: each is taken once and freed once ---------------------------------------------------
 */

struct body *__real_body_take(struct wire_in *in, size_t index, size_t frame,
                              struct body_head *head);
struct body *__wrap_body_take(struct wire_in *in, size_t index, size_t frame,
                              struct body_head *head);
void __real_body_free(void *body);
void __wrap_body_free(void *body);

struct body *__wrap_body_take(struct wire_in *in, size_t index, size_t frame,
                              struct body_head *head)
{
    ((struct broker_sim *)sim_it->current->state)->bodies++;
    return __real_body_take(in, index, frame, head);
}

void __wrap_body_free(void *body)
{
    struct broker_sim *self = sim_it->current->state;
    if (self->bodies-- == 0)
        sim_violate(sim_it, "I8 %s frees more bodies than it has", sim_name(sim_it->current));
    __real_body_free(body);
}

/* --- life --------------------------------------------------------------------------------------
 */

static struct broker_params params_of(struct broker_sim *self)
{
    struct broker_params params = {
#define PARAM(name, type, value, min, max, unit, help) .name = (value),
#include "broker/params.def"
#undef PARAM
    };
    params.listen = self->listen;
    params.brokers = self->brokers;
    params.heartbeat_ms = BEAT_MS;
    params.idle_ms = IDLE_MS;
    params.lease_ms = LEASE_MS;
    params.tasks_max = 160;
    params.done_max = 60;
    params.queue_bytes_max = MIB;
    params.queues_max = MODELS;
    params.sessions_max = GATEWAYS + WORKERS;
    params.gateway_tasks = 60;
    params.gateway_bytes = MIB;
    params.gateway_keep_ms = 4000;
    params.cold_ms = 20;
    params.refuse_ms = 300;
    params.retry_ms = 20;
    params.crashes_max = CRASHES_MAX;
    params.attempts_max = ATTEMPTS_MAX;
    return params;
}

static struct broker_sim *make(const struct process *process)
{
    struct broker_sim *self = xcalloc(1, sizeof *self);
    size_t used = 0;
    snprintf(self->listen, sizeof self->listen, "tcp://127.0.0.1:%u",
             PORT_FIRST + PORT_STRIDE * process->number);
    for (uint32_t i = 0; i < BROKERS; i++)
        if (i != process->number)
            used += (size_t)snprintf(self->brokers + used, sizeof self->brokers - used,
                                     "%stcp://127.0.0.1:%u", used ? "," : "",
                                     PORT_FIRST + PORT_STRIDE * i);
    self->params = params_of(self);
    self->params.data_port = PORT_FIRST + PORT_STRIDE * process->number + 1;
    return self;
}

static void birth(struct process *process)
{
    struct error why;
    struct broker_sim *self = process->state;
    if (!self)
        self = process->state = make(process);
    if (broker_start(&self->role, &self->params, NULL, &why) != STATUS_OK)
        panic("a broker does not start: %s", why.text);
}

static void turn(struct process *process)
{
    struct error why;
    struct broker_sim *self = process->state;
    ((struct broker *)self->role)->watch_again = true; /* no descriptor tells of events */
    if (broker_step(self->role, 0, &why) != STATUS_OK)
        sim_violate(process->sim, "I1 a broker ends by itself: %s", why.text);
}

static uint64_t next_ns(struct process *process)
{
    const struct broker_sim *self = process->state;
    return core_next_ns(((const struct broker *)self->role)->core);
}

static bool drained(struct process *process)
{
    struct broker_sim *self = process->state;
    const struct core *core = ((const struct broker *)self->role)->core;
    if (!process->draining) /* only asked whether it holds anything */
        return core_idle(core) && core_done(core) == 0 && core->by_orphan.len == 0;
    return broker_drain(self->role);
}

static void death(struct process *process)
{
    struct broker_sim *self = process->state;
    broker_stop(&self->role);
    if (self->bodies != 0)
        sim_violate(process->sim, "I8 %s never freed %lu bodies", sim_name(process),
                    (unsigned long)self->bodies);
}

static void end(struct process *process)
{
    free(process->state);
}

/* --- checks ------------------------------------------------------------------------------------
 */

/* I8: what no table of the core bounds by itself. */
static void check_bounds(struct process *process, const struct broker *broker)
{
    const struct core *core = broker->core;
    const struct core_limits *limits = &core->limits;
    size_t orphans = core->by_orphan.len, actions = core->out.actions_room;
    uint64_t live =
        core->counts[TASK_PARKED] + core->counts[TASK_QUEUED] + core->counts[TASK_LEASED];
    uint32_t sessions = 0, gateways = 0;
    for (uint32_t i = 0; i < limits->sessions_max; i++)
        sessions += core->sessions[i].used ? 1 : 0;
    for (uint32_t i = 0; i < core->gateways_room; i++)
        gateways += core->gateways[i].used ? 1 : 0;
    if (live > limits->tasks_max || core->counts[TASK_DONE] > limits->done_max ||
        core->bytes > limits->queue_bytes_max)
        sim_violate(process->sim, "I8 %s has %lu tasks and %lu results", sim_name(process),
                    (unsigned long)live, (unsigned long)core->counts[TASK_DONE]);
    if (sessions > GATEWAYS + WORKERS || gateways > GATEWAYS || orphans > GATEWAYS * OPEN_MAX * 8)
        sim_violate(process->sim, "I8 %s has %u sessions, %u gateways, %lu orphans",
                    sim_name(process), sessions, gateways, (unsigned long)orphans);
    if (actions > 65536 || core->out.ranges_room > 65536 || core->out.actions_len > 0)
        sim_violate(process->sim, "I8 %s keeps %lu actions", sim_name(process),
                    (unsigned long)actions);
    if (((const struct broker_sim *)process->state)->bodies != live)
        sim_violate(process->sim, "I8 %s has %lu bodies for %lu tasks", sim_name(process),
                    (unsigned long)((const struct broker_sim *)process->state)->bodies,
                    (unsigned long)live);
}

static void check(struct process *process)
{
    const struct broker *broker = ((const struct broker_sim *)process->state)->role;
    core_check(broker->core);
    check_bounds(process, broker);
}

const struct sim_role sim_broker = {birth, turn, next_ns, drained, death, check, end};
