/* op_dropout - Dropout as inference sees it: the input, and a mask of ones if asked for */
#include <string.h>

#include "worker/ops/ops.h"
#include "worker/ops/scalar.h"

enum status dropout_check(struct node *node, struct error *why)
{
    (void)why;
    attr_ignore(node, "ratio"); /* of training, like the next two */
    attr_ignore(node, "seed");
    attr_ignore(node, "is_test");
    attr_ignore(node, "consumed_inputs");
    return STATUS_OK;
}

enum status dropout_shape(struct step *step, struct error *why)
{
    const struct array *in = step->in[0], *training = step_in(step, 2);
    /* The mask had the input's type up to opset 9. */
    enum dtype mask = step->node->opset < 10 ? in->dtype : DTYPE_BOOL;
    const struct array *ratio = step_in(step, 1);
    if (ratio && (!dtype_is_float(ratio->dtype) || array_count(ratio) != 1))
        return bad_step(why, step, "ratio must be one float");
    if (training && (training->dtype != DTYPE_BOOL || array_count(training) != 1))
        return bad_step(why, step, "training_mode must be one BOOL");
    enum status s = out_set(step, 0, in->dtype, in->dims, in->rank, why);
    return s == STATUS_OK ? out_set(step, 1, mask, in->dims, in->rank, why) : s;
}

enum status dropout_compute(const struct step *step, struct error *why)
{
    const struct array *in = step->in[0], *training = step_in(step, 2);
    struct array *out = step_out(step, 0), *mask = step_out(step, 1);
    const struct array *ratio = step_in(step, 1);
    bool drops = !ratio || scalar_float(ratio->dtype, ratio->data, 0) > 0;
    if (training && *(const uint8_t *)training->data && drops)
        return bad_step(why, step, "training_mode is true; this engine only infers");
    if (out && out->data != in->data && in->bytes)
        memcpy(out->data, in->data, in->bytes);
    if (mask && mask->dtype == DTYPE_BOOL)
        memset(mask->data, 1, mask->bytes);
    else if (mask && mask->dtype == DTYPE_FP32)
        for (size_t i = 0; i < array_count(mask); i++)
            ((float *)mask->data)[i] = 1.0f;
    return STATUS_OK;
}
