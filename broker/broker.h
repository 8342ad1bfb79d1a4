/* broker - the shell around the core: two ROUTERs, their monitors, and nothing to decide
 *
 * One thread owns everything here. A turn takes at most a burst of messages from each socket, feeds
 * them to the core, lets time pass in it, and then carries out its actions in order. */
#ifndef CONVOY_BROKER_BROKER_H
#define CONVOY_BROKER_BROKER_H

#include "broker/conns.h"
#include "broker/core/core.h"
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

struct broker {
    const struct broker_params *params;
    struct daemon_run *run;
    struct uuid uuid;          /* of this start */
    struct core_limits limits; /* as given to the core */
    struct core *core;
    void *zmq;                       /* context */
    void *sockets[2];                /* ROUTERs, by enum wire_plane */
    struct net_monitor *monitors[2]; /* of the sockets */
    uint16_t data_port;              /* told in WELCOME */
    struct conns conns;
    bool watch_again;   /* the monitors may have more events */
    uint32_t conns_max; /* accepted beyond that are shut down */
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

/* receive.c: one message, understood or not. */
void broker_take(struct broker *self, enum wire_plane plane, uint64_t now_ns);
void broker_malformed(struct broker *self, enum wire_plane plane, uint64_t now_ns);

/* send.c: carry out the core's actions in order. */
void broker_flush(struct broker *self, uint64_t now_ns);
/* Send what was built in self->out; what the connection does not take is noted in `gone`. */
void broker_send(struct broker *self, uint64_t conn);
void broker_pass(struct broker *self, uint64_t conn);
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
