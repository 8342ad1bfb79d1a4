/* bytes - a shared block of memory that tensors point into
 *
 * A request's body, a chunk's rows or a result's octets are held by several parties at a time (the
 * front thread, ZeroMQ's I/O thread while frames are on their way). References are counted
 * atomically; the last one releases. Contents do not change once the block is shared. */
#ifndef CONVOY_GATEWAY_BYTES_H
#define CONVOY_GATEWAY_BYTES_H

#include "common/base.h"

struct bytes {
    void *data;                          /* NULL when size is 0 */
    size_t size;                         /* octets that mean something */
    _Atomic uint32_t refs;               /* private */
    void (*release)(struct bytes *self); /* frees `data` and `hint`, not `self` */
    void *hint;                          /* for release */
};

/* One reference each. bytes_new: `size` octets on a TENSOR_ALIGN boundary, not cleared.
 * bytes_take: `data` from malloc, freed with the block. */
struct bytes *bytes_new(size_t size);
struct bytes *bytes_take(void *data, size_t size);

/* Somebody else's memory: release(block) is called once, by whoever drops the last reference. */
struct bytes *bytes_over(void *data, size_t size, void (*release)(struct bytes *self), void *hint);

/* One reference more; returns `self`. Any thread. */
struct bytes *bytes_ref(struct bytes *self);

/* Drop one reference and set *self_p to NULL. NULL inside is fine. Any thread. */
void bytes_drop(struct bytes **self_p);

/* The same in the form that wire_body_borrow() and libmicrohttpd call back. */
void bytes_drop_hint(void *self);

#endif
