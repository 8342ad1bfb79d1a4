/* fleet_private - what the files fleet*.c share; nobody else includes this */
#ifndef CONVOY_GATEWAY_FLEET_PRIVATE_H
#define CONVOY_GATEWAY_FLEET_PRIVATE_H

#include "common/link.h"
#include "gateway/fleet.h"
#include "gateway/pending.h"

#define QUERIES_MAX   64
#define LISTENERS_MAX 4
#define ACKERS_MAX    64    /* workers with results to be acknowledged in one turn */
#define RANGES_MAX    2048  /* of a set in one message: PROTOCOL.md */
#define AWAITED_MAX   65536 /* ranges of the whole set */

struct query {
    uint64_t request; /* 0: this place is free */
    void (*answer)(void *arg, const struct wire_map *state, const struct error *why);
    void *arg;                /* for answer */
    struct front_timer timer; /* the broker did not answer */
    struct fleet *fleet;      /* for the timer */
};

struct acker {
    struct uuid worker; /* zero: the broker made the result */
    struct taskset ids; /* to be acknowledged */
};

struct listener {
    void (*changed)(void *arg);
    void *arg; /* for changed */
};

struct fleet {
    struct fleet_config config; /* texts are copies */
    struct link *link;          /* NULL before fleet_start */
    struct pending pending;     /* every task */
    uint64_t next_id;           /* the incarnation's block of 2^40 numbers */
    uint64_t now_ns;            /* of this turn */
    bool draining;              /* the broker takes nothing more in this session */
    uint64_t absent_ns;         /* since when there is no broker or no worker; 0: both are there */
    uint32_t workers;           /* by the broker's last heartbeat */
    uint64_t session;           /* counts LINK_UP */
    uint64_t credit_tasks;      /* cumulative, in this session: allowed */
    uint64_t credit_bytes;
    uint64_t used_tasks; /* cumulative, in this session: sent */
    uint64_t used_bytes;
    struct taskset awaited; /* built for HELLO and HEARTBEAT */
    size_t awaited_from;    /* range that the next message begins with */
    struct taskset cancels; /* to be sent at the end of this turn */
    struct acker ackers[ACKERS_MAX];
    size_t ackers_len;    /* in use */
    struct wire_in in;    /* the message at hand */
    struct wire_out *out; /* the message being built */
    struct query queries[QUERIES_MAX];
    uint64_t queries_made; /* their numbers */
    struct listener listeners[LISTENERS_MAX];
    size_t listeners_len; /* in use */
    void (*blob_get)(void *arg, const struct digest *blob, const struct uuid *worker,
                     uint64_t offset, uint32_t length);
    void *blob_arg; /* for blob_get */
};

/* --- fleet.c */
/* The task ends here with this outcome: its owner hears it, the fleet forgets it. */
void fleet_end(struct fleet *self, struct task *task, enum status status, const char *text);
void fleet_changed(struct fleet *self);
/* Remember who is there, and since when nobody is. */
void fleet_presence(struct fleet *self, uint32_t workers);

/* --- fleet_take.c */
void fleet_take(struct fleet *self, const struct wire_in *in);
void fleet_fill_awaited(void *self, struct wire_out *out);
void fleet_fill_hello(void *self, struct wire_out *out);

/* --- fleet_send.c */
/* Acknowledge at the end of this turn. */
void fleet_ack(struct fleet *self, const struct uuid *worker, uint64_t id);

/* --- fleet_query.c */
void fleet_answer(struct fleet *self, const struct wire_in *in);
void fleet_queries_end(struct fleet *self, const char *why);

/* --- fleet_result.c */
/* One TASK of a RESULT with its frames, which are moved out of the message. Never fails: what is
 * inconsistent becomes a result with status INTERNAL. */
struct fleet_result *fleet_result_read(const struct wire_in *in, struct wire_map map,
                                       zmq_msg_t *frames, size_t frames_len,
                                       const struct task *task);
struct fleet_result *fleet_result_made(const struct task *task, enum status status,
                                       const char *text);

#endif
