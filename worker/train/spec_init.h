/* spec_init - initialisers with Keras's names and distributions
 *
 * Element i of a tensor depends on the seed, on the tensor's name and on i alone: the same numbers
 * on every machine, in any order, and whatever layers stand around it. */
#ifndef CONVOY_WORKER_TRAIN_SPEC_INIT_H
#define CONVOY_WORKER_TRAIN_SPEC_INIT_H

#include <jansson.h>

#include "common/status.h"

/* Check what a specification gives and complete it: {"type": "random_normal", "mean": 0, ...}. The
 * caller gets a new reference in *out. INVALID says what was expected. */
enum status init_check(const json_t *given, json_t **out, struct error *why);

/* Fill `into`, a tensor of these dims in Keras's order, as a complete `initializer` says. `name`
 * and `copy` tell tensors of one seed apart. */
void init_fill(float *into, const json_t *initializer, const int64_t *dims, uint32_t rank,
               uint64_t seed, const char *name, uint32_t copy);

#endif
