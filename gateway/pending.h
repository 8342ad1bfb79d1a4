/* pending - the tasks that the gateway waits for: by id, and in line by band and tenant
 *
 *                 submit            flush            ACCEPTED           RESULT           commit
 *   (nothing) -> [WAITING] -------> [SENT] --------> [ACCEPTED] ------> [DONE] --------> (nothing)
 *                    ^                `-- UNKNOWN, REJECTED --'
 *   (restart) -> [EXPECTED]: awaited, its data is fetched only when the fleet does not know it
 *
 * Owns the tasks inside it. Pure: no socket and no clock. */
#ifndef CONVOY_GATEWAY_PENDING_H
#define CONVOY_GATEWAY_PENDING_H

#include "common/taskset.h"
#include "gateway/fleet.h"
#include "gateway/shares.h"

#include <sys/queue.h>

#define BANDS     4
#define NO_BROKER UINT32_MAX

enum task_state { TASK_EXPECTED, TASK_WAITING, TASK_SENT, TASK_ACCEPTED, TASK_DONE };

struct task {
    TAILQ_ENTRY(task) all;       /* every task, oldest first */
    TAILQ_ENTRY(task) line;      /* TASK_WAITING: its tenant's line of its band */
    struct tenant *tenant;       /* who is charged */
    struct task *next;           /* in the same bucket */
    uint64_t id;                 /* key */
    enum task_state state;       /* see above */
    struct fleet_task what;      /* as submitted; texts and inputs are in `store` */
    void *store;                 /* one block behind `what` */
    uint64_t bytes;              /* octets of the inputs */
    uint32_t frames;             /* body frames that they take */
    uint32_t map_bytes;          /* about what the task takes of a message's map */
    uint64_t submitted_ns;       /* when it came */
    uint64_t sent_ns;            /* last time that it was sent, or asked for */
    uint64_t sent_session;       /* in which session; 0: it came from a broker that was lost */
    uint32_t broker;             /* SENT, ACCEPTED: which one has it; else NO_BROKER */
    bool resend;                 /* a broker may have had it before */
    uint32_t strangers;          /* EXPECTED: bits of the brokers that do not know it */
    bool asked;                  /* EXPECTED: its owner was told that the fleet does not know it */
    struct uuid worker;          /* DONE: who holds the result; zero: nobody */
    uint32_t via;                /* DONE: the broker through which the result came */
    struct front_timer deadline; /* budget, or the pause after REJECTED */
    struct fleet *fleet;         /* for timers */
};

TAILQ_HEAD(task_list, task);

/* Tasks of one tenant. There are as many of these as API keys have named, and one for nobody. */
struct tenant {
    struct tenant *next;
    char *name;                    /* "" nobody in particular */
    uint32_t share;                /* of rows sent, while others wait too */
    size_t online;                 /* tasks that are not patient */
    uint64_t online_bytes;         /* their input octets */
    struct task_list lines[BANDS]; /* TASK_WAITING, by band */
    uint64_t served[BANDS];        /* rows sent, over the share */
};

struct pending {
    struct task **buckets;       /* power of two of them, by the low bits of the id */
    size_t buckets_len;          /* how many */
    size_t len;                  /* tasks */
    size_t patient;              /* of these, patient ones */
    size_t waiting;              /* of these, in a line */
    uint64_t online_bytes;       /* input octets of tasks that are not patient */
    struct task_list all;        /* oldest first */
    struct tenant *tenants;      /* in the order in which they came */
    uint64_t floor[BANDS];       /* served of who was sent last: where one that was idle starts */
    const struct shares *shares; /* borrowed */
};

/* Shares may be NULL: all tenants are alike. */
void pending_init(struct pending *self, const struct shares *shares);

/* Frees every task. */
void pending_free(struct pending *self);

/* A copy of `what` under its id, which must be new, in state TASK_EXPECTED and in no line. Takes
 * over one reference of what->owner. */
struct task *pending_add(struct pending *self, const struct fleet_task *what);

/* Give an expected task its data. */
void pending_supply(struct pending *self, struct task *task, const struct fleet_task *what);

/* NULL when there is no such task. */
struct task *pending_find(const struct pending *self, uint64_t id);

/* Found or made. NULL is "". */
struct tenant *pending_tenant(struct pending *self, const char *name);

/* Into its line, at the end or in front. */
void pending_line_up(struct pending *self, struct task *task, bool front);

/* Out of the line, into `state`; TASK_SENT charges the tenant with its rows. */
void pending_move(struct pending *self, struct task *task, enum task_state state);

/* The inputs are not needed any more. */
void pending_drop_inputs(struct pending *self, struct task *task);

/* The next task to be sent: of the lowest band, of the tenant that had least for its share; NULL:
 * none waits. */
struct task *pending_first(const struct pending *self);

/* Forget it; its timer must be clear. */
void pending_remove(struct pending *self, struct task *task);

/* Fill `set` with the tasks that this broker must know: sent to it before `before_ns` or accepted
 * there, or expected from any. */
void pending_awaited(const struct pending *self, uint32_t broker, uint64_t before_ns,
                     struct taskset *set);

#endif
