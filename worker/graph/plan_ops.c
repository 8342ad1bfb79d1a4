/* plan_ops - steps that plans insert by themselves: copies between layouts and out of inputs */
#include <string.h>

#include "worker/graph/plan_parts.h"
#include "worker/kernels/bytes_conv.h"

static enum status reorder_shape(struct step *step, struct error *why)
{
    const struct array *in = step->in[0];
    assert(in->rank >= 2 && in->rank <= 4);
    if (in->layout != LAYOUT_PLAIN)
        return out_set(step, 0, in->dtype, in->dims, in->rank, why);
    if (in->dtype != DTYPE_FP32)
        return out_last(step, 0, in->dtype, in->dims, in->rank, why);
    return out_blocked(step, 0, in->dims, in->rank, why);
}

static enum status reorder_run(const struct step *step, struct error *why)
{
    (void)why;
    const struct array *in = step->in[0];
    if (in->layout == LAYOUT_BLOCKED)
        layout_to_plain(array_maps(in), in->data, step->out[0]->data);
    else if (in->layout == LAYOUT_LAST)
        bytes_to_plain(array_maps(in), dtype_bytes(in->dtype), in->data, step->out[0]->data);
    else if (in->dtype != DTYPE_FP32)
        bytes_to_last(array_maps(in), dtype_bytes(in->dtype), in->data, step->out[0]->data);
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
