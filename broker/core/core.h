/* core - the broker's decisions: events in, actions out
 *
 * A pure state machine: no socket, file, clock or thread, and the same events in the same order
 * give the same actions. Every event carries `now_ns`, which must not go back. Events append
 * actions; the caller carries them out in order after any number of events, then calls
 * core_taken(). One thread at a time.
 *
 * Connections are numbers that the caller chooses, never 0 and never used twice at the same time.
 * A session has two, control and data. Whatever a peer sends is fine here: what does not fit is
 * counted and dropped. Task bodies are opaque handles: core_submit() takes them over, the action
 * RELEASE gives them back, exactly once each. */
#ifndef CONVOY_BROKER_CORE_CORE_H
#define CONVOY_BROKER_CORE_CORE_H

#include "common/digest.h"
#include "common/ids.h"
#include "common/limits.h"
#include "common/status.h"
#include "common/taskset.h"

#define CORE_TASKS_MAX   128         /* tasks in a SUBMIT or a DISPATCH */
#define CORE_FRAMES_MAX  256         /* body frames of a DISPATCH */
#define CORE_BYTES_MAX   (4 * MIB)   /* body octets of a DISPATCH of more than one task */
#define CORE_MAP_MAX     (192 * KIB) /* octets in the map of a DISPATCH, 64 KiB spared */
#define CORE_NAME_SIZE   64          /* a peer's name and its NUL; longer ones are cut */
#define CORE_MODE_SIZE   33          /* a numeric mode and its NUL */
#define CORE_BANDS       4           /* interactive, high, normal, batch */
#define CORE_TENANT_SIZE 65          /* a tenant's name and its NUL */
#define CORE_SHARE_MAX   1000        /* of a tenant; more counts as this */

enum core_role { CORE_GATEWAY = 1, CORE_WORKER = 2 };
enum core_flag { CORE_FLAG_RESENT = 1, CORE_FLAG_ALONE = 2, CORE_FLAG_AGAIN = 4 };

/* Bounds and periods, by limits.def. */
struct core_limits {
#define CORE_FIELD_u32                                 uint32_t
#define CORE_FIELD_ms                                  uint32_t
#define CORE_FIELD_bytes                               uint64_t
#define PARAM(name, type, value, min, max, unit, help) CORE_FIELD_##type name; /* by limits.def */
#include "broker/core/limits.def"
#undef PARAM
};

extern const struct core_limits core_limits_default;

struct core_counters {
#define COUNTER(name, meaning) uint64_t name; /* by counters.def */
#include "broker/core/counters.def"
#undef COUNTER
};

/* --- what comes in -----------------------------------------------------------------------------
 */

/* Ids of one gateway. Ranges are ascending and disjoint; whoever decodes them checks that. */
struct core_set {
    struct uuid gateway;             /* whose ids */
    const struct task_range *ranges; /* borrowed during the call */
    size_t len;                      /* of ranges */
};

struct core_hello {
    enum core_role role;
    struct uuid uuid;             /* the peer's lasting identity */
    uint64_t incarnation;         /* grows with each of its starts */
    const char *name;             /* for people */
    uint32_t cores;               /* workers: what they compute on */
    uint32_t slots;               /* workers: batches at the same time, at least 1 */
    const char *mode;             /* workers: first numeric mode; "" unknown */
    uint32_t minor;               /* highest minor version that it speaks */
    const struct digest *models;  /* workers: loaded versions */
    size_t models_len;            /* at most CORE_MODELS_MAX are kept */
    const struct core_set *lists; /* workers: HELD; gateways: AWAITED */
    size_t lists_len;             /* of lists */
};

struct core_beat {
    const struct core_set *lists; /* workers: HELD; gateways: AWAITED */
    size_t lists_len;             /* of lists */
    const struct digest *models;  /* workers: loaded versions; NULL: not told this time */
    size_t models_len;            /* of models */
    uint64_t running;             /* workers: tasks being computed */
    uint64_t waiting;             /* workers: tasks waiting there */
    uint32_t next_ms;             /* its next HEARTBEAT comes within; 0: heartbeat_ms */
};

struct core_task {
    uint64_t number;    /* with the gateway's uuid: the id */
    uint64_t bytes;     /* octets of its bodies */
    uint32_t map_bytes; /* octets that it takes in a DISPATCH's map, at most */
    uint32_t frames;    /* body frames */
    uint32_t attempt;   /* attempts started before */
    uint32_t crashes;   /* attempts that ended a runner */
    uint32_t budget_ms; /* 0: no deadline */
    uint32_t rows;      /* 0 counts as 1 */
    uint32_t band;      /* 0 to CORE_BANDS - 1 */
    uint32_t flags;     /* enum core_flag */
    const char *tenant; /* who is charged, borrowed during the call; NULL as "": nobody's */
    uint32_t share;     /* of the tenant, against others' in its band; 0 counts as 1 */
    struct uuid avoid;  /* worker that it crashed on; zero: none */
    void *body;         /* opaque; the core's from now on */
};

struct core_submit {
    struct digest model;           /* version's id */
    const char *mode;              /* numeric mode that a worker must have; "": any */
    uint32_t kind;                 /* what is asked for: kept apart, not interpreted */
    uint32_t minor;                /* minor version that a worker must speak for that */
    const struct core_task *tasks; /* borrowed during the call, but for the bodies */
    size_t len;                    /* of tasks, at most CORE_TASKS_MAX */
    bool unknown;                  /* this version has no such kind */
};

struct core_result {
    uint64_t number;     /* task */
    enum status status;  /* outcome */
    uint32_t rows;       /* computed; 0: as submitted */
    uint64_t compute_ns; /* charged to the task */
};

/* --- what goes out -----------------------------------------------------------------------------
 */

enum action_kind {
    ACTION_WELCOME,    /* token, credits; on the connection that said HELLO */
    ACTION_HEARTBEAT,  /* workers; ids: UNKNOWN, of a gateway */
    ACTION_CREDIT,     /* to a gateway: credits */
    ACTION_ACCEPTED,   /* ids */
    ACTION_REJECTED,   /* ids, status, text, retry_ms */
    ACTION_DISPATCH,   /* rows of one model, mode and kind */
    ACTION_STARTED,    /* ids */
    ACTION_CRASHED,    /* ids, text */
    ACTION_ANSWER,     /* a result made here, without bodies: ids (one), status, text */
    ACTION_RESULT_ACK, /* ids */
    ACTION_REVOKE,     /* ids */
    ACTION_DRAIN,      /* the broker takes nothing new */
    ACTION_ERROR,      /* status, text */
    ACTION_GOODBYE,    /* status, text: the session of this connection is over */
    ACTION_RELEASE,    /* body: free it */
    ACTION_OPENED,     /* for the log: session `slot` is open */
    ACTION_LOST,       /* for the log: session of peer `uuid`, named by text, is over; count tasks
                          were queued again; status tells why */
};

struct dispatch_row {
    struct uuid gateway; /* owner */
    uint64_t number;     /* task */
    uint64_t bytes;      /* of bodies */
    void *body;          /* still the core's: share, do not free */
    uint32_t attempt;    /* started before this one */
    uint32_t crashes;
    uint32_t budget_ms; /* left, at least 1; 0: no deadline */
    uint32_t rows;
    uint32_t band;
    uint32_t flags; /* enum core_flag */
};

struct action {
    enum action_kind kind;
    enum status status;    /* ERROR, GOODBYE, REJECTED, ANSWER, LOST */
    uint64_t conn;         /* where to send it; 0 for those that are not sent */
    struct uuid uuid;      /* owner of the ids; LOST: the peer */
    uint32_t first;        /* ids: index into out.ranges; DISPATCH: into out.rows */
    uint32_t len;          /* of ranges or of rows */
    uint32_t text;         /* offset into out.chars; 0: none */
    uint32_t slot;         /* OPENED: the session, for core_peer() */
    uint32_t role;         /* LOST: enum core_role */
    uint32_t retry_ms;     /* REJECTED */
    uint32_t workers;      /* HEARTBEAT */
    uint32_t next_ms;      /* HEARTBEAT: when the next one is due */
    uint64_t waiting;      /* HEARTBEAT, DISPATCH: tasks that wait here */
    uint64_t count;        /* LOST: tasks queued again */
    uint64_t data;         /* LOST: its data connection; 0: none */
    uint64_t token;        /* WELCOME */
    uint64_t credit_tasks; /* WELCOME, CREDIT: totals */
    uint64_t credit_bytes;
    void *body; /* RELEASE */
};

/* Actions since the last core_taken(). Read only; valid until the next event. */
struct core_out {
    struct action *actions; /* in order */
    size_t actions_len;
    struct task_range *ranges; /* of the actions' ids, in no order inside an action */
    size_t ranges_len;
    struct dispatch_row *rows; /* of DISPATCH */
    size_t rows_len;
    char *chars; /* texts, each ended by NUL; offset 0 is "" */
    size_t chars_len;
    size_t actions_room; /* allocated */
    size_t ranges_room;
    size_t rows_room;
    size_t chars_room;
};

/* --- life --------------------------------------------------------------------------------------
 */

struct core;

/* `seed` makes tokens and hashes: random in the program, fixed in tests. Never returns NULL. */
struct core *core_new(const struct core_limits *limits, uint64_t seed, uint64_t now_ns);

/* Frees everything; bodies still held go to `release` (NULL: nothing is called). */
void core_destroy(struct core **self_p, void (*release)(void *body));

/* How often peers without work beat: idle_ms, or heartbeat_ms where that is more. */
uint32_t core_idle_ms(const struct core_limits *limits);

const struct core_out *core_out(const struct core *self);
void core_taken(struct core *self);

/* --- events ------------------------------------------------------------------------------------
 */

/* HELLO on control, and HELLO on data with the token of WELCOME. */
void core_hello(struct core *self, uint64_t now_ns, uint64_t conn, const struct core_hello *hello);
void core_attach(struct core *self, uint64_t now_ns, uint64_t conn, const struct uuid *uuid,
                 uint64_t incarnation, uint64_t token);

/* The connection is gone, or (with a status) must go: its session gets GOODBYE. */
void core_closed(struct core *self, uint64_t now_ns, uint64_t conn);
void core_expel(struct core *self, uint64_t now_ns, uint64_t conn, enum status status,
                const char *text);

/* Any message came on `conn`. The session's role, or 0 after an ERROR HELLO_NEEDED. To be called
 * before the message's own event. */
uint32_t core_heard(struct core *self, uint64_t now_ns, uint64_t conn);

void core_heartbeat(struct core *self, uint64_t now_ns, uint64_t conn,
                    const struct core_beat *beat);
void core_credit(struct core *self, uint64_t conn, uint64_t tasks, uint64_t bytes);
void core_submit(struct core *self, uint64_t now_ns, uint64_t conn,
                 const struct core_submit *submit);
void core_started(struct core *self, uint64_t conn, const struct core_set *sets, size_t len);
void core_nack(struct core *self, uint64_t now_ns, uint64_t conn, const struct core_set *sets,
               size_t len, enum status status, const char *text, uint32_t retry_ms);
void core_crashed(struct core *self, uint64_t conn, const struct core_set *sets, size_t len,
                  const char *text);
void core_cancel(struct core *self, uint64_t conn, const struct core_set *sets, size_t len);
/* `worker` may be NULL. */
void core_result_ack(struct core *self, uint64_t conn, const struct core_set *sets, size_t len,
                     const struct uuid *worker);
void core_drain(struct core *self, uint64_t conn);
void core_goodbye(struct core *self, uint64_t now_ns, uint64_t conn);

/* Results of one gateway's tasks. Returns the data connection to pass the message to, as it came;
 * 0: nobody to pass it to. */
uint64_t core_result(struct core *self, uint64_t conn, const struct uuid *gateway,
                     const struct core_result *results, size_t len);

/* Time passes: expiry, heartbeats, credits, dispatch. After every batch of events. */
void core_tick(struct core *self, uint64_t now_ns);

/* The latest moment for the next core_tick() when no event comes. */
uint64_t core_next_ns(const struct core *self);

/* The broker itself drains: tell all peers, take no SUBMIT. Then true once no task is left. */
void core_drain_all(struct core *self);
bool core_idle(const struct core *self);
/* WELCOME to all open sessions once more: what it says besides the terms has changed. */
void core_welcome_all(struct core *self);
/* GOODBYE to all peers. */
void core_end(struct core *self);

/* --- looking in --------------------------------------------------------------------------------
 */

/* Data connection of an open session of that role; 0: there is none. Routes blobs. */
uint64_t core_route(const struct core *self, enum core_role role, const struct uuid *uuid);

/* Control connection of a session of that role, open or not; 0: there is none. */
uint64_t core_control(const struct core *self, enum core_role role, const struct uuid *uuid);

struct core_peer {
    enum core_role role;
    uint64_t control; /* connection */
    struct uuid uuid;
    const char *name; /* valid until the next event */
    const char *mode;
    const struct digest *models;
    size_t models_len;
    uint32_t cores, slots;
    bool open, draining;
    uint64_t leases;      /* workers: tasks leased to it */
    uint64_t running;     /* workers: as last told */
    uint64_t rows;        /* workers: rows that it has computed in this session */
    uint64_t credit_left; /* workers: tasks that may still be dispatched */
};

/* Session in slot 0 .. sessions_max - 1; false when that slot is empty. */
bool core_peer(const struct core *self, uint32_t slot, struct core_peer *peer);
/* The peer behind a connection; false when it has no session. */
bool core_peer_of(const struct core *self, uint64_t conn, struct core_peer *peer);

const struct core_counters *core_counters(const struct core *self);
uint32_t core_workers(const struct core *self);
uint64_t core_waiting(const struct core *self);
uint64_t core_leased(const struct core *self);
uint64_t core_done(const struct core *self);

/* Walk everything and assert what must always hold. Slow: for tests. */
void core_check(const struct core *self);

#endif
