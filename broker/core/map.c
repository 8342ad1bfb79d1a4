/* map - linear probing with backward shift: no tombstones, so lookups never degrade */
#include "broker/core/map.h"

#include <stdlib.h>

uint64_t map_mix(uint64_t value)
{
    /* The finalizer of SplitMix64 (Steele, Lea, Flood 2014). */
    value ^= value >> 30;
    value *= UINT64_C(0xbf58476d1ce4e5b9);
    value ^= value >> 27;
    value *= UINT64_C(0x94d049bb133111eb);
    return value ^ (value >> 31);
}

void map_open(struct map *self, size_t capacity, const void *owner, map_same_fn *same)
{
    assert(capacity < NONE / 2);
    size_t cells = 16;
    while (cells < capacity * 2)
        cells *= 2;
    *self = (struct map){.cells = xcalloc(cells, sizeof(uint64_t)),
                         .mask = cells - 1,
                         .capacity = capacity,
                         .owner = owner,
                         .same = same};
}

void map_close(struct map *self)
{
    free(self->cells);
    *self = (struct map){0};
}

static size_t home(const struct map *self, uint64_t cell)
{
    return (size_t)(cell >> 32) & self->mask;
}

static uint64_t cell_of(uint64_t hash, uint32_t id)
{
    return (hash & ~(uint64_t)UINT32_MAX) | (id + UINT64_C(1));
}

void map_put(struct map *self, uint64_t hash, uint32_t id)
{
    assert(self->len < self->capacity);
    uint64_t cell = cell_of(hash, id);
    size_t at = home(self, cell);
    while (self->cells[at])
        at = (at + 1) & self->mask;
    self->cells[at] = cell;
    self->len++;
}

uint32_t map_find(const struct map *self, uint64_t hash, const void *key)
{
    uint64_t want = hash >> 32;
    for (size_t at = (size_t)want & self->mask; self->cells[at]; at = (at + 1) & self->mask) {
        uint32_t id = (uint32_t)self->cells[at] - 1;
        if (self->cells[at] >> 32 == want && self->same(self->owner, id, key))
            return id;
    }
    return NONE;
}

void map_remove(struct map *self, uint64_t hash, uint32_t id)
{
    uint64_t cell = cell_of(hash, id);
    size_t hole = home(self, cell);
    while (self->cells[hole] != cell) {
        assert(self->cells[hole]);
        hole = (hole + 1) & self->mask;
    }
    for (size_t at = (hole + 1) & self->mask; self->cells[at]; at = (at + 1) & self->mask) {
        size_t from = home(self, self->cells[at]);
        /* Move it only if its home is not between the hole and where it stands. */
        if (((at - from) & self->mask) >= ((at - hole) & self->mask)) {
            self->cells[hole] = self->cells[at];
            hole = at;
        }
    }
    self->cells[hole] = 0;
    self->len--;
}
