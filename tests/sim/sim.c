/* sim - virtual time, processes, and the checks after each step and at the end */
#include "tests/sim/sim.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TURN_US   200   /* from something that came to the process's turn, at most */
#define SETTLE_MS 90000 /* results are sent again within 10 s, and brokers keep tasks for 4 */

struct sim *sim_it;

/* --- chance, time, reports ----------------------------------------------------------------------
 */

uint64_t sim_random(struct sim *self, uint64_t below)
{
    self->random += UINT64_C(0x9e3779b97f4a7c15); /* SplitMix64 */
    uint64_t z = self->random;
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return below ? (z ^ (z >> 31)) % below : 0;
}

bool sim_chance(struct sim *self, uint64_t in)
{
    return sim_random(self, in) == 0;
}

bool sim_rough(const struct sim *self)
{
    return !self->calm && !self->peace;
}

void sim_violate(struct sim *self, const char *format, ...)
{
    va_list args;
    if (self->violation[0])
        return;
    va_start(args, format);
    vsnprintf(self->violation, sizeof self->violation, format, args);
    va_end(args);
}

void sim_note(struct sim *self, const char *format, ...)
{
    va_list args;
    char *line = self->trace[self->traced++ % ARRAY_LEN(self->trace)];
    int used = snprintf(line, sizeof self->trace[0], "%10.3f ms  ", (double)self->now_ns / 1e6);
    va_start(args, format);
    vsnprintf(line + used, sizeof self->trace[0] - (size_t)used, format, args);
    va_end(args);
}

void sim_print_trace(const struct sim *self)
{
    uint64_t len = MIN(self->traced, ARRAY_LEN(self->trace));
    for (uint64_t i = self->traced - len; i < self->traced; i++)
        fprintf(stderr, "%s\n", self->trace[i % ARRAY_LEN(self->trace)]);
}

void sim_print(const struct sim *self)
{
    const struct totals *t = &self->totals;
    printf("sim seed=%" PRIu64 " events=%" PRIu64 " virtual_s=%.1f committed=%" PRIu64
           " cancelled=%" PRIu64 " vanished=%" PRIu64 " computed=%" PRIu64 " faults=%" PRIu64
           " starts=%" PRIu64 " runner_crashes=%" PRIu64 " doubled=%" PRIu64
           " starts_max=%u deaths_max=%u violations=%d\n",
           self->seed, self->events, (double)self->now_ns / 1e9, t->committed, t->cancelled,
           t->vanished, t->computed, t->faults, t->births, t->crashes, t->doubled, t->starts_max,
           t->deaths_max, self->violation[0] != '\0');
}

static bool before(const struct event *a, const struct event *b)
{
    return a->when_ns != b->when_ns ? a->when_ns < b->when_ns : a->order < b->order;
}

void sim_at(struct sim *self, uint64_t when_ns, struct event event)
{
    if (self->heap_len == self->heap_room) {
        self->heap_room = MAX(self->heap_room * 2, (size_t)1024);
        self->heap = xrealloc(self->heap, self->heap_room * sizeof(struct event));
    }
    event.when_ns = MAX(when_ns, self->now_ns);
    event.order = self->orders++;
    size_t at = self->heap_len++;
    for (; at > 0 && before(&event, &self->heap[(at - 1) / 2]); at = (at - 1) / 2)
        self->heap[at] = self->heap[(at - 1) / 2];
    self->heap[at] = event;
}

static struct event next_event(struct sim *self)
{
    struct event first = self->heap[0], last = self->heap[--self->heap_len];
    size_t at = 0;
    for (size_t child = 1; child < self->heap_len; child = 2 * at + 1) {
        if (child + 1 < self->heap_len && before(&self->heap[child + 1], &self->heap[child]))
            child++;
        if (!before(&self->heap[child], &last))
            break;
        self->heap[at] = self->heap[child];
        at = child;
    }
    self->heap[at] = last;
    return first;
}

/* --- processes ----------------------------------------------------------------------------------
 */

const struct sim_role *sim_role(const struct process *process)
{
    static const struct sim_role *const roles[] = {&sim_broker, &sim_gateway, &sim_worker};
    return roles[process->kind];
}

const char *sim_name(const struct process *process)
{
    static const char *const names[PROCESSES] = {
        "broker 0", "broker 1", "broker 2", "gateway 0", "gateway 1", "gateway 2",
        "worker 0", "worker 1", "worker 2", "worker 3",  "worker 4",
    };
    return names[process->index];
}

void sim_wake(struct process *process, uint64_t when_ns)
{
    struct sim *self = process->sim;
    when_ns = MAX(MAX(when_ns, self->now_ns), process->stopped_ns);
    if (!process->alive || process->wake_ns <= when_ns)
        return;
    process->wake_ns = when_ns;
    sim_at(self, when_ns, (struct event){.kind = AT_TURN, .process = process});
}

/* After it ran: it may have been left something, or something is due by its own clock. */
static void plan(struct process *process)
{
    struct sim *self = process->sim;
    uint64_t next_ns = sim_role(process)->next_ns(process);
    if (net_waiting(self->net, process))
        sim_wake(process, self->now_ns + sim_random(self, TURN_US) * 1000);
    else if (next_ns != UINT64_MAX) /* like poll: whole milliseconds, never early */
        sim_wake(process, MAX(next_ns, process->mono_ns) - process->mono_ns + MS);
}

void sim_birth(struct process *process)
{
    struct sim *self = process->sim;
    if (process->alive || process->gone)
        return;
    process->alive = true;
    process->draining = false;
    process->wake_ns = UINT64_MAX;
    process->stopped_ns = 0;
    process->births++;
    self->totals.births++;
    sim_note(self, "%s starts", sim_name(process));
    self->current = process;
    sim_role(process)->birth(process);
    plan(process);
}

static void end(struct process *process)
{
    struct sim *self = process->sim;
    self->current = process;
    process->alive = false;
    sim_role(process)->death(process);
    net_kill(self->net, process);
}

void sim_kill(struct process *process)
{
    if (!process->alive)
        return;
    sim_note(process->sim, "%s is killed", sim_name(process));
    net_kill(process->sim->net, process); /* first, so that it says no farewell */
    end(process);
}

static void turn(struct process *process)
{
    struct sim *self = process->sim;
    const struct sim_role *role = sim_role(process);
    process->wake_ns = UINT64_MAX;
    self->current = process;
    role->turn(process);
    if (!self->violation[0])
        role->check(process);
    if (process->draining && role->drained(process)) {
        sim_note(self, "%s has drained", sim_name(process));
        end(process);
        sim_at(self, self->now_ns + sim_random(self, 1000 * MS),
               (struct event){.kind = AT_BIRTH, .process = process});
        return;
    }
    plan(process);
}

/* --- life --------------------------------------------------------------------------------------
 */

struct sim *sim_new(uint64_t seed)
{
    struct sim *self = xcalloc(1, sizeof *self);
    sim_it = self;
    self->seed = self->random = seed;
    self->now_ns = 1000 * MS;
    self->net = net_new(self);
    for (uint32_t i = 0; i < PROCESSES; i++) {
        struct process *process = &self->processes[i];
        process->sim = self;
        process->index = i;
        process->kind = i < BROKERS              ? SIM_BROKER
                        : i < BROKERS + GATEWAYS ? SIM_GATEWAY
                                                 : SIM_WORKER;
        process->number = i - (process->kind == SIM_WORKER    ? BROKERS + GATEWAYS
                               : process->kind == SIM_GATEWAY ? BROKERS
                                                              : 0);
        process->mono_ns = sim_random(self, 1000000) * MS;
        process->wall_ms = (int64_t)sim_random(self, 7200000) - 3600000;
        uint64_t late_ms = i == BROKERS - 1 ? 5000 + sim_random(self, 20000) : 0;
        sim_at(self, self->now_ns + late_ms * MS,
               (struct event){.kind = AT_BIRTH, .process = process});
    }
    sim_at(self, self->now_ns + 2000 * MS, (struct event){.kind = AT_FAULT});
    return self;
}

void sim_destroy(struct sim **self_p)
{
    struct sim *self = *self_p;
    if (!self)
        return;
    for (uint32_t i = PROCESSES; i-- > 0;) { /* those who answer last */
        sim_kill(&self->processes[i]);
        sim_role(&self->processes[i])->end(&self->processes[i]);
    }
    for (size_t i = 0; i < self->heap_len; i++)
        net_discard(&self->heap[i]);
    net_destroy(&self->net);
    for (size_t i = 0; i < GATEWAYS; i++)
        free(self->histories[i].facts);
    free(self->heap);
    free(self);
    sim_it = NULL;
    *self_p = NULL;
}

/* --- a step ------------------------------------------------------------------------------------
 */

static bool handle(struct sim *self, const struct event *event)
{
    struct process *process = event->process;
    switch (event->kind) {
    case AT_MESSAGE:
    case AT_BREAK:
    case AT_DIAL:
        net_event(self->net, event);
        return true;
    case AT_TURN:
        if (!process->alive || process->wake_ns != event->when_ns)
            return false; /* it had one before */
        turn(process);
        return true;
    case AT_RUNNER:
        runner_event(self, event);
        return true;
    case AT_BIRTH:
        sim_birth(process);
        return true;
    case AT_FAULT:
        if (sim_rough(self))
            fault_next(self);
        return true;
    case AT_FLAP:
        fault_flap(self, process, event->life);
        return true;
    }
    return false;
}

bool sim_step(struct sim *self)
{
    struct event event = next_event(self);
    self->now_ns = event.when_ns;
    self->events += handle(self, &event) ? 1 : 0;
    return self->violation[0] == '\0';
}

/* --- the end -----------------------------------------------------------------------------------
 */

static uint32_t open_tasks(const struct sim *self)
{
    uint32_t open = 0;
    for (size_t i = 0; i < GATEWAYS; i++)
        open += self->histories[i].open;
    return open;
}

/* Every process is there and holds nothing any more. */
static bool quiet(struct sim *self)
{
    for (uint32_t i = 0; i < PROCESSES; i++) {
        struct process *process = &self->processes[i];
        self->current = process;
        if (process->gone)
            continue;
        if (!process->alive || process->stopped_ns > self->now_ns)
            return false;
        if (!sim_role(process)->drained(process))
            return false;
    }
    return open_tasks(self) == 0;
}

bool sim_settle(struct sim *self, uint64_t limit_ms)
{
    fault_end(self);
    uint64_t end_ns = self->now_ns + limit_ms * MS;
    uint64_t look_ns = self->now_ns;
    bool done = false;
    while (!done && self->now_ns < end_ns && sim_step(self)) {
        if (open_tasks(self) > 0 || self->now_ns < look_ns)
            continue;
        done = quiet(self);
        look_ns = self->now_ns + 100 * MS;
    }
    history_settled(self);
    if (!done)
        for (uint32_t i = 0; i < PROCESSES; i++) {
            struct process *process = &self->processes[i];
            self->current = process;
            if (!process->gone && (!process->alive || !sim_role(process)->drained(process)))
                sim_violate(self, "I8 %s still holds something", sim_name(process));
        }
    return self->violation[0] == '\0';
}

bool sim_run(struct sim *self, uint64_t events)
{
    while (self->events < events && sim_step(self))
        continue;
    return !self->violation[0] && sim_settle(self, SETTLE_MS);
}

uint64_t sim_digest(const struct sim *self)
{
    uint64_t digest = self->random ^ self->events << 32 ^ self->totals.committed;
    for (uint32_t i = 0; i < GATEWAYS; i++)
        for (uint32_t n = 1; n < self->histories[i].len; n++) {
            const struct fact *fact = &self->histories[i].facts[n];
            digest = digest * UINT64_C(0x100000001b3) ^ fact->outcome ^
                     (uint64_t)fact->attempt << 8 ^ (uint64_t)fact->starts << 16;
        }
    return digest;
}
