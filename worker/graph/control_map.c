/* control_map - SequenceMap: a sub-graph for each item of a sequence, and of others beside it */
#include "worker/graph/body.h"
#include "worker/ops/ops.h"

struct map_state {
    struct body body;
    uint32_t formal;      /* inputs of the body that come from the node's */
    struct array *inputs; /* of the body: formal ones and captures */
    struct array **items; /* of each output; NULL where left out */
};

static void map_free(void *packed)
{
    body_clear(&((struct map_state *)packed)->body);
}

enum status sequence_map_check(struct node *node, struct error *why)
{
    struct map_state *m = region_take(node->region, sizeof *m);
    m->formal = node->inputs_len - node->captures;
    node->state = node->packed = m;
    node->unpack = map_free;
    for (uint32_t i = 0; i < m->formal; i++)
        if (node->inputs[i] == VALUE_NONE)
            return bad_node(why, node, "its input %u is left out", i);
    enum status s = body_find(&m->body, node, "body", m->formal, node->outputs_len, why);
    if (s != STATUS_OK)
        return s;
    m->body.plans.graph->repeats = true;
    m->inputs = region_array(node->region, node->inputs_len, sizeof *m->inputs);
    m->items = region_array(node->region, node->outputs_len, sizeof *m->items);
    return STATUS_OK;
}

/* All sequences are as long as the first. */
static enum status map_length(const struct step *step, const struct map_state *m, size_t *len,
                              struct error *why)
{
    if (!step->in[0]->sequence || step->in[0]->dtype == DTYPE_NONE)
        return bad_step(why, step, "input 0 must be a sequence of tensors");
    *len = sequence_of(step->in[0])->len;
    for (uint32_t i = 1; i < m->formal; i++)
        if (step->in[i]->sequence && sequence_of(step->in[i])->len != *len)
            return bad_step(why, step, "input %u has %zu items, the first one %zu", i,
                            sequence_of(step->in[i])->len, *len);
    return STATUS_OK;
}

/* Item `k` of output `i` is what the body has just made. */
static enum status map_give(const struct step *step, const struct map_state *m, uint32_t i,
                            size_t k, struct error *why)
{
    const struct array *from = body_output(&m->body, i);
    if (k == 0)
        step->out[i]->dtype = from->dtype;
    if (from->sequence || from->dtype != step->out[i]->dtype)
        return bad_step(why, step, "item %zu of output %u is %s; expected a tensor of %s", k, i,
                        from->sequence ? "a sequence" : dtype_name(from->dtype),
                        dtype_name(step->out[i]->dtype));
    return value_share(step->run->slab, &m->items[i][k], from, why);
}

static enum status map_item(const struct step *step, struct map_state *m, size_t k,
                            struct error *why)
{
    for (uint32_t i = 0; i < m->formal; i++) {
        m->inputs[i] = step->in[i]->sequence ? sequence_of(step->in[i])->items[k] : *step->in[i];
        m->inputs[i].held = false; /* the sequence holds it */
    }
    enum status s = body_run(&m->body, step, m->inputs, why);
    if (s != STATUS_OK)
        return s;
    for (uint32_t i = 0; i < step->out_len && s == STATUS_OK; i++)
        if (m->items[i])
            s = map_give(step, m, i, k, why);
    body_done(&m->body, step);
    return s;
}

enum status sequence_map_compute(const struct step *step, struct error *why)
{
    struct map_state *m = step->node->state;
    size_t len = 0;
    enum status s = map_length(step, m, &len, why);
    for (uint32_t i = 0; i < step->out_len && s == STATUS_OK; i++) {
        enum dtype t = m->body.plans.graph->declared[i].dtype;
        s = out_sequence(step, i, dtype_bytes(t) ? t : DTYPE_FP32, len, &m->items[i], why);
    }
    if (s != STATUS_OK)
        return s;
    body_captures(step, m->inputs, m->formal);
    for (size_t k = 0; k < len && s == STATUS_OK; k++)
        s = map_item(step, m, k, why);
    return s;
}
