/* map - numbers found by a hash: open addressing, never grows
 *
 * Holds up to `capacity` ids below UINT32_MAX, each under a 64-bit hash that the caller computes.
 * Two ids may share a hash: the caller's `same` decides. Order of insertion does not show. */
#ifndef CONVOY_BROKER_CORE_MAP_H
#define CONVOY_BROKER_CORE_MAP_H

#include "common/base.h"

#define NONE UINT32_MAX /* no id, no slot */

/* Whether the thing with this id is the one that `key` names. */
typedef bool map_same_fn(const void *owner, uint32_t id, const void *key);

struct map {
    uint64_t *cells;   /* upper half: hash; lower half: id + 1; 0: empty */
    size_t mask;       /* number of cells - 1, at least twice the capacity */
    size_t len;        /* ids inside */
    size_t capacity;   /* refusal point: passing it is a bug of ours */
    const void *owner; /* first argument of `same` */
    map_same_fn *same;
};

void map_open(struct map *self, size_t capacity, const void *owner, map_same_fn *same);
void map_close(struct map *self);
void map_put(struct map *self, uint64_t hash, uint32_t id);
/* The id must be there. */
void map_remove(struct map *self, uint64_t hash, uint32_t id);
uint32_t map_find(const struct map *self, uint64_t hash, const void *key);

/* Spread 64 bits over 64 bits. */
uint64_t map_mix(uint64_t value);

#endif
