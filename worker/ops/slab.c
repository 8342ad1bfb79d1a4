/* slab - lists of free pieces, four sizes to each power of two; see slab.h */
#include "worker/ops/slab.h"

#include <stdlib.h>

#define SMALLEST_LOG2 6                          /* pieces of 64 bytes and up */
#define SIZES         ((48 - SMALLEST_LOG2) * 4) /* to 256 TiB, far above any limit */

struct piece {
    struct piece *next, *before; /* in `taken`; of free ones only next is used */
    size_t bytes;                /* of its size class */
    uint32_t size;               /* index of that */
    uint32_t holders;
};

struct slab {
    size_t bytes_max, bytes, peak;
    size_t idle;         /* bytes in the free lists */
    struct piece *taken; /* all that is given out */
    struct piece *idle_of[SIZES];
};

_Static_assert(sizeof(struct piece) <= TENSOR_ALIGN, "the header fits before the data");

struct slab *slab_new(size_t bytes_max)
{
    struct slab *s = xcalloc(1, sizeof *s);
    s->bytes_max = bytes_max;
    return s;
}

static struct piece *piece_of(const void *data)
{
    return (struct piece *)((uintptr_t)data - TENSOR_ALIGN);
}

/* The smallest class that holds `bytes`: 64, 80, 96, 112, 128, 160, ... */
static uint32_t class_of(size_t bytes, size_t *rounded)
{
    uint32_t log2 = SMALLEST_LOG2;
    while ((size_t)2 << log2 <= bytes)
        log2++;
    size_t base = (size_t)1 << log2, quarter = base / 4;
    size_t quarters = bytes <= base ? 0 : (bytes - base + quarter - 1) / quarter;
    *rounded = base + quarters * quarter;
    return (log2 - SMALLEST_LOG2) * 4 + (uint32_t)quarters;
}

static void free_idle(struct slab *self)
{
    for (uint32_t i = 0; i < SIZES; i++)
        while (self->idle_of[i]) {
            struct piece *p = self->idle_of[i];
            self->idle_of[i] = p->next;
            free(p);
        }
    self->idle = 0;
}

void *slab_take(struct slab *self, size_t bytes)
{
    size_t rounded;
    if (bytes > self->bytes_max)
        return NULL;
    uint32_t size = class_of(bytes, &rounded);
    if (rounded > self->bytes_max - MIN(self->bytes, self->bytes_max))
        return NULL;
    struct piece *p = self->idle_of[size];
    if (p) {
        self->idle_of[size] = p->next;
        self->idle -= rounded;
    } else {
        if (self->idle > self->bytes_max - self->bytes - rounded)
            free_idle(self); /* kept in other sizes: what is idle counts too */
        p = xaligned(TENSOR_ALIGN + rounded);
        p->bytes = rounded;
        p->size = size;
    }
    p->holders = 1;
    p->before = NULL;
    p->next = self->taken;
    if (p->next)
        p->next->before = p;
    self->taken = p;
    self->bytes += rounded;
    self->peak = MAX(self->peak, self->bytes);
    return (char *)p + TENSOR_ALIGN;
}

void slab_hold(void *piece)
{
    assert(piece_of(piece)->holders > 0);
    piece_of(piece)->holders++;
}

bool slab_last(const void *piece)
{
    return piece_of(piece)->holders == 1;
}

static void to_idle(struct slab *self, struct piece *p)
{
    self->bytes -= p->bytes;
    self->idle += p->bytes;
    p->next = self->idle_of[p->size];
    self->idle_of[p->size] = p;
}

void slab_release(struct slab *self, void *piece)
{
    if (!piece)
        return;
    struct piece *p = piece_of(piece);
    assert(p->holders > 0);
    if (--p->holders)
        return;
    if (p->next)
        p->next->before = p->before;
    *(p->before ? &p->before->next : &self->taken) = p->next;
    to_idle(self, p);
}

void slab_reset(struct slab *self)
{
    while (self->taken) {
        struct piece *p = self->taken;
        self->taken = p->next;
        p->holders = 0;
        to_idle(self, p);
    }
}

size_t slab_bytes(const struct slab *self)
{
    return self->bytes;
}

size_t slab_peak(const struct slab *self)
{
    return self->peak;
}

void slab_destroy(struct slab **self_p)
{
    struct slab *self = *self_p;
    if (!self)
        return;
    slab_reset(self);
    free_idle(self);
    free(self);
    *self_p = NULL;
}
