/* state - what the core's own files share: its structures and the calls between them
 *
 * Nothing outside broker/core includes this, but for the simulator's checks. Things live in fixed
 * tables and name each other by index, so that no outcome depends on where memory was found.
 *
 *   out        builds actions            tasks      the table of tasks, their states and lists
 *   sessions   peers and their terms     queues     tasks waiting for one model
 *   reconcile  what peers list           schedule   which worker gets what
 *   deadlines  heap of due times         events     messages about tasks
 *   orphans    listed, never submitted   ranks      who has room, by load
 *   flows      who waits, whose turn it is */
#ifndef CONVOY_BROKER_CORE_STATE_H
#define CONVOY_BROKER_CORE_STATE_H

#include "broker/core/core.h"
#include "broker/core/map.h"
#include "broker/core/shelf.h"

#define CORE_MAGIC   0x43565943U
#define COST_DEFAULT 1000000U /* ns of a row of which nothing is known yet */
#define COST_MIN     1000U    /* ns: nothing is free, or windows would never end */
#define COST_MAX                                                                                   \
    (UINT64_C(1) << 36)          /* ns of a row, about a minute: sums of many stay below 2^64      \
                                  */
#define COST_ROWS_MAX (1U << 20) /* rows of a task that count */
#define MISSED_BEATS  3          /* one or two lost packets are not a death */
#define UNLISTED_MAX  2          /* one heartbeat may have crossed the DISPATCH */
#define SCAN_FRACTION 8          /* sessions are looked at so often in a heartbeat */

/* Tasks in a doubly linked list through struct task; a task is in one list at a time. */
struct list {
    uint32_t head, tail; /* slots, NONE when empty */
    uint32_t len;
};

/* tasks.c has the table of what each move does in each state. */
enum task_state { TASK_FREE, TASK_PARKED, TASK_QUEUED, TASK_LEASED, TASK_DONE, TASK_STATES };
enum task_move { MOVE_QUEUE, MOVE_PARK, MOVE_LEASE, MOVE_LOSE, MOVE_FINISH, MOVE_FORGET, MOVES };

struct task {
    uint64_t number;      /* with gateway: the id */
    void *body;           /* NULL once DONE */
    uint64_t bytes;       /* of bodies, against byte credits */
    uint64_t deadline_ns; /* 0: none */
    uint64_t cost_ns;     /* estimate charged to the worker while LEASED */
    uint64_t listed_ns;   /* LEASED: dispatched or last listed then; PARKED: since then */
    struct uuid avoid;    /* worker that crashed on it; zero: none */
    uint32_t gateway;     /* slot */
    uint32_t queue;       /* slot; NONE once DONE */
    uint32_t flow;        /* slot; NONE once DONE */
    uint32_t holder;      /* LEASED, DONE: session slot of the worker */
    uint32_t prev, next;  /* in the list that the state names */
    uint32_t heap;        /* position in the heap of deadlines, NONE: not inside */
    uint32_t beat;        /* number of the worker's heartbeat that listed it last */
    uint32_t rows;        /* at least 1 */
    uint32_t frames;      /* body frames */
    uint32_t map_bytes;   /* in a DISPATCH's map */
    uint32_t attempt;     /* attempts started */
    uint32_t crashes;     /* runners ended */
    uint8_t flags;        /* enum core_flag */
    uint8_t band;
    uint8_t state;    /* enum task_state */
    uint8_t unlisted; /* heartbeats since the dispatch without it */
    bool started;     /* in this lease */
};

/* What a worker is to a queue. */
struct pairing {
    uint64_t row_ns;     /* measured here; 0: nothing yet */
    uint64_t refused_ns; /* spared the model until then */
    struct perch perch;  /* on the queue's shelf */
    uint64_t leased_ns;  /* when it was given a task last; 0: never */
    uint32_t leases;     /* of this queue's tasks */
    uint32_t listed;     /* place in the worker's list of warm queues, from 1; 0: not there */
    bool told;           /* its last list has the model */
    bool loaded;         /* it said so, or computed one */
    bool counted;        /* in warm_ready */
};

struct queue {
    struct digest model;
    char mode[CORE_MODE_SIZE];
    uint32_t kind;
    uint32_t minor; /* that a worker must speak */
    bool used;
    uint64_t row_ns;     /* measured over all workers; 0: nothing yet */
    uint64_t regret_ns;  /* time that tasks lately waited for warm workers */
    uint32_t refs;       /* tasks that are PARKED, QUEUED or LEASED */
    enum status refusal; /* why a worker refused the model last */
    char refusal_text[256];
    struct pairing *workers; /* by session slot */
    struct shelf *shelf;     /* of warm workers that have room for one more */
    uint32_t warm_ready;     /* workers that have the model and may be given something sometime */
    uint32_t refusers;       /* workers that refuse the model */
};

/* Estimated time that a band, tenant or flow got; see flows.c. */
struct account {
    uint64_t served;  /* ns dispatched, over its share */
    uint64_t floor;   /* of the member served last: where one that was idle starts */
    uint64_t waiting; /* tasks QUEUED in it */
};

struct tenant {
    char name[CORE_TENANT_SIZE];
    uint32_t share;                   /* as told last */
    uint32_t flows;                   /* that name it */
    struct account bands[CORE_BANDS]; /* its members are flows */
};

/* What one tenant has waiting in one queue. */
struct flow {
    uint32_t queue, tenant;        /* slots */
    uint32_t refs;                 /* tasks that are PARKED, QUEUED or LEASED */
    uint32_t waiting;              /* tasks that are QUEUED */
    uint32_t active;               /* place among those with waiting tasks, from 1; 0: not there */
    struct list tasks[CORE_BANDS]; /* QUEUED, oldest first */
    struct account bands[CORE_BANDS];
    uint64_t blocked[CORE_BANDS]; /* scheduling round that found no worker for its head */
};

/* A task that a worker lists and nobody has submitted to this broker. */
struct orphan {
    struct uuid gateway;
    uint64_t number;
    uint32_t worker; /* session slot; NONE once it is taken */
    uint32_t next;   /* of the same worker, or free */
};

struct session {
    bool used, open, draining;
    enum core_role role;
    struct uuid uuid;
    uint64_t incarnation;
    uint64_t token;         /* from WELCOME, asked for on data */
    uint64_t control, data; /* connections; 0: not yet */
    char name[CORE_NAME_SIZE];
    uint64_t seen_ns; /* last message; or when it was given work, which it must answer */
    uint64_t pace_ns; /* its HEARTBEATs come so often, as it promised */
    uint64_t beat_ns; /* when to send the next HEARTBEAT */

    /* a worker's */
    char mode[CORE_MODE_SIZE];
    uint32_t minor; /* highest that it speaks */
    uint32_t cores, slots;
    uint32_t beats;                      /* HEARTBEATs with a list */
    struct list leases;                  /* LEASED, in the order of dispatch */
    struct list results;                 /* DONE and not acknowledged */
    uint64_t work_ns;                    /* estimate of its leases */
    uint64_t credit_tasks, credit_bytes; /* totals that it allowed */
    uint64_t sent_tasks, sent_bytes;     /* totals that it got */
    uint64_t pause_ns;                   /* said BUSY: nothing until then; 0: no pause */
    uint64_t crowded_ns;                 /* short of memory until then; 0: never was */
    bool unlisted;                       /* computed a model that its last list does not have */
    struct perch perch;                  /* in the pool */
    uint32_t touched;                    /* place among the touched ones, from 1; 0: not there */
    uint32_t *warm;                      /* queues whose model it has, or is given */
    uint32_t warm_len, warm_room;
    uint64_t picked;           /* turn in which it was chosen last: ties rotate */
    uint32_t fresh;            /* leases at the list's end that wait for their DISPATCH */
    uint64_t running, waiting; /* as last told */
    uint64_t rows;             /* computed in this session */
    struct digest *models;     /* loaded */
    size_t models_len;
    uint32_t orphans;   /* first of its chain */
    uint64_t listed_ns; /* when its last list came */

    /* a gateway's */
    uint32_t gateway;                          /* slot */
    uint64_t submitted_tasks, submitted_bytes; /* totals that came */
    uint64_t allowed_tasks, allowed_bytes;     /* totals that it was told */
    struct taskset awaited;                    /* from HELLO, answered once data is tied */
};

/* A gateway as the owner of tasks; outlives its sessions for gateway_keep_ms. */
struct gateway {
    bool used;
    struct uuid uuid;
    uint64_t incarnation;      /* highest seen */
    uint32_t session;          /* slot, NONE while away */
    uint64_t left_ns;          /* when it went away */
    uint64_t tasks;            /* in the table, DONE ones too */
    uint64_t live, live_bytes; /* PARKED, QUEUED or LEASED */
};

struct core {
    uint32_t magic;
    struct core_limits limits;
    struct core_counters counters;
    struct core_out out;
    uint64_t seed;   /* of hashes and tokens */
    uint64_t tokens; /* made so far */
    uint64_t start_ns;
    uint64_t tick_ns;   /* last core_tick */
    uint64_t scan_ns;   /* next look at all sessions */
    uint64_t freeze_ns; /* nobody expires before */
    uint64_t park_ns;   /* resent tasks are held back until then */
    bool draining;
    bool dirty; /* something may be dispatched */

    struct task *tasks;  /* slots; touched only as they are used */
    uint32_t tasks_room; /* slots there are */
    uint32_t tasks_high; /* slots ever used */
    struct list free;    /* slots used before */
    struct map by_id;    /* tasks */
    struct list parked;  /* PARKED */
    uint64_t counts[TASK_STATES];
    uint64_t bytes; /* of bodies held */
    uint32_t *heap; /* task slots, earliest deadline first */
    uint32_t heap_len;

    struct queue *queues;
    uint32_t queues_high; /* slots ever used */
    struct map by_model;
    struct flow *flows;
    uint32_t flows_high; /* slots ever used */
    struct map by_flow;
    uint32_t *active; /* flows with waiting tasks, in no order */
    uint32_t active_len;
    struct tenant *tenants; /* as many slots as flows */
    uint32_t tenants_high;  /* slots ever used */
    struct map by_tenant;
    struct account all;               /* its members are bands */
    struct account bands[CORE_BANDS]; /* their members are tenants */
    uint64_t round;                   /* of scheduling */
    uint64_t turn;                    /* of choosing a worker */

    struct session *sessions;
    struct map by_conn; /* session slot * 2 + (data ? 1 : 0) */
    struct map by_peer; /* session slots by role and uuid */
    uint32_t *workers;  /* slots of worker sessions: a ring, by a hash of their uuid */
    uint32_t workers_len;
    struct shelf pool; /* of workers that have room */
    uint32_t *touched; /* workers whose ranks are to be settled */
    uint32_t touched_len;
    uint32_t *served;       /* scratch of the schedule: workers with fresh leases */
    uint32_t workers_open;  /* of them with both connections */
    uint32_t workers_told;  /* ... at the last look at all sessions: gateways know them */
    struct orphan *orphans; /* as many as tasks */
    uint32_t orphans_high;  /* slots ever used */
    uint32_t orphans_free;  /* chain of slots used before */
    struct map by_orphan;
    struct gateway *gateways;
    uint32_t gateways_room;
    struct map by_gateway;
};

/* --- out ---------------------------------------------------------------------------------------
 */
/* The action is valid until the next out_ call. text may be NULL. */
struct action *out_action(struct core *self, enum action_kind kind, uint64_t conn,
                          enum status status, const char *text);
/* One more id for (kind, conn, gateway): joins the last action where it can. */
void out_id(struct core *self, enum action_kind kind, uint64_t conn, const struct uuid *gateway,
            uint64_t number);
/* Add ids to `action`, which must be the last one. */
void out_range(struct core *self, struct action *action, uint64_t first, uint64_t count);
void out_set(struct core *self, enum action_kind kind, uint64_t conn, const struct core_set *set,
             const char *text);
struct dispatch_row *out_row(struct core *self, struct action *action);
void out_release(struct core *self, void *body);

/* --- tasks -------------------------------------------------------------------------------------
 */
struct task *task_find(const struct core *self, uint32_t gateway, uint64_t number);
struct task *task_find_uuid(const struct core *self, const struct uuid *gateway, uint64_t number);
uint32_t task_slot(const struct core *self, const struct task *task);
/* A FREE one with its id set; NULL when the table is full. MOVE_QUEUE, _PARK or _LEASE comes next.
 */
struct task *task_new(struct core *self, uint32_t gateway, uint64_t number);
/* One step of the state table. False, and counted, when the table forbids it. LEASE and FINISH need
 * the worker's slot, the others pass NONE. LOSE and QUEUE put it at the front or the end. */
bool task_do(struct core *self, struct task *task, enum task_move move, uint32_t holder);
struct list list_empty(void);
void list_add(struct core *self, struct list *list, uint32_t slot, bool front);
void list_remove(struct core *self, struct list *list, uint32_t slot);

/* Estimate for a task of so many rows. */
static inline uint64_t cost_of(uint64_t row_ns, uint32_t rows)
{
    return COST_MIN + row_ns * MIN(rows, COST_ROWS_MAX);
}

/* --- queues ------------------------------------------------------------------------------------
 */
/* Find or make; NULL when there are too many. */
struct queue *queue_for(struct core *self, const struct digest *model, const char *mode,
                        uint32_t kind, uint32_t minor);
void queue_free(struct queue *queue);
uint64_t queue_cost(const struct queue *queue, uint32_t worker, const struct task *task);
void queue_measure(struct core *self, struct queue *queue, uint32_t worker, uint64_t rows,
                   uint64_t compute_ns);
/* Time passes: waiting of long ago counts less. Once in each scan. */
void queues_cool(struct core *self);
/* A worker came, told its models, or left. One that dropped a model in use is crowded. */
void queues_meet(struct core *self, uint64_t now_ns, uint32_t worker);
void queues_part(struct core *self, uint32_t worker);

/* --- flows -------------------------------------------------------------------------------------
 */
/* Slot of the flow, found or made; NONE when there are too many. tenant may be NULL. */
uint32_t flow_for(struct core *self, uint32_t queue, const char *tenant, uint32_t share);
/* A task begins and ends to wait in its flow. */
void flow_add(struct core *self, struct task *task, bool front);
void flow_take(struct core *self, struct task *task);
/* Whose turn it is, of those not blocked in this round, and in which band; NULL: nobody's. */
struct flow *flow_next(struct core *self, uint32_t *band);
/* It got so much of the workers' estimated time. */
void flow_charge(struct core *self, struct flow *flow, uint32_t band, uint64_t cost);

/* --- deadlines ---------------------------------------------------------------------------------
 */
void deadline_add(struct core *self, struct task *task);
void deadline_remove(struct core *self, struct task *task);
uint64_t deadline_next(const struct core *self); /* UINT64_MAX: none */
/* Answer and forget what waits and is late. */
void deadlines_pass(struct core *self, uint64_t now_ns);

/* --- sessions ----------------------------------------------------------------------------------
 */
struct session *session_of(const struct core *self, uint64_t conn);
struct session *session_by(const struct core *self, enum core_role role, const struct uuid *uuid);
uint32_t session_slot(const struct core *self, const struct session *session);
struct gateway *gateway_by(const struct core *self, const struct uuid *uuid);
/* Where a gateway hears about its tasks; 0 while it is away. */
uint64_t gateway_control(const struct core *self, uint32_t gateway);
uint64_t gateway_data(const struct core *self, uint32_t gateway);
void session_end(struct core *self, uint64_t now_ns, struct session *session, enum status why);
void sessions_scan(struct core *self, uint64_t now_ns);
/* WELCOME, on one of its connections. */
void session_welcome(struct core *self, const struct session *session, uint64_t conn);
/* HEARTBEAT; ids may be added. */
struct action *session_beat(struct core *self, const struct session *session);
/* Its next HEARTBEAT comes within next_ms (0: heartbeat_ms; no later while it has leases). One that
 * quickens is answered soon. */
void session_pace(struct core *self, uint64_t now_ns, struct session *session, uint32_t next_ms);
/* An idle one was given work, or its list is asked for: from now on it must beat as often as
 * others, and our next HEARTBEAT, which is sent soon, makes it answer at once. */
void session_wake(struct core *self, uint64_t now_ns, struct session *session);
/* Keep a copy of the models that it has; true when they are others than before. */
bool session_models(struct session *session, const struct digest *models, size_t len);
/* What a gateway may have sent in this session, by now. */
void session_allow(struct core *self, struct session *session, bool always);

/* --- reconcile ---------------------------------------------------------------------------------
 */
void reconcile_held(struct core *self, uint64_t now_ns, struct session *worker,
                    const struct core_set *lists, size_t len);
/* Take back what two heartbeats did not list. */
void reconcile_sweep(struct core *self, uint64_t now_ns, struct session *worker, bool cut);
void reconcile_awaited(struct core *self, struct session *session, const struct core_set *lists,
                       size_t len);
/* After a gateway's restart: what it does not await is not wanted. */
void reconcile_restart(struct core *self, struct gateway *gateway, const struct core_set *lists,
                       size_t len);
bool lists_cut(const struct core_set *lists, size_t len);
/* Let go what was held back and which every worker has had time to list. */
void parked_release(struct core *self, uint64_t now_ns);

/* --- orphans -----------------------------------------------------------------------------------
 */
void orphan_note(struct core *self, struct session *worker, const struct uuid *gateway,
                 uint64_t number);
bool orphan_known(const struct core *self, const struct uuid *gateway, uint64_t number);
/* Take an id out of the orphans of a worker; its slot, or NONE. */
uint32_t orphan_take(struct core *self, const struct uuid *gateway, uint64_t number);
void orphans_clear(struct core *self, struct session *worker);

/* --- schedule ----------------------------------------------------------------------------------
 */
void schedule(struct core *self, uint64_t now_ns);

/* --- ranks -------------------------------------------------------------------------------------
 */
/* Something about the worker changed: credit, load, pause, what it has. */
void rank_touch(struct core *self, uint32_t slot);
/* The same where it may have become warm for the queue. */
void rank_note(struct core *self, struct queue *queue, uint32_t slot);
/* It was just given a task of the queue. */
void rank_leased(struct core *self, struct queue *queue, uint32_t slot);
/* Before choosing: all that was touched takes its place. */
void ranks_settle(struct core *self);
/* Pauses and refusals end with time. */
void ranks_scan(struct core *self, uint64_t now_ns);
void rank_meet(struct core *self, uint32_t slot);
void rank_part(struct core *self, uint32_t slot);
/* Clear what the worker is to the queue. */
void rank_forget(struct core *self, struct queue *queue, uint32_t slot);
/* Place in `workers` of the first one whose hash is not below `point`; workers_len: none. */
uint32_t rank_ring(const struct core *self, uint64_t point);
bool rank_has_room(const struct core *self, const struct queue *queue, const struct session *worker,
                   uint64_t cost);
uint64_t rank_load(const struct session *worker);
struct perches rank_pool(const struct core *self);
struct perches rank_shelf(const struct queue *queue);

/* --- events ------------------------------------------------------------------------------------
 */
/* Nobody wants it: revoke where it is leased, forget it. */
void task_cancel(struct core *self, struct task *task);
/* Take the lease back: it waits again, or is answered when it may not be tried again. `lost`: the
 * worker may have computed it, so it is marked as delivered again. */
void task_requeue(struct core *self, struct task *task, bool lost);
/* The broker's own result; the task is forgotten, since a lost answer is asked for again. */
void task_answer(struct core *self, struct task *task, enum status status, const char *text);

#endif
