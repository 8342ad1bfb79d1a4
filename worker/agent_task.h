/* agent_task - the tasks that this worker has, their states, and the results it still owes
 *
 *               READY              PICK              ANSWER             ACK
 *   FETCHING ----------> WAITING --------> RUNNING ----------> HELD ----------> gone
 *                           ^                 |
 *                           `--- GIVE_BACK ---'                 DROP: gone, from anywhere
 *
 * A task is found by its gateway and number. The table owns its tasks; one that is dropped while
 * the runner has it lives on, unfindable, until the runner lets it go. One thread, but for
 * result_unref. */
#ifndef CONVOY_WORKER_AGENT_TASK_H
#define CONVOY_WORKER_AGENT_TASK_H

#include "common/brokers.h"
#include "common/wire.h"
#include "worker/batch.h"

#define NO_BROKER BROKERS_MAX /* in the place of a broker's number */

enum task_state {
    TASK_FETCHING, /* its model is not here or not loaded yet */
    TASK_WAITING,  /* in its model's queue */
    TASK_RUNNING,  /* in a slot of the ring */
    TASK_HELD,     /* its result waits for RESULT_ACK */
    TASK_GONE,     /* out of the table */
    TASK_STATES
};

enum task_event {
    TASK_READY,     /* its model can be run */
    TASK_PICK,      /* put into a batch */
    TASK_GIVE_BACK, /* its batch came to nothing: runs again */
    TASK_ANSWER,    /* there is a result */
    TASK_DROP,      /* acknowledged, revoked, given back to the broker, charged with a crash */
    TASK_EVENTS
};

/* What a SPEC says; equal SPECs share one. */
struct task_spec {
    uint32_t refs;
    uint32_t inputs_len;
    uint64_t rows;  /* common first dim, 0: none */
    uint64_t bytes; /* of all inputs */
    void *packed;   /* the SPEC as it came */
    size_t packed_size;
    struct tensor inputs[]; /* data NULL; names follow the last one */
};

/* An answer, kept until it is acknowledged; one block of memory. */
struct result {
    _Atomic uint32_t refs; /* ZeroMQ's threads let go of it, too */
    enum status status;
    const char *text; /* "" unless it failed */
    uint64_t rows;
    uint64_t compute_ns;
    uint64_t queue_ns;
    uint64_t bytes;       /* of all outputs */
    size_t size;          /* of this block */
    uint64_t row;         /* CRASHED: the row that ended runners; UINT64_MAX: none is named */
    struct digest digest; /* BLAKE2b-256 over the outputs */
    bool has_digest;
    uint32_t outputs_len;
    struct tensor *outputs; /* data inside this block */
};

struct agent_model;

struct task {
    struct batch_item item; /* for the model's queue; also links HELD tasks, oldest first */
    struct uuid gateway;
    uint64_t number; /* given by that gateway */
    enum task_state state;
    enum wire_kind kind;
    struct agent_model *model; /* NULL once HELD */
    struct digest version;     /* of the model */
    struct task_spec *spec;    /* NULL for an INSPECT */
    uint64_t deadline_ns;      /* UINT64_MAX: none */
    uint64_t begun_ns;         /* RUNNING: when the runner began its batch; 0 not yet */
    uint64_t rows;             /* as the gateway counts them */
    uint64_t suspect_from;     /* rows from here on ... */
    uint64_t suspect_end;      /* ... to here: a runner died on one of them; equal: none did */
    uint32_t crashes;          /* runners that it ended before it came here */
    uint32_t crashes_untold;   /* runners that it ended here while no broker was there */
    uint32_t attempt;          /* attempts started before this one */
    uint32_t via;              /* the broker whose lease it is, by number; NO_BROKER: it was lost */
    uint32_t sent_via;         /* HELD: the broker that the result went to last */
    uint32_t sends;            /* HELD: how often it was sent */
    bool again;                /* another worker had it before and was lost; told with the result */
    struct result *result;     /* HELD */
    uint64_t resend_ns;        /* HELD: when to send it again */
    uint64_t pause_ns;         /* HELD: how long to wait after that */
    uint64_t held_ns;          /* HELD: since when */
    bool to_send;              /* HELD: in the list of answers to be sent, not of sent ones */
    struct task *next;         /* in its bucket */
    size_t frames_len;
    zmq_msg_t frames[]; /* bodies; closed once there is a result */
};

struct tasks;

struct tasks *tasks_new(void);
void tasks_destroy(struct tasks **self_p);

/* A task in state FETCHING, not yet in any queue; takes the frames (they become empty) and a
 * reference of `spec`. The id must not be there. */
struct task *tasks_add(struct tasks *self, const struct uuid *gateway, uint64_t number,
                       struct task_spec *spec, zmq_msg_t *frames, size_t frames_len);
struct task *tasks_find(const struct tasks *self, const struct uuid *gateway, uint64_t number);

/* Move along the table of states, counting. False, and nothing happens, where the table has no such
 * step: late messages are normal. A task that is GONE leaves the table; task_free is the owner's,
 * at once or when the runner lets it go. */
bool tasks_step(struct tasks *self, struct task *task, enum task_event event);
void task_free(struct task *task);

/* How many are in a state; octets of results held. */
uint64_t tasks_count(const struct tasks *self, enum task_state state);
uint64_t tasks_held_bytes(const struct tasks *self);

/* Unfinished tasks and their input octets, of the leases of one broker; NO_BROKER: of nobody's. */
struct tasks_share {
    uint64_t tasks;
    uint64_t bytes;
};
struct tasks_share tasks_share(const struct tasks *self, uint32_t broker);
/* The lease is this broker's now. */
void tasks_lease(struct tasks *self, struct task *task, uint32_t broker);
/* A broker was lost: its leases are nobody's. */
void tasks_orphan(struct tasks *self, uint32_t broker);

/* Every id in the table, by gateway, for HELLO and HEARTBEAT. */
size_t tasks_gateways(const struct tasks *self);
const struct taskset *tasks_of(const struct tasks *self, size_t index, struct uuid *gateway);
/* Each task of ids [first, first + count) of a gateway that is in the table. `call` may step and
 * free the task that it is given, and no other. */
void tasks_each(struct tasks *self, const struct uuid *gateway, uint64_t first, uint64_t count,
                void (*call)(void *owner, struct task *task), void *owner);

/* Read a SPEC: names, types, shapes and sizes must fit each other and `frames`. INVALID or
 * MALFORMED say what does not. *out has one reference. `last` (may be NULL) is a spec that probably
 * is the same: it is shared then. */
enum status task_spec_read(struct task_spec **out, const void *packed, size_t size,
                           struct task_spec *last, struct error *why);
/* Whether the frames hold the inputs: each tensor's octets in frames of its own. */
enum status task_spec_fits(const struct task_spec *self, zmq_msg_t *frames, size_t frames_len,
                           struct error *why);
void task_spec_unref(struct task_spec *self);

/* A result without outputs, or with room for these; see struct result. One reference. */
struct result *result_failed(enum status status, const char *text);
struct result *result_new(const struct tensor *outputs, uint32_t outputs_len);
/* Any thread; `result` may be passed to wire_body_borrow with it. */
void result_unref(void *result);

#endif
