/* engine_cost - what a run would cost, from a plan that is never run; see engine.h */
#include <string.h>

#include "worker/graph/macs.h"
#include "worker/model.h"

static enum status take_shapes(const struct signature *s, const struct tensor *shapes,
                               uint32_t shapes_len, struct model_cost *out, struct error *why)
{
    memcpy(out->inputs, s->inputs, sizeof out->inputs);
    for (uint32_t k = 0; k < shapes_len; k++) {
        uint32_t i = 0;
        char text[160];
        while (i < s->inputs_len && strcmp(s->inputs[i].name, shapes[k].name) != 0)
            i++;
        if (i == s->inputs_len)
            return fail(why, STATUS_INVALID, "the model has no input \"%.200s\"", shapes[k].name);
        bool fits = s->inputs[i].rank == shapes[k].rank;
        for (uint32_t d = 0; fits && d < shapes[k].rank; d++)
            fits = s->inputs[i].dims[d] < 0 || s->inputs[i].dims[d] == shapes[k].dims[d];
        if (!fits)
            return fail(why, STATUS_INVALID, "input \"%.200s\" takes shapes %s (-1: any)",
                        shapes[k].name,
                        dims_text(text, sizeof text, s->inputs[i].dims, s->inputs[i].rank));
        memcpy(out->inputs[i].dims, shapes[k].dims, sizeof out->inputs[i].dims);
    }
    return STATUS_OK;
}

static enum status plan_with(struct model *self, const struct model_cost *cost, int64_t open,
                             struct plan **plan, struct tensor *sized, struct error *why)
{
    struct array inputs[MODEL_VALUES_MAX];
    for (uint32_t i = 0; i < self->signature.inputs_len; i++) {
        struct tensor *t = &sized[i];
        *t = cost->inputs[i];
        for (uint32_t d = 0; d < t->rank; d++)
            if (t->dims[d] < 0)
                t->dims[d] = d ? open : 1;
        inputs[i] = (struct array){.name = t->name, .dtype = t->dtype, .rank = t->rank};
        memcpy(inputs[i].dims, t->dims, sizeof t->dims);
    }
    return plan_make(plan, self->graph, inputs, why);
}

enum status model_cost(struct model *self, const struct tensor *shapes, uint32_t shapes_len,
                       struct model_cost *out, struct error *why)
{
    static const int64_t sizes[] = {64, 16, 224, 1, 512, 1600};
    struct tensor sized[MODEL_VALUES_MAX];
    struct plan *plan = NULL;
    *out = (struct model_cost){.macs = 0};
    enum status s = take_shapes(&self->signature, shapes, shapes_len, out, why);
    if (s != STATUS_OK)
        return s;
    for (size_t i = 0; i < ARRAY_LEN(sizes) && !plan; i++)
        s = plan_with(self, out, sizes[i], &plan, sized, why);
    if (s != STATUS_OK)
        return s;
    memcpy(out->inputs, sized, self->signature.inputs_len * sizeof sized[0]);
    out->arena_bytes = plan_arena_bytes(plan);
    for (uint32_t i = 0; i < self->graph->nodes_len; i++) {
        const struct step *step = self->graph->nodes[i] ? plan_node_step(plan, i) : NULL;
        if (!step)
            continue;
        if (step->late || step->deferred)
            out->data_nodes++;
        else
            out->macs += step_macs(step);
    }
    plan_destroy(&plan);
    return STATUS_OK;
}
