/* plan_make - one walk over the graph, shaping each node; see plan.h */
#include <stdlib.h>
#include <string.h>

#include "worker/graph/eval.h"
#include "worker/graph/plan_parts.h"

/* What follows from shapes alone is kept in the plan up to this size; larger results (a tensor of
 * zeros, say) are made in every run. */
#define KNOWN_BYTES_MAX (64 * KIB)

/* Inputs that decide shapes are vectors of a few numbers (dims, pads, scales); a plan is made for
 * what they hold. Where larger ones decide, steps are shaped in each run. */
#define DECIDING_COUNT_MAX (2 * TENSOR_RANK_MAX)

struct builder {
    struct graph *graph;
    struct plan *plan;
    uint64_t work; /* left of what may be computed ahead */
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
    enum status s = step_shape(step, b->why);
    for (uint32_t i = 0; i < n->inputs_len && i < 32; i++)
        if (lent & 1u << i)
            step->in[i]->data = step->packed ? NULL : graph_const_data(b->graph, n->inputs[i]);
    return s;
}

/* A view shares memory unless that would hand a caller's own input back as an output. */
static void share(struct step *step)
{
    struct place *from = (struct place *)step->in[0], *to = (struct place *)step->out[0];
    if (!to || from->array.dtype != to->array.dtype || from->array.known ||
        from->array.layout != LAYOUT_PLAIN || to->array.layout != LAYOUT_PLAIN ||
        (to->output && from->root->input != UINT32_MAX))
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

/* Whether this node's shapes need what only a run can tell. */
static bool must_wait(const struct step *step)
{
    for (uint32_t i = 0; i < step->in_len; i++) {
        const struct place *p = (const struct place *)step->in[i];
        bool asked = i < 32 && (step->node->op->known & 1u << i) != 0;
        if (p && (p->late || (asked && !p->array.known)))
            return true;
    }
    return false;
}

static void outputs_late(struct step *step)
{
    for (uint32_t i = 0; i < step->out_len; i++)
        if (step->out[i])
            ((struct place *)step->out[i])->late = true;
}

/* Left to the run, which finds all inputs that are not late in plain layout. */
static enum status defer(struct builder *b, struct step *step)
{
    const struct node *n = step->node;
    step->deferred = true;
    step->region = b->plan->late_region;
    for (uint32_t i = 0; i < n->inputs_len; i++) {
        struct place *p = (struct place *)step->in[i];
        if (!p || p->late)
            continue;
        if (b->graph->values[n->inputs[i]].kind == VALUE_CONST)
            p->array.data = graph_const_data(b->graph, n->inputs[i]);
        enum status s = in_layout(b, p, LAYOUT_PLAIN, &p);
        if (s != STATUS_OK)
            return s;
        step->in[i] = &p->array;
    }
    outputs_late(step);
    emit(b->plan, step);
    return STATUS_OK;
}

static enum status add_node(struct builder *b, uint32_t number)
{
    struct node *n = b->graph->nodes[number];
    struct step *step = step_new(b->plan, n, n->inputs_len, n->outputs_len);
    bool done;
    for (uint32_t i = 0; i < n->inputs_len; i++)
        step->in[i] = n->inputs[i] == VALUE_NONE ? NULL : &b->plan->places[n->inputs[i]].array;
    for (uint32_t i = 0; i < n->outputs_len; i++)
        step->out[i] = n->outputs[i] == VALUE_NONE ? NULL : &b->plan->places[n->outputs[i]].array;
    b->plan->by_node[number] = step;
    if (must_wait(step))
        return defer(b, step);
    enum status s = inputs_in_layouts(b, step);
    if (s == STATUS_OK)
        s = shape_step(b, step);
    if (s == STATUS_OK)
        s = eval_step(step, b->plan->region, KNOWN_BYTES_MAX, &b->work, &done, b->why);
    if (s != STATUS_OK || done)
        return s;
    if (step->late)
        outputs_late(step);
    else if (n->op->flags & OP_VIEW)
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
        if (s == STATUS_OK && p->root->input != UINT32_MAX && !p->late) {
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

static enum status describe_input(struct builder *b, struct place *p, const struct array *input)
{
    uint64_t count;
    p->array.dtype = input->dtype;
    p->array.rank = input->rank;
    p->array.sequence = p->late = input->sequence;
    memcpy(p->array.dims, input->dims, sizeof p->array.dims);
    if (input->sequence)
        return STATUS_OK;
    if (!array_size(input->dtype, input->dims, input->rank, &p->array.bytes))
        return fail(b->why, STATUS_INVALID, "input \"%.200s\" is larger than %zu MiB",
                    p->array.name, ARRAY_BYTES_MAX / MIB);
    if (!b->graph->values[b->graph->inputs[p->input]].decides || !input->data || input->rank > 1 ||
        input->dtype == DTYPE_BYTES || !dims_count(input->dims, input->rank, &count) ||
        count > DECIDING_COUNT_MAX)
        return STATUS_OK;
    p->array.data = region_take(b->plan->region, p->array.bytes);
    if (p->array.bytes)
        memcpy(p->array.data, input->data, p->array.bytes);
    p->array.known = true;
    return STATUS_OK;
}

static enum status describe_values(struct builder *b, const struct array *inputs)
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
        enum status s = describe_input(b, p, &inputs[i]);
        if (s != STATUS_OK)
            return s;
    }
    for (uint32_t i = 0; i < b->graph->outputs_len; i++)
        plan->places[b->graph->outputs[i]].output = true;
    return STATUS_OK;
}

enum status plan_make(struct plan **out, struct graph *graph, const struct array *inputs,
                      struct error *why)
{
    struct region *region = region_new();
    struct plan *plan = region_take(region, sizeof *plan);
    struct builder b = {graph, plan, EVAL_WORK_MAX / 8, why};
    *plan = (struct plan){.region = region, .values_len = graph->values_len};
    plan->late_region = region_new();
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
    if (s == STATUS_OK)
        s = plan_lay_out(plan, why);
    if (s != STATUS_OK)
        plan_destroy(&plan);
    *out = plan;
    return s;
}
