#include "gateway/by_id.h"

#include <stdlib.h>
#include <string.h>

static const struct uuid *id_of(const struct by_id *self, const void *entry)
{
    return (const void *)((const char *)entry + self->id_offset);
}

/* Index of the first entry whose id is not below `id`. */
static size_t lower_bound(const struct by_id *self, const struct uuid *id)
{
    size_t low = 0, high = self->len;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (id_compare(id_of(self, self->entries[middle]), id) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

void *by_id_find(const struct by_id *self, const struct uuid *id)
{
    size_t at = lower_bound(self, id);
    bool found = at < self->len && id_equal(id_of(self, self->entries[at]), id);
    return found ? self->entries[at] : NULL;
}

void by_id_insert(struct by_id *self, void *entry)
{
    if (self->len == self->room) {
        self->room = self->room ? 2 * self->room : 64;
        self->entries = xrealloc(self->entries, self->room * sizeof(*self->entries));
    }
    size_t at = lower_bound(self, id_of(self, entry));
    memmove(self->entries + at + 1, self->entries + at, (self->len - at) * sizeof(*self->entries));
    self->entries[at] = entry;
    self->len++;
}

void by_id_remove(struct by_id *self, const void *entry)
{
    size_t at = lower_bound(self, id_of(self, entry));
    if (at == self->len || self->entries[at] != entry)
        return;
    memmove(self->entries + at, self->entries + at + 1,
            (--self->len - at) * sizeof(*self->entries));
}

void by_id_free(struct by_id *self)
{
    free(self->entries);
    self->entries = NULL;
    self->len = self->room = 0;
}
