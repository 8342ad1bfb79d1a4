/* shelf - workers in the order of their load, so that the least loaded ones are found at once
 *
 * Loads fall into steps, eight to a power of two; inside a step who came first is first. Putting,
 * taking and finding cost the same for ten workers as for ten thousand. A shelf names its members
 * by numbers; where each stands is kept in a perch, one in each element of an array of the owner's.
 */
#ifndef CONVOY_BROKER_CORE_SHELF_H
#define CONVOY_BROKER_CORE_SHELF_H

#include "broker/core/map.h"

#define SHELF_STEPS 520 /* 64 powers of two in eighths, rounded up to whole words of bits */

struct perch {
    uint32_t prev, next; /* members of the same step; NONE */
    uint32_t place;      /* step + 1; 0: not on the shelf */
};

/* The array that the perches are in: perch of member `id` at base + id * stride. */
struct perches {
    void *base;
    size_t stride;
};

struct shelf {
    uint64_t used[(SHELF_STEPS + 63) / 64]; /* a bit for each step with members */
    uint32_t heads[SHELF_STEPS];            /* valid where the bit is set */
    uint32_t tails[SHELF_STEPS];
};

/* Put it there, or move it: to the end of its load's step, unless it stands in that step already
 * and `again` is false. */
void shelf_put(struct shelf *self, struct perches perches, uint32_t id, uint64_t load, bool again);
/* Harmless when it is not there. */
void shelf_take(struct shelf *self, struct perches perches, uint32_t id);

/* Walk by load: the first member, and the one after `id`; NONE at the end. */
uint32_t shelf_first(const struct shelf *self);
uint32_t shelf_next(const struct shelf *self, struct perches perches, uint32_t id);

static inline struct perch *shelf_perch(struct perches perches, uint32_t id)
{
    return (struct perch *)(void *)((uint8_t *)perches.base + id * perches.stride);
}

/* No member of this place or a later one has less load. */
uint64_t shelf_floor(uint32_t place);

#endif
