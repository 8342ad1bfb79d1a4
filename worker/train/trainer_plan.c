/* trainer_plan - passes, their gradients and all memory for one batch size
 *
 * With N passes, pass i runs forward at time i, the loss at N and the gradient of pass i at 2N - i.
 * A value lives from its maker to the last pass, forward or backward, that reads it; a gradient
 * from the first pass that writes it to its value's maker. */
#include <stdlib.h>
#include <string.h>

#include "worker/graph/arena.h"
#include "worker/graph/eval.h"
#include "worker/train/trainer_parts.h"

#define ARENA_MAX (16384 * MIB)

struct builder {
    struct trainer *trainer;
    struct train_plan *plan;
    size_t room;   /* of plan->passes */
    uint64_t work; /* of what is computed while planning */
    struct error *why;
};

static struct slot *slot_of(struct array *a)
{
    return (struct slot *)a;
}

static struct slot *slot_new(struct train_plan *plan, const char *name)
{
    struct slot *s = region_take(plan->region, sizeof *s);
    s->array.name = name;
    return s;
}

static struct array **array_list(struct train_plan *plan, uint32_t len)
{
    return region_array(plan->region, len, sizeof(struct array *));
}

static struct pass *pass_new(struct builder *b, const struct grad *grad, struct node *node,
                             uint32_t in_len, uint32_t out_len)
{
    struct train_plan *plan = b->plan;
    struct pass *p = region_take(plan->region, sizeof *p);
    p->grad = grad;
    p->run = &b->trainer->run;
    p->step = (struct step){.node = node, .in_len = in_len, .out_len = out_len};
    p->step.region = plan->region;
    p->step.run = &b->trainer->op_run;
    p->step.in = array_list(plan, in_len);
    p->step.out = array_list(plan, out_len);
    p->din = array_list(plan, in_len);
    p->sums = array_list(plan, in_len);
    p->dout = array_list(plan, out_len);
    return p;
}

static void emit(struct builder *b, struct pass *pass)
{
    struct train_plan *plan = b->plan;
    if (plan->passes_len == b->room) {
        b->room = MAX(64, 2 * b->room);
        struct pass **more = region_array(plan->region, b->room, sizeof *more);
        if (plan->passes_len)
            memcpy(more, plan->passes, plan->passes_len * sizeof *more);
        plan->passes = more;
    }
    pass->number = (uint32_t)plan->passes_len;
    plan->passes[plan->passes_len++] = pass;
    for (uint32_t i = 0; i < pass->step.out_len; i++)
        if (pass->step.out[i])
            slot_of(pass->step.out[i])->maker = pass;
}

/* --- forward -----------------------------------------------------------------------------------
 */
static enum status in_layout(struct builder *b, struct slot *from, enum layout layout,
                             struct slot **to)
{
    *to = from;
    if (from->array.layout == layout)
        return STATUS_OK;
    *to = from->other;
    if (*to)
        return STATUS_OK;
    struct pass *pass = pass_new(b, &grad_reorder, b->trainer->graph->reorder, 1, 1);
    *to = from->other = slot_new(b->plan, from->array.name);
    pass->step.in[0] = &from->array;
    pass->step.out[0] = &(*to)->array;
    (*to)->needs = from->needs;
    from->readers++;
    const struct array *x = &from->array;
    enum status s = layout == LAYOUT_BLOCKED
                        ? out_blocked(&pass->step, 0, x->dims, x->rank, b->why)
                        : out_set(&pass->step, 0, x->dtype, x->dims, x->rank, b->why);
    emit(b, pass);
    return s;
}

static enum status take_inputs(struct builder *b, struct pass *pass)
{
    struct step *step = &pass->step;
    const struct node *n = step->node;
    enum layout *wants = region_array(b->plan->region, n->inputs_len, sizeof *wants);
    for (uint32_t i = 0; i < n->inputs_len; i++) {
        struct slot *from = n->inputs[i] == VALUE_NONE ? NULL : b->plan->by_value[n->inputs[i]];
        step->in[i] = from ? &from->array : NULL;
        if (from && i < 32 && (n->op->known & 1u << i) && !from->array.known)
            return bad_step(b->why, step, "input %u decides shapes and is not a constant", i);
    }
    if (pass->grad && (pass->grad->flags & GRAD_MAPS) && n->op->layouts)
        n->op->layouts(step, wants);
    for (uint32_t i = 0; i < n->inputs_len; i++) {
        struct slot *to;
        if (!step->in[i])
            continue;
        enum status s = in_layout(b, slot_of(step->in[i]), wants[i], &to);
        if (s != STATUS_OK)
            return s;
        step->in[i] = &to->array;
    }
    return STATUS_OK;
}

/* A Relu becomes part of the pass in front of it when nobody else reads that one's output. */
static bool fuse_relu(struct builder *b, const struct node *n)
{
    struct slot *in = b->plan->by_value[n->inputs[0]];
    const struct graph *g = b->trainer->graph;
    if (strcmp(n->op->name, "Relu") != 0 || !in->maker || !in->maker->grad ||
        !(in->maker->grad->flags & GRAD_FUSES) || in->maker->relu ||
        g->values[n->inputs[0]].readers != 1 || in->other)
        return false;
    in->maker->relu = true;
    in->readers = g->values[n->outputs[0]].readers;
    b->plan->by_value[n->outputs[0]] = in;
    return true;
}

/* Frozen running statistics are the layer's own way to say that it does not learn. */
static bool holds_statistics(const struct builder *b, const struct grad *grad, const struct node *n)
{
    for (uint32_t k = 3; grad && (grad->flags & GRAD_STATISTICS) && k < n->inputs_len; k++) {
        const struct param *p =
            n->inputs[k] == VALUE_NONE ? NULL : b->trainer->by_value[n->inputs[k]];
        if (p && p->frozen)
            return true;
    }
    return false;
}

static enum status add_node(struct builder *b, struct node *n)
{
    struct train_plan *plan = b->plan;
    if (fuse_relu(b, n))
        return STATUS_OK;
    struct pass *pass = pass_new(b, grad_find(n->op->name), n, n->inputs_len, n->outputs_len);
    struct step *step = &pass->step;
    pass->holds = holds_statistics(b, pass->grad, n);
    for (uint32_t i = 0; i < n->outputs_len; i++) {
        if (n->outputs[i] == VALUE_NONE)
            continue;
        struct slot *out = slot_new(plan, b->trainer->graph->values[n->outputs[i]].name);
        out->readers = b->trainer->graph->values[n->outputs[i]].readers;
        plan->by_value[n->outputs[i]] = out;
        step->out[i] = &out->array;
    }
    bool done = false, needs = false;
    enum status s = take_inputs(b, pass);
    if (s == STATUS_OK)
        s = step_shape(step, b->why);
    if (s == STATUS_OK)
        s = eval_step(step, plan->region, 16 * MIB, &b->work, &done, b->why);
    if (s != STATUS_OK || done)
        return s;
    if (step->late)
        return bad_step(b->why, step, "its output's shape depends on data: it cannot be trained");
    for (uint32_t i = 0; i < step->in_len; i++)
        needs |= step->in[i] && slot_of(step->in[i])->needs;
    if (needs && !pass->grad) {
        bad_step(b->why, step, "operator %s has no gradient; freeze what lies before it",
                 n->op->name);
        return b->why->status = STATUS_UNSUPPORTED;
    }
    for (uint32_t i = 0; i < step->out_len; i++)
        if (step->out[i])
            slot_of(step->out[i])->needs = needs && step->out[i]->dtype == DTYPE_FP32;
    emit(b, pass);
    return STATUS_OK;
}

static enum status describe_values(struct builder *b, const struct tensor *inputs)
{
    const struct trainer *t = b->trainer;
    struct train_plan *plan = b->plan;
    struct graph *g = t->graph;
    plan->by_value = region_array(plan->region, g->values_len, sizeof(struct slot *));
    for (uint32_t i = 0; i < g->values_len; i++) {
        const struct param *p = t->by_value[i];
        if (g->values[i].kind == VALUE_MADE)
            continue;
        struct slot *s = plan->by_value[i] = slot_new(plan, g->values[i].name);
        s->readers = g->values[i].readers;
        if (g->values[i].kind == VALUE_CONST) {
            s->array = eval_const(g, i);
        } else if (p) {
            s->array.dtype = DTYPE_FP32;
            s->array.rank = p->shown.rank;
            memcpy(s->array.dims, p->shown.dims, sizeof s->array.dims);
            s->array.bytes = p->shown.count * sizeof(float);
            s->array.data = p->shown.data;
            s->param = true;
            s->needs = p->shown.learns;
            s->grad = s->array;
            s->grad.data = p->grad;
        }
    }
    plan->inputs = region_array(plan->region, g->inputs_len, sizeof(struct array));
    for (uint32_t i = 0; i < g->inputs_len; i++) {
        struct array *a = &plan->by_value[g->inputs[i]]->array;
        a->dtype = inputs[i].dtype;
        a->rank = inputs[i].rank;
        memcpy(a->dims, inputs[i].dims, sizeof a->dims);
        if (!array_size(a->dtype, a->dims, a->rank, &a->bytes))
            return fail(b->why, STATUS_INVALID, "input \"%.200s\" is too large", a->name);
        plan->inputs[i] = *a;
    }
    return STATUS_OK;
}

/* --- backward ----------------------------------------------------------------------------------
 */
static size_t back_time(const struct train_plan *plan, const struct pass *pass)
{
    return 2 * plan->passes_len - pass->number;
}

/* The gradient by `s` is written at this time: into its own place first, else beside it and added.
 */
static void contribute(struct builder *b, struct pass *pass, uint32_t i)
{
    struct slot *s = slot_of(pass->step.in[i]);
    if (!s->graded) {
        s->graded = true;
        s->born = back_time(b->plan, pass);
        pass->din[i] = &s->grad;
        return;
    }
    pass->din[i] = region_take(b->plan->region, sizeof(struct array));
    *pass->din[i] = s->array;
    pass->din[i]->data = NULL;
    pass->sums[i] = &s->grad;
}

static void go_back(struct builder *b)
{
    struct train_plan *plan = b->plan;
    for (size_t k = plan->passes_len; k-- > 0;) {
        struct pass *pass = plan->passes[k];
        struct step *step = &pass->step;
        bool any = false, wanted = false;
        for (uint32_t i = 0; i < step->out_len; i++) {
            struct slot *out = step->out[i] ? slot_of(step->out[i]) : NULL;
            pass->dout[i] = out && out->graded ? &out->grad : NULL;
            any |= pass->dout[i] != NULL;
        }
        for (uint32_t i = 0; i < step->in_len; i++)
            wanted |= step->in[i] && slot_of(step->in[i])->needs;
        pass->back = any && wanted && pass->grad->backward;
        for (uint32_t i = 0; pass->back && i < step->in_len; i++) {
            struct slot *in = step->in[i] ? slot_of(step->in[i]) : NULL;
            if (!in || !in->needs)
                continue;
            if (!in->param && !in->grad.bytes) {
                in->grad = in->array;
                in->grad.data = NULL;
            }
            contribute(b, pass, i);
        }
        struct slot *first = step->in_len && step->in[0] ? slot_of(step->in[0]) : NULL;
        if (pass->back && first && (pass->grad->flags & GRAD_MASKS) && first->maker &&
            first->maker->relu && first->readers == 1)
            pass->masks = first->maker->masked = true;
    }
}

static enum status set_up(struct builder *b)
{
    for (size_t k = 0; k < b->plan->passes_len; k++) {
        struct pass *pass = b->plan->passes[k];
        if (!pass->grad || !pass->grad->setup || !(pass->back || pass->grad->forward))
            continue;
        enum status s = pass->grad->setup(pass, b->why);
        if (s != STATUS_OK)
            return s;
    }
    return STATUS_OK;
}

/* --- memory ------------------------------------------------------------------------------------
 */
static void want(struct train_plan *plan, void **where, size_t bytes, size_t first, size_t last)
{
    if (!bytes)
        return;
    if (plan->pieces_len == plan->pieces_room) {
        plan->pieces_room = MAX(64, 2 * plan->pieces_room);
        plan->pieces = xrealloc(plan->pieces, plan->pieces_room * sizeof *plan->pieces);
    }
    plan->pieces[plan->pieces_len++] = (struct piece){where, bytes, first, last};
}

static void read_at(struct array *a, size_t time)
{
    if (a)
        slot_of(a)->last = MAX(slot_of(a)->last, time);
}

static void want_all(struct train_plan *plan)
{
    size_t passes = plan->passes_len;
    for (size_t k = 0; k < passes; k++) {
        struct pass *p = plan->passes[k];
        size_t back = back_time(plan, p), last = p->back ? back : k;
        for (uint32_t i = 0; i < p->step.in_len; i++) {
            read_at(p->step.in[i], last);
            if (p->sums[i])
                want(plan, &p->din[i]->data, p->din[i]->bytes, back, back);
        }
        for (uint32_t i = 0; i < p->step.out_len; i++)
            read_at(p->step.out[i], last);
        want(plan, &p->step.scratch, MAX(1, p->step.scratch_bytes), k, k); /* never NULL */
        want(plan, &p->keep, p->keep_bytes, k, last);
        if (p->back)
            want(plan, &p->back_scratch, MAX(1, p->back_scratch_bytes), back, back);
    }
    read_at(&plan->output->array, passes);
    for (size_t k = 0; k < passes; k++) {
        const struct pass *p = plan->passes[k];
        for (uint32_t i = 0; i < p->step.out_len; i++) {
            struct slot *s = p->step.out[i] ? slot_of(p->step.out[i]) : NULL;
            if (!s)
                continue;
            want(plan, &s->array.data, s->array.bytes, k, s->last);
            if (s->graded)
                want(plan, &s->grad.data, s->grad.bytes, s->born, back_time(plan, p));
        }
    }
}

static enum status lay_out(struct builder *b)
{
    struct train_plan *plan = b->plan;
    want_all(plan);
    struct arena_item *items = xcalloc(MAX(1, plan->pieces_len), sizeof *items);
    for (size_t i = 0; i < plan->pieces_len; i++) {
        const struct piece *p = &plan->pieces[i];
        items[i] = (struct arena_item){p->bytes, (uint32_t)p->first, (uint32_t)p->last, 0};
    }
    plan->arena_bytes = arena_lay_out(items, plan->pieces_len, ARENA_MAX);
    if (plan->arena_bytes != SIZE_MAX) {
        plan->arena = xaligned(plan->arena_bytes);
        memset(plan->arena, 0, plan->arena_bytes);
        for (size_t i = 0; i < plan->pieces_len; i++)
            *plan->pieces[i].where = (char *)plan->arena + items[i].offset;
    }
    free(items);
    if (plan->arena_bytes != SIZE_MAX)
        return STATUS_OK;
    plan->arena_bytes = 0;
    return fail(b->why, STATUS_TOO_LARGE,
                "a step with this batch needs more than %zu MiB; take a smaller one",
                ARENA_MAX / MIB);
}

static enum status take_output(struct builder *b)
{
    const struct graph *g = b->trainer->graph;
    struct slot *out = b->plan->by_value[g->outputs[0]];
    enum status s = in_layout(b, out, LAYOUT_PLAIN, &out);
    if (s != STATUS_OK)
        return s;
    const struct array *a = &out->array;
    char text[128];
    int64_t axis = b->trainer->output_axis;
    bool last = axis == INT64_MAX || axis == -1 || axis == (int64_t)a->rank - 1;
    if (!out->needs || a->rank < 1 || !array_count(a))
        return fail(
            b->why, STATUS_BAD_MODEL,
            "output \"%.200s\" %s cannot be trained: nothing that learns leads to it, or it "
            "is empty",
            a->name, dims_text(text, sizeof text, a->dims, a->rank));
    if (!last)
        return fail(b->why, STATUS_BAD_MODEL,
                    "the Softmax at the end is along another axis than the last");
    out->grad = out->array;
    out->graded = true;
    out->born = b->plan->passes_len;
    b->plan->output = out;
    return STATUS_OK;
}

static enum status build(struct builder *b, const struct tensor *inputs)
{
    const struct graph *g = b->trainer->graph;
    enum status s = describe_values(b, inputs);
    for (uint32_t i = 0; i < g->nodes_len && s == STATUS_OK; i++)
        if (g->nodes[i])
            s = add_node(b, g->nodes[i]);
    if (s == STATUS_OK)
        s = take_output(b);
    if (s != STATUS_OK)
        return s;
    go_back(b);
    s = set_up(b);
    return s == STATUS_OK ? lay_out(b) : s;
}

static bool fits(const struct trainer *t, const struct train_plan *plan,
                 const struct tensor *inputs)
{
    for (uint32_t i = 0; i < t->graph->inputs_len; i++) {
        const struct array *a = &plan->inputs[i];
        if (memcmp(a->dims, inputs[i].dims, a->rank * sizeof a->dims[0]) != 0)
            return false;
    }
    return true;
}

enum status train_plan_for(struct trainer *self, const struct tensor *inputs,
                           struct train_plan **out, struct error *why)
{
    size_t plans = 0;
    for (struct train_plan **p = &self->plans; *p; p = &(*p)->next) {
        *out = *p;
        if (fits(self, *p, inputs))
            return STATUS_OK;
        if (++plans == TRAIN_PLANS) {
            train_plan_destroy(p);
            break;
        }
    }
    struct builder b = {.trainer = self, .work = EVAL_WORK_MAX, .why = why};
    b.plan = *out = xcalloc(1, sizeof *b.plan);
    b.plan->region = region_new();
    enum status s = build(&b, inputs);
    if (s == STATUS_OK) {
        b.plan->next = self->plans;
        self->plans = b.plan;
    } else {
        train_plan_destroy(out);
    }
    return s;
}

void train_plan_destroy(struct train_plan **self_p)
{
    struct train_plan *self = *self_p;
    if (!self)
        return;
    for (size_t k = 0; k < self->passes_len; k++)
        if (self->passes[k]->grad && self->passes[k]->grad->release)
            self->passes[k]->grad->release(self->passes[k]);
    region_destroy(&self->region);
    free(self->pieces);
    free(self->arena);
    free(self);
    *self_p = NULL;
}
