/* bytes - counted blocks of memory; see bytes.h */
#include "gateway/bytes.h"

#include <stdatomic.h>
#include <stdlib.h>

static void release_heap(struct bytes *self)
{
    free(self->data);
}

struct bytes *bytes_over(void *data, size_t size, void (*release)(struct bytes *self), void *hint)
{
    struct bytes *self = xmalloc(sizeof *self);
    self->data = data;
    self->size = size;
    self->release = release;
    self->hint = hint;
    atomic_init(&self->refs, 1);
    return self;
}

struct bytes *bytes_take(void *data, size_t size)
{
    return bytes_over(data, size, release_heap, NULL);
}

struct bytes *bytes_new(size_t size)
{
    return bytes_take(size ? xaligned(size) : NULL, size);
}

struct bytes *bytes_ref(struct bytes *self)
{
    uint32_t before = atomic_fetch_add_explicit(&self->refs, 1, memory_order_relaxed);
    assert(before > 0);
    return self;
}

void bytes_drop(struct bytes **self_p)
{
    struct bytes *self = *self_p;
    *self_p = NULL;
    if (!self || atomic_fetch_sub_explicit(&self->refs, 1, memory_order_acq_rel) > 1)
        return;
    self->release(self);
    free(self);
}

void bytes_drop_hint(void *self)
{
    struct bytes *block = self;
    bytes_drop(&block);
}
