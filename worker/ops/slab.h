/* slab - memory for values whose size is known only while a run is under way
 *
 * Outputs of NonZero, Loop and the like, and all that follows from them. A slab never gives out
 * more than its limit, keeps what comes back for the next taker of that size, and so asks the heap
 * for nothing once a model's runs repeat. Pieces are counted: each taker or holder gives its piece
 * back once. One thread at a time. */
#ifndef CONVOY_WORKER_OPS_SLAB_H
#define CONVOY_WORKER_OPS_SLAB_H

#include "common/base.h"

struct slab;

struct slab *slab_new(size_t bytes_max);

/* At least `bytes` on a TENSOR_ALIGN boundary, not cleared, held once; NULL beyond the limit. */
void *slab_take(struct slab *self, size_t bytes);

/* One more holder of a piece. */
void slab_hold(void *piece);

/* True when one holder is left. */
bool slab_last(const void *piece);

/* One holder less; the last one returns the piece. NULL is fine. */
void slab_release(struct slab *self, void *piece);

/* Everything comes back, whoever holds it. */
void slab_reset(struct slab *self);

/* Bytes given out now, and the most that ever were. */
size_t slab_bytes(const struct slab *self);
size_t slab_peak(const struct slab *self);

/* Free everything; *self_p becomes NULL. NULL inside is fine. */
void slab_destroy(struct slab **self_p);

#endif
