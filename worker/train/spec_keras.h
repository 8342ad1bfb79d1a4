/* spec_keras - what Keras writes of a model becomes a list of layers in our form */
#ifndef CONVOY_WORKER_TRAIN_SPEC_KERAS_H
#define CONVOY_WORKER_TRAIN_SPEC_KERAS_H

#include <jansson.h>

#include "common/status.h"

/* Whether this is the topology of a whole model, as model.to_json() writes it. */
bool keras_is_topology(const json_t *root);

/* The layers of a Sequential or Functional model, Keras 2 or 3, in their order; a new reference.
 * INVALID for models of another kind, shared layers, and more outputs than one. */
enum status keras_layers(const json_t *root, json_t **layers, struct error *why);

#endif
