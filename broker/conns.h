/* conns - what the shell knows of a connection: its number, descriptor, sequences and sins
 *
 * A connection's number is made of its port and its routing id, so that it is found without a
 * table. An entry appears with the first message and goes with the connection; at most `max` are
 * kept, the one without a descriptor that was silent longest makes room. Descriptors are hints:
 * they are reused, so each is checked against the entry that it belongs to now. */
#ifndef CONVOY_BROKER_CONNS_H
#define CONVOY_BROKER_CONNS_H

#include "broker/core/map.h"
#include "common/curve.h"
#include "common/limits.h"

#define CONN_ROUTE_MAX   7 /* octets of a routing id that fit into a number; libzmq's have 5 */
#define CONN_STRIKE_MS   60000
#define CONN_ERROR_MS    1000 /* at most one ERROR in so long */
#define CONN_FAREWELL_MS 200  /* time for a GOODBYE to leave before the connection is shut down */

struct conn {
    uint64_t key;           /* the core's number for it; 0: entry unused */
    int fd;                 /* -1: not known */
    uint32_t in_sequence;   /* of the last message from it */
    uint32_t out_sequence;  /* of the last message to it */
    uint32_t strikes;       /* malformed messages since strike_ns */
    uint64_t strike_ns;     /* start of the minute that is counted */
    uint64_t error_ns;      /* last ERROR to it; 0: none */
    uint64_t heard_ns;      /* last message from it */
    uint64_t kick_ns;       /* shut it down then; 0: no */
    uint64_t given;         /* octets of results for it that libzmq took */
    uint64_t arrived;       /* of those, as of the last look */
    uint64_t beside;        /* octets that arrived and were no results: framing, other messages */
    bool keyed;             /* `curve` is set: HELLO came with a CURVE key */
    bool drained;           /* the registry says that its node is draining */
    struct curve_key curve; /* the peer's public key */
};

struct conns {
    struct conn *entries; /* `max` of them */
    uint32_t max;
    uint32_t used;  /* entries ever used */
    uint32_t *free; /* stack of entries used before */
    uint32_t free_len;
    struct map by_key;
    uint64_t *fds;     /* number by descriptor, 0: none */
    int fds_max;       /* descriptors below */
    uint32_t accepted; /* open connections, by the monitor's count */
    uint32_t kicks;    /* entries with kick_ns */
};

void conns_open(struct conns *self, uint32_t max, int fds_max);
void conns_close(struct conns *self);

/* Number of a route on a port (0 to 14); 0: too long, not one of libzmq's own. */
uint64_t conn_key(uint32_t port, const uint8_t *route, size_t len);
/* And back: the port, and the route with its length. */
uint32_t conn_port(uint64_t key);
size_t conn_route(uint64_t key, uint8_t route[static CONN_ROUTE_MAX]);

struct conn *conns_find(struct conns *self, uint64_t key);
/* Find or make. Valid until the next meet or forget. */
struct conn *conns_meet(struct conns *self, uint64_t key, uint64_t now_ns);
void conns_forget(struct conns *self, uint64_t key);

/* The connection came through this descriptor (-1: unknown). */
void conns_tie(struct conns *self, struct conn *conn, int fd);
/* Descriptor gone or taken over: the number that it had, 0: none. */
uint64_t conns_untie(struct conns *self, int fd);

/* Count a malformed message; true when it was one too many. */
bool conn_strike(struct conn *conn, uint64_t now_ns);
/* May an ERROR be sent now? Notes that it is. */
bool conn_may_complain(struct conn *conn, uint64_t now_ns);

/* Do results of so many octets wait for it that these may not as well? Counts them when not. libzmq
 * tells nothing of a queue's octets: what the other machine has received is asked of the kernel. */
bool conn_clogged(struct conn *conn, uint64_t octets);

/* Shut it down a little later, so that what was said before still goes out. */
void conns_kick_later(struct conns *self, struct conn *conn, uint64_t now_ns);
/* A descriptor whose time has come, -1: none. Call until then. */
int conns_next_kick(struct conns *self, uint64_t now_ns);

#endif
