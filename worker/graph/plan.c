/* plan - running; see plan.h */
#include "worker/graph/plan_parts.h"

#include <string.h>
#include <time.h>

#include "worker/graph/plan.h"

bool plan_fits(const struct plan *self, const struct tensor *inputs)
{
    for (uint32_t i = 0; i < self->inputs_len; i++) {
        const struct array *a = &self->inputs[i]->array;
        if (a->rank != inputs[i].rank ||
            memcmp(a->dims, inputs[i].dims, a->rank * sizeof *a->dims) != 0)
            return false;
        if (a->known && a->bytes && memcmp(a->data, inputs[i].data, a->bytes) != 0)
            return false;
    }
    return true;
}

size_t plan_arena_bytes(const struct plan *self)
{
    return self->arena_bytes;
}

const struct array *plan_output(const struct plan *self, uint32_t i)
{
    assert(i < self->outputs_len);
    return &self->outputs[i]->array;
}

const struct array *plan_value(const struct plan *self, uint32_t number)
{
    assert(number < self->values_len);
    return &self->places[number].array;
}

const struct step *plan_node_step(const struct plan *self, uint32_t node)
{
    return self->by_node[node];
}

static void bind(struct plan *self, char *arena, const struct tensor *inputs)
{
    for (size_t i = 0; i < self->bound_len; i++) {
        struct place *p = self->bound[i];
        const struct place *root = p->root;
        p->array.data = root->input != UINT32_MAX ? inputs[root->input].data : arena + root->offset;
    }
    for (size_t i = 0; i < self->steps_len; i++)
        self->steps[i]->scratch = arena + self->scratch_at[i];
}

static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static enum status profiled(const struct step *step, struct error *why)
{
    uint64_t start = now_ns();
    enum status s = step->node->op->run(step, why);
    step->node->ns += now_ns() - start;
    step->node->calls++;
    return s;
}

enum status plan_run(struct plan *self, void *arena, const struct tensor *inputs,
                     const struct plan_watch *watch, struct error *why)
{
    bind(self, arena, inputs);
    for (size_t i = 0; i < self->steps_len; i++) {
        const struct step *step = self->steps[i];
        if (watch->stop && __atomic_load_n(watch->stop, __ATOMIC_RELAXED))
            return fail(why, STATUS_CANCELLED, "stopped before node \"%.200s\"", step->node->name);
        if (watch->ticks)
            __atomic_fetch_add(watch->ticks, 1, __ATOMIC_RELAXED);
        enum status s = watch->profile ? profiled(step, why) : step->node->op->run(step, why);
        if (s != STATUS_OK)
            return s;
    }
    return STATUS_OK;
}

void plan_destroy(struct plan **self_p)
{
    struct plan *self = *self_p;
    if (!self)
        return;
    struct region *region = self->region;
    region_destroy(&region);
    *self_p = NULL;
}
