/* arena - offsets for values by lifetime, so that one block of memory serves a whole plan */
#ifndef CONVOY_WORKER_GRAPH_ARENA_H
#define CONVOY_WORKER_GRAPH_ARENA_H

#include "common/base.h"

struct arena_item {
    size_t bytes;
    uint32_t first, last; /* steps during which it lives, both included */
    size_t offset;        /* answer: a multiple of TENSOR_ALIGN */
};

/* Choose offsets so that items that live at the same time never overlap. Returns the bytes of the
 * whole, SIZE_MAX when they exceed `bytes_max`. */
size_t arena_lay_out(struct arena_item *items, size_t len, size_t bytes_max);

#endif
