/* agent - the worker's process that talks: sessions, leases, models, results; never computes
 *
 * These are the callbacks of the daemon skeleton; see "Worker" in common/PROTOCOL.md. The agent
 * starts a runner, joins the broker, takes tasks within the credit that it gives, has them computed
 * and keeps every result until its gateway has it. One thread. */
#ifndef CONVOY_WORKER_AGENT_H
#define CONVOY_WORKER_AGENT_H

#include "common/daemon.h"

struct worker_params {
#define PARAM PARAM_FIELD
#include "worker/params.def"
#undef PARAM
};

/* Check the address, open the store, start the runner and wait until it can compute, then begin to
 * join. INVALID for an address off loopback or kernels that this CPU lacks. */
enum status agent_start(void **role, const void *params, struct daemon_run *run, struct error *why);
enum status agent_step(void *role, int timeout_ms, struct error *why);
/* Give back what has not begun, finish what runs, wait until results are acknowledged. */
bool agent_drain(void *role);
void agent_stop(void **role);

#endif
