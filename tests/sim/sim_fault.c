/* sim_fault - what goes wrong: crashes, stops, partitions, clocks */
#include "tests/sim/sim.h"

#define FAULT_MS    250 /* mean time between two faults */
#define FLAP_MS     500 /* a link that comes and goes */
#define FLAPS       6
#define JUMP_MS     20000
#define WALL_JUMP_H 2

static struct process *any(struct sim *self, enum sim_kind kind)
{
    uint32_t first = kind == SIM_BROKER ? 0 : kind == SIM_GATEWAY ? BROKERS : BROKERS + GATEWAYS;
    uint32_t len = kind == SIM_BROKER ? BROKERS : kind == SIM_GATEWAY ? GATEWAYS : WORKERS;
    return &self->processes[first + sim_random(self, len)];
}

static struct process *anybody(struct sim *self)
{
    return &self->processes[sim_random(self, PROCESSES)];
}

static void kill_one(struct sim *self, enum sim_kind kind)
{
    struct process *process = any(self, kind);
    if (!process->alive)
        return;
    sim_kill(process);
    /* Sometimes it stays away longer than its tasks are kept. */
    uint64_t away_ms = sim_chance(self, 10) ? 8000 : sim_random(self, 2000);
    sim_at(self, self->now_ns + away_ms * MS, (struct event){.kind = AT_BIRTH, .process = process});
}

static void cut(struct sim *self, struct process *process, uint64_t ms, uint32_t ways)
{
    process->cut_ns = self->now_ns + ms * MS;
    process->cut_ways = ways;
    process->cut_holds = sim_chance(self, 2);
    sim_note(self, "%s is cut off for %lu ms, ways %u, %s", sim_name(process), (unsigned long)ms,
             ways, process->cut_holds ? "held" : "lost");
}

void fault_flap(struct sim *self, struct process *process, uint64_t left)
{
    if (self->calm || left == 0)
        return;
    cut(self, process, FLAP_MS, 1 + (uint32_t)sim_random(self, 3));
    sim_at(self, self->now_ns + 2 * FLAP_MS * MS,
           (struct event){.kind = AT_FLAP, .process = process, .life = left - 1});
}

static void stop(struct sim *self, struct process *process)
{
    uint64_t ms = sim_chance(self, 4) ? 8000 : sim_random(self, 1500);
    process->stopped_ns = self->now_ns + ms * MS;
    process->wake_ns = UINT64_MAX; /* its turn comes when it goes on */
    sim_note(self, "%s is stopped for %lu ms", sim_name(process), (unsigned long)ms);
    sim_wake(process, process->stopped_ns);
}

static void jump(struct sim *self, struct process *process)
{
    process->wall_ms += (int64_t)sim_random(self, WALL_JUMP_H * 7200000) - WALL_JUMP_H * 3600000;
    if (sim_chance(self, 3))
        process->mono_ns += sim_random(self, JUMP_MS) * MS; /* a machine that was asleep */
    sim_note(self, "%s: its clocks jump", sim_name(process));
    sim_wake(process, self->now_ns);
}

void fault_next(struct sim *self)
{
    uint64_t roll = sim_random(self, 100);
    struct process *process = anybody(self);
    self->totals.faults++;
    sim_at(self, self->now_ns + sim_random(self, 2 * FAULT_MS * MS),
           (struct event){.kind = AT_FAULT});
    if (roll < 18)
        kill_one(self, SIM_WORKER);
    else if (roll < 25)
        kill_one(self, SIM_GATEWAY);
    else if (roll < 33)
        kill_one(self, SIM_BROKER);
    else if (roll < 43)
        runner_fault(any(self, SIM_WORKER), sim_chance(self, 3));
    else if (roll < 55)
        net_break(self->net, process);
    else if (roll < 68)
        cut(self, process, sim_random(self, 2500), 1 + (uint32_t)sim_random(self, 3));
    else if (roll < 72)
        fault_flap(self, process, 1 + sim_random(self, FLAPS));
    else if (roll < 84)
        stop(self, process);
    else if (roll < 90)
        jump(self, process);
    else if (process->alive && process->kind != SIM_GATEWAY && sim_chance(self, 2)) {
        sim_note(self, "%s drains", sim_name(process));
        process->draining = true;
        sim_wake(process, self->now_ns);
    }
}

void fault_end(struct sim *self)
{
    struct process *broker = any(self, SIM_BROKER), *worker = any(self, SIM_WORKER);
    sim_note(self, "no more faults");
    if (sim_chance(self, 3)) { /* the others have what it had */
        sim_note(self, "%s never comes back", sim_name(broker));
        sim_kill(broker);
        broker->gone = true;
    }
    if (sim_chance(self, 3)) { /* a machine that hangs and keeps its connections */
        sim_note(self, "%s is stopped for ever", sim_name(worker));
        worker->stopped_ns = UINT64_MAX;
        worker->wake_ns = UINT64_MAX;
        worker->gone = true;
    }
    self->calm = true;
    for (uint32_t i = 0; i < PROCESSES; i++) {
        struct process *process = &self->processes[i];
        process->cut_ns = 0;
        if (process->gone || process->stopped_ns <= self->now_ns)
            continue;
        process->stopped_ns = 0;
        process->wake_ns = UINT64_MAX;
        sim_wake(process, self->now_ns);
    }
}
