/* fleet - the gateway's side of the wire: tasks go out, exactly one result per task comes back
 *
 * Keeps every task from submission to commit: sends within the brokers' credit, has what a broker
 * that died had reconciled through another, sends again what that one does not know, takes the
 * first RESULT of an id through whichever broker and acknowledges it when its owner says that it is
 * safe. Online tasks are refused when the fleet is full or absent; patient ones (dataset chunks)
 * wait. Front thread only; callbacks come on it, never from within a call that the owner makes. */
#ifndef CONVOY_GATEWAY_FLEET_H
#define CONVOY_GATEWAY_FLEET_H

#include "common/brokers.h"
#include "common/digest.h"
#include "common/ids.h"
#include "common/link.h"
#include "common/tensor.h"
#include "common/token.h"
#include "common/wire.h"
#include "gateway/bytes.h"
#include "gateway/front.h"

#define FLEET_POLL_MAX (BROKERS_MAX * LINK_POLL_MAX)

struct fleet;

struct fleet_output {
    struct tensor tensor; /* name, type, shape, bytes; data is NULL */
    zmq_msg_t *frames;    /* its octets: frames of 1 MiB and a last shorter one, not aligned */
    size_t frames_len;    /* how many; 0 when bytes is 0 */
};

/* The outcome of a task. Belongs to whom the callback gave it; may be read and freed on any thread,
 * by one at a time. */
struct fleet_result {
    uint64_t id;                  /* of the task */
    enum status status;           /* not OK: text says why, and there are no outputs */
    char text[ERROR_TEXT_MAX];    /* one sentence; "" when OK */
    struct uuid worker;           /* who computed it; zero: broker or gateway made the result */
    struct digest model;          /* what computed it; zero like worker */
    char mode[33];                /* numeric mode, "avx2/fast"; "" when unknown */
    uint32_t attempt;             /* attempts that were started before the one that ended it */
    bool again;                   /* another worker had it before and was lost */
    int64_t row;                  /* CRASHED: the row of the task that ended runners; -1: unknown */
    uint32_t rows;                /* as submitted */
    uint64_t compute_ns;          /* kernel time charged to the task */
    uint64_t queue_ns;            /* time that it waited at the worker */
    uint64_t total_ns;            /* from fleet_submit to here */
    bool has_digest;              /* the worker sent one */
    struct digest digest;         /* BLAKE2b-256 over the output octets in order, by the worker */
    struct fleet_output *outputs; /* in the worker's order */
    size_t outputs_len;           /* how many */
    struct fleet_store *store;    /* private: owns names and frames */
};

void fleet_result_free(struct fleet_result **self_p);

/* Copy the octets of an output, tensor.bytes of them, into `into`. */
void fleet_output_gather(const struct fleet_output *output, void *into);

/* What an owner hears of its task. Only `result` is required. */
struct fleet_calls {
    /* Exactly once per task that was not cancelled; the result is yours. The task is not
     * acknowledged before fleet_commit(): at once (online), or after the ledger's commit. */
    void (*result)(void *arg, struct fleet_result *result);
    /* A worker began to compute it: the attempt counts. */
    void (*started)(void *arg, uint64_t id);
    /* Computing it ended a runner. The broker tries again or answers with status CRASHED. */
    void (*crashed)(void *arg, uint64_t id, const char *text);
    /* The fleet does not know this expected task: fleet_submit() it under its id. */
    void (*unknown)(void *arg, uint64_t id);
    /* What a worker tells of a task that it computes: a text, valid during the call. It may be
     * lost, come late, or come of an attempt that will not be the one that ends. */
    void (*progress)(void *arg, uint64_t id, const char *text, size_t size);
};

struct fleet_task {
    uint64_t id;                 /* 0: the fleet takes fleet_next_ids(1) */
    struct digest model;         /* the version's id; of TRAIN the program's */
    const char *model_name;      /* "name/version"; copied */
    const char *mode;            /* numeric mode that it must run in; NULL: any; copied */
    uint32_t kind;               /* one of WIRE_KIND_* */
    const struct tensor *inputs; /* copied with their names; data points into `owner` */
    size_t inputs_len;           /* how many */
    struct bytes *owner;         /* one reference is taken over, also on failure; NULL: no octets */
    uint32_t rows;               /* for statistics and scheduling */
    uint32_t band;               /* 0 interactive, 1 high, 2 normal, 3 batch */
    uint32_t attempt;            /* attempts started in the past */
    uint32_t crashes;            /* runners ended in the past */
    uint32_t flags;              /* WIRE_FLAG_ALONE */
    struct uuid avoid;           /* a worker that it crashed on; zero: none */
    uint64_t budget_ms;          /* answer with DEADLINE after so long; 0: never */
    const char *tenant;          /* NULL: none; copied */
    const char *traceparent;     /* NULL: none; copied */
    bool patient;                /* waits when the fleet is full or absent; sent again after BUSY */
    const struct fleet_calls *calls; /* outlives the task */
    void *arg;                       /* for the calls */
};

/* Take a task; *id (may be NULL) gets its number. BUSY: too much waits already, of all or
 * of this tenant (online only);
 * UNAVAILABLE: no broker or no worker for some seconds (online only); TOO_LARGE: its inputs do not
 * fit a message. An id that is expected gets its data by this. */
enum status fleet_submit(struct fleet *self, const struct fleet_task *what, uint64_t *id,
                         struct error *why);

/* `count` numbers in a row, never given before by this gateway, over restarts too; the first. */
uint64_t fleet_next_ids(struct fleet *self, uint32_t count);

/* After a restart, before fleet_start(): this task was under way and its result is wanted. Nothing
 * is sent; a worker that has it will answer, or unknown() asks for its data. It is patient. */
void fleet_expect(struct fleet *self, uint64_t id, const struct fleet_calls *calls, void *arg);

/* Its owner does not want it any more: no callback follows. In every state, also after its end. */
void fleet_cancel(struct fleet *self, uint64_t id);

/* The result is safe (or not needed): acknowledge it to its worker and forget the task. */
void fleet_commit(struct fleet *self, uint64_t id);

struct fleet_config {
    void *zmq;                             /* ZeroMQ context */
    struct broker_list brokers;            /* connected to from the start; WELCOME may name more */
    const struct curve_identity *identity; /* ours, for brokers with a key; NULL: none has */
    struct uuid uuid;                      /* this gateway's */
    uint64_t incarnation;        /* grows with each start; the high bits of task ids: below 2^23 */
    const char *name;            /* for people */
    struct front *front;         /* its timers and clock */
    uint32_t online_max;         /* online tasks under way or waiting before BUSY */
    uint64_t online_bytes_max;   /* their input octets */
    const struct shares *shares; /* of tenants; borrowed; NULL: all alike */
};

/* Does not connect yet, so that expected tasks can be named first. */
struct fleet *fleet_new(const struct fleet_config *config);
void fleet_start(struct fleet *self);

/* Says GOODBYE. Online tasks that are left end CANCELLED, patient ones without a callback. */
void fleet_destroy(struct fleet **self_p);

/* Who answers a worker that asks for a part of a blob, by fleet_blob_chunk(), now or later. */
struct fleet_blob {
    struct digest blob;
    struct uuid worker; /* who asks */
    uint32_t via;       /* the broker that passed it on: the answer goes the same way */
    uint64_t offset;
    uint32_t length;
};
void fleet_serve_blobs(struct fleet *self, void (*get)(void *arg, const struct fleet_blob *want),
                       void *arg);

/* `total`: the whole blob's octets. On failure `why` is sent and `bytes` is NULL. Takes over one
 * reference of `bytes`. */
void fleet_blob_chunk(struct fleet *self, const struct fleet_blob *want, uint64_t total,
                      struct bytes *bytes, const struct error *why);

/* A worker as the brokers tell of it, together. */
struct fleet_worker {
    struct uuid uuid;
    char name[256];
    bool ready; /* a broker at least may give it tasks */
    uint32_t cores, slots;
    char mode[33];         /* numeric mode; "" when unknown */
    uint64_t running;      /* tasks leased to it, over all brokers */
    uint64_t rows;         /* that it computed in its sessions with them */
    struct digest *models; /* loaded, each once */
    size_t models_len;
};

/* `workers` is valid during the call; NULL: no broker answered, and why. */
typedef void fleet_workers_answer(void *arg, const struct fleet_worker *workers, size_t len,
                                  const struct error *why);

/* Ask all brokers for their workers. answer() comes once, with what those told that answered in
 * time. BUSY: too many questions are open. */
enum status fleet_ask_workers(struct fleet *self, fleet_workers_answer *answer, void *arg);

/* --- nodes ---------------------------------------------------------------------------------------
 * Brokers let in whose keys they have from a gateway: copies of its registry of nodes. */

/* A broker of the fleet. */
struct fleet_broker {
    bool up;                       /* a session with it */
    bool trusted;                  /* its key is known: the link is a CURVE one */
    struct curve_key key;          /* its public key, when trusted */
    char control[NET_ADDRESS_MAX]; /* tcp://HOST:PORT of its control ROUTER */
    char enrol[NET_ADDRESS_MAX];   /* of the socket that takes new nodes */
};
uint32_t fleet_brokers(const struct fleet *self);
struct fleet_broker fleet_broker(const struct fleet *self, uint32_t index);

/* A node as brokers know it. */
struct fleet_node {
    struct curve_key key; /* its public key */
    const char *name;     /* for people */
    uint32_t role;        /* enum wire_role */
    uint32_t standing;    /* enum wire_standing */
};

/* A peer that asks a broker to be let in. */
struct fleet_enrol {
    uint32_t broker;                    /* whom it asked */
    uint64_t request;                   /* for the answer */
    struct curve_key key;               /* its public key: the broker saw the handshake */
    uint32_t role;                      /* what it wants to be: enum wire_role */
    char name[CURVE_NAME_SIZE];         /* how it would like to be called; "" no matter */
    uint8_t secret[TOKEN_SECRET_BYTES]; /* of a token */
};

/* Who keeps the registry; all four are called for trusted brokers only. */
struct fleet_registry_calls {
    void (*up)(void *arg, uint32_t broker);   /* a new session: it wants a copy */
    void (*down)(void *arg, uint32_t broker); /* the session is over */
    void (*acked)(void *arg, uint32_t broker, uint64_t version); /* this copy is in force there */
    void (*enrol)(void *arg, const struct fleet_enrol *asked); /* to be answered by send_enrolled */
};
/* `calls` outlives the fleet; NULL: nobody does any more. */
void fleet_serve_registry(struct fleet *self, const struct fleet_registry_calls *calls, void *arg);

/* Send a copy of the whole registry. Nothing happens while that broker is away. */
void fleet_send_nodes(struct fleet *self, uint32_t broker, uint64_t version,
                      const struct fleet_node *nodes, size_t len);

/* Answer a peer through the broker that it asked: OK with its `name`, or why not as `text`. */
void fleet_send_enrolled(struct fleet *self, uint32_t broker, uint64_t request, enum status status,
                         const char *name, const char *text);

/* Tell the node with this key to have a new one enrolled, with this secret. */
void fleet_send_rotate(struct fleet *self, const struct curve_key *key,
                       const uint8_t secret[static TOKEN_SECRET_BYTES]);

/* What is known of the fleet. */
struct fleet_view {
    bool up;               /* a session with a broker at least */
    uint32_t brokers_up;   /* sessions with brokers */
    uint32_t brokers;      /* that are known */
    uint32_t minor;        /* of the wire: the highest that one of them speaks */
    uint32_t workers;      /* by the heartbeat of the broker that has most */
    uint32_t heartbeat_ms; /* 0 before the first session */
    size_t tasks;          /* under way or waiting, all kinds */
    size_t patient;        /* of these, patient ones */
    size_t unsent;         /* of all, waiting for credit */
    uint64_t online_bytes; /* input octets of the online ones */
};
struct fleet_view fleet_view(const struct fleet *self);

/* Be told when `up` or `workers` changed. At most 4 listeners. */
void fleet_listen(struct fleet *self, void (*changed)(void *arg), void *arg);

/* --- for main's loop ----------------------------------------------------------------------------
 */
/* At most FLEET_POLL_MAX. */
size_t fleet_poll_items(const struct fleet *self, zmq_pollitem_t *items);
uint64_t fleet_next_ns(const struct fleet *self);
void fleet_step(struct fleet *self, uint64_t now_ns);  /* take what came */
void fleet_flush(struct fleet *self, uint64_t now_ns); /* send what this turn collected */

#endif
