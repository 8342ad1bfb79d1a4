/* grad_rnn - LSTM, GRU and RNN: fused forward and back-propagation through time */
#include <string.h>

#include "worker/kernels/rnn_grad.h"
#include "worker/ops/rnn_step.h"
#include "worker/train/grads.h"

enum status rnn_setup(struct pass *pass, struct error *why)
{
    struct step *step = &pass->step;
    struct rnn_step *r = region_take(step->region, sizeof *r);
    rnn_step_get(step, r);
    const char *cannot = r->args.batch_first           ? "layout 1"
                         : step_in(step, RNN_LENS)     ? "sequence_lens"
                         : step_in(step, RNN_PEEPHOLE) ? "peepholes"
                         : r->shape->clip > 0          ? "clip"
                         : r->shape->input_forget      ? "input_forget"
                                                       : NULL;
    if (cannot)
        return bad_step(why, step, "no gradient with %s", cannot);
    for (size_t i = 0; i < 2 * RNN_ACTIVATIONS_MAX; i++) {
        struct activation act = r->shape->acts[i / RNN_ACTIVATIONS_MAX][i % RNN_ACTIVATIONS_MAX];
        if (i % RNN_ACTIVATIONS_MAX < RNN_ACTIVATIONS(r->shape->cell) && !rnn_grad_known(act))
            return bad_step(why, step, "no gradient of one of its activations");
    }
    struct rnn_grad_bytes bytes = rnn_grad_bytes(r->shape, r->args.steps, r->args.batch);
    pass->keep_bytes = bytes.keep;
    step->scratch_bytes = bytes.forward;
    pass->back_scratch_bytes = bytes.backward;
    return STATUS_OK;
}

enum status rnn_forward(struct pass *pass, struct error *why)
{
    struct rnn_step r;
    (void)why;
    rnn_step_get(&pass->step, &r);
    rnn_grad_forward(r.shape, &r.weights, &r.args, pass->keep, pass->step.scratch);
    return STATUS_OK;
}

static float *grad_of(struct array *const *list, uint32_t len, uint32_t i)
{
    return i < len && list[i] ? list[i]->data : NULL;
}

void rnn_backward(struct pass *pass)
{
    const struct step *step = &pass->step;
    struct rnn_step r;
    struct rnn_grads grads = {
        .dy = grad_of(pass->dout, step->out_len, 0),
        .dh = grad_of(pass->dout, step->out_len, 1),
        .dc = grad_of(pass->dout, step->out_len, 2),
        .dx = grad_of(pass->din, step->in_len, RNN_X),
        .dw = grad_of(pass->din, step->in_len, RNN_W),
        .dr = grad_of(pass->din, step->in_len, RNN_R),
        .dbias = grad_of(pass->din, step->in_len, RNN_B),
        .dh0 = grad_of(pass->din, step->in_len, RNN_H0),
        .dc0 = grad_of(pass->din, step->in_len, RNN_C0),
    };
    rnn_step_get(step, &r);
    rnn_grad_backward(r.shape, &r.weights, &r.args, &grads, pass->keep, pass->back_scratch);
}
