/* sim - a fleet in one thread and virtual time, around the real core of the broker
 *
 * Gateways with a ledger that survives them, workers, and a network that delays, drops, repeats,
 * reorders between control and data, breaks and splits; any of them, the broker too, may be killed
 * at any moment. Everything follows from a seed: the same seed and number of events are the same
 * run. While it runs, sim_step() checks what must always hold; sim_settle() ends all faults and
 * checks that everything that was promised ends exactly once.
 *
 *   sim.c      events in time, faults        sim_broker.c   the core and its actions
 *   sim_net.c  connections and messages      sim_gateway.c, sim_worker.c   peers by PROTOCOL.md
 *   sim_peer.c what both peers share */
#ifndef CONVOY_TESTS_SIM_SIM_H
#define CONVOY_TESTS_SIM_SIM_H

#include "broker/core/core.h"

#define MS        UINT64_C(1000000)
#define GATEWAYS  3
#define WORKERS   5
#define PEERS     (GATEWAYS + WORKERS)
#define MODELS    3
#define CONNS_MAX 65536
#define OPEN_MAX  120 /* tasks that one gateway has unfinished at a time */
#define HELD_MAX  512 /* tasks that one worker may hold: its credit is less */
#define BEAT_MS   100
#define LEASE_MS  1000

/* What goes wrong on purpose, to see that the checks see it. */
enum sim_mutation {
    MUTATE_NOTHING,
    MUTATE_COMMIT_TWICE,     /* a gateway commits each result that comes */
    MUTATE_COMMIT_CANCELLED, /* a gateway commits what was cancelled */
    MUTATE_DROP_UNKNOWN,     /* the broker's UNKNOWN is lost each time */
    MUTATE_DROP_RELEASE,     /* a body is never freed */
    MUTATE_DROP_ACK,         /* RESULT_ACK never reaches a worker */
    MUTATE_DROP_ANSWER,      /* the broker's own results are lost each time */
    MUTATE_REPEAT_DISPATCH,  /* a DISPATCH is repeated beyond the credit */
    MUTATE_NO_TIME,          /* the broker's clock stands: nobody ever expires */
    MUTATIONS
};

enum message_kind {
    SAY_HELLO,
    SAY_TIE,
    SAY_WELCOME,
    SAY_HEARTBEAT,
    SAY_CREDIT,
    SAY_SUBMIT,
    SAY_ACCEPTED,
    SAY_REJECTED,
    SAY_DISPATCH,
    SAY_STARTED,
    SAY_RESULT,
    SAY_RESULT_ACK,
    SAY_CANCEL,
    SAY_REVOKE,
    SAY_NACK,
    SAY_CRASHED,
    SAY_DRAIN,
    SAY_GOODBYE,
    SAY_ERROR,
};

/* A task or an id in a message. */
struct item {
    uint32_t gateway; /* which one's */
    uint64_t number;
    uint32_t model, rows, attempt, crashes, budget_ms, band, flags;
    enum status status;
};

struct message {
    enum message_kind kind;
    uint64_t conn; /* that it travels on */
    bool to_broker;
    enum status status; /* NACK, REJECTED, ERROR */
    uint32_t model;     /* SUBMIT */
    uint32_t worker;    /* RESULT, RESULT_ACK: which one; WORKERS: none */
    uint64_t token, credit_tasks, credit_bytes;
    struct item *items; /* tasks or ids */
    size_t len;
};

/* --- peers ---------------------------------------------------------------------------------------
 */

enum link_state { LINK_OFF, LINK_DIALING, LINK_TYING, LINK_UP };

/* A gateway's or worker's connections and liveness. */
struct peer {
    uint32_t index; /* of all peers: gateways first */
    struct uuid uuid;
    bool alive;    /* the process */
    bool draining; /* worker: said DRAIN */
    uint64_t incarnation;
    enum link_state state;
    uint64_t conns[2]; /* control, data; 0: none */
    uint64_t token;
    uint64_t heard_ns, beat_ns, dial_ns;
};

enum ledger_state { TASK_NONE, TASK_PROMISED, TASK_COMMITTED, TASK_CANCELLED };

struct entry {
    enum ledger_state state; /* durable, like attempt and crashes */
    uint32_t model, rows, attempt, crashes, budget_ms, band;
    bool poison;      /* ends every runner that computes it */
    uint32_t commits; /* must be 1 in the end, 0 if cancelled */
    enum status outcome;
    bool sent, accepted, resend; /* memory: gone with the process */
    uint64_t sent_ns, retry_ns;
};

struct gateway_sim {
    struct peer peer;
    struct entry *ledger; /* by number, from 1 */
    uint64_t next, room;  /* next number; entries allocated */
    uint64_t first;       /* nothing before is open */
    uint64_t open;        /* promised and not ended */
    uint64_t credit_tasks, credit_bytes, sent_tasks, sent_bytes;
};

enum held_state { HELD_WAITING, HELD_RUNNING, HELD_RESULT };

struct held {
    struct item item;
    enum held_state state;
    uint64_t due_ns;   /* RUNNING: ends then; RESULT: sent again then */
    uint64_t pause_ns; /* RESULT: the next pause */
};

struct worker_sim {
    struct peer peer;
    struct held held[HELD_MAX];
    size_t held_len;
    uint32_t slots;
    uint64_t credit, bytes;      /* told in this session */
    uint64_t got, got_bytes;     /* in this session */
    uint64_t refuses_ns[MODELS]; /* answers BAD_MODEL until then */
};

/* --- the whole -----------------------------------------------------------------------------------
 */

struct conn_sim {
    uint32_t peer;
    uint32_t plane;
    bool open;           /* the peer's side */
    bool known;          /* the broker's side: not told of its end */
    uint64_t last_ns[2]; /* latest arrival: to the peer, to the broker */
};

struct event {
    uint64_t when_ns, order;
    enum { AT_MESSAGE, AT_CLOSED, AT_PEER, AT_TICK, AT_FAULT, AT_REBIRTH, AT_BROKER } kind;
    uint32_t peer;
    uint64_t conn;
    struct message *message;
};

struct sim {
    uint64_t seed, random;
    enum sim_mutation mutation;
    uint64_t now_ns;
    struct event *heap;
    size_t heap_len, heap_room;
    uint64_t orders;
    struct core *core;    /* NULL while the broker is dead */
    uint64_t broker_born; /* order of its birth: older connections are strangers */
    uint64_t stalled_ns;  /* the broker does nothing until then */
    struct gateway_sim gateways[GATEWAYS];
    struct worker_sim workers[WORKERS];
    struct conn_sim *conns; /* by number */
    uint64_t conns_len;
    uint64_t cut_ns[PEERS];   /* partitioned from the broker until then */
    uint32_t cut_ways[PEERS]; /* bit 0: to the peer, bit 1: to the broker */
    bool calm;                /* no more faults, no more new tasks */
    uint64_t events;          /* given to the core */
    uint64_t bodies;          /* alive */
    uint64_t committed, cancelled, computed, faults, restarts;
    char violation[256]; /* the first one; "" none */
    char trace[64][160]; /* the last things that happened, for a failure's report */
    uint64_t traced;
};

struct sim *sim_new(uint64_t seed, enum sim_mutation mutation);
void sim_destroy(struct sim **self_p);

/* One event in time. False after a violation. */
bool sim_step(struct sim *self);
/* No more faults: everything promised must end within `limit_ms`. */
bool sim_settle(struct sim *self, uint64_t limit_ms);
/* The run so far, as a number: two runs of one seed must have the same. */
uint64_t sim_digest(const struct sim *self);
void sim_print_trace(const struct sim *self);

/* --- between the files ---------------------------------------------------------------------------
 */

uint64_t sim_random(struct sim *self, uint64_t below);
bool sim_chance(struct sim *self, uint64_t in);
void sim_at(struct sim *self, uint64_t when_ns, struct event event);
void sim_violate(struct sim *self, const char *format, ...) PRINTF_LIKE(2, 3);
void sim_note(struct sim *self, const char *format, ...) PRINTF_LIKE(2, 3);
struct peer *sim_peer(struct sim *self, uint32_t index);
struct peer *sim_peer_by(struct sim *self, const struct uuid *uuid);

uint64_t net_open(struct sim *self, uint32_t peer, uint32_t plane);
void net_close(struct sim *self, uint64_t conn);
/* Takes the message; delivers it some time later, or not. */
void net_say(struct sim *self, uint64_t conn, bool to_broker, struct message *message);
struct message *net_message(enum message_kind kind);
struct item *net_item(struct message *message);
void net_free(struct message *message);

void broker_birth(struct sim *self);
void broker_death(struct sim *self);
void broker_hears(struct sim *self, struct message *message);
void broker_closed(struct sim *self, uint64_t conn);
void broker_tick(struct sim *self);

/* Opens sessions, beats, gives up; true while the session is up. */
bool peer_turn(struct sim *self, struct peer *peer);
void peer_dial(struct sim *self, struct peer *peer, uint64_t pause_ms);
void peer_down(struct sim *self, struct peer *peer);
/* True: the message was the link's own. */
bool peer_hears(struct sim *self, struct peer *peer, const struct message *message);
void peer_say(struct sim *self, struct peer *peer, struct message *message);

void gateway_birth(struct sim *self, struct gateway_sim *gateway);
void gateway_up(struct sim *self, struct gateway_sim *gateway, const struct message *welcome);
void gateway_list(struct sim *self, struct gateway_sim *gateway, struct message *message);
void gateway_hears(struct sim *self, struct gateway_sim *gateway, const struct message *message);
void gateway_turn(struct sim *self, struct gateway_sim *gateway);

void worker_birth(struct sim *self, struct worker_sim *worker);
void worker_up(struct sim *self, struct worker_sim *worker);
void worker_list(struct worker_sim *worker, struct message *message);
void worker_hears(struct sim *self, struct worker_sim *worker, const struct message *message);
void worker_turn(struct sim *self, struct worker_sim *worker);

#endif
