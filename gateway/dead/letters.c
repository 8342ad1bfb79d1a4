/* letters - see letters.h */
#include "gateway/dead/letters.h"

#include <stdlib.h>
#include <string.h>

/* Index of the first letter whose id is not below `id`. */
static size_t place_of(const struct letters *self, const struct uuid *id)
{
    size_t low = 0, high = self->len;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (id_compare(&self->items[middle]->id, id) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static uint64_t octets(const struct ledger_dead *letter)
{
    return (uint64_t)letter->input_bytes + (uint64_t)letter->answer_bytes;
}

struct ledger_dead *letters_find(const struct letters *self, const struct uuid *id)
{
    size_t at = place_of(self, id);
    return at < self->len && id_equal(&self->items[at]->id, id) ? self->items[at] : NULL;
}

void letters_add(struct letters *self, struct ledger_dead *letter)
{
    if (self->len == self->room) {
        self->room = self->room ? 2 * self->room : 64;
        self->items = xrealloc(self->items, self->room * sizeof(struct ledger_dead *));
    }
    size_t at = place_of(self, &letter->id);
    memmove(self->items + at + 1, self->items + at,
            (self->len - at) * sizeof(struct ledger_dead *));
    self->items[at] = letter;
    self->len++;
    self->bytes += octets(letter);
}

struct ledger_dead *letters_take(struct letters *self, const struct uuid *id)
{
    size_t at = place_of(self, id);
    struct ledger_dead *letter = letters_find(self, id);
    if (!letter)
        return NULL;
    self->len--;
    memmove(self->items + at, self->items + at + 1,
            (self->len - at) * sizeof(struct ledger_dead *));
    self->bytes -= octets(letter);
    return letter;
}

bool letters_replace(struct letters *self, struct ledger_dead *letter)
{
    struct ledger_dead *old = letters_take(self, &letter->id);
    if (!old)
        return false;
    letters_destroy(old);
    letters_add(self, letter);
    return true;
}

void letters_destroy(struct ledger_dead *letter)
{
    void *record = letter;
    ledger_record_destroy(LEDGER_dead, &record);
}

void letters_free(struct letters *self)
{
    while (self->len > 0)
        letters_destroy(self->items[--self->len]);
    free(self->items);
    self->items = NULL;
}
