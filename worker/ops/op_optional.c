/* op_optional - values that may be missing, and Identity of what is no tensor
 *
 * An optional with something in it is that value itself; one with nothing is a sequence of no type
 * (DTYPE_NONE), which all operators that read sequences refuse. */
#include "worker/ops/ops.h"

static bool is_empty(const struct array *a)
{
    return !a || (a->sequence && a->dtype == DTYPE_NONE);
}

enum status optional_check(struct node *node, struct error *why)
{
    (void)why;
    attr_ignore(node, "type"); /* what it could hold; nothing here depends on it */
    return STATUS_OK;
}

enum status optional_compute(const struct step *step, struct error *why)
{
    struct array *items;
    if (step_in(step, 0))
        return out_share(step, 0, step->in[0], why);
    return out_sequence(step, 0, DTYPE_NONE, 0, &items, why);
}

enum status optional_get_compute(const struct step *step, struct error *why)
{
    if (is_empty(step_in(step, 0)))
        return bad_step(why, step, "the optional value is missing");
    return out_share(step, 0, step->in[0], why);
}

enum status optional_has_shape(struct step *step, struct error *why)
{
    return out_set(step, 0, DTYPE_BOOL, NULL, 0, why);
}

enum status optional_has_compute(const struct step *step, struct error *why)
{
    (void)why;
    *(uint8_t *)step->out[0]->data = !is_empty(step_in(step, 0));
    return STATUS_OK;
}

/* Tensors are views of each other; all else is shared. */
enum status identity_shape(struct step *step, struct error *why)
{
    step->late = step->in[0]->sequence;
    return step->late ? STATUS_OK : shape_same(step, why);
}

enum status identity_compute(const struct step *step, struct error *why)
{
    return step->late ? out_share(step, 0, step->in[0], why) : view_compute(step, why);
}
