/* model - what engine.c (loading) and engine_run.c (running) share; nobody else includes it */
#ifndef CONVOY_WORKER_MODEL_H
#define CONVOY_WORKER_MODEL_H

#include "common/file.h"
#include "worker/engine.h"
#include "worker/graph/plan.h"

#define MODEL_PLANS_MAX 16 /* cached shapes; the one that was used longest ago goes first */

struct cached_plan {
    struct plan *plan;
    uint64_t used; /* runs counter at its last use */
};

struct model {
    uint32_t magic;       /* MODEL_MAGIC while alive */
    struct file_map file; /* of model_load_file; empty otherwise */
    struct graph *graph;
    struct signature signature;
    struct error rows_reason; /* what stands against batching */
    struct cached_plan plans[MODEL_PLANS_MAX];
    uint32_t plans_len;
    uint64_t runs;
    void *arena; /* shared by all plans: one run at a time */
    size_t arena_bytes;
    struct plan_watch watch;
};

#define MODEL_MAGIC 0x6d6f646cu

#endif
