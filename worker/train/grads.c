/* grads - the list of gradients, and what they share; see pass.h */
#include <string.h>

#include "worker/kernels/layout.h"
#include "worker/ops/broadcast.h"
#include "worker/train/grads.h"

static const struct grad list[] = {
#define GRAD(name, weights, flags, forward, setup, backward, release)                              \
    {#name, weights, flags, forward, setup, backward, release},
#include "worker/train/grads.def"
#undef GRAD
};

const struct grad *grad_find(const char *name)
{
    for (size_t i = 0; i < ARRAY_LEN(list); i++)
        if (strcmp(list[i].name, name) == 0)
            return &list[i];
    return NULL;
}

void grad_sum_to(const struct array *like, const float *from, float scale, struct array *to)
{
    struct broadcast b;
    const int64_t *dims[1] = {to->dims};
    float *sum = to->data;
    broadcast_loops(&b, like->dims, like->rank, dims, &to->rank, 1);
    memset(sum, 0, to->bytes);
    size_t rows = b.dims[b.rank - 2], cols = b.dims[b.rank - 1];
    size_t row_step = b.steps[0][b.rank - 2], col_step = b.steps[0][b.rank - 1];
    for (size_t outer = 0; outer < b.outer; outer++) {
        size_t at[BROADCAST_MAX];
        broadcast_at(&b, outer, at);
        for (size_t r = 0; r < rows; r++, from += cols)
            for (size_t c = 0; c < cols; c++)
                sum[at[0] + r * row_step + c * col_step] += scale * from[c];
    }
}

/* --- between layouts ---------------------------------------------------------------------------
 */
static enum status reorder_forward(struct pass *pass, struct error *why)
{
    const struct array *in = pass->step.in[0], *out = pass->step.out[0];
    (void)why;
    if (out->layout == LAYOUT_BLOCKED)
        layout_to_blocked(array_maps(in), in->data, out->data);
    else
        layout_to_plain(array_maps(in), in->data, out->data);
    return STATUS_OK;
}

static void reorder_backward(struct pass *pass)
{
    struct array *in = pass->din[0], *out = pass->dout[0];
    if (in->layout == LAYOUT_BLOCKED)
        layout_to_blocked(array_maps(in), out->data, in->data);
    else
        layout_to_plain(array_maps(in), out->data, in->data);
}

const struct grad grad_reorder = {
    .name = "(layout)",
    .flags = GRAD_MAPS,
    .forward = reorder_forward,
    .backward = reorder_backward,
};
