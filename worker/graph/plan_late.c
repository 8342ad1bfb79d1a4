/* plan_late - steps that are shaped while running, on data that is there; see plan_parts.h */
#include "worker/ops/late.h"

#include <string.h>

#include "worker/graph/plan_parts.h"
#include "worker/ops/slab.h"

/* Output 0 of `step` in the slab, as shape() has described it. */
static enum status take_output(struct step *step, uint32_t i, struct error *why)
{
    struct array *o = step->out[i];
    o->sequence = false;
    o->data = slab_take(step->run->slab, o->bytes);
    o->held = o->data != NULL;
    return o->held ? STATUS_OK
                   : bad_step(why, step, "output %u of %zu bytes is more than a run may take", i,
                              o->bytes);
}

/* *to becomes `from` in its other layout. */
static enum status convert(struct plan *self, const struct array *from, struct array *to,
                           struct run *run, struct error *why)
{
    struct array *in[1] = {(struct array *)(uintptr_t)from}, *out[1] = {to};
    struct node node = {.op = &plan_reorder_op, .name = from->name};
    struct step step = {&node, in, 1, out, 1, .region = self->late_region, .run = run};
    *to = *from;
    to->held = false;
    enum status s = plan_reorder_op.shape(&step, why);
    if (s == STATUS_OK)
        s = take_output(&step, 0, why);
    return s == STATUS_OK ? plan_reorder_op.run(&step, why) : s;
}

enum status plan_late_plain(struct plan *self, struct array *a, struct run *run, struct error *why)
{
    struct array plain = {0};
    if (a->layout == LAYOUT_PLAIN)
        return STATUS_OK;
    enum status s = convert(self, a, &plain, run, why);
    if (s != STATUS_OK)
        return s;
    value_drop(run->slab, a);
    *a = plain;
    return STATUS_OK;
}

/* Inputs as shape() and run() of this step get to see them: all known, each in the layout that the
 * operator asks for. copies[i] is where a converted one lies. */
static enum status lend_inputs(struct plan *self, struct step *step, struct array *copies,
                               struct error *why)
{
    enum layout *wants = region_array(self->late_region, step->in_len, sizeof *wants);
    for (uint32_t i = 0; i < step->in_len; i++)
        if (step->in[i] && step->in[i]->sequence && !(step->node->op->flags & OP_SEQUENCES))
            return bad_step(why, step, "input %u is a sequence of tensors", i);
    if (step->node->op->layouts)
        step->node->op->layouts(step, wants);
    for (uint32_t i = 0; i < step->in_len; i++) {
        const struct array *a = step->in[i];
        if (!a)
            continue;
        copies[i] = *a;
        if (a->layout != wants[i]) {
            enum status s = convert(self, a, &copies[i], step->run, why);
            if (s != STATUS_OK)
                return s;
        }
        copies[i].known = true;
        step->in[i] = &copies[i];
    }
    return STATUS_OK;
}

static enum status shape_and_run(struct step *step, struct error *why)
{
    const struct op *op = step->node->op;
    step->late = step->packed = false;
    step->scratch_bytes = 0;
    step->params = NULL;
    enum status s = step_shape(step, why);
    for (uint32_t i = 0; i < step->out_len && s == STATUS_OK && !step->late; i++)
        if (step->out[i])
            s = take_output(step, i, why);
    if (s != STATUS_OK)
        return s;
    step->scratch = slab_take(step->run->slab, step->scratch_bytes);
    if (!step->scratch)
        return bad_step(why, step, "%zu bytes of scratch are more than a run may take",
                        step->scratch_bytes);
    s = op->run(step, why);
    slab_release(step->run->slab, step->scratch);
    return s;
}

enum status plan_run_deferred(struct plan *self, struct step *step, struct error *why)
{
    region_reset(self->late_region);
    struct array *copies = region_array(self->late_region, step->in_len, sizeof *copies);
    struct array **in = step->in;
    step->in = region_array(self->late_region, step->in_len, sizeof(struct array *));
    if (step->in_len)
        memcpy(step->in, in, step->in_len * sizeof(struct array *));
    enum status s = lend_inputs(self, step, copies, why);
    if (s == STATUS_OK)
        s = shape_and_run(step, why);
    for (uint32_t i = 0; i < step->in_len; i++)
        if (in[i] && in[i]->layout != copies[i].layout)
            value_drop(step->run->slab, &copies[i]);
    step->in = in;
    return s;
}
