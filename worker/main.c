/* convoy-worker: the agent; or, with the hidden first argument, its runner */
#include "worker/agent.h"
#include "worker/runner.h"

#include <string.h>

#define PARAMS_STRUCT struct worker_params
static const struct param params[] = {
#define PARAM PARAM_ROW
#include "worker/params.def"
#undef PARAM
};
#undef PARAMS_STRUCT

int main(int argc, char **argv)
{
    static const struct daemon role = {
        .name = "worker",
        .purpose = "Computes models for a broker; needs nothing but its address.",
        .params = params,
        .nparams = ARRAY_LEN(params),
        .params_bytes = sizeof(struct worker_params),
        .start = agent_start,
        .step = agent_step,
        .drain = agent_drain,
        .stop = agent_stop,
    };
    if (argc > 1 && strcmp(argv[1], RUNNER_ARGUMENT) == 0)
        return runner_main(argc, argv);
    return daemon_main(&role, argc, argv);
}
