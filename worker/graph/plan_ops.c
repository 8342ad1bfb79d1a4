/* plan_ops - steps that plans insert by themselves: copies between layouts and out of inputs */
#include <string.h>

#include "worker/graph/plan_parts.h"

static enum status reorder_shape(struct step *step, struct error *why)
{
    const struct array *in = step->in[0];
    assert(in->dtype == DTYPE_FP32 && in->rank >= 2 && in->rank <= 4);
    if (in->layout == LAYOUT_BLOCKED)
        return out_set(step, 0, DTYPE_FP32, in->dims, in->rank, why);
    return out_blocked(step, 0, in->dims, in->rank, why);
}

static enum status reorder_run(const struct step *step, struct error *why)
{
    (void)why;
    const struct array *in = step->in[0];
    if (in->layout == LAYOUT_BLOCKED)
        layout_to_plain(array_maps(in), in->data, step->out[0]->data);
    else
        layout_to_blocked(array_maps(in), in->data, step->out[0]->data);
    return STATUS_OK;
}

static enum status copy_run(const struct step *step, struct error *why)
{
    (void)why;
    if (step->in[0]->bytes)
        memcpy(step->out[0]->data, step->in[0]->data, step->in[0]->bytes);
    return STATUS_OK;
}

const struct op plan_reorder_op = {.name = "Reorder", .shape = reorder_shape, .run = reorder_run};
const struct op plan_copy_op = {
    .name = "Copy", .flags = OP_TEXTS, .shape = shape_same, .run = copy_run};
