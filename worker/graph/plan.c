/* plan - running; see plan.h */
#include "worker/graph/plan_parts.h"

#include <string.h>
#include <time.h>

#include "worker/graph/macs.h"
#include "worker/graph/plan.h"
#include "worker/kernels/par.h"
#include "worker/ops/late.h"

bool plan_fits(const struct plan *self, const struct array *inputs)
{
    for (uint32_t i = 0; i < self->inputs_len; i++) {
        const struct array *a = &self->inputs[i]->array;
        if (a->dtype != inputs[i].dtype || a->sequence != inputs[i].sequence)
            return false;
        if (a->sequence)
            continue;
        if (a->rank != inputs[i].rank ||
            memcmp(a->dims, inputs[i].dims, a->rank * sizeof *a->dims) != 0)
            return false;
        if (a->known && a->bytes &&
            (!inputs[i].data || memcmp(a->data, inputs[i].data, a->bytes) != 0))
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

bool plan_convolves(const struct plan *self)
{
    return self->convolves;
}

size_t plan_step_bytes(const struct plan *self)
{
    return self->step_bytes;
}

bool plan_output_late(const struct plan *self, uint32_t i)
{
    assert(i < self->outputs_len);
    return self->outputs[i]->late;
}

static void bind(struct plan *self, char *arena, const struct array *inputs, struct run *run)
{
    for (size_t i = 0; i < self->bound_len; i++) {
        struct place *p = self->bound[i];
        const struct place *root = p->root;
        p->array.data = root->input != UINT32_MAX ? inputs[root->input].data : arena + root->offset;
    }
    for (size_t i = 0; i < self->late_len; i++)
        self->late[i]->array.held = false; /* an earlier run that failed left it */
    for (size_t i = 0; i < self->steps_len; i++) {
        self->steps[i]->scratch = arena + self->scratch_at[i];
        self->steps[i]->run = run;
    }
}

static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static enum status run_step(struct plan *self, struct step *step, struct error *why)
{
    const struct run *run = step->run;
    if (run->stop && __atomic_load_n(run->stop, __ATOMIC_RELAXED))
        return fail(why, STATUS_CANCELLED, "stopped before node \"%.200s\"", step->node->name);
    if (run->ticks)
        __atomic_fetch_add(run->ticks, 1, __ATOMIC_RELAXED);
    uint64_t takes = run->work ? step_work(step) : 0;
    if (run->work && takes > *run->work) {
        *run->work = 0;
        return fail(why, STATUS_TOO_LARGE, "too much to compute ahead at node \"%.200s\"",
                    step->node->name);
    }
    if (run->work)
        *run->work -= takes;
    uint64_t start = run->profile ? now_ns() : 0;
    enum status s =
        step->deferred ? plan_run_deferred(self, step, why) : step->node->op->run(step, why);
    if (run->profile) {
        step->node->ns += now_ns() - start;
        step->node->calls++;
        step->node->macs += step_macs(step);
    }
    return s;
}

struct pass {
    struct plan *plan;
    struct run *run;
    struct error *why;
    enum status status;
};

static void run_steps(void *arg)
{
    struct pass *pass = arg;
    struct plan *plan = pass->plan;
    enum status s = STATUS_OK;
    size_t dead = 0;
    for (size_t i = 0; i < plan->steps_len && s == STATUS_OK; i++) {
        s = run_step(plan, plan->steps[i], pass->why);
        for (; dead < plan->late_len && plan->late[dead]->last <= i; dead++)
            value_drop(pass->run->slab, &plan->late[dead]->array);
    }
    for (uint32_t i = 0; i < plan->outputs_len && s == STATUS_OK; i++)
        if (plan->outputs[i]->late)
            s = plan_late_plain(plan, &plan->outputs[i]->array, pass->run, pass->why);
    pass->status = s;
}

enum status plan_run(struct plan *self, void *arena, const struct array *inputs, struct run *run,
                     struct error *why)
{
    struct pass pass = {self, run, why, STATUS_OK};
    bind(self, arena, inputs, run);
    if (self->parallel)
        par_region(run_steps, &pass);
    else
        run_steps(&pass);
    return pass.status;
}

void plan_release(struct plan *self, struct run *run)
{
    for (size_t i = 0; i < self->late_len; i++)
        value_drop(run->slab, &self->late[i]->array);
}

void plan_destroy(struct plan **self_p)
{
    struct plan *self = *self_p;
    if (!self)
        return;
    struct region *region = self->region;
    region_destroy(&self->late_region);
    region_destroy(&region);
    *self_p = NULL;
}
