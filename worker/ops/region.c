/* region - a chain of blocks; big pieces get a block of their own; see region.h */
#include "worker/ops/region.h"

#include <search.h>
#include <stdlib.h>
#include <string.h>

#define BLOCK_BYTES (16 * KIB)
#define SMALL_ALIGN 16
#define SMALL_MAX   512 /* larger pieces are data that kernels read: aligned, own block */

struct block {
    struct block *next; /* older block */
    size_t size;        /* usable bytes behind the header */
    size_t used;        /* of them, given out */
};

/* A piece that has a key; in the region itself. */
struct shared {
    const void *key;
    size_t key_bytes;
    void *piece;
};

struct region {
    struct block *small; /* newest first; only the newest has room */
    struct block *big;   /* one piece each */
    size_t bytes;        /* given out in all */
    void *shared;        /* the tree of tsearch(3) */
};

/* The header takes a whole alignment unit so that the data behind it is aligned. */
_Static_assert(sizeof(struct block) <= TENSOR_ALIGN, "header fits before the data");

struct region *region_new(void)
{
    return xcalloc(1, sizeof(struct region));
}

static struct block *block_new(struct block *next, size_t bytes)
{
    struct block *b = xaligned(TENSOR_ALIGN + bytes);
    memset(b, 0, TENSOR_ALIGN + bytes);
    b->next = next;
    b->size = bytes;
    return b;
}

void *region_take(struct region *self, size_t bytes)
{
    assert(self);
    self->bytes += bytes;
    if (bytes > SMALL_MAX) {
        self->big = block_new(self->big, bytes);
        return (char *)self->big + TENSOR_ALIGN;
    }
    size_t rounded = (MAX(bytes, 1) + SMALL_ALIGN - 1) / SMALL_ALIGN * SMALL_ALIGN;
    if (!self->small || self->small->size - self->small->used < rounded)
        self->small = block_new(self->small, BLOCK_BYTES);
    void *piece = (char *)self->small + TENSOR_ALIGN + self->small->used;
    self->small->used += rounded;
    return piece;
}

void *region_array(struct region *self, size_t count, size_t bytes)
{
    assert(bytes && count <= SIZE_MAX / bytes);
    return region_take(self, count * bytes);
}

static int by_key(const void *a, const void *b)
{
    const struct shared *x = a, *y = b;
    if (x->key_bytes != y->key_bytes)
        return x->key_bytes < y->key_bytes ? -1 : 1;
    return memcmp(x->key, y->key, x->key_bytes);
}

void *region_shared(struct region *self, const void *key, size_t key_bytes, size_t bytes,
                    bool *made)
{
    const struct shared wanted = {key, key_bytes, NULL};
    struct shared *const *found = tfind(&wanted, &self->shared, by_key);
    *made = !found;
    if (found)
        return (*found)->piece;
    struct shared *one = region_take(self, sizeof *one);
    one->key = memcpy(region_take(self, key_bytes), key, key_bytes);
    one->key_bytes = key_bytes;
    one->piece = region_take(self, bytes);
    if (!tsearch(one, &self->shared, by_key))
        panic("out of memory");
    return one->piece;
}

/* Entries are pieces of the region. */
static void leave(void *entry)
{
    (void)entry;
}

char *region_text(struct region *self, const void *bytes, size_t length)
{
    char *text = region_take(self, length + 1);
    if (length)
        memcpy(text, bytes, length);
    return text;
}

size_t region_bytes(const struct region *self)
{
    return self->bytes;
}

static void chain_free(struct block *b)
{
    while (b) {
        struct block *next = b->next;
        free(b);
        b = next;
    }
}

void region_reset(struct region *self)
{
    struct block *newest = self->small;
    tdestroy(self->shared, leave);
    self->shared = NULL;
    chain_free(self->big);
    self->big = NULL;
    if (newest) {
        chain_free(newest->next);
        newest->next = NULL;
        memset((char *)newest + TENSOR_ALIGN, 0, newest->used);
        newest->used = 0;
    }
    self->bytes = 0;
}

void region_destroy(struct region **self_p)
{
    struct region *self = *self_p;
    if (!self)
        return;
    tdestroy(self->shared, leave);
    chain_free(self->small);
    chain_free(self->big);
    free(self);
    *self_p = NULL;
}
