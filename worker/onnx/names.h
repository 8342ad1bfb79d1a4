/* names - value numbers by name while a model is read; any text may be a name */
#ifndef CONVOY_WORKER_ONNX_NAMES_H
#define CONVOY_WORKER_ONNX_NAMES_H

#include "common/base.h"

struct names;

struct names *names_new(void);

/* Remember `number` under `name`, which the caller keeps alive. False when it is taken. */
bool names_add(struct names *self, const char *name, uint32_t number);

/* The number, or UINT32_MAX. */
uint32_t names_find(const struct names *self, const char *name);

/* Whether the name is there, were it for UINT32_MAX. */
bool names_has(const struct names *self, const char *name);

void names_destroy(struct names **self_p);

#endif
