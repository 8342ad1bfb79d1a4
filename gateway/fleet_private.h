/* fleet_private - what the files fleet*.c share; nobody else includes this */
#ifndef CONVOY_GATEWAY_FLEET_PRIVATE_H
#define CONVOY_GATEWAY_FLEET_PRIVATE_H

#include "common/limits.h"
#include "common/link.h"
#include "gateway/fleet.h"
#include "gateway/pending.h"

#define LISTENERS_MAX 4
#define ACKERS_MAX    64    /* workers with results to be acknowledged in one turn */
#define RANGES_MAX    2048  /* of a set in one message: PROTOCOL.md */
#define AWAITED_MAX   65536 /* ranges of the whole set */

struct query {
    uint64_t request; /* 0: this place is free */
    fleet_workers_answer *answer;
    void *arg;                    /* for answer */
    struct front_timer timer;     /* some broker did not answer */
    struct fleet *fleet;          /* for the timer */
    bool awaited[BROKERS_MAX];    /* brokers that were asked and are still silent */
    size_t awaited_len;           /* how many */
    bool answered;                /* by one broker at least */
    struct fleet_worker *workers; /* as told so far, one for each uuid */
    size_t workers_len;
};

struct acker {
    struct uuid worker; /* zero: the broker made the result */
    struct taskset ids; /* to be acknowledged */
};

struct listener {
    void (*changed)(void *arg);
    void *arg; /* for changed */
};

/* One broker, seen from here. Lives as long as the fleet: tasks name it by its index. */
struct upstream {
    struct fleet *fleet;
    uint32_t index;                /* in fleet->upstreams */
    struct broker_address address; /* where it is */
    struct link *link;             /* NULL before fleet_start, and for a second name of another */
    struct uuid broker;            /* which start of it we spoke with last */
    bool tried;                    /* had a session, or time enough for one */
    bool draining;                 /* takes nothing more in this session */
    uint32_t workers;              /* by its last heartbeat */
    uint64_t session;              /* counts LINK_UP */
    uint64_t credit_tasks;         /* cumulative, in this session: allowed */
    uint64_t credit_bytes;
    uint64_t used_tasks; /* cumulative, in this session: sent */
    uint64_t used_bytes;
    size_t tasks;           /* that it has, committed ones not counted */
    size_t awaited_from;    /* range that the next HEARTBEAT begins with */
    struct taskset cancels; /* to be sent at the end of this turn */
    struct taskset moved;   /* went to others when the link broke: it may still have them */
    struct acker ackers[ACKERS_MAX];
    size_t ackers_len; /* in use */
};

struct fleet {
    struct fleet_config config;              /* texts are copies */
    struct upstream *upstreams[BROKERS_MAX]; /* as configured, then as WELCOME named them */
    size_t upstreams_len;                    /* how many */
    uint32_t turn;                           /* whose turn it is to be read first */
    struct pending pending;                  /* every task */
    uint64_t next_id;                        /* the incarnation's block of 2^40 numbers */
    uint64_t now_ns;                         /* of this turn */
    uint64_t start_ns;                       /* of fleet_start; 0: before */
    uint64_t absent_ns;     /* since when there is no broker or no worker; 0: both are there */
    uint32_t workers;       /* by the broker that has most */
    struct taskset awaited; /* built for HELLO and HEARTBEAT */
    struct wire_in in;      /* the message at hand */
    struct wire_out *out;   /* the message being built */
    struct query queries[QUERIES_MAX];
    uint64_t queries_made; /* their numbers */
    struct listener listeners[LISTENERS_MAX];
    size_t listeners_len; /* in use */
    void (*blob_get)(void *arg, const struct fleet_blob *want);
    void *blob_arg;                              /* for blob_get */
    const struct fleet_registry_calls *registry; /* who keeps the nodes; NULL: nobody */
    void *registry_arg;                          /* for its calls */
};

/* --- fleet.c */
/* The task ends here with this outcome: its owner hears it, the fleet forgets it. */
void fleet_end(struct fleet *self, struct task *task, enum status status, const char *text);
void fleet_changed(struct fleet *self);

/* --- fleet_brokers.c */
/* Know one more broker; NULL when it is known or there are too many. */
struct upstream *fleet_add_broker(struct fleet *self, const struct broker_address *address);
void fleet_free_broker(struct upstream *self);
void fleet_dial(struct upstream *self);
bool upstream_up(const struct upstream *self);
/* It may be given tasks. */
bool upstream_usable(const struct upstream *self);
/* Of the usable ones that speak `minor` and have credit for `bytes`, one with workers and the least
 * to do; or NULL. */
struct upstream *fleet_pick(const struct fleet *self, uint32_t minor, uint64_t bytes);
/* The upstream of this index if it is up, else another that is up, else NULL. */
struct upstream *fleet_reach(const struct fleet *self, uint32_t broker);
/* The task is with this broker now; NULL: with none. */
void fleet_place(struct fleet *self, struct task *task, const struct upstream *broker);
/* Events of the link. */
void fleet_upstream_up(struct upstream *self);
void fleet_upstream_down(struct upstream *self);
void fleet_upstream_news(struct upstream *self);
/* How many workers a broker has; remember who is there, and since when nobody is. */
void fleet_presence(struct upstream *from, uint32_t workers);
/* Whether every broker that may know an expected task has said that it does not. */
bool fleet_all_strangers(const struct fleet *self, const struct task *task);

/* --- fleet_take.c */
void fleet_take(struct upstream *from, const struct wire_in *in);
/* A task (TASK_SENT) that no broker has taken: a patient one is sent again after a pause (0: the
 * usual one) where that may help, any other ends here. */
void fleet_turn_back(struct fleet *self, struct task *task, enum status status, uint64_t pause_ms,
                     const char *text);
/* `upstream` as void pointer: for the link. */
void fleet_fill_awaited(void *upstream, struct wire_out *out);
bool fleet_awaits_nothing(const void *upstream);
void fleet_fill_hello(void *upstream, struct wire_out *out);

/* --- fleet_send.c */
/* Acknowledge through this broker at the end of this turn. NULL: the worker will ask again. */
void fleet_ack(struct upstream *through, const struct uuid *worker, uint64_t id);

/* --- fleet_nodes.c */
void fleet_nodes_up(struct upstream *from);
void fleet_nodes_down(struct upstream *from);
void fleet_take_nodes_ack(struct upstream *from, const struct wire_in *in);
void fleet_take_enrol(struct upstream *from, const struct wire_in *in);

/* --- fleet_query.c */
void fleet_answer(struct upstream *from, const struct wire_in *in);
/* Wait for this broker's answers no longer; NO_BROKER: end all questions. */
void fleet_queries_end(struct fleet *self, uint32_t broker, const char *why);

/* --- fleet_result.c */
/* One TASK of a RESULT with its frames, which are moved out of the message. Never fails: what is
 * inconsistent becomes a result with status INTERNAL. */
struct fleet_result *fleet_result_read(const struct wire_in *in, struct wire_map map,
                                       zmq_msg_t *frames, size_t frames_len,
                                       const struct task *task);
struct fleet_result *fleet_result_made(const struct task *task, enum status status,
                                       const char *text);

#endif
