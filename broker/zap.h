/* zap - the thread that decides on every CURVE handshake of this process
 *
 * libzmq asks it under inproc://zeromq.zap.01 with a socket's domain and the peer's public key. In
 * the domain ZAP_ENROL any key is let in, so many a second at most; in every other one the registry
 * decides. The answer names the key as User-Id, in Z85. Who is refused is logged with the node's
 * name or the key's fingerprint. Nothing here reads a file or waits for the broker's thread.
 *
 * When the thread ends or hangs, libzmq refuses all handshakes: the broker notices and ends. */
#ifndef CONVOY_BROKER_ZAP_H
#define CONVOY_BROKER_ZAP_H

#include "broker/registry.h"

#define ZAP_CONTROL "control"
#define ZAP_DATA    "data"
#define ZAP_ENROL   "enrol"
#define ZAP_STRIKES 3
#define ZAP_BAN_MS  60000

struct zap;

/* Start the thread; before any CURVE socket of `context` is bound. */
enum status zap_open(struct zap **out, void *context, struct registry *registry,
                     uint32_t enrol_per_s, struct error *why);
/* End it; *self_p becomes NULL. Harmless on NULL. */
void zap_close(struct zap **self_p);

/* For the self-test: let `friend` in although the registry does not know it, and refuse `stranger`
 * without a word in the log. NULL: as always again. */
void zap_expect(struct zap *self, const struct curve_key *friend, const struct curve_key *stranger);

/* A key asked for what it may not have. From ZAP_STRIKES such within a minute on it is kept out for
 * a minute; true: it is now. Sessions that it has stay. */
bool zap_strike(struct zap *self, const struct curve_key *key, uint64_t now_ns);

/* Readable once the thread has ended: put it into the poll set. */
int zap_ended_fd(const struct zap *self);
/* Whether it ended, or has not moved in several calls that are a second and more apart. Call often;
 * counting calls and not time forgives that the whole process stood still. */
bool zap_dead(struct zap *self, uint64_t now_ns);

/* Handshakes that were refused, and that were let in. */
uint64_t zap_refused(const struct zap *self);
uint64_t zap_admitted(const struct zap *self);

#endif
