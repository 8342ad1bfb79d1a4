/* rowflow - see rowflow.h */
#include "worker/graph/rowflow.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "worker/graph/plan.h"

#define ROWS_ONE   2 /* the two numbers of rows; more than 1, since a dim of 1 is special */
#define ROWS_OTHER 3

/* Sizes to try for dimensions that the model leaves open besides the rows. */
static const int64_t samples[] = {64, 16, 224, 1, 512, 1600};

struct pair {
    struct graph *graph;
    struct plan *one, *other; /* for ROWS_ONE and ROWS_OTHER rows */
    struct rows_at *at;       /* by value */
    struct error *reason;
};

static enum status plan_for(struct plan **out, struct graph *g, int64_t rows, int64_t sample,
                            struct error *why)
{
    struct array *inputs = xcalloc(g->inputs_len, sizeof *inputs);
    for (uint32_t i = 0; i < g->inputs_len; i++) {
        const struct value *v = &g->values[g->inputs[i]];
        inputs[i] = (struct array){.name = v->name, .dtype = v->dtype, .rank = v->rank};
        for (uint32_t k = 0; k < v->rank; k++)
            inputs[i].dims[k] = k == 0 ? rows : v->dims[k] < 0 ? sample : v->dims[k];
    }
    enum status s = plan_make(out, g, inputs, why);
    free(inputs);
    return s;
}

/* The same numbers in both plans. */
static bool equal_known(const struct array *x, const struct array *y)
{
    return x->known && y->known && x->data && y->data && x->rank == y->rank &&
           memcmp(x->dims, y->dims, x->rank * sizeof x->dims[0]) == 0 &&
           (!x->bytes || memcmp(x->data, y->data, x->bytes) == 0);
}

/* An output that is known while planning and differs only in what it holds. */
static bool sizes_only(const struct array *x, const struct array *y)
{
    return x->known && y->known && x->rank == y->rank &&
           memcmp(x->dims, y->dims, x->rank * sizeof x->dims[0]) == 0;
}

/* As many elements per row with either number of rows, and in the same place. */
static bool scales(const struct array *x, const struct array *y)
{
    return x->rank == y->rank && array_count(x) * ROWS_OTHER == array_count(y) * ROWS_ONE;
}

static void visit(struct pair *p, uint32_t number)
{
    const struct node *n = p->graph->nodes[number];
    const struct step *step = plan_node_step(p->one, number);
    struct rows_step s = {step, plan_node_step(p->other, number), ROWS_ONE, ROWS_OTHER};
    struct rows_at *in = xcalloc(n->inputs_len, sizeof *in);
    struct rows_at *out = xcalloc(n->outputs_len, sizeof *out);
    bool plain = true, unknown = false, sized = true;
    for (uint32_t i = 0; i < n->inputs_len; i++) {
        in[i].rows = n->inputs[i] == VALUE_NONE ? ROWS_NONE : p->at[n->inputs[i]].rows;
        if (n->inputs[i] != VALUE_NONE)
            in[i] = p->at[n->inputs[i]];
        plain &= in[i].rows == ROWS_NONE;
        unknown |= in[i].rows == ROWS_UNKNOWN;
        sized &=
            in[i].rows == ROWS_NONE || in[i].rows == ROWS_SIZE || (n->op->flags & OP_DIMS_ONLY);
    }
    for (uint32_t i = 0; i < n->outputs_len; i++)
        out[i].rows = plain ? ROWS_NONE : ROWS_UNKNOWN;
    bool shaped = !step->deferred && !step->late && !s.other->deferred && !s.other->late;
    if (!plain && !unknown && shaped && n->op->rows)
        n->op->rows(&s, in, out);
    for (uint32_t i = 0; i < n->outputs_len; i++) {
        if (n->outputs[i] == VALUE_NONE)
            continue;
        const struct array *x = step->out[i], *y = s.other->out[i];
        if (equal_known(x, y))
            out[i].rows = ROWS_NONE;
        else if (sized && sizes_only(x, y))
            out[i].rows = ROWS_SIZE;
        else if (out[i].rows == ROWS_ALONG && !scales(x, y))
            out[i].rows = ROWS_UNKNOWN;
        p->at[n->outputs[i]] = out[i];
        if (out[i].rows == ROWS_UNKNOWN && p->reason && p->reason->status == STATUS_OK)
            fail(p->reason, STATUS_UNSUPPORTED, "rows may mix in node \"%.200s\" (%s)", n->name,
                 n->label);
    }
    free(in);
    free(out);
}

static bool locate_outputs(struct pair *p, uint32_t *axis)
{
    const struct rows_step s = {NULL, NULL, ROWS_ONE, ROWS_OTHER};
    for (uint32_t i = 0; i < p->graph->outputs_len; i++) {
        uint32_t v = p->graph->outputs[i];
        int found = rows_axis(&s, plan_value(p->one, v), p->at[v]);
        if (found < 0 || plan_value(p->other, v)->dims[found] != ROWS_OTHER) {
            if (p->reason && p->reason->status == STATUS_OK)
                fail(p->reason, STATUS_UNSUPPORTED,
                     "output \"%.200s\" has no axis that counts rows", p->graph->values[v].name);
            return false;
        }
        axis[i] = (uint32_t)found;
    }
    return true;
}

/* False: not batchable, or these sizes cannot be planned (*planned tells). */
static bool try_sample(struct graph *g, int64_t sample, uint32_t *axis, bool *planned,
                       struct error *reason)
{
    struct pair p = {.graph = g, .reason = reason};
    bool independent = false;
    *planned = plan_for(&p.one, g, ROWS_ONE, sample, reason) == STATUS_OK &&
               plan_for(&p.other, g, ROWS_OTHER, sample, reason) == STATUS_OK;
    if (*planned) {
        p.at = xcalloc(g->values_len, sizeof *p.at);
        for (uint32_t i = 0; i < g->inputs_len; i++)
            p.at[g->inputs[i]] = (struct rows_at){ROWS_ALONG, 1};
        for (uint32_t i = 0; i < g->nodes_len; i++)
            if (g->nodes[i])
                visit(&p, i);
        independent = locate_outputs(&p, axis);
        free(p.at);
    }
    plan_destroy(&p.one);
    plan_destroy(&p.other);
    return independent;
}

bool graph_rows(struct graph *graph, uint32_t *axis, struct error *reason)
{
    uint32_t again[64] = {0};
    bool open = false, planned = false;
    size_t found = 0;
    if (graph->outputs_len > ARRAY_LEN(again) || !graph->inputs_len)
        return false;
    for (uint32_t i = 0; i < graph->inputs_len; i++) {
        const struct value *v = &graph->values[graph->inputs[i]];
        if (v->rank < 1 || v->dims[0] >= 0) {
            fail(reason, STATUS_UNSUPPORTED, "input \"%.200s\" has no open first dimension",
                 v->name);
            return false;
        }
        if (v->decides) {
            fail(reason, STATUS_UNSUPPORTED, "what input \"%.200s\" holds decides shapes", v->name);
            return false;
        }
        for (uint32_t k = 1; k < v->rank; k++)
            open |= v->dims[k] < 0;
    }
    /* With open dims the finding must hold for two different sizes. */
    for (size_t i = 0; i < ARRAY_LEN(samples) && found < (open ? 2 : 1); i++) {
        if (reason)
            *reason = (struct error){STATUS_OK, ""};
        bool good = try_sample(graph, samples[i], found ? again : axis, &planned, reason);
        if (!planned && open)
            continue;
        if (!good || (found && memcmp(again, axis, graph->outputs_len * sizeof *axis) != 0))
            return false;
        found++;
    }
    return found > 0;
}
