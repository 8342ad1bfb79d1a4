/* eval - see eval.h */
#include "worker/graph/eval.h"

#include <stdlib.h>
#include <string.h>

#include "worker/graph/macs.h"
#include "worker/ops/late.h"
#include "worker/ops/slab.h"

#ifndef FOLD_BYTES_MAX
#define FOLD_BYTES_MAX (256 * MIB) /* of constants made by folding, over a whole model */
#endif
#define EVAL_BYTES_MAX (256 * MIB) /* of late values while one node is run before its time */

/* Whether the inputs are known and the outputs small; sizes of late ones come with their data. */
static bool possible(const struct step *step, size_t bytes_max)
{
    size_t bytes = 0;
    if (step->texts)
        return false;
    for (uint32_t i = 0; i < step->in_len && !(step->node->op->flags & OP_DIMS_ONLY); i++)
        if (step->in[i] && !step->in[i]->known)
            return false;
    for (uint32_t i = 0; i < step->out_len && !step->late; i++) {
        if (!step->out[i])
            continue;
        if (step->out[i]->layout != LAYOUT_PLAIN || step->out[i]->bytes > bytes_max - bytes)
            return false;
        bytes += step->out[i]->bytes;
    }
    return true;
}

/* Outputs that run() made in the slab move into the region, if all are small tensors. */
static bool keep_late(struct step *step, struct region *region, struct slab *slab, size_t bytes_max)
{
    bool small = true;
    size_t bytes = 0;
    for (uint32_t i = 0; i < step->out_len; i++)
        if (step->out[i]) {
            small &= !step->out[i]->sequence && step->out[i]->bytes <= bytes_max - bytes;
            bytes += small ? step->out[i]->bytes : 0;
        }
    for (uint32_t i = 0; i < step->out_len; i++) {
        struct array *o = step->out[i];
        if (!o)
            continue;
        void *data = small ? region_take(region, o->bytes) : NULL;
        if (data && o->bytes)
            memcpy(data, o->data, o->bytes);
        value_drop(slab, o);
        o->data = data;
        o->sequence = false;
    }
    return small;
}

enum status eval_step(struct step *step, struct region *region, size_t bytes_max, uint64_t *work,
                      bool *done, struct error *why)
{
    uint64_t takes = step_work(step);
    *done = takes <= *work && possible(step, bytes_max);
    if (!*done)
        return STATUS_OK;
    *work -= takes;
    struct run run = {.slab = slab_new(EVAL_BYTES_MAX), .work = work};
    void *scratch = xaligned(step->scratch_bytes);
    for (uint32_t i = 0; i < step->out_len && !step->late; i++)
        if (step->out[i])
            step->out[i]->data = region_take(region, step->out[i]->bytes);
    step->scratch = scratch;
    step->run = &run;
    enum status s = step->node->op->run(step, why);
    if (s == STATUS_OK && step->late)
        *done = keep_late(step, region, run.slab, bytes_max);
    if (s == STATUS_TOO_LARGE && *work == 0) { /* left to the runs, which can be stopped */
        s = STATUS_OK;
        *done = false;
    }
    step->run = NULL;
    step->scratch = NULL;
    free(scratch);
    slab_destroy(&run.slab);
    for (uint32_t i = 0; i < step->out_len && s == STATUS_OK && *done; i++)
        if (step->out[i])
            step->out[i]->known = true;
    for (uint32_t i = 0; i < step->out_len && !*done && !step->late; i++)
        if (step->out[i])
            step->out[i]->data = NULL;
    return s;
}

struct array eval_const(struct graph *graph, uint32_t number)
{
    const struct value *v = &graph->values[number];
    struct array a = {.name = v->name, .dtype = v->dtype, .rank = v->rank};
    a.known = a.fixed = true;
    memcpy(a.dims, v->dims, sizeof a.dims);
    a.bytes = v->bytes;
    a.data = graph_const_data(graph, number);
    return a;
}

static bool all_const(const struct graph *self, const struct node *n)
{
    for (uint32_t k = 0; k < n->inputs_len; k++)
        if (n->inputs[k] != VALUE_NONE && self->values[n->inputs[k]].kind != VALUE_CONST)
            return false;
    return true;
}

/* Returns the bytes that the outputs took, or 0 when the node stays. */
static size_t fold_node(struct graph *self, uint32_t number, size_t budget, uint64_t *work)
{
    struct node *n = self->nodes[number];
    struct region *temporary = region_new();
    struct array *arrays = region_array(temporary, n->inputs_len + n->outputs_len, sizeof *arrays);
    struct step step = {.node = n, .region = temporary};
    size_t bytes = 0;
    step.in_len = n->inputs_len;
    step.out_len = n->outputs_len;
    step.in = region_array(temporary, step.in_len, sizeof(struct array *));
    step.out = region_array(temporary, step.out_len, sizeof(struct array *));
    for (uint32_t i = 0; i < step.in_len; i++) {
        if (n->inputs[i] == VALUE_NONE)
            continue;
        arrays[i] = eval_const(self, n->inputs[i]);
        step.in[i] = &arrays[i];
    }
    for (uint32_t i = 0; i < step.out_len; i++) {
        arrays[step.in_len + i].name = "";
        step.out[i] = n->outputs[i] == VALUE_NONE ? NULL : &arrays[step.in_len + i];
    }
    bool done = false;
    if (step_shape(&step, NULL) == STATUS_OK &&
        eval_step(&step, self->region, budget, work, &done, NULL) == STATUS_OK && done) {
        bytes = 1;
        for (uint32_t i = 0; i < step.out_len; i++) {
            const struct array *o = step.out[i];
            if (!o)
                continue;
            graph_set_const(self, n->outputs[i], o->dtype, o->dims, o->rank, o->data, o->bytes);
            bytes += o->bytes;
        }
        self->nodes[number] = NULL;
        if (n->unpack)
            n->unpack(n->packed);
    }
    region_destroy(&temporary);
    return bytes;
}

void graph_fold(struct graph *self, const char *except)
{
    size_t budget = FOLD_BYTES_MAX;
    uint64_t work = EVAL_WORK_MAX;
    for (uint32_t i = 0; i < self->nodes_len; i++) {
        if (!self->nodes[i] || !all_const(self, self->nodes[i]) ||
            (except && strcmp(self->nodes[i]->op->name, except) == 0))
            continue;
        size_t used = fold_node(self, i, budget, &work);
        budget -= MIN(used, budget);
    }
}
