/* spec_activation - see spec_activation.h */
#include "worker/train/spec_activation.h"

#include <string.h>

static const struct activation activations[] = {
#define ACTIVATION(name, operator, attribute, value, recurrent)                                    \
    {#name, operator, attribute, value, recurrent},
#include "worker/train/spec_activations.def"
#undef ACTIVATION
};

const struct activation *activation_find(const char *name, struct error *why)
{
    const char *names[ARRAY_LEN(activations)];
    for (size_t i = 0; i < ARRAY_LEN(activations); i++) {
        names[i] = activations[i].name;
        if (strcmp(name, names[i]) == 0)
            return &activations[i];
    }
    const char *near = spec_nearest(name, names, ARRAY_LEN(names));
    fail(why, STATUS_INVALID, "unknown activation \"%.60s\"; %s%s%s", name,
         near ? "did you mean \"" : "expected one as relu, sigmoid, tanh, softmax, gelu",
         near ? near : "", near ? "\"?" : "");
    return NULL;
}
