/* layouts - common answers to "which layout would you like?"; see op.h */
#include "worker/ops/op.h"

void layouts_plain(const struct step *step, enum layout *wants)
{
    (void)step;
    (void)wants;
}

void layouts_follow(const struct step *step, enum layout *wants)
{
    if (step->in[0]->layout == LAYOUT_BLOCKED)
        wants[0] = LAYOUT_BLOCKED;
}

struct maps array_maps(const struct array *a)
{
    assert(a->rank >= 2 && a->rank <= 4);
    return (struct maps){(size_t)a->dims[0], (size_t)a->dims[1],
                         a->rank == 4 ? (size_t)a->dims[2] : 1,
                         a->rank >= 3 ? (size_t)a->dims[a->rank - 1] : 1};
}

size_t array_stored(const struct array *a)
{
    return a->layout == LAYOUT_BLOCKED ? layout_elements(LAYOUT_BLOCKED, array_maps(a))
                                       : array_count(a);
}
