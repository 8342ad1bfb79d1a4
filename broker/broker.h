/* broker - the shell around the core: ROUTERs, their monitors, and nothing to decide
 *
 * One thread owns everything here but the ZAP handler. A turn takes at most a burst of messages
 * from each socket, feeds them to the core, lets time pass in it, and then carries out its actions
 * in order. */
#ifndef CONVOY_BROKER_BROKER_H
#define CONVOY_BROKER_BROKER_H

#include "broker/conns.h"
#include "broker/core/core.h"
#include "broker/endless.h"
#include "broker/enrol.h"
#include "broker/registry.h"
#include "broker/zap.h"
#include "broker/fleet.h"
#include "common/daemon.h"
#include "common/netopts.h"
#include "common/params.h"
#include "common/wire.h"

struct broker_params {
#define PARAM PARAM_FIELD
#include "broker/params.def"
#undef PARAM
};

struct broker_counters {
#define COUNTER(name, meaning) uint64_t name; /* by counters.def */
#include "broker/counters.def"
#undef COUNTER
};

/* Decoded sets of one message; reused. */
struct sets {
    struct core_set *sets;
    size_t len, room;
    struct task_range *ranges;
    size_t ranges_len, ranges_room;
};

/* What a ROUTER is for. */
enum port_kind { PORT_CONTROL, PORT_DATA, PORT_ENROL };

#define PORTS_MAX 6 /* control, data and enrol; all once more while the broker's key changes */

struct port {
    void *socket;                /* ROUTER */
    struct net_monitor *monitor; /* of the socket */
    enum port_kind kind;
    bool next;             /* it serves under the key that comes next */
    uint16_t number;       /* of TCP */
    bool failed_handshake; /* the connection that is told next as gone never got through it */
};

struct broker {
    const struct broker_params *params;
    struct daemon_run *run;
    struct uuid uuid;          /* of this start */
    struct core_limits limits; /* as given to the core */
    struct core *core;
    bool curve;                     /* sockets ask for CURVE; the next seven are in use */
    struct curve_identity key;      /* of this broker */
    struct curve_identity next_key; /* that takes its place; zero: none does */
    struct registry *registry;      /* who may come in */
    uint64_t save_ns;               /* and is not written to its file before */
    struct zap *zap;                /* the thread that asks it */
    struct enrol enrol;             /* who wants to */
    char (*callers)[NET_PEER_SIZE]; /* addresses by descriptor, of connections since they came */
    void *zmq;                      /* context */
    struct port ports[PORTS_MAX];   /* a connection's number names one of them */
    size_t ports_len;               /* open */
    struct conns conns;
    struct endless endless;  /* connections that bring no whole message */
    struct fleet_list fleet; /* the other brokers */
    bool watch_again;        /* the monitors may have more events */
    uint32_t conns_max;      /* accepted beyond that are shut down */
    struct wire_in in;
    struct wire_out *out;
    struct sets sets;
    struct taskset ids; /* scratch for sets that go out */
    uint64_t *gone;     /* connections found closed while sending */
    size_t gone_len, gone_room;
    struct broker_counters counters;
    uint64_t requeued_told; /* of the core's counter, in the log */
};

/* The daemon's callbacks. */
enum status broker_start(void **role, const void *params, struct daemon_run *run,
                         struct error *why);
enum status broker_step(void *role, int timeout_ms, struct error *why);
bool broker_drain(void *role);
void broker_stop(void **role);

/* listen.c: sockets, keys and the self-test; refuses to start half-way. */
enum status listen_open(struct broker *self, struct error *why);
void listen_close(struct broker *self);
/* "control", "data", "enrol": also the ZAP domain of such ports. */
const char *listen_name(enum port_kind kind);
/* The port of this kind, under the present server key or under the next; NULL: there is none. */
const struct port *listen_port(const struct broker *self, enum port_kind kind, bool next);

/* receive.c: one message, understood or not. */
void broker_take(struct broker *self, size_t port, uint64_t now_ns);
void broker_malformed(struct broker *self, size_t port, uint64_t now_ns);

/* access.c: what a peer's key allows. */
/* May the sender of this HELLO open this session? False: it was told why and will be shut down. */
bool access_hello(struct broker *self, uint64_t conn, const struct wire_in *in, uint64_t now_ns);
bool access_attach(struct broker *self, uint64_t conn, const struct wire_in *in, uint64_t now_ns);
/* HELLO was taken, and the session opened: drained nodes get no work. */
void access_greeted(struct broker *self, uint64_t conn);
void access_opened(struct broker *self, const struct core_peer *peer);
/* The registry changed: cut and drain whom it concerns. */
void access_review(struct broker *self, uint64_t now_ns);
/* One NODES; false: it is not as PROTOCOL.md says, with a sentence in in->why. */
bool access_nodes(struct broker *self, uint64_t conn, struct wire_in *in, uint64_t now_ns);
/* Write the registry's file if it must be, and was not a moment ago. */
void access_save(struct broker *self, uint64_t now_ns);
/* ROTATE: to the sessions with that key. */
void access_rotate(struct broker *self, const struct wire_in *in);
/* A connection's key; NULL: none. */
const struct curve_key *access_key(struct broker *self, uint64_t conn);

/* send.c: carry out the core's actions in order. */
void broker_flush(struct broker *self, uint64_t now_ns);
/* Send what was built in self->out; what the connection does not take is noted in `gone`. */
void broker_send(struct broker *self, uint64_t conn);
void broker_pass(struct broker *self, uint64_t conn);
/* The same with a RESULT, unless more waits for that gateway than may: it comes again. */
void broker_pass_result(struct broker *self, uint64_t conn);
/* ... and with a PROGRESS: the next one tells more. */
void broker_pass_progress(struct broker *self, uint64_t conn);
void broker_error(struct broker *self, uint64_t conn, enum status status, const char *text,
                  uint64_t now_ns);

/* sets.c: a list of SETs as the core wants it; false when a range is not as PROTOCOL.md says. */
bool sets_read(struct sets *self, struct wire_map map, enum wire_key key);
void sets_free(struct sets *self);

/* report.c: STATE, and the log's lines. */
void report_state(struct broker *self, uint64_t conn, uint64_t what, uint64_t request);
void report_opened(struct broker *self, const struct action *action);
void report_lost(struct broker *self, const struct action *action, const char *text);
void report_requeued(struct broker *self);

#endif
