/* body - see body.h */
#include "worker/graph/body.h"

#include <string.h>

#include "worker/ops/late.h"
#include "worker/ops/slab.h"

enum status body_find(struct body *self, struct node *node, const char *name, uint32_t formal,
                      uint32_t outputs, struct error *why)
{
    const struct attr *a = attr_find(node, name);
    *self = (struct body){0};
    if (!a || a->kind != ATTR_GRAPH)
        return bad_node(why, node, "attribute \"%s\" must be a graph", name);
    self->plans.graph = a->graph;
    if (formal != ANY_COUNT && body_formal(self, node) != formal)
        return bad_node(why, node, "its graph \"%s\" has %u inputs; expected %u", name,
                        body_formal(self, node), formal);
    if (a->graph->outputs_len < outputs)
        return bad_node(why, node, "its graph \"%s\" has %u outputs; expected %u or more", name,
                        a->graph->outputs_len, outputs);
    return STATUS_OK;
}

const struct array *body_input(const struct step *step, uint32_t i)
{
    return i < step->in_len - step->node->captures ? step->in[i] : NULL;
}

uint32_t body_formal(const struct body *self, const struct node *node)
{
    assert(self->plans.graph->inputs_len >= node->captures);
    return self->plans.graph->inputs_len - node->captures;
}

uint32_t body_outputs(const struct body *self)
{
    return self->plans.graph->outputs_len;
}

void body_captures(const struct step *step, struct array *inputs, uint32_t formal)
{
    uint32_t captures = step->node->captures;
    for (uint32_t i = 0; i < captures; i++)
        inputs[formal + i] = *step->in[step->in_len - captures + i];
}

enum status body_plan(struct body *self, const struct array *inputs, struct plan **plan,
                      struct error *why)
{
    return plan_find(&self->plans, inputs, plan, why);
}

enum status body_run(struct body *self, const struct step *step, const struct array *inputs,
                     struct error *why)
{
    struct slab *slab = step->run->slab;
    assert(!self->arena);
    enum status s = plan_find(&self->plans, inputs, &self->plan, why);
    if (s != STATUS_OK)
        return s;
    self->arena = slab_take(slab, plan_arena_bytes(self->plan));
    if (!self->arena)
        return bad_step(why, step, "its graph needs %zu bytes, more than a run may take",
                        plan_arena_bytes(self->plan));
    s = plan_run(self->plan, self->arena, inputs, step->run, why);
    if (s != STATUS_OK)
        body_done(self, step);
    return s;
}

const struct array *body_output(const struct body *self, uint32_t i)
{
    return plan_output(self->plan, i);
}

void body_done(struct body *self, const struct step *step)
{
    plan_release(self->plan, step->run);
    slab_release(step->run->slab, self->arena);
    self->arena = NULL;
}

enum status body_give(const struct step *step, uint32_t i, const struct array *from,
                      struct error *why)
{
    struct array *o = step_out(step, i);
    char text[2][128];
    if (!o)
        return STATUS_OK;
    if (step->late)
        return out_share(step, i, from, why);
    if (from->sequence || from->dtype != o->dtype || from->rank != o->rank ||
        memcmp(from->dims, o->dims, o->rank * sizeof o->dims[0]) != 0)
        return bad_step(why, step, "output %u is %s %s; from these shapes %s %s was expected", i,
                        dtype_name(from->dtype),
                        dims_text(text[0], sizeof text[0], from->dims, from->rank),
                        dtype_name(o->dtype), dims_text(text[1], sizeof text[1], o->dims, o->rank));
    if (o->bytes)
        memcpy(o->data, from->data, o->bytes);
    return STATUS_OK;
}

enum status body_condition(const struct step *step, const struct array *a, bool *value,
                           struct error *why)
{
    if (a->sequence || a->dtype != DTYPE_BOOL || array_count(a) != 1)
        return bad_step(why, step, "the condition \"%.200s\" must be one BOOL", a->name);
    *value = *(const uint8_t *)a->data != 0;
    return STATUS_OK;
}

enum status body_count(const struct step *step, const struct array *a, int64_t *value,
                       struct error *why)
{
    if (a->sequence || a->dtype != DTYPE_INT64 || array_count(a) != 1)
        return bad_step(why, step, "the count \"%.200s\" must be one INT64", a->name);
    memcpy(value, a->data, sizeof *value);
    return STATUS_OK;
}

void body_clear(struct body *self)
{
    plan_cache_clear(&self->plans);
}
