/* plan_lay - liveness backwards, lifetimes, then addresses; see plan_parts.h */
#include <stdlib.h>
#include <string.h>

#include "worker/graph/arena.h"
#include "worker/graph/macs.h"
#include "worker/graph/plan_parts.h"

#define PARALLEL_WORK_MIN 1000000 /* of one step: else its kernel stays on one thread anyway */

/* Backwards: a step is kept when something that it writes is read later. */
static void keep_live(struct plan *plan)
{
    size_t kept = plan->steps_len;
    for (size_t i = plan->steps_len; i-- > 0;) {
        struct step *step = plan->steps[i];
        bool live = false;
        for (uint32_t k = 0; k < step->out_len; k++)
            live |= step->out[k] && ((struct place *)step->out[k])->read;
        if (!live)
            continue;
        for (uint32_t k = 0; k < step->in_len; k++)
            if (step->in[k])
                ((struct place *)step->in[k])->read = true;
        plan->steps[--kept] = step;
    }
    if (kept)
        plan->steps += kept;
    plan->steps_len -= kept;
}

static void touch(struct place *p, uint32_t step)
{
    p->root->first = MIN(p->root->first, step);
    p->root->last = MAX(p->root->last, step);
}

static void lifetimes(struct plan *plan)
{
    for (size_t i = 0; i < plan->values_len; i++)
        plan->places[i].first = UINT32_MAX;
    for (size_t i = 0; i < plan->extras_len; i++)
        plan->extras[i]->first = UINT32_MAX;
    for (size_t i = 0; i < plan->steps_len; i++) {
        const struct step *step = plan->steps[i];
        for (uint32_t k = 0; k < step->in_len; k++)
            if (step->in[k])
                touch((struct place *)step->in[k], (uint32_t)i);
        for (uint32_t k = 0; k < step->out_len; k++)
            if (step->out[k])
                touch((struct place *)step->out[k], (uint32_t)i);
    }
    for (uint32_t i = 0; i < plan->outputs_len; i++)
        plan->outputs[i]->root->last = UINT32_MAX;
}

static int dies_first(const void *a, const void *b)
{
    const struct place *x = *(struct place *const *)a, *y = *(struct place *const *)b;
    return x->last < y->last ? -1 : x->last > y->last;
}

/* Places that some step touches and whose address is found at run time. */
static void collect_places(struct plan *plan)
{
    size_t places = plan->values_len + plan->extras_len;
    plan->bound = region_array(plan->region, places, sizeof(struct place *));
    plan->late = region_array(plan->region, places, sizeof(struct place *));
    for (size_t i = 0; i < plan->values_len + plan->extras_len; i++) {
        struct place *p =
            i < plan->values_len ? &plan->places[i] : plan->extras[i - plan->values_len];
        if (p->array.known || p->root->first == UINT32_MAX)
            continue;
        if (p->late && p->input == UINT32_MAX)
            plan->late[plan->late_len++] = p;
        else
            plan->bound[plan->bound_len++] = p;
    }
    qsort(plan->late, plan->late_len, sizeof(struct place *), dies_first);
}

static enum status addresses(struct plan *plan, struct error *why)
{
    struct arena_item *items = xcalloc(plan->bound_len + plan->steps_len, sizeof *items);
    size_t len = 0;
    plan->scratch_at = region_array(plan->region, plan->steps_len, sizeof(size_t));
    for (size_t i = 0; i < plan->bound_len; i++) {
        const struct place *p = plan->bound[i];
        if (p->root == p && p->input == UINT32_MAX)
            items[len++] = (struct arena_item){p->array.bytes, p->first, p->last, 0};
    }
    for (size_t i = 0; i < plan->steps_len; i++)
        if (plan->steps[i]->scratch_bytes)
            items[len++] =
                (struct arena_item){plan->steps[i]->scratch_bytes, (uint32_t)i, (uint32_t)i, 0};
    plan->arena_bytes = arena_lay_out(items, len, PLAN_BYTES_MAX);
    len = 0;
    for (size_t i = 0; i < plan->bound_len; i++)
        if (plan->bound[i]->root == plan->bound[i] && plan->bound[i]->input == UINT32_MAX)
            plan->bound[i]->offset = items[len++].offset;
    for (size_t i = 0; i < plan->steps_len; i++)
        if (plan->steps[i]->scratch_bytes)
            plan->scratch_at[i] = items[len++].offset;
    free(items);
    if (plan->arena_bytes == SIZE_MAX)
        return fail(why, STATUS_TOO_LARGE,
                    "this input needs more than %zu MiB of activations; send fewer rows at once",
                    PLAN_BYTES_MAX / MIB);
    return STATUS_OK;
}

/* Of the activations that a step reads and writes. */
static size_t passing_bytes(const struct step *step)
{
    size_t bytes = 0;
    for (uint32_t k = 0; k < step->in_len; k++)
        bytes += step->in[k] && !step->in[k]->known ? step->in[k]->bytes : 0;
    for (uint32_t k = 0; k < step->out_len; k++)
        bytes += step->out[k] ? step->out[k]->bytes : 0;
    return bytes;
}

/* Where the work is. */
static void weigh(struct plan *plan)
{
    uint64_t all = 0, convolutions = 0;
    bool deferred = false;
    for (size_t i = 0; i < plan->steps_len; i++) {
        const struct step *step = plan->steps[i];
        uint64_t macs = step_macs(step);
        plan->parallel |= step_work(step) >= PARALLEL_WORK_MIN;
        deferred |= step->deferred;
        all += macs;
        convolutions += strcmp(step->node->op->name, "Conv") == 0 ? macs : 0;
        plan->step_bytes = MAX(plan->step_bytes, passing_bytes(step));
    }
    plan->convolves = !deferred && !plan->late_len && all && convolutions * 10 >= all * 9;
}

enum status plan_lay_out(struct plan *plan, struct error *why)
{
    keep_live(plan);
    lifetimes(plan);
    collect_places(plan);
    weigh(plan);
    return addresses(plan, why);
}
