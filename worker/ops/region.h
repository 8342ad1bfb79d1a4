/* region - memory that is freed all at once: names, attributes, states and constants of a model
 *
 * A region owns everything that it gave out. Used while loading and planning, never in a run. One
 * thread at a time. */
#ifndef CONVOY_WORKER_OPS_REGION_H
#define CONVOY_WORKER_OPS_REGION_H

#include "common/base.h"

struct region;

struct region *region_new(void);

/* Cleared memory on a TENSOR_ALIGN boundary for big pieces, of 16 bytes for small ones; never NULL.
 */
void *region_take(struct region *self, size_t bytes);

/* The same for `count` elements; a product beyond size_t is a bug of ours. */
void *region_array(struct region *self, size_t count, size_t bytes);

/* One piece for all who ask with the same key of `key_bytes` bytes, padding included; copied. *made
 * says that this call took it, so that it is to be filled. */
void *region_shared(struct region *self, const void *key, size_t key_bytes, size_t bytes,
                    bool *made);

/* A copy with a NUL behind it; `length` bytes may hold anything. */
char *region_text(struct region *self, const void *bytes, size_t length);

/* Bytes given out so far. */
size_t region_bytes(const struct region *self);

/* All that was given out is void; the small blocks' memory stays for what is taken next. */
void region_reset(struct region *self);

/* Free everything; *self_p becomes NULL. NULL inside is fine. */
void region_destroy(struct region **self_p);

#endif
