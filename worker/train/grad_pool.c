/* grad_pool - MaxPool, AveragePool and GlobalAveragePool */
#include "worker/kernels/grad.h"
#include "worker/train/grads.h"

enum status pool_setup(struct pass *pass, struct error *why)
{
    const struct step *step = &pass->step;
    if (step->in[0]->rank > 4 || step_out(step, 1))
        return bad_step(why, step, "no gradient of three axes, or with a second output");
    return STATUS_OK;
}

void pool_backward(struct pass *pass)
{
    const struct step *step = &pass->step;
    const struct array *x = step->in[0];
    grad_pool(step->params, x->layout, array_maps(x), x->data, step->out[0]->data,
              pass->dout[0]->data, pass->masks, pass->din[0]->data);
}

void pool_global_backward(struct pass *pass)
{
    const struct array *x = pass->step.in[0];
    grad_pool_global(x->layout, array_maps(x), pass->dout[0]->data, pass->din[0]->data);
}
