/* agent_self - the agent's inside, shared by its files and by nobody else
 *
 * agent.c           life and loop
 * agent_session.c   messages in, HELLO, HEARTBEAT, credit
 * agent_fetch.c     models: from the store to the runner
 * agent_work.c      batches: from the queues through the ring to results
 * agent_runner.c    the runner's deaths, stalls and stops
 * agent_results.c   results out, until they are acknowledged */
#ifndef CONVOY_WORKER_AGENT_SELF_H
#define CONVOY_WORKER_AGENT_SELF_H

#include "common/link.h"
#include "common/log.h"
#include "worker/agent.h"
#include "worker/agent_ids.h"
#include "worker/agent_model.h"
#include "worker/agent_task.h"
#include "worker/ring.h"
#include "worker/runner.h"
#include "worker/store.h"

/* A batch in the ring. */
struct flight {
    enum ring_kind kind;
    struct agent_model *model;
    struct task *tasks[RING_TASKS_MAX]; /* in the order of their rows; some may be GONE */
    size_t len;
    bool begun;   /* STARTED was said */
    bool stopped; /* ring_stop was called */
};

struct agent {
    const struct worker_params *params; /* the daemon's */
    struct daemon_run *run;             /* the daemon's */
    struct uuid uuid;                   /* of this start: results do not outlive the process */
    char *name;                         /* for people */
    char mode[33];                      /* numeric mode of the runner's kernels */
    uint32_t threads;                   /* that the runner computes with */
    void *zmq;                          /* ZeroMQ context */
    struct link *link;
    struct wire_in in;
    struct wire_out *out; /* all but HELLO and HEARTBEAT are built here */
    struct store *store;
    struct ring *ring;
    struct runner *runner;
    struct tasks *tasks;
    struct agent_models models;
    struct task_spec *last_spec; /* of the last task: the next one's is mostly the same */
    uint64_t now_ns;             /* of this turn */

    /* credit, all since the session began */
    uint64_t received_tasks; /* dispatched to us */
    uint64_t received_bytes; /* their input octets */
    uint64_t credit_tasks;   /* last told */
    uint64_t credit_bytes;

    /* work */
    struct flight flights[RING_SLOTS]; /* by batch number */
    struct batch_list answered;        /* HELD tasks whose result is to be sent now */
    struct batch_list held;            /* HELD tasks sent, oldest first */
    struct agent_ids started;          /* to be told */
    struct agent_ids busy;             /* to be given back */
    uint64_t resend_ns;                /* when to look for results to send again */

    /* watch over the runner */
    uint64_t ticks_before; /* of runners that are gone */
    uint64_t ticks_seen;   /* at the last change */
    uint64_t ticks_ns;     /* when that was, or when the batch began */
    uint32_t watched;      /* number of the batch that is computed */
    uint64_t watch_ns;     /* when to look again at deadlines and stalls */

    uint64_t expire_ns; /* when to look for tasks out of time */
    size_t held_from;   /* HEARTBEAT: gateway at which a list that was cut goes on */
    size_t held_next;   /* ... and the run of its ids */
    bool draining;
};

/* --- agent_session.c --- */
struct link *agent_session_open(struct agent *self);
/* Take what the broker sent, at most a burst; false when nothing was there. */
bool agent_session_step(struct agent *self);
/* Raise the credit when that is worth a message. */
void agent_session_credit(struct agent *self);

/* --- agent_fetch.c --- */
/* A new task in state FETCHING: give it to its model, or answer it at once. */
void agent_fetch_take(struct agent *self, struct task *task, const char *model_name);
/* A bite of the store's work, requests for what is missing, and what became of it: models that are
 * here now, or cannot be had. True when there is more to do at once. */
bool agent_fetch_step(struct agent *self);
/* The file has left the store: bring it back. */
void agent_fetch_again(struct agent *self, struct agent_model *model);
/* The runner has loaded it and told its signature. */
void agent_fetch_loaded(struct agent *self, struct agent_model *model, const char *signature,
                        size_t size);
/* The version cannot be run: answer or give back all tasks that wait for it. */
void agent_fetch_failed(struct agent *self, struct agent_model *model, const struct error *why);

/* --- agent_work.c --- */
/* Fill the ring with what is due. */
void agent_work_pump(struct agent *self);
/* Take completed batches out of the ring. */
void agent_work_harvest(struct agent *self);
/* Answer tasks that ran out of time in the queues. */
void agent_work_expire(struct agent *self);
/* When a queue is due though nothing happens. */
uint64_t agent_work_next_ns(const struct agent *self);
/* Out of its queue, if it is in one. */
void agent_work_unqueue(struct task *task);
/* Back into its queue's front, or, gone meanwhile, freed. */
void agent_work_give_back(struct agent *self, struct task *task, bool alone);

/* --- agent_runner.c --- */
/* Start the first runner and wait until it is ready. */
enum status agent_runner_open(struct agent *self, struct error *why);
/* Replace a dead runner, kill a stalled one, stop what nobody wants. */
void agent_runner_step(struct agent *self);
/* Say STARTED for the batch that is computed now. */
void agent_runner_note_begun(struct agent *self);
uint64_t agent_runner_next_ns(const struct agent *self);
uint64_t agent_runner_ticks(const struct agent *self);
/* How long no operator has started although a batch is computed. */
uint64_t agent_runner_stalled_ms(const struct agent *self);

/* --- agent_results.c --- */
/* The task has its outcome: HELD, and sent soon. Takes the result. */
void agent_results_add(struct agent *self, struct task *task, struct result *result);
/* Send what is new or due again. */
void agent_results_flush(struct agent *self);
/* Send a held result again. */
void agent_results_again(struct agent *self, struct task *task);
/* A new session: everything again. */
void agent_results_all_again(struct agent *self);
/* The task leaves the table, whatever its state. */
void agent_results_drop(struct agent *self, struct task *task);
uint64_t agent_results_next_ns(const struct agent *self);

#endif
