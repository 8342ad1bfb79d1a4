/* late - values whose dims are known only while running, and sequences of tensors
 *
 * Both live in the run's slab. A value that is made there is never written again, so several arrays
 * may hold the same piece. */
#ifndef CONVOY_WORKER_OPS_LATE_H
#define CONVOY_WORKER_OPS_LATE_H

#include "worker/ops/op.h"

/* Contents of an array that is a sequence; each item holds its own piece. */
struct sequence {
    size_t len;
    struct array items[];
};

/* In run(): describe output `i` and give it memory, not cleared; one that is left out is skipped.
 * TOO_LARGE when the run would take more than LATE_BYTES_MAX. */
enum status out_make(const struct step *step, uint32_t i, enum dtype dtype, const int64_t *dims,
                     uint32_t rank, struct error *why);

/* In run(): output `i` becomes a sequence of `len` items of that type, all of them empty: give each
 * its value by value_share(). *items is NULL when the output is left out. */
enum status out_sequence(const struct step *step, uint32_t i, enum dtype dtype, size_t len,
                         struct array **items, struct error *why);

/* In run(): output `i` is the same value as `from`, dims and all. */
enum status out_share(const struct step *step, uint32_t i, const struct array *from,
                      struct error *why);

/* In run(): describe an item of such a sequence and give it memory, not cleared. */
enum status item_make(const struct step *step, struct array *item, enum dtype dtype,
                      const int64_t *dims, uint32_t rank, struct error *why);

const struct sequence *sequence_of(const struct array *a);

/* *to becomes the same value as `from`, which must be plain: the same piece where `from` holds one,
 * else a copy. `what` names it in a message. */
enum status value_share(struct slab *slab, struct array *to, const struct array *from,
                        struct error *why);

/* Give back what `a` holds, if anything; a sequence's items with it. */
void value_drop(struct slab *slab, struct array *a);

#endif
