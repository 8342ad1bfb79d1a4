/* convoy-broker - matches tasks with workers; keeps no task on disk */
#include "broker/broker.h"

#define PARAMS_STRUCT struct broker_params
static const struct param params[] = {
#define PARAM PARAM_ROW
#include "broker/params.def"
#undef PARAM
};
#undef PARAMS_STRUCT

int main(int argc, char **argv)
{
    static const struct daemon role = {
        .name = "broker",
        .purpose = "Matches tasks with workers and passes results back; keeps no task on disk.",
        .params = params,
        .nparams = ARRAY_LEN(params),
        .params_bytes = sizeof(struct broker_params),
        .start = broker_start,
        .step = broker_step,
        .drain = broker_drain,
        .stop = broker_stop,
    };
    return daemon_main(&role, argc, argv);
}
