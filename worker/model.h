/* model - what engine.c (loading) and engine_run.c (running) share; nobody else includes it */
#ifndef CONVOY_WORKER_MODEL_H
#define CONVOY_WORKER_MODEL_H

#include "common/file.h"
#include "worker/engine.h"
#include "worker/engine_pieces.h"
#include "worker/graph/plan_cache.h"
#include "worker/onnx/external.h"

struct model {
    uint32_t magic;            /* MODEL_MAGIC while alive */
    struct file_map file;      /* of model_load_file; empty otherwise */
    struct external *external; /* the files beside it */
    struct graph *graph;
    struct signature signature;
    uint64_t parameters;      /* as the file has them: fusions make others of them */
    struct error rows_reason; /* what stands against batching */
    struct plan_cache plans;
    void *arena; /* shared by all plans: one run at a time */
    size_t arena_bytes;
    struct pieces pieces;
    struct run run; /* owns its slab */
};

#define MODEL_MAGIC 0x6d6f646cu

#endif
