/* engine_pieces - a batch run in pieces whose activations stay in the second-level cache
 *
 * Where rows are independent and convolutions do the work, a large batch reads and writes its
 * activations through memory for nothing: pieces of a few rows, each through the whole network,
 * keep them close. Pieces also go to threads whole, so that no thread waits within one. Every row
 * gets the bytes that it would get in any other batch. For engine_run.c only. */
#ifndef CONVOY_WORKER_ENGINE_PIECES_H
#define CONVOY_WORKER_ENGINE_PIECES_H

#include "common/tensor.h"
#include "worker/graph/plan_cache.h"

struct model;

/* What a thread needs to run pieces by itself. */
struct lane {
    struct plan_cache plans;
    void *arena;
    size_t arena_bytes;
};

/* Part of struct model; all owned, made when first needed. */
struct pieces {
    struct lane *lanes;
    size_t lanes_len;
    char *outputs; /* of the whole batch, one behind the other */
    size_t outputs_bytes;
};

/* Into how many pieces these inputs (in the signature's order) should be cut; 1: run them whole. */
size_t pieces_wanted(struct model *model, const struct array *inputs);

/* Run them in `count` pieces, 2 or more; outputs as model_run() gives them. */
enum status pieces_run(struct model *model, const struct array *inputs, size_t count,
                       struct tensor *outputs, struct error *why);

/* Bytes of its arenas and outputs. */
size_t pieces_bytes(const struct pieces *self);

void pieces_free(struct pieces *self);

#endif
