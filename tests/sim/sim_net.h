/* sim_net - what sim_zmq.c and sim_net.c share: sockets and the connections between them */
#ifndef CONVOY_TESTS_SIM_SIM_NET_H
#define CONVOY_TESTS_SIM_SIM_NET_H

#include "tests/sim/sim.h"

#include <sys/queue.h>
#include <zmq.h>

#define ROUTE_BYTES 5   /* of libzmq's own routing ids */
#define FRAMES_MAX  272 /* of a message: the wire allows 258 */
#define ROUTER_CONNS                                                                               \
    256 /* connections of one ROUTER, broken ones that it was not told of included */

/* A message on its way, or in its receiver's inbox. */
struct parcel {
    STAILQ_ENTRY(parcel) link;
    struct conn *conn;
    bool to_router;
    uint8_t type; /* enum wire_type, from its header */
    size_t len;
    zmq_msg_t frames[];
};
STAILQ_HEAD(parcels, parcel);

struct note { /* an event for a monitor */
    uint16_t kind;
    int fd;
};

struct socket {
    LIST_ENTRY(socket) link;
    struct net *net;
    struct process *process;
    int type;  /* ZMQ_ROUTER, ZMQ_DEALER, ZMQ_PAIR */
    bool dead; /* its process was killed, and only frees it yet */
    uint32_t port;
    struct parcels inbox;
    struct parcel *reading; /* and the place in it */
    size_t read_at;
    /* DEALER */
    struct conn *conn;
    struct parcels outbox; /* until it is connected */
    uint64_t tries;
    uint64_t serial; /* a dial that is under way */
    /* ROUTER */
    struct conn *conns[ROUTER_CONNS];
    size_t conns_len;
    /* watched */
    char watch_at[64]; /* address of its monitor */
    struct socket *monitor;
    /* a monitor's PAIR */
    struct socket *watched;
    struct note *notes;
    size_t notes_len, notes_room;
};

struct conn {
    struct socket *ends[2]; /* 0 the DEALER, 1 the ROUTER; NULL: closed there */
    bool told[2];           /* this end knows that the connection is over */
    bool silent;            /* a machine went away: nobody resets it */
    struct process *processes[2];
    uint32_t route;
    int fd;              /* the ROUTER's descriptor */
    uint32_t refs;       /* ends and events */
    uint64_t last_ns[2]; /* latest arrival: at the DEALER, at the ROUTER */
};

struct net {
    struct sim *sim;
    LIST_HEAD(, socket) sockets;
    uint32_t routes;
    size_t conns;
    uint64_t serials;
    /* one message is built at a time */
    struct socket *building;
    zmq_msg_t frames[FRAMES_MAX];
    size_t frames_len;
    /* of the frame that was received last */
    bool more;
    int fd;
};

/* The message of `frames` (they become empty) leaves `from`; false: nobody is there to take it. */
bool net_send(struct net *self, struct socket *from, zmq_msg_t *frames, size_t len);
void net_dial(struct net *self, struct socket *dealer);
void net_close(struct net *self, struct socket *socket);
void net_free(struct parcel *parcel);
/* Shut down the connection behind the descriptor, of the process that runs. */
void net_shut(struct net *self, int fd);

#endif
