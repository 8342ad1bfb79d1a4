/* build_params - parameters as initializers of the model */
#ifndef CONVOY_WORKER_TRAIN_BUILD_PARAMS_H
#define CONVOY_WORKER_TRAIN_BUILD_PARAMS_H

#include "worker/train/build_graph.h"

/* Add the parameters of b->layer, drawn from `seed`. */
void build_params(struct build *b, uint64_t seed);

/* The initializer of the layer's parameter with that role, or NULL. */
const char *build_param(const struct build *b, const char *role);

/* How the model holds a parameter, for the metadata: "as_keras", "kernel", ... */
const char *build_layout_name(enum spec_layout layout);

#endif
