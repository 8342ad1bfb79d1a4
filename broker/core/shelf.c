/* shelf - see shelf.h */
#include "broker/core/shelf.h"

#define EIGHTHS 8

static uint32_t step_of(uint64_t load)
{
    if (load < EIGHTHS)
        return (uint32_t)load;
    uint32_t power = 63 - (uint32_t)__builtin_clzll(load);
    return (power - 2) * EIGHTHS + (uint32_t)(load >> (power - 3) & (EIGHTHS - 1));
}

uint64_t shelf_floor(uint32_t place)
{
    uint32_t step = place - 1;
    if (step < EIGHTHS)
        return step;
    return (uint64_t)(EIGHTHS + step % EIGHTHS) << (step / EIGHTHS - 1);
}

void shelf_take(struct shelf *self, struct perches perches, uint32_t id)
{
    struct perch *perch = shelf_perch(perches, id);
    if (perch->place == 0)
        return;
    uint32_t step = perch->place - 1;
    if (perch->prev != NONE)
        shelf_perch(perches, perch->prev)->next = perch->next;
    else
        self->heads[step] = perch->next;
    if (perch->next != NONE)
        shelf_perch(perches, perch->next)->prev = perch->prev;
    else
        self->tails[step] = perch->prev;
    if (self->heads[step] == NONE)
        self->used[step / 64] &= ~(UINT64_C(1) << step % 64);
    perch->place = 0;
}

void shelf_put(struct shelf *self, struct perches perches, uint32_t id, uint64_t load, bool again)
{
    struct perch *perch = shelf_perch(perches, id);
    uint32_t step = step_of(load);
    uint64_t bit = UINT64_C(1) << step % 64;
    if (perch->place == step + 1 && !again)
        return;
    shelf_take(self, perches, id);
    bool empty = !(self->used[step / 64] & bit);
    *perch = (struct perch){empty ? NONE : self->tails[step], NONE, step + 1};
    if (empty)
        self->heads[step] = id;
    else
        shelf_perch(perches, self->tails[step])->next = id;
    self->tails[step] = id;
    self->used[step / 64] |= bit;
}

/* The first step from `step` on that has members. */
static uint32_t head_from(const struct shelf *self, uint32_t step)
{
    for (uint32_t word = step / 64; word < ARRAY_LEN(self->used); word++) {
        uint64_t bits = self->used[word];
        if (word == step / 64)
            bits &= ~UINT64_C(0) << step % 64;
        if (bits)
            return self->heads[word * 64 + (uint32_t)__builtin_ctzll(bits)];
    }
    return NONE;
}

uint32_t shelf_first(const struct shelf *self)
{
    return head_from(self, 0);
}

uint32_t shelf_next(const struct shelf *self, struct perches perches, uint32_t id)
{
    const struct perch *perch = shelf_perch(perches, id);
    return perch->next != NONE ? perch->next : head_from(self, perch->place);
}
