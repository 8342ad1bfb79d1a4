/* usage - what each tenant has used since this gateway started
 *
 * The list of counts is usage.def. Dataset jobs have theirs in the ledger as well, chunk by chunk.
 * Front thread only. */
#ifndef CONVOY_GATEWAY_ACCESS_USAGE_H
#define CONVOY_GATEWAY_ACCESS_USAGE_H

#include "common/base.h"

#include <jansson.h>
#include <stdio.h>

struct usage;

enum usage_count {
#define USAGE(name, help) USAGE_##name,
#include "gateway/access/usage.def"
#undef USAGE
    USAGE_COUNTS
};

struct usage *usage_new(void);
void usage_destroy(struct usage **self_p);

/* `tenant` is "" for nobody in particular. Tenants come from keys, so there are at most as many. */
void usage_add(struct usage *self, const char *tenant, enum usage_count which, uint64_t by);

/* As Prometheus text; nothing while nobody has used anything. */
void usage_write(const struct usage *self, FILE *out);

/* [{"tenant", "requests_total", ...}, ...], by tenant. */
json_t *usage_json(const struct usage *self);

#endif
