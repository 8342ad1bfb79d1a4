/* enrol - become a node: a new pair of keys, and a token's secret, for a place in a fleet
 *
 * Asks the enrol sockets of the token's brokers, one after the other, until one answers; each asks
 * a gateway. The link is CURVE, so that nobody but the token's broker reads the secret. */
#ifndef CONVOY_COMMON_ENROL_H
#define CONVOY_COMMON_ENROL_H

#include "common/token.h"

/* What `--join LINE` does: read the line, have a new identity enrolled and write it to `path`,
 * unless the identity there was made by the same line: a service keeps its options over restarts.
 * The keys stand in `path`.joining before anybody is asked: whoever is interrupted joins by the
 * same line again, at no second use. Fails as enrol_run() does, and with INVALID for a line that is
 * none, or of another role. */
struct enrol_wish {
    void *zmq;            /* ZeroMQ context */
    const char *line;     /* a token */
    uint32_t role;        /* what we are: enum wire_role */
    const char *name;     /* how we would like to be called; "": as this machine */
    const char *path;     /* of the identity */
    uint32_t patience_ms; /* while nobody can say yes or no */
    int stop_fd;          /* readable: give up; -1: never */
};
enum status enrol_join(const struct enrol_wish *wish, struct curve_identity *out,
                       struct error *why);

struct enrol_config {
    void *zmq;                         /* ZeroMQ context */
    const struct token *token;         /* whom to ask, and with what */
    const char *name;                  /* the node's wish; the fleet may number it */
    uint32_t patience_ms;              /* while nobody can say yes or no */
    int stop_fd;                       /* readable: give up; -1: never */
    const struct curve_identity *keys; /* whose keys to have enrolled; NULL: new ones */
};

/* Blocks. OK: *out has the keys, the name, the role and the brokers; write it before anything else
 * is done. FORBIDDEN: the fleet does not admit us; asking again does not help. UNAVAILABLE: nobody
 * answered in time; the text says what was tried. CANCELLED: stop_fd. */
enum status enrol_run(const struct enrol_config *config, struct curve_identity *out,
                      struct error *why);

#endif
