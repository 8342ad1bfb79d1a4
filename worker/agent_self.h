/* agent_self - the agent's inside, shared by its files and by nobody else
 *
 * agent.c           life and loop
 * agent_brokers.c   the brokers: who is there, who is told what
 * agent_session.c   messages in, HELLO, HEARTBEAT, credit
 * agent_fetch.c     models: from the store to the runner
 * agent_work.c      batches: from the queues through the ring to results
 * agent_runner.c    the runner's deaths, stalls and stops
 * agent_progress.c  how far a segment of a training is
 * agent_blame.c     who is to blame for a death
 * agent_results.c   results out, until they are acknowledged */
#ifndef CONVOY_WORKER_AGENT_SELF_H
#define CONVOY_WORKER_AGENT_SELF_H

#include "common/link.h"
#include "common/log.h"
#include "worker/agent.h"
#include "worker/agent_ids.h"
#include "worker/agent_join.h"
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

/* One broker, seen from here. Lives as long as the agent: tasks name it by its number. */
struct upstream {
    struct agent *agent;
    uint32_t index;                /* its number */
    struct broker_address address; /* where it is */
    struct link *link;             /* NULL: a second name of another one */
    struct uuid broker;            /* which start of it we spoke with last */
    uint64_t received_tasks;       /* dispatched to us since the session began */
    uint64_t received_bytes;       /* their input octets */
    uint64_t credit_tasks;         /* last told, totals since the session began */
    uint64_t credit_bytes;
    uint64_t backlog;         /* tasks that wait there, as last told */
    struct agent_ids started; /* to be told */
    struct agent_ids busy;    /* to be given back */
    size_t held_from;         /* HEARTBEAT: gateway at which a list that was cut goes on */
    size_t held_next;         /* ... and the run of its ids */
};

struct agent {
    const struct worker_params *params; /* the daemon's */
    struct daemon_run *run;             /* the daemon's */
    struct uuid uuid;                   /* of this start: results do not outlive the process */
    uint64_t incarnation;               /* of this start */
    char *name;                         /* for people */
    char mode[33];                      /* numeric mode of the runner's kernels */
    uint32_t threads;                   /* that the runner computes with */
    void *zmq;                          /* ZeroMQ context */
    struct agent_join *join;            /* who we are in the fleet */
    struct upstream *upstreams[BROKERS_MAX];
    size_t upstreams_len;
    uint32_t turn;      /* whose turn it is to be read first */
    uint32_t blobs_via; /* number of the broker that is asked for blobs */
    struct wire_in in;
    struct wire_out *out; /* all but HELLO and HEARTBEAT are built here */
    struct store *store;
    struct ring *ring;
    struct runner *runner;
    struct tasks *tasks;
    struct agent_models models;
    struct task_spec *last_spec; /* of the last task: the next one's is mostly the same */
    uint64_t now_ns;             /* of this turn */

    /* work */
    struct flight flights[RING_SLOTS]; /* by batch number */
    struct batch_list answered;        /* HELD tasks whose result is to be sent now */
    struct batch_list held;            /* HELD tasks sent, oldest first */
    uint64_t resend_ns;                /* when to look for results to send again */

    /* watch over the runner */
    uint64_t ticks_before; /* of runners that are gone */
    uint64_t ticks_seen;   /* at the last change */
    uint64_t ticks_ns;     /* when that was, or when the batch began */
    uint32_t watched;      /* number of the batch that is computed */
    uint64_t watch_ns;     /* when to look again at deadlines and stalls */

    uint64_t progress_ns; /* when PROGRESS may be said again */
    uint32_t progress_of; /* number of the batch that it is about */

    uint64_t swap_ns;   /* loaded models with work come first until then */
    uint64_t expire_ns; /* when to look for tasks out of time */
    bool draining;
};

/* --- agent_brokers.c --- */
/* Begin to join the brokers of the list. */
void agent_brokers_open(struct agent *self, const struct broker_list *list);
void agent_brokers_close(struct agent *self);
/* We have a new key: begin every session again with it. */
void agent_brokers_rekey(struct agent *self);
size_t agent_brokers_poll(const struct agent *self, zmq_pollitem_t *items);
uint64_t agent_brokers_next_ns(const struct agent *self);
bool upstream_up(const struct upstream *self);
/* The broker of this number if it is up, else another that is; `skip` more of those that are up
 * are passed over. NULL: nobody is there. */
struct upstream *agent_reach(struct agent *self, uint32_t broker, uint32_t skip);
/* Take what the brokers sent, from each at most a burst. */
void agent_brokers_step(struct agent *self);
/* STARTED and NACKs of this turn. */
void agent_brokers_flush(struct agent *self);
/* Give the task back to whoever leased it: busy. The caller drops it. */
void agent_brokers_busy(struct agent *self, const struct task *task);
/* The task began to be computed. */
void agent_brokers_started(struct agent *self, const struct task *task);
/* Nothing new any more. */
void agent_brokers_drain(struct agent *self);
/* Whether nothing is left to be given back. */
bool agent_brokers_idle(const struct agent *self);

/* --- agent_session.c --- */
/* For the link; `upstream` as void pointer. */
void agent_session_hello(void *upstream, struct wire_out *out);
void agent_session_heartbeat(void *upstream, struct wire_out *out);
bool agent_session_idle(const void *upstream); /* nothing held, of any broker */
/* A message of that broker, in the agent's `in`. */
void agent_session_take(struct upstream *from);
/* Raise the brokers' credits where that is worth a message. */
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

/* --- agent_progress.c --- */
/* Tell how far the segment is that is computed, where there is news. */
void agent_progress_step(struct agent *self, const struct flight *flight);

/* --- agent_blame.c --- */
/* A runner died in this batch: charge its tasks, or give them back. */
void agent_blame_batch(struct agent *self, struct flight *flight, const struct ring_batch *batch,
                       const char *how);
/* Of the task's suspect rows so many are computed at once. */
uint64_t agent_blame_step(const struct task *task);
/* A runner died while it loaded the model. */
void agent_blame_load(struct agent *self, struct agent_model *model, const char *how);

/* --- agent_results.c --- */
/* The task has its outcome: HELD, and sent soon. Takes the result. */
void agent_results_add(struct agent *self, struct task *task, struct result *result);
/* Send what is new or due again. */
void agent_results_flush(struct agent *self);
/* Send a held result again. */
void agent_results_again(struct agent *self, struct task *task);
/* What went to this broker, or to one that is away, was perhaps lost: again. */
void agent_results_all_again(struct agent *self, uint32_t broker);
/* The task leaves the table, whatever its state. */
void agent_results_drop(struct agent *self, struct task *task);
uint64_t agent_results_next_ns(struct agent *self);

#endif
