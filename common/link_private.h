/* link_private - what the files link*.c share; nobody else includes this */
#ifndef CONVOY_COMMON_LINK_PRIVATE_H
#define CONVOY_COMMON_LINK_PRIVATE_H

#include "common/link.h"
#include "common/netopts.h"

#define MOVE_TRIES 3 /* dials of a broker's next address before the old one is used again */

enum state { DIALING, TYING, UP };

/* A broker whose key changes is found in two places for a while. */
struct place {
    struct endpoint address; /* of the control ROUTER */
    struct curve_key server; /* the broker's public key there; CURVE links only */
};

struct link {
    void *zmq;                 /* ZeroMQ context, not ours */
    struct link_config config; /* texts are our copies */
    bool keyed;                /* a CURVE link */
    struct curve_identity own; /* our two keys; CURVE links only */
    struct place place;        /* where the broker is dialed */
    struct place next;         /* where it says it will be; zero port: nowhere else */
    struct place before;       /* while moving: where to go back to */
    unsigned moving;           /* dials of the next place still allowed until then; 0: not moving */
    bool stays;                /* the next place did not answer: not tried again */
    enum state state;
    struct net_monitor *monitor; /* of the control socket: failed handshakes, and its end */
    void *sockets[2];            /* by enum wire_plane; data is NULL before WELCOME */
    uint32_t sequences[2];       /* of what we sent on each */
    struct link_terms terms;     /* from the last WELCOME */
    struct wire_out *out;        /* HELLO, HEARTBEAT, GOODBYE are built here */
    uint64_t heard_ns;           /* when the broker last said anything */
    uint64_t beat_ns;            /* when our next HEARTBEAT is due */
    uint32_t pace_ms;            /* our last one promised the next within that time */
    uint32_t broker_pace_ms;     /* ... the broker's last one */
    uint64_t dial_ns;            /* DIALING, TYING: when to say HELLO or to dial again */
    unsigned tries;              /* HELLOs that came to nothing since we were up */
    bool greeted;                /* HELLO was said on this control socket: once each */
    uint64_t complain_ns;        /* when to say again that nobody answers */
    bool announce_down;          /* LINK_DOWN is still to be told */
    int next_plane;              /* whose turn it is to be read first */
};

/* --- link.c */
/* New sockets at self->place; HELLO is said after the pause. */
void link_dial(struct link *self, uint64_t now_ns, uint64_t pause_ms);

/* --- link_move.c */
/* Note what a WELCOME says of other brokers, and of this one's next address. */
void link_take_brokers(struct link *self, const struct wire_in *in);
/* Dial the next address. */
void link_move(struct link *self, uint64_t now_ns);
/* Before each further dial: the next address may have had enough of them. */
void link_move_back(struct link *self);
/* The session at the next address is open: tell the owner. */
void link_move_done(struct link *self);

#endif
