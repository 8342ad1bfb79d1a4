/* spec_activation - Keras's activations, by name */
#ifndef CONVOY_WORKER_TRAIN_SPEC_ACTIVATION_H
#define CONVOY_WORKER_TRAIN_SPEC_ACTIVATION_H

#include "worker/train/spec.h"

struct activation {
    const char *name;      /* Keras's */
    const char *operator;  /* ONNX's; NULL: several */
    const char *attribute; /* of that operator; "": none */
    double value;
    const char *recurrent; /* as LSTM, GRU and RNN name it; NULL: they cannot */
};

/* NULL: there is none; `why` names what is near. */
const struct activation *activation_find(const char *name, struct error *why);

#endif
