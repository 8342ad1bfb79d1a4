/* plan_make - one walk over the graph, then liveness backwards, then addresses; see plan.h */
#include <stdlib.h>
#include <string.h>

#include "worker/graph/arena.h"
#include "worker/graph/eval.h"
#include "worker/graph/plan_parts.h"

/* What follows from shapes alone is kept in the plan up to this size; larger results (a tensor of
 * zeros, say) are made in every run. */
#define KNOWN_BYTES_MAX (64 * KIB)

struct builder {
    struct graph *graph;
    struct plan *plan;
    struct error *why;
};

static void *grow(struct region *region, void *old, size_t len, size_t *room, size_t bytes)
{
    if (len < *room)
        return old;
    *room = MAX(32, *room * 2);
    void *bigger = region_array(region, *room, bytes);
    if (len)
        memcpy(bigger, old, len * bytes);
    return bigger;
}

static void emit(struct plan *plan, struct step *step)
{
    plan->steps =
        grow(plan->region, plan->steps, plan->steps_len, &plan->steps_room, sizeof(struct step *));
    plan->steps[plan->steps_len++] = step;
}

static struct step *step_new(struct plan *plan, struct node *node, uint32_t in_len,
                             uint32_t out_len)
{
    struct step *step = region_take(plan->region, sizeof *step);
    step->node = node;
    step->region = plan->region;
    step->in_len = in_len;
    step->out_len = out_len;
    step->in = region_array(plan->region, in_len, sizeof(struct array *));
    step->out = region_array(plan->region, out_len, sizeof(struct array *));
    return step;
}

static struct place *extra_place(struct plan *plan, const struct array *like)
{
    struct place *p = region_take(plan->region, sizeof *p);
    plan->extras = grow(plan->region, plan->extras, plan->extras_len, &plan->extras_room,
                        sizeof(struct place *));
    plan->extras[plan->extras_len++] = p;
    p->array = *like;
    p->array.data = NULL;
    p->array.known = p->array.fixed = false;
    p->root = p;
    p->input = UINT32_MAX;
    return p;
}

/* A step of one input and one output that the graph does not name. */
static enum status emit_extra(struct builder *b, const struct op *op, struct place *from,
                              struct place *to)
{
    struct node *node = op == &plan_reorder_op ? b->graph->reorder : b->graph->copy;
    struct step *step = step_new(b->plan, node, 1, 1);
    node->op = op;
    node->name = "(between nodes)";
    node->label = op->name;
    step->in[0] = &from->array;
    step->out[0] = &to->array;
    enum status s = op->shape(step, b->why);
    if (s == STATUS_OK)
        emit(b->plan, step);
    return s;
}

/* The place that has `from`'s value in that layout; converts once, whoever asks. */
static enum status in_layout(struct builder *b, struct place *from, enum layout layout,
                             struct place **to)
{
    *to = from;
    if (from->array.layout == layout)
        return STATUS_OK;
    *to = from->other;
    if (*to)
        return STATUS_OK;
    *to = from->other = extra_place(b->plan, &from->array);
    return emit_extra(b, &plan_reorder_op, from, *to);
}

/* Constants that shape() may pack are lent as they lie in the file, for as long as shape() runs;
 * all others are aligned for good. True when input `i` is lent. */
static bool lend(struct builder *b, struct step *step, uint32_t i)
{
    const struct node *n = step->node;
    struct value *v = &b->graph->values[n->inputs[i]];
    struct place *p = &b->plan->places[n->inputs[i]];
    if (v->kind != VALUE_CONST || p->array.data)
        return false;
    if (i >= 32 || !(n->op->packs & 1u << i)) {
        p->array.data = graph_const_data(b->graph, n->inputs[i]);
        return false;
    }
    p->array.data = (void *)(uintptr_t)v->raw; /* read only, see graph_const_data */
    return true;
}

static enum status shape_step(struct builder *b, struct step *step)
{
    const struct node *n = step->node;
    uint32_t lent = 0; /* bit i: input i; packs has no others */
    for (uint32_t i = 0; i < n->inputs_len; i++)
        if (n->inputs[i] != VALUE_NONE && lend(b, step, i))
            lent |= 1u << i;
    enum status s = n->op->shape(step, b->why);
    for (uint32_t i = 0; i < n->inputs_len && i < 32; i++)
        if (lent & 1u << i)
            step->in[i]->data = step->packed ? NULL : graph_const_data(b->graph, n->inputs[i]);
    return s;
}

/* A view shares memory unless that would hand a caller's own input back as an output. */
static void share(struct step *step)
{
    struct place *from = (struct place *)step->in[0], *to = (struct place *)step->out[0];
    if (!to || from->array.known || from->array.layout != LAYOUT_PLAIN ||
        to->array.layout != LAYOUT_PLAIN || (to->output && from->root->input != UINT32_MAX))
        return;
    assert(from->array.bytes == to->array.bytes);
    to->root = from->root;
}

static enum status inputs_in_layouts(struct builder *b, struct step *step)
{
    const struct node *n = step->node;
    enum layout *wants = xcalloc(n->inputs_len, sizeof *wants);
    enum status s = STATUS_OK;
    if (n->op->layouts)
        n->op->layouts(step, wants);
    for (uint32_t i = 0; i < n->inputs_len && s == STATUS_OK; i++) {
        struct place *p = (struct place *)step->in[i];
        if (p)
            s = in_layout(b, p, wants[i], &p);
        step->in[i] = p ? &p->array : NULL;
    }
    free(wants);
    return s;
}

static enum status add_node(struct builder *b, uint32_t number)
{
    struct node *n = b->graph->nodes[number];
    struct step *step = step_new(b->plan, n, n->inputs_len, n->outputs_len);
    for (uint32_t i = 0; i < n->inputs_len; i++)
        step->in[i] = n->inputs[i] == VALUE_NONE ? NULL : &b->plan->places[n->inputs[i]].array;
    for (uint32_t i = 0; i < n->outputs_len; i++)
        step->out[i] = n->outputs[i] == VALUE_NONE ? NULL : &b->plan->places[n->outputs[i]].array;
    b->plan->by_node[number] = step;
    enum status s = inputs_in_layouts(b, step);
    if (s == STATUS_OK)
        s = shape_step(b, step);
    if (s != STATUS_OK)
        return s;
    if (eval_possible(step, KNOWN_BYTES_MAX))
        return eval_step(step, b->plan->region, b->why);
    if (n->op->flags & OP_VIEW)
        share(step);
    emit(b->plan, step);
    return STATUS_OK;
}

/* Outputs are plain, and never the caller's own input. */
static enum status add_outputs(struct builder *b)
{
    struct plan *plan = b->plan;
    for (uint32_t i = 0; i < plan->outputs_len; i++) {
        struct place *p = &plan->places[b->graph->outputs[i]];
        enum status s = in_layout(b, p, LAYOUT_PLAIN, &p);
        if (s == STATUS_OK && p->root->input != UINT32_MAX) {
            struct place *copy = extra_place(plan, &p->array);
            s = emit_extra(b, &plan_copy_op, p, copy);
            p = copy;
        }
        if (s != STATUS_OK)
            return s;
        if (p->array.known && !p->array.data)
            p->array.data = graph_const_data(b->graph, b->graph->outputs[i]);
        plan->outputs[i] = p;
        p->root->output = true;
        p->root->read = true;
        p->read = true;
    }
    return STATUS_OK;
}

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

/* Places that some step touches and whose address is found at run time. */
static void collect_bound(struct plan *plan)
{
    plan->bound =
        region_array(plan->region, plan->values_len + plan->extras_len, sizeof(struct place *));
    for (size_t i = 0; i < plan->values_len + plan->extras_len; i++) {
        struct place *p =
            i < plan->values_len ? &plan->places[i] : plan->extras[i - plan->values_len];
        if (!p->array.known && p->root->first != UINT32_MAX)
            plan->bound[plan->bound_len++] = p;
    }
}

static enum status addresses(struct builder *b)
{
    struct plan *plan = b->plan;
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
        return fail(b->why, STATUS_TOO_LARGE,
                    "this input needs more than %zu MiB of activations; send fewer rows at once",
                    PLAN_BYTES_MAX / MIB);
    return STATUS_OK;
}

static enum status describe_values(struct builder *b, const struct tensor *inputs)
{
    struct plan *plan = b->plan;
    for (uint32_t i = 0; i < b->graph->values_len; i++) {
        const struct value *v = &b->graph->values[i];
        struct place *p = &plan->places[i];
        p->root = p;
        p->input = UINT32_MAX;
        p->array.name = v->name;
        if (v->kind != VALUE_CONST)
            continue;
        p->array.dtype = v->dtype;
        p->array.rank = v->rank;
        memcpy(p->array.dims, v->dims, sizeof v->dims);
        p->array.bytes = v->bytes;
        p->array.known = p->array.fixed = true;
    }
    for (uint32_t i = 0; i < plan->inputs_len; i++) {
        struct place *p = plan->inputs[i] = &plan->places[b->graph->inputs[i]];
        p->input = i;
        p->array.dtype = inputs[i].dtype;
        p->array.rank = inputs[i].rank;
        memcpy(p->array.dims, inputs[i].dims, sizeof p->array.dims);
        if (!array_size(inputs[i].dtype, inputs[i].dims, inputs[i].rank, &p->array.bytes))
            return fail(b->why, STATUS_INVALID, "input \"%.200s\" is larger than %zu MiB",
                        p->array.name, ARRAY_BYTES_MAX / MIB);
        if (!b->graph->values[b->graph->inputs[i]].decides || !inputs[i].data ||
            p->array.bytes > KNOWN_BYTES_MAX)
            continue;
        p->array.data = region_take(plan->region, p->array.bytes);
        if (p->array.bytes)
            memcpy(p->array.data, inputs[i].data, p->array.bytes);
        p->array.known = true;
    }
    for (uint32_t i = 0; i < b->graph->outputs_len; i++)
        plan->places[b->graph->outputs[i]].output = true;
    return STATUS_OK;
}

enum status plan_make(struct plan **out, struct graph *graph, const struct tensor *inputs,
                      struct error *why)
{
    struct region *region = region_new();
    struct plan *plan = region_take(region, sizeof *plan);
    struct builder b = {graph, plan, why};
    *plan = (struct plan){.region = region, .values_len = graph->values_len};
    plan->inputs_len = graph->inputs_len;
    plan->outputs_len = graph->outputs_len;
    plan->places = region_array(region, plan->values_len, sizeof *plan->places);
    plan->inputs = region_array(region, plan->inputs_len, sizeof(struct place *));
    plan->outputs = region_array(region, plan->outputs_len, sizeof(struct place *));
    plan->by_node = region_array(region, graph->nodes_len, sizeof(struct step *));
    enum status s = describe_values(&b, inputs);
    for (uint32_t i = 0; i < graph->nodes_len && s == STATUS_OK; i++)
        if (graph->nodes[i])
            s = add_node(&b, i);
    if (s == STATUS_OK)
        s = add_outputs(&b);
    if (s == STATUS_OK) {
        keep_live(plan);
        lifetimes(plan);
        collect_bound(plan);
        s = addresses(&b);
    }
    if (s != STATUS_OK)
        plan_destroy(&plan);
    *out = plan;
    return s;
}
