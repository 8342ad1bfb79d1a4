/* grad_move - operators that only move values: views, and gradients by asking the operator itself
 *
 * Where each element of an output comes from is found once, when shapes are known: the operator is
 * run on numbers instead of values, which its moves carry along as they would any 32 bits. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "worker/train/grads.h"

void view_backward(struct pass *pass)
{
    if (pass->din[0])
        memcpy(pass->din[0]->data, pass->dout[0]->data, pass->din[0]->bytes);
}

struct source {
    uint32_t input, element;
};

struct move_pass {
    struct source **from; /* [output][element] */
};

/* Numbers into the FP32 inputs, the operator's run, and what has arrived where. */
static enum status trace(struct pass *pass, struct move_pass *p, uint32_t *first, struct error *why)
{
    struct step *step = &pass->step;
    enum status s = step->node->op->run(step, why);
    for (uint32_t o = 0; o < step->out_len && s == STATUS_OK; o++) {
        const struct array *out = step->out[o];
        if (!out)
            continue;
        size_t n = array_count(out);
        p->from[o] = region_array(step->region, n, sizeof(struct source));
        for (size_t i = 0; i < n; i++) {
            uint32_t code = ((const uint32_t *)out->data)[i], input = 0;
            while (input + 1 < step->in_len && code >= first[input + 1])
                input++;
            p->from[o][i] = (struct source){input, code - first[input]};
        }
    }
    return s;
}

enum status move_setup(struct pass *pass, struct error *why)
{
    struct step *step = &pass->step;
    struct move_pass *p = region_take(step->region, sizeof *p);
    void **data = xcalloc(step->in_len + step->out_len, sizeof *data);
    uint32_t *first = xcalloc(step->in_len + 1, sizeof *first);
    size_t numbers = 0;
    p->from = region_array(step->region, step->out_len, sizeof(struct source *));
    pass->state = p;
    for (uint32_t i = 0; i < step->in_len; i++) {
        struct array *a = step->in[i];
        first[i] = (uint32_t)numbers;
        if (!a || a->dtype != DTYPE_FP32)
            continue;
        size_t n = array_count(a);
        uint32_t *codes = xaligned(a->bytes);
        for (size_t k = 0; k < n; k++)
            codes[k] = (uint32_t)(numbers + k);
        numbers += n;
        data[i] = a->data;
        a->data = codes;
    }
    for (uint32_t o = 0; o < step->out_len; o++)
        if (step->out[o]) {
            data[step->in_len + o] = step->out[o]->data;
            step->out[o]->data = xaligned(step->out[o]->bytes);
        }
    step->scratch = xaligned(step->scratch_bytes);
    enum status s = numbers > UINT32_MAX ? bad_step(why, step, "more than 2^32 values to move")
                                         : trace(pass, p, first, why);
    free(step->scratch);
    for (uint32_t i = step->in_len; i-- > 0;) /* backwards: one array may be several inputs */
        if (step->in[i] && step->in[i]->dtype == DTYPE_FP32) {
            free(step->in[i]->data);
            step->in[i]->data = data[i];
        }
    for (uint32_t o = 0; o < step->out_len; o++)
        if (step->out[o]) {
            free(step->out[o]->data);
            step->out[o]->data = data[step->in_len + o];
        }
    free(data);
    free(first);
    return s;
}

void move_backward(struct pass *pass)
{
    const struct step *step = &pass->step;
    const struct move_pass *p = pass->state;
    for (uint32_t i = 0; i < step->in_len; i++)
        if (pass->din[i])
            memset(pass->din[i]->data, 0, pass->din[i]->bytes);
    for (uint32_t o = 0; o < step->out_len; o++) {
        if (!pass->dout[o])
            continue;
        const float *dy = pass->dout[o]->data;
        for (size_t i = 0; i < array_count(step->out[o]); i++) {
            struct source from = p->from[o][i];
            struct array *to = pass->din[from.input];
            if (to)
                ((float *)to->data)[from.element] += dy[i];
        }
    }
}

/* --- rows of a table ---------------------------------------------------------------------------
 */
struct gather_pass {
    size_t outer, axis, inner, indices;
};

enum status gather_setup(struct pass *pass, struct error *why)
{
    struct step *step = &pass->step;
    const struct array *x = step->in[0], *indices = step->in[1];
    struct gather_pass *g = region_take(step->region, sizeof *g);
    int64_t axis = attr_int(step->node, "axis", 0);
    if (!axis_ok(&axis, x->rank) || pass->din[1] ||
        (indices->dtype != DTYPE_INT64 && indices->dtype != DTYPE_INT32))
        return bad_step(why, step, "no gradient with these indices");
    g->outer = dims_span(x, 0, (uint32_t)axis);
    g->axis = (size_t)x->dims[axis];
    g->inner = dims_span(x, (uint32_t)axis + 1, x->rank);
    g->indices = array_count(indices);
    pass->state = g;
    return STATUS_OK;
}

void gather_backward(struct pass *pass)
{
    const struct gather_pass *g = pass->state;
    const struct array *indices = pass->step.in[1];
    float *dx = pass->din[0]->data;
    const float *dy = pass->dout[0]->data;
    memset(dx, 0, pass->din[0]->bytes);
    for (size_t o = 0; o < g->outer; o++)
        for (size_t i = 0; i < g->indices; i++, dy += g->inner) {
            int64_t at = indices->dtype == DTYPE_INT64 ? ((const int64_t *)indices->data)[i]
                                                       : ((const int32_t *)indices->data)[i];
            at += at < 0 ? (int64_t)g->axis : 0; /* in range: forward has checked */
            float *to = dx + (o * g->axis + (size_t)at) * g->inner;
            for (size_t k = 0; k < g->inner; k++)
                to[k] += dy[k];
        }
}
