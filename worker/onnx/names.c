/* names - open addressing, never more than half full; see names.h */
#include "worker/onnx/names.h"

#include <stdlib.h>
#include <string.h>

struct slot {
    const char *name; /* NULL: free */
    uint32_t number;
};

struct names {
    struct slot *slots;
    size_t room; /* a power of two */
    size_t used;
};

struct names *names_new(void)
{
    struct names *n = xcalloc(1, sizeof *n);
    n->room = 256;
    n->slots = xcalloc(n->room, sizeof *n->slots);
    return n;
}

/* FNV-1a, 64 bits. */
static uint64_t hash(const char *text)
{
    uint64_t h = 0xcbf29ce484222325u;
    for (; *text; text++)
        h = (h ^ (uint8_t)*text) * 0x100000001b3u;
    return h ^ h >> 32;
}

static struct slot *slot_of(const struct names *self, const char *name)
{
    size_t i = hash(name) & (self->room - 1);
    while (self->slots[i].name && strcmp(self->slots[i].name, name) != 0)
        i = (i + 1) & (self->room - 1);
    return &self->slots[i];
}

static void grow(struct names *self)
{
    struct names bigger = {.room = self->room * 2, .used = self->used};
    bigger.slots = xcalloc(bigger.room, sizeof *bigger.slots);
    for (size_t i = 0; i < self->room; i++)
        if (self->slots[i].name)
            *slot_of(&bigger, self->slots[i].name) = self->slots[i];
    free(self->slots);
    *self = bigger;
}

bool names_add(struct names *self, const char *name, uint32_t number)
{
    if (self->used * 2 >= self->room)
        grow(self);
    struct slot *slot = slot_of(self, name);
    if (slot->name)
        return false;
    *slot = (struct slot){name, number};
    self->used++;
    return true;
}

uint32_t names_find(const struct names *self, const char *name)
{
    const struct slot *slot = slot_of(self, name);
    return slot->name ? slot->number : UINT32_MAX;
}

bool names_has(const struct names *self, const char *name)
{
    return slot_of(self, name)->name != NULL;
}

void names_destroy(struct names **self_p)
{
    struct names *self = *self_p;
    if (!self)
        return;
    free(self->slots);
    free(self);
    *self_p = NULL;
}
