/* arena - largest first, each at the lowest gap that is free while it lives; see arena.h
 *
 * Quadratic in the number of items, which is that of values in a plan: thousands at most in real
 * models. */
#include "worker/graph/arena.h"

#include <stdlib.h>

static int larger_first(const void *a, const void *b)
{
    const struct arena_item *x = *(struct arena_item *const *)a,
                            *y = *(struct arena_item *const *)b;
    if (x->bytes != y->bytes)
        return x->bytes < y->bytes ? 1 : -1;
    return x < y ? -1 : x > y; /* qsort is not stable, plans must be the same each time */
}

static size_t rounded(size_t bytes)
{
    return (bytes + TENSOR_ALIGN - 1) / TENSOR_ALIGN * TENSOR_ALIGN;
}

/* `placed` is kept sorted by offset. */
static size_t lowest_gap(struct arena_item *const *placed, size_t len,
                         const struct arena_item *item)
{
    size_t at = 0;
    for (size_t i = 0; i < len; i++) {
        const struct arena_item *p = placed[i];
        if (p->last < item->first || p->first > item->last)
            continue;
        if (p->offset >= at && p->offset - at >= rounded(item->bytes))
            return at;
        at = MAX(at, p->offset + rounded(p->bytes));
    }
    return at;
}

size_t arena_lay_out(struct arena_item *items, size_t len, size_t bytes_max)
{
    struct arena_item **order = xmalloc(len * sizeof(struct arena_item *));
    struct arena_item **placed = xmalloc(len * sizeof(struct arena_item *));
    size_t total = 0;
    for (size_t i = 0; i < len; i++)
        order[i] = &items[i];
    qsort(order, len, sizeof(struct arena_item *), larger_first);
    for (size_t i = 0; i < len && total <= bytes_max; i++) {
        struct arena_item *item = order[i];
        size_t k = i;
        item->offset = lowest_gap(placed, i, item);
        for (; k > 0 && placed[k - 1]->offset > item->offset; k--)
            placed[k] = placed[k - 1];
        placed[k] = item;
        total = MAX(total, item->offset + rounded(item->bytes));
    }
    free(order);
    free(placed);
    return total <= bytes_max ? total : SIZE_MAX;
}
