/* sim_runner - the process that computes, as the agent's runner.h offers it, and what the simulator
 * asks of it */
#ifndef CONVOY_TESTS_SIM_SIM_RUNNER_H
#define CONVOY_TESTS_SIM_SIM_RUNNER_H

#include "tests/sim/sim.h"
#include "worker/runner.h"

/* Begin with the next batch if there is one and it is idle. */
void runner_look(struct runner *self);

#endif
