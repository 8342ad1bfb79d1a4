/* engine_run - one run: check the inputs, find or make the plan, compute; see engine.h */
#include <stdlib.h>
#include <string.h>

#include "worker/model.h"
#include "worker/ops/slab.h"

/* Clients send a scalar as [1] too; it is taken for what the model asks. */
static bool is_scalar(const struct tensor *want, const struct tensor *got)
{
    return want->rank == 0 && got->rank == 1 && got->dims[0] == 1;
}

static enum status check_shape(const struct tensor *want, const struct tensor *got,
                               struct error *why)
{
    char text[2][160];
    uint64_t bytes;
    bool fits = want->rank == got->rank || is_scalar(want, got);
    if (want->dtype != got->dtype)
        return fail(why, STATUS_INVALID, "input \"%.200s\" is %s; expected %s", want->name,
                    dtype_name(got->dtype), dtype_name(want->dtype));
    for (uint32_t k = 0; fits && k < want->rank; k++)
        fits = got->dims[k] >= 0 && (want->dims[k] < 0 || want->dims[k] == got->dims[k]);
    if (!fits)
        return fail(why, STATUS_INVALID, "input \"%.200s\" has shape %s; expected %s (-1: any)",
                    want->name,
                    dims_text(text[0], sizeof text[0], got->dims, MIN(got->rank, TENSOR_RANK_MAX)),
                    dims_text(text[1], sizeof text[1], want->dims, want->rank));
    if (got->dtype == DTYPE_BYTES)
        return STATUS_OK; /* texts_read checks */
    if (!tensor_size(got->dtype, got->dims, got->rank, &bytes) || bytes != got->bytes)
        return fail(why, STATUS_INVALID, "input \"%.200s\" of shape %s has %zu bytes of data",
                    want->name, dims_text(text[0], sizeof text[0], got->dims, got->rank),
                    got->bytes);
    assert((uintptr_t)got->data % TENSOR_ALIGN == 0 || got->bytes == 0);
    return STATUS_OK;
}

static struct array array_of(const struct tensor *t)
{
    struct array a = {
        .name = t->name, .dtype = t->dtype, .rank = t->rank, .bytes = t->bytes, .data = t->data};
    memcpy(a.dims, t->dims, sizeof a.dims);
    return a;
}

/* Put the caller's inputs into the signature's order. */
static enum status sort_inputs(const struct model *self, const struct tensor *given, uint32_t len,
                               struct array *sorted, struct error *why)
{
    const struct signature *s = &self->signature;
    for (uint32_t i = 0; i < s->inputs_len; i++) {
        const struct tensor *found = NULL;
        for (uint32_t k = 0; k < len; k++) {
            if (strcmp(given[k].name, s->inputs[i].name) != 0)
                continue;
            if (found)
                return fail(why, STATUS_INVALID, "input \"%.200s\" is given twice", given[k].name);
            found = &given[k];
        }
        if (!found)
            return fail(why, STATUS_INVALID, "input \"%.200s\" is missing", s->inputs[i].name);
        enum status status = check_shape(&s->inputs[i], found, why);
        if (status != STATUS_OK)
            return status;
        sorted[i] = array_of(found);
        sorted[i].rank = s->inputs[i].rank;
        if (found->dtype == DTYPE_BYTES)
            status = texts_read(self->run.slab, found, &sorted[i], why);
        if (status != STATUS_OK)
            return status;
    }
    for (uint32_t k = 0; k < len; k++) {
        bool known = false;
        for (uint32_t i = 0; i < s->inputs_len; i++)
            known |= strcmp(given[k].name, s->inputs[i].name) == 0;
        if (!known)
            return fail(why, STATUS_INVALID,
                        "the model has no input \"%.200s\"; its first is \"%.200s\"", given[k].name,
                        s->inputs_len ? s->inputs[0].name : "");
    }
    return STATUS_OK;
}

static enum status find_plan(struct model *self, const struct array *inputs, struct plan **out,
                             struct error *why)
{
    enum status s = plan_find(&self->plans, inputs, out, why);
    if (s != STATUS_OK)
        return s;
    if (!self->arena || plan_arena_bytes(*out) > self->arena_bytes) {
        free(self->arena);
        self->arena_bytes = plan_arena_bytes(*out);
        self->arena = xaligned(self->arena_bytes);
    }
    return STATUS_OK;
}

enum status model_run(struct model *self, const struct tensor *inputs, uint32_t inputs_len,
                      struct tensor *outputs, struct error *why)
{
    struct array sorted[MODEL_VALUES_MAX];
    struct plan *plan = NULL;
    assert(self && self->magic == MODEL_MAGIC);
    slab_reset(self->run.slab); /* the last run's late outputs */
    self->run.texts = 0;
    enum status s = sort_inputs(self, inputs, inputs_len, sorted, why);
    size_t pieces = s == STATUS_OK ? pieces_wanted(self, sorted) : 1;
    if (pieces > 1)
        return pieces_run(self, sorted, pieces, outputs, why);
    if (s == STATUS_OK)
        s = find_plan(self, sorted, &plan, why);
    if (s == STATUS_OK)
        s = plan_run(plan, self->arena, sorted, &self->run, why);
    for (uint32_t i = 0; i < self->signature.outputs_len && s == STATUS_OK; i++) {
        const struct array *a = plan_output(plan, i);
        if (a->sequence)
            return fail(why, STATUS_UNSUPPORTED, "output \"%.200s\" is a sequence of tensors",
                        a->name);
        outputs[i] = (struct tensor){
            self->signature.outputs[i].name, a->dtype, a->rank, {0}, a->data, a->bytes};
        memcpy(outputs[i].dims, a->dims, sizeof a->dims);
        if (a->dtype == DTYPE_BYTES)
            s = texts_write(self->run.slab, a, &outputs[i], why);
    }
    return s;
}

struct profile_list {
    struct profile_row *rows;
    size_t len, max;
};

static void add_profile(struct node *n, void *arg)
{
    struct profile_list *list = arg;
    if (n->calls && list->len < list->max)
        list->rows[list->len++] =
            (struct profile_row){n->name, n->label, n->kernel, n->calls, n->ns, n->macs};
}

size_t model_profile_rows(const struct model *self, struct profile_row *rows, size_t rows_max)
{
    struct profile_list list = {rows, 0, rows_max};
    graph_each_node(self->graph, add_profile, &list);
    add_profile(self->graph->reorder, &list);
    add_profile(self->graph->copy, &list);
    return list.len;
}
