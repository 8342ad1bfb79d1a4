/* link - a gateway's or worker's session with one broker
 *
 * Owns the two DEALERs (control and data), says HELLO on both, keeps the heartbeat in both
 * directions, and starts afresh (close, recreate, HELLO) when the connection breaks, when the
 * broker has been silent for three beats or when it says that it does not know us. The owner's
 * thread calls link_step() often and never touches the sockets. While no broker answers it keeps
 * trying and says so once in the log.
 *
 * A link is UP once WELCOME came and the data connection was tied to the session. Everything sent
 * before a break may be lost: on every UP the owner says again what it holds or awaits (fill_hello)
 * and asks again for what it misses. */
#ifndef CONVOY_COMMON_LINK_H
#define CONVOY_COMMON_LINK_H

#include "common/brokers.h"
#include "common/curve.h"
#include "common/wire.h"

#define LINK_POLL_MAX 3 /* sockets of a link to poll */

struct link;

enum link_event {
    LINK_NONE,    /* nothing more at the moment */
    LINK_UP,      /* a new session: counters, credits and sequences start again */
    LINK_DOWN,    /* the session is over; the link is already trying again */
    LINK_NEWS,    /* while up: the broker knows of other brokers; see link_terms */
    LINK_MESSAGE, /* `in` holds a message for the owner */
};

struct link_terms {        /* from WELCOME; valid while up */
    uint64_t session;      /* token of this session */
    struct uuid broker;    /* which start of the broker this is */
    uint32_t minor;        /* highest minor version that it speaks */
    uint32_t heartbeat_ms; /* beat in both directions */
    uint32_t idle_ms;      /* the same while we are idle; 0: the broker knows no such period */
    uint32_t lease_ms;     /* for information */
    uint64_t message_max;  /* octets of the largest data message */
    uint16_t enrol_port;   /* of the broker's enrol ROUTER, on the same host; 0: it has none */
    uint64_t credit_tasks; /* gateways: the first credit */
    uint64_t credit_bytes;
    struct broker_list brokers; /* others of the fleet that it knows of; may be empty */
};

struct link_config {
    const char *endpoint;                  /* tcp://HOST:PORT of the broker's control ROUTER */
    enum wire_role role;                   /* WIRE_GATEWAY or WIRE_WORKER */
    struct uuid uuid;                      /* this process's lasting identity */
    uint64_t incarnation;                  /* grows with each start */
    const char *name;                      /* for people */
    const struct curve_key *server_key;    /* the broker's, for a CURVE link; NULL: a plain one */
    const struct curve_identity *identity; /* ours, for a CURVE link; NULL: a plain one */
    void *owner;                           /* passed to the calls below */
    /* Add the role's own fields to a HELLO or to a HEARTBEAT that is being built. Either may be
     * NULL. */
    void (*fill_hello)(void *owner, struct wire_out *out);
    void (*fill_heartbeat)(void *owner, struct wire_out *out);
    /* Whether we hold and await nothing, so that fewer HEARTBEATs do; asked in each link_step().
     * NULL: never. */
    bool (*idle)(const void *owner);
    /* The broker's key has changed, and the link with it: keep the new address and key in place of
     * the old for the next start. May be NULL. */
    void (*moved)(void *owner, const char *old_endpoint, const struct broker_address *now);
};

/* Copies what it needs of `config`; connects in the background. `zmq` is the ZeroMQ context. */
struct link *link_new(void *zmq, const struct link_config *config);
/* Says GOODBYE when up, closes; *self_p becomes NULL. */
void link_destroy(struct link **self_p);

/* The sockets to poll for ZMQ_POLLIN, at most LINK_POLL_MAX; returns how many. They change after an
 * event. */
size_t link_poll_items(const struct link *self, zmq_pollitem_t *items);
/* The latest moment at which link_step() must be called again, in clock_mono_ns() time. */
uint64_t link_next_ns(const struct link *self);

/* Do what is due and return the next event; call until LINK_NONE (or a bounded number of times).
 * With LINK_MESSAGE `in` belongs to the caller until the next step. */
enum link_event link_step(struct link *self, uint64_t now_ns, struct wire_in *in);

bool link_up(const struct link *self);
const struct link_terms *link_terms(const struct link *self);
/* Where it is now: not what was configured once the broker's key has changed. */
const char *link_endpoint(const struct link *self);

/* Send on the plane that the message's type belongs to. UNAVAILABLE while down. */
enum status link_send(struct link *self, struct wire_out *out);

/* Where the broker takes new nodes: as its WELCOME said, else two ports behind control's. */
void link_enrol_address(const struct link *self, char into[static NET_ADDRESS_MAX]);

/* A CURVE link has new keys of ours: begin again with them. */
void link_rekey(struct link *self, const struct curve_identity *identity);

/* Send a HEARTBEAT now, for instance because what we hold changed much. */
void link_beat(struct link *self);

#endif
