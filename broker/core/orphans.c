/* orphans - tasks that workers list and nobody has submitted to this broker
 *
 * With several brokers they are the rule: a worker lists to each broker what it has of all of them.
 * Found by id, so that the many workers of a fleet cost nothing. */
#include "broker/core/state.h"

#include <string.h>

struct orphan_key {
    const struct uuid *gateway;
    uint64_t number;
};

bool orphan_same(const void *owner, uint32_t id, const void *key);

bool orphan_same(const void *owner, uint32_t id, const void *key)
{
    const struct orphan *orphan = &((const struct core *)owner)->orphans[id];
    const struct orphan_key *want = key;
    return orphan->number == want->number && id_equal(&orphan->gateway, want->gateway);
}

static uint64_t orphan_hash(const struct core *self, const struct uuid *gateway, uint64_t number)
{
    uint64_t words[2];
    memcpy(words, gateway->bytes, sizeof(words));
    return map_mix(map_mix(self->seed ^ words[0] ^ words[1]) ^ number);
}

/* Room for it or not: an orphan that is not noted is only run a second time. */
void orphan_note(struct core *self, struct session *worker, const struct uuid *gateway,
                 uint64_t number)
{
    uint32_t slot = self->orphans_free;
    if (slot != NONE)
        self->orphans_free = self->orphans[slot].next;
    else if (self->orphans_high < self->tasks_room)
        slot = self->orphans_high++;
    else
        return;
    self->orphans[slot] =
        (struct orphan){*gateway, number, session_slot(self, worker), worker->orphans};
    worker->orphans = slot;
    map_put(&self->by_orphan, orphan_hash(self, gateway, number), slot);
}

static uint32_t find(const struct core *self, const struct uuid *gateway, uint64_t number)
{
    struct orphan_key key = {gateway, number};
    if (self->by_orphan.len == 0)
        return NONE;
    return map_find(&self->by_orphan, orphan_hash(self, gateway, number), &key);
}

bool orphan_known(const struct core *self, const struct uuid *gateway, uint64_t number)
{
    return find(self, gateway, number) != NONE;
}

/* Its place stays in the worker's chain until that is cleared. */
uint32_t orphan_take(struct core *self, const struct uuid *gateway, uint64_t number)
{
    uint32_t slot = find(self, gateway, number);
    if (slot == NONE)
        return NONE;
    uint32_t worker = self->orphans[slot].worker;
    map_remove(&self->by_orphan, orphan_hash(self, gateway, number), slot);
    self->orphans[slot].worker = NONE;
    return worker;
}

void orphans_clear(struct core *self, struct session *worker)
{
    for (uint32_t slot = worker->orphans, next; slot != NONE; slot = next) {
        struct orphan *orphan = &self->orphans[slot];
        next = orphan->next;
        if (orphan->worker != NONE)
            map_remove(&self->by_orphan, orphan_hash(self, &orphan->gateway, orphan->number), slot);
        orphan->next = self->orphans_free;
        self->orphans_free = slot;
    }
    worker->orphans = NONE;
}
