/* plan_cache - see plan_cache.h */
#include "worker/graph/plan_cache.h"

/* A free place, or that of the plan used longest ago. */
static uint32_t free_place(struct plan_cache *self)
{
    uint32_t oldest = 0;
    if (self->len < PLAN_CACHE_MAX)
        return self->len++;
    for (uint32_t i = 1; i < self->len; i++)
        if (self->plans[i].used < self->plans[oldest].used)
            oldest = i;
    plan_destroy(&self->plans[oldest].plan);
    return oldest;
}

enum status plan_find(struct plan_cache *self, const struct array *inputs, struct plan **out,
                      struct error *why)
{
    self->finds++;
    for (uint32_t i = 0; i < self->len; i++) {
        if (!plan_fits(self->plans[i].plan, inputs))
            continue;
        self->plans[i].used = self->finds;
        *out = self->plans[i].plan;
        return STATUS_OK;
    }
    enum status s = plan_make(out, self->graph, inputs, why);
    if (s != STATUS_OK)
        return s;
    uint32_t i = free_place(self);
    self->plans[i].plan = *out;
    self->plans[i].used = self->finds;
    return STATUS_OK;
}

void plan_cache_clear(struct plan_cache *self)
{
    for (uint32_t i = 0; i < self->len; i++)
        plan_destroy(&self->plans[i].plan);
    self->len = 0;
}
