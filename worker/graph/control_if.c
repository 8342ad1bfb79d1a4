/* control_if - If: one of two sub-graphs
 *
 * Where both branches give the same shapes, as in most exports, the node is an ordinary one. */
#include <string.h>

#include "worker/graph/body.h"
#include "worker/ops/ops.h"

struct if_state {
    struct body branches[2]; /* then, else */
    struct array *inputs;    /* of a branch: the captures */
};

static void if_free(void *packed)
{
    struct if_state *f = packed;
    body_clear(&f->branches[0]);
    body_clear(&f->branches[1]);
}

enum status if_check(struct node *node, struct error *why)
{
    static const char *const names[] = {"then_branch", "else_branch"};
    struct if_state *f = region_take(node->region, sizeof *f);
    node->state = node->packed = f;
    node->unpack = if_free;
    f->inputs = region_array(node->region, node->captures, sizeof *f->inputs);
    for (int i = 0; i < 2; i++) {
        enum status s = body_find(&f->branches[i], node, names[i], 0, node->outputs_len, why);
        if (s != STATUS_OK)
            return s;
    }
    return STATUS_OK;
}

/* Whether output `i` is sized by every plan in the same way. */
static bool agree(struct plan *const *plans, uint32_t len, uint32_t i)
{
    const struct array *a = plan_output(plans[0], i);
    for (uint32_t k = 0; k < len; k++) {
        const struct array *b = plan_output(plans[k], i);
        if (plan_output_late(plans[k], i) || b->dtype != a->dtype || b->rank != a->rank ||
            memcmp(a->dims, b->dims, a->rank * sizeof a->dims[0]) != 0)
            return false;
    }
    return true;
}

enum status if_shape(struct step *step, struct error *why)
{
    struct if_state *f = step->node->state;
    const struct array *cond = step->in[0];
    struct plan *plans[2];
    uint32_t len = 0;
    bool taken = false, sized = true;
    enum status s = cond->known ? body_condition(step, cond, &taken, why) : STATUS_OK;
    body_captures(step, f->inputs, 0);
    for (uint32_t i = 0; i < 2 && s == STATUS_OK; i++) {
        if (cond->known && taken != (i == 0))
            continue;
        s = body_plan(&f->branches[i], f->inputs, &plans[len++], cond->known ? why : NULL);
        if (s == STATUS_OK || cond->known)
            continue;
        step->late = true; /* these shapes are meant for the other branch alone, perhaps */
        return STATUS_OK;
    }
    for (uint32_t i = 0; i < step->out_len && s == STATUS_OK; i++)
        sized &= agree(plans, len, i);
    step->late = !sized;
    for (uint32_t i = 0; i < step->out_len && s == STATUS_OK && sized; i++) {
        const struct array *a = plan_output(plans[0], i);
        s = out_set(step, i, a->dtype, a->dims, a->rank, why);
    }
    return s;
}

enum status if_compute(const struct step *step, struct error *why)
{
    struct if_state *f = step->node->state;
    bool taken;
    enum status s = body_condition(step, step->in[0], &taken, why);
    if (s != STATUS_OK)
        return s;
    struct body *body = &f->branches[taken ? 0 : 1];
    body_captures(step, f->inputs, 0);
    s = body_run(body, step, f->inputs, why);
    if (s != STATUS_OK)
        return s;
    for (uint32_t i = 0; i < step->out_len && s == STATUS_OK; i++)
        s = body_give(step, i, body_output(body, i), why);
    body_done(body, step);
    return s;
}
