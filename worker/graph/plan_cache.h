/* plan_cache - the plans of one graph, by input shapes
 *
 * A repeated shape finds its plan; of too many shapes the one used longest ago goes first. A plan
 * stays valid until the next plan_find(). */
#ifndef CONVOY_WORKER_GRAPH_PLAN_CACHE_H
#define CONVOY_WORKER_GRAPH_PLAN_CACHE_H

#include "worker/graph/plan.h"

#define PLAN_CACHE_MAX 16

struct plan_cache {
    struct graph *graph; /* must outlive the cache */
    uint64_t finds;
    uint32_t len;
    struct {
        struct plan *plan;
        uint64_t used; /* finds at its last use */
    } plans[PLAN_CACHE_MAX];
};

/* The plan for these inputs (as plan_make() takes them), made if there is none. */
enum status plan_find(struct plan_cache *self, const struct array *inputs, struct plan **out,
                      struct error *why);

/* Free all plans. */
void plan_cache_clear(struct plan_cache *self);

#endif
