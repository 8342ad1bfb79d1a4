/* build_layers - the nodes of one layer, by family */
#ifndef CONVOY_WORKER_TRAIN_BUILD_LAYERS_H
#define CONVOY_WORKER_TRAIN_BUILD_LAYERS_H

#include "worker/train/build_graph.h"

/* Write b->layer, whose inputs are written and whose parameters are there. An Input writes nothing:
 * its value is the model's input. */
void build_layer(struct build *b);

/* Those of them with a file of their own. */
void build_recurrent(struct build *b);
void build_attention(struct build *b);

/* activation(x); softmax along the channels, which are on axis 1 when `first`. */
const char *build_activation(struct build *b, const char *x, const char *name, bool first);

#endif
