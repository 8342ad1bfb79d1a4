/* agent_join - who this worker is in its fleet: the state folder, joining by a token, a new key
 *
 * The state folder holds `worker.key`: key pair, name and brokers. A token makes it once; from then
 * on the folder alone is enough. One worker at a time has it. A worker that was given the address
 * of a broker on this machine, and no token, needs none of this. */
#ifndef CONVOY_WORKER_AGENT_JOIN_H
#define CONVOY_WORKER_AGENT_JOIN_H

#include "common/brokers.h"
#include "common/curve.h"
#include "common/wire.h"
#include "worker/agent.h"

struct agent_join;

/* Find out whom to serve, and as who: by --join, by --brokers, else by the state folder, else the
 * broker of this machine. Blocks while it joins. INVALID: wrong token, folder or address; FORBIDDEN
 * or NOT_FOUND: the fleet does not take the token; UNAVAILABLE: nobody answered. *out is to be
 * closed in either case. */
enum status agent_join_open(struct agent_join **out, const struct worker_params *params, void *zmq,
                            int stop_fd, struct error *why);
void agent_join_close(struct agent_join **self_p);

/* Whom to serve. */
const struct broker_list *agent_join_brokers(const struct agent_join *self);
/* Our keys for CURVE links; NULL: we have none. */
const struct curve_identity *agent_join_identity(const struct agent_join *self);

/* A broker told us of another one: known from the next start on. */
void agent_join_learnt(struct agent_join *self, const struct broker_address *address);

/* A broker's key changed, and its address with it: known in place of the old from the next start
 * on. */
void agent_join_moved(struct agent_join *self, const char *old_endpoint,
                      const struct broker_address *now);

/* ROTATE came from this broker, which takes new keys at `enrol_at`: make one and have it enrolled,
 * meanwhile. */
void agent_join_rotate(struct agent_join *self, const struct wire_in *in, const char *enrol_at,
                       const struct broker_address *from);
/* Readable when that has ended; -1: none is under way. */
int agent_join_fd(const struct agent_join *self);
/* True once after a new key: every link is to begin again with it. */
bool agent_join_renewed(struct agent_join *self);

#endif
