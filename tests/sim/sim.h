/* sim - a whole fleet in one thread and virtual time: the real programs over a libzmq of our own
 *
 * Brokers, gateways and workers run the sources that the programs are made of: the broker's shell
 * and core, the link, the wire, the gateway's fleet, the worker's agent with its ring. What is
 * made here is what they stand on: libzmq (sim_zmq.c), clocks and chance (sim_system.c), the
 * process that computes (sim_runner.c), and the owner of the gateway's tasks, a ledger that
 * survives (sim_gateway.c). The network delays, drops, repeats and reorders, breaks and splits;
 * any process may be killed, stopped or drained at any moment. Everything follows from a seed: the
 * same seed and number of events are the same run.
 *
 * Each role's part is linked by itself and offers nothing but its struct sim_role, since the
 * programs share names. After every step sim_step() checks what must always hold, by the names of
 * the invariants I1 to I8 (sim_history.c); sim_settle() ends all faults and checks that everything
 * that was promised ends exactly once.
 *
 *   sim.c      events in time, checks        sim_fault.c    what goes wrong, and when
 *   sim_zmq.c  sockets                       sim_net.c      connections, messages on their way
 *   sim_history.c  what is true of each task, and the invariants */
#ifndef CONVOY_TESTS_SIM_SIM_H
#define CONVOY_TESTS_SIM_SIM_H

#include "common/base.h"
#include "common/status.h"

#define MS UINT64_C(1000000)

#define BROKERS   3 /* the last one is known to the others alone, and starts late */
#define GATEWAYS  3
#define WORKERS   5
#define PROCESSES (BROKERS + GATEWAYS + WORKERS)
#define MODELS    3
#define TENANTS   3

#define BEAT_MS      200
#define IDLE_MS      600
#define LEASE_MS     2000
#define CRASHES_MAX  2
#define ATTEMPTS_MAX 12
#define OPEN_MAX     100 /* tasks that one gateway has unfinished at a time */
#define ROW_BYTES    8   /* of a task's input and output: whose row it is */
#define ROWS_MAX     16  /* of a task */

enum sim_kind { SIM_BROKER, SIM_GATEWAY, SIM_WORKER };

struct sim;

struct process {
    struct sim *sim;
    enum sim_kind kind;
    uint32_t index;  /* of all processes */
    uint32_t number; /* of its kind */
    bool alive;
    bool draining;       /* it was asked to end */
    bool gone;           /* it never comes back */
    uint64_t births;     /* starts so far */
    uint64_t wake_ns;    /* its next turn; UINT64_MAX: none is planned */
    uint64_t stopped_ns; /* SIGSTOP: nothing until then */
    uint64_t mono_ns;    /* its clocks' distances from true time */
    int64_t wall_ms;
    uint64_t cut_ns;   /* its machine is cut off until then */
    uint32_t cut_ways; /* bit 0: nothing comes in, bit 1: nothing goes out */
    bool cut_holds;    /* what is sent meanwhile comes later; else it is lost */
    void *state;       /* the role's */
};

/* What a role's part offers. `turn` is what the program does when something came or is due. */
struct sim_role {
    void (*birth)(struct process *process);
    void (*turn)(struct process *process);
    uint64_t (*next_ns)(struct process *process); /* when it must have a turn, in its own time */
    bool (*drained)(struct process *process);     /* ask it to end; true when it may */
    void (*death)(struct process *process);       /* frees all that a process has */
    void (*check)(struct process *process);       /* after a turn */
    void (*end)(struct process *process);         /* frees what outlives a process */
};
extern const struct sim_role sim_broker, sim_gateway, sim_worker;

/* --- the history of tasks ------------------------------------------------------------------------
 */

enum fact_state {
    FACT_NONE,
    FACT_PROMISED,  /* in the ledger; or, online, somebody waits for it */
    FACT_COMMITTED, /* has its result */
    FACT_CANCELLED, /* the ledger says that nobody wants it */
    FACT_VANISHED,  /* online: the one who asked was cut off when the gateway died */
};

/* What is true of a task. The ledger's columns are durable; the others nobody but we can see. */
struct fact {
    enum fact_state state;
    bool durable; /* in the ledger; else an online request */
    bool poison;  /* ends every runner that computes it */
    uint32_t model, rows, band, budget_ms, tenant;
    uint32_t attempt, crashes; /* the ledger's, by STARTED and CRASHED */
    uint64_t key;              /* idempotency key of its client; 0: none */
    uint32_t commits;          /* must be 1 in the end, 0 if cancelled */
    uint32_t answered;         /* in which life its gateway gave a result to the owner */
    uint32_t starts, deaths;   /* runners that began it, runners that it ended */
    uint32_t running;          /* runners that compute it now */
    uint64_t excuses;          /* faults and lost reports before the first death */
    enum status outcome;
};

/* Of one gateway. */
struct history {
    struct fact *facts; /* by sequence from 1 */
    uint32_t len, room;
    uint32_t open;  /* PROMISED ones */
    uint32_t first; /* none before is PROMISED */
};

struct totals {
    uint64_t committed, cancelled, computed, vanished, answered_failed;
    uint64_t faults, births, crashes, sessions;
    uint64_t lost;                   /* reports of crashes, and results, that did not arrive */
    uint64_t doubled;                /* tasks that two workers computed at a time */
    uint32_t starts_max, deaths_max; /* of one task */
    uint64_t rows[TENANTS];          /* of committed tasks */
};

/* --- the whole -----------------------------------------------------------------------------------
 */

enum sim_event {
    AT_MESSAGE, /* of a connection arrives */
    AT_BREAK,   /* an end of a connection is told of its end */
    AT_DIAL,    /* a socket tries to connect */
    AT_TURN,    /* a process has something to do */
    AT_RUNNER,  /* a runner comes to something */
    AT_BIRTH,   /* a process starts */
    AT_FAULT,
    AT_FLAP, /* a link that comes and goes */
};

struct event {
    uint64_t when_ns, order;
    enum sim_event kind;
    struct process *process;
    void *thing;   /* parcel, conn, socket, runner */
    uint64_t life; /* RUNNER: which start of it; FLAP: how often still */
};

struct sim {
    uint64_t seed, random;
    uint64_t now_ns;
    struct event *heap;
    size_t heap_len, heap_room;
    uint64_t orders;
    struct process processes[PROCESSES];
    struct process *current; /* whose code runs */
    struct history histories[GATEWAYS];
    struct net *net;
    bool calm;  /* no more faults, no more new tasks */
    bool peace; /* no faults from the start: the first tenant floods, the others always wait */
    uint64_t events;
    struct totals totals;
    char violation[512];  /* the first one; "" none */
    char trace[256][160]; /* the last things that happened, for a failure's report */
    uint64_t traced;
};

/* One at a time: the programs' calls to libzmq and the clocks name no fleet. */
struct sim *sim_new(uint64_t seed);
void sim_destroy(struct sim **self_p);
/* One event in time. False after a violation. */
bool sim_step(struct sim *self);
/* `events` events under faults, then settle; false after a violation. */
bool sim_run(struct sim *self, uint64_t events);
/* No more faults: everything promised must end within `limit_ms`. */
bool sim_settle(struct sim *self, uint64_t limit_ms);
/* The run so far, as a number: two runs of one seed have the same. */
uint64_t sim_digest(const struct sim *self);
/* One line of figures, and the last things that happened. */
void sim_print(const struct sim *self);
void sim_print_trace(const struct sim *self);

/* --- between the files ---------------------------------------------------------------------------
 */

extern struct sim *sim_it; /* the one that runs */

uint64_t sim_random(struct sim *self, uint64_t below);
/* Whether the network and the machines misbehave. */
bool sim_rough(const struct sim *self);
/* One time in so many. */
bool sim_chance(struct sim *self, uint64_t in);
void sim_at(struct sim *self, uint64_t when_ns, struct event event);
/* An invariant does not hold: `format` begins with its name. */
void sim_violate(struct sim *self, const char *format, ...) PRINTF_LIKE(2, 3);
void sim_note(struct sim *self, const char *format, ...) PRINTF_LIKE(2, 3);
const char *sim_name(const struct process *process);
const struct sim_role *sim_role(const struct process *process);
/* The process has a turn at `when_ns`, true time, unless it has one before. */
void sim_wake(struct process *process, uint64_t when_ns);
void sim_birth(struct process *process);
/* At once, wherever it is. */
void sim_kill(struct process *process);

void fault_next(struct sim *self);
void fault_flap(struct sim *self, struct process *process, uint64_t left);
void fault_end(struct sim *self);

/* A task of this gateway; its sequence number. */
uint32_t history_add(struct sim *self, uint32_t gateway, const struct fact *fact);
/* NULL, and a violation of I2, when nobody ever asked for it. */
struct fact *history_find(struct sim *self, uint32_t gateway, uint32_t sequence);
void history_start(struct sim *self, uint32_t gateway, uint32_t sequence);
void history_stop(struct sim *self, uint32_t gateway, uint32_t sequence, bool died);
/* A result reached the owner; `output` is the first row's octets, NULL when it failed. */
void history_answer(struct sim *self, uint32_t gateway, uint32_t sequence, enum status status,
                    const uint64_t *output);
void history_commit(struct sim *self, uint32_t gateway, uint32_t sequence, enum status status);
void history_end(struct sim *self, uint32_t gateway, uint32_t sequence, enum fact_state state);
/* Of the rows committed since `before` each tenant has its share, but for a tenth. */
void history_share(struct sim *self, const uint64_t before[static TENANTS]);
/* After all faults ended. */
void history_settled(struct sim *self);
/* What a row's input and output are. */
uint64_t history_input(uint32_t gateway, uint32_t sequence);
uint64_t history_output(uint64_t input);

struct net *net_new(struct sim *sim);
void net_destroy(struct net **self_p);
/* The process is gone: its sockets say nothing any more. */
void net_kill(struct net *self, struct process *process);
void net_event(struct net *self, const struct event *event);
/* Free what an event brought that will never come. */
void net_discard(const struct event *event);
/* Break a connection of the process, chosen by chance. */
void net_break(struct net *self, struct process *process);
/* Connections alive, and their most at a time. */
size_t net_conns(const struct net *self);
/* Whether something waits to be read by the process. */
bool net_waiting(const struct net *self, const struct process *process);

void runner_event(struct sim *self, const struct event *event);
/* Kill it, or let it stand still in a kernel. */
void runner_fault(struct process *worker, bool hangs);

#endif
