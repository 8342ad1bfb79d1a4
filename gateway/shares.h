/* shares - what each tenant may count on while others want the fleet, too
 *
 * Tenants whose tasks wait in the same band get workers' time by their shares; whoever is not named
 * has 1. Read once, then shared by all threads. */
#ifndef CONVOY_GATEWAY_SHARES_H
#define CONVOY_GATEWAY_SHARES_H

#include "common/base.h"
#include "common/status.h"

#define SHARE_MAX 1000

struct shares;

/* Read "acme=3,lab=1": tenants and whole numbers from 1 to SHARE_MAX; "" names nobody. INVALID says
 * which part is wrong. *out is set only on success. */
enum status shares_parse(struct shares **out, const char *text, struct error *why);

/* NULL is an empty list. `tenant` may be NULL or "": nobody in particular. */
uint32_t shares_of(const struct shares *self, const char *tenant);

void shares_destroy(struct shares **self_p);

#endif
