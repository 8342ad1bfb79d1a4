/* enrol - peers that hold a token's secret and ask to be admitted, and the gateway that is asked
 *
 * ENROL is the only message of the enrol port, which any key may enter. It goes on to a gateway
 * with the key that the handshake proved; a gateway that does not know the secret is followed by
 * the next one. The answer goes back, and the connection is shut down. Bounded: ENROL_MAX questions
 * at a time, one a connection; connections that say nothing are shut down after a while, and at
 * once, the oldest first, when there are ENROL_MAX and another one comes. The broker's thread. */
#ifndef CONVOY_BROKER_ENROL_H
#define CONVOY_BROKER_ENROL_H

#include "common/curve.h"
#include "common/limits.h"
#include "common/netopts.h"
#include "common/wire.h"

struct broker;

struct enrol_question {
    uint64_t request;     /* our number for it; 0: this place is free */
    uint64_t conn;        /* who asks */
    uint64_t his_request; /* his number for it */
    uint64_t until_ns;    /* no answer by then is one */
    uint32_t slot;        /* of the next session to look at for another gateway */
    struct curve_key key; /* proved by the handshake */
    enum wire_role role;
    char name[CURVE_NAME_SIZE];
    uint8_t secret[32];
};

/* A connection to the port. */
struct enrol_caller {
    int fd;                      /* 0: this place is free */
    char address[NET_PEER_SIZE]; /* of the peer: descriptors are reused */
    uint64_t kick_ns;            /* shut it down then */
    bool asked;                  /* its question is, or was, under way */
};

struct enrol {
    struct enrol_question questions[ENROL_MAX];
    struct enrol_caller callers[ENROL_MAX];
    uint64_t requests; /* numbers given */
};

/* A connection to the port came, or went. */
void enrol_came(struct broker *self, int fd, uint64_t now_ns);
void enrol_went(struct broker *self, int fd);

/* ENROL on the port; ENROLLED from a gateway. */
void enrol_ask(struct broker *self, uint64_t conn, const struct wire_in *in, uint64_t now_ns);
void enrol_answer(struct broker *self, const struct wire_in *in, uint64_t now_ns);

/* Time passes. */
void enrol_tick(struct broker *self, uint64_t now_ns);

#endif
