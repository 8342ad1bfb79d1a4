/* sets - lists of SET on their way in; see broker.h */
#include "broker/broker.h"

#include <stdlib.h>

static void room(struct sets *self, size_t sets, size_t ranges)
{
    if (self->len + sets > self->room) {
        self->room = MAX(self->room * 2, self->len + sets);
        self->sets = xrealloc(self->sets, self->room * sizeof(struct core_set));
    }
    if (self->ranges_len + ranges > self->ranges_room) {
        self->ranges_room = MAX(self->ranges_room * 2, self->ranges_len + ranges);
        self->ranges = xrealloc(self->ranges, self->ranges_room * sizeof(struct task_range));
    }
}

static bool read_ranges(struct sets *self, struct wire_map set)
{
    size_t numbers = wire_len(set, KEY_RANGES);
    uint64_t end = 0; /* first number that may follow */
    if (numbers % 2)
        return false;
    for (size_t i = 0; i < numbers; i += 2) {
        struct task_range range = {wire_number(set, KEY_RANGES, i),
                                   wire_number(set, KEY_RANGES, i + 1)};
        if (range.first == 0 || range.count == 0 || range.first < end ||
            range.count > UINT64_MAX - 1 - range.first)
            return false;
        end = range.first + range.count + 1; /* touching ones should have been one */
        self->ranges[self->ranges_len++] = range;
    }
    return true;
}

bool sets_read(struct sets *self, struct wire_map map, enum wire_key key)
{
    size_t len = wire_len(map, key);
    self->len = self->ranges_len = 0;
    for (size_t i = 0; i < len; i++) {
        struct wire_map set = wire_at(map, key, i);
        size_t first = self->ranges_len;
        room(self, 1, wire_len(set, KEY_RANGES) / 2);
        if (!read_ranges(self, set))
            return false;
        /* The array may still move: keep the place until all are read. */
        self->sets[self->len++] =
            (struct core_set){wire_uuid(set, KEY_GATEWAY), NULL, self->ranges_len - first};
    }
    size_t at = 0;
    for (size_t i = 0; i < self->len; i++) {
        self->sets[i].ranges = self->ranges ? self->ranges + at : NULL; /* sets may be empty */
        at += self->sets[i].len;
    }
    return true;
}

void sets_free(struct sets *self)
{
    free(self->sets);
    free(self->ranges);
    *self = (struct sets){0};
}
