/* runner_models - the models that the runner has loaded, longest unused first to go
 *
 * Files stay mapped while loaded. One thread. */
#ifndef CONVOY_WORKER_RUNNER_MODELS_H
#define CONVOY_WORKER_RUNNER_MODELS_H

#include "common/digest.h"
#include "worker/engine.h"
#include "worker/ring.h"

struct runner_models;

struct runner_models *runner_models_new(uint64_t bytes_max, uint64_t *ticks);
void runner_models_destroy(struct runner_models **self_p);

/* The model of this version, loaded from `path` when it is not there. At least one model stays,
 * whatever its size. BAD_MODEL, NOT_FOUND and such come from the loader. `load`, cleared before,
 * says what it took, also when it failed. */
enum status runner_models_get(struct runner_models *self, const struct digest *version,
                              const char *path, struct model **model, struct ring_load *load,
                              struct error *why);

/* {"inputs": [...], "outputs": [...], "batchable": ...} as PROTOCOL.md says of INSPECT; free() it.
 */
char *runner_signature(const struct model *model);

#endif
