/* engine - loading and describing models; see engine.h */
#include "worker/engine.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "worker/graph/halves.h"
#include "worker/graph/optimise.h"
#include "worker/graph/rowflow.h"
#include "worker/kernels/cpu.h"
#include "worker/model.h"
#include "worker/onnx/import.h"
#include "worker/ops/late.h"
#include "worker/ops/slab.h"

enum status engine_start(const char *isa, uint32_t threads, struct error *why)
{
    const char *names[8];
    char list[128] = "auto";
    if (kernels_start(isa, threads))
        return STATUS_OK;
    size_t len = kernels_isa_list(names, ARRAY_LEN(names));
    for (size_t i = 0; i < len; i++) {
        size_t used = strlen(list);
        snprintf(list + used, sizeof list - used, ", %s", names[i]);
    }
    return fail(why, STATUS_INVALID,
                "this CPU cannot run the instruction set \"%.40s\"; choose one of: %s; \"/strict\" "
                "may follow",
                isa, list);
}

uint32_t engine_threads(void)
{
    return kernels_threads();
}

const char *engine_mode(void)
{
    static char mode[32];
    snprintf(mode, sizeof mode, "%s/%s", kernels_isa(), kernels_strict() ? "strict" : "fast");
    return mode;
}

static struct tensor describe_input(const struct graph *g, uint32_t number)
{
    const struct value *v = &g->values[number];
    struct tensor t = {.name = v->name, .dtype = v->dtype, .rank = v->rank};
    memcpy(t.dims, v->dims, v->rank * sizeof t.dims[0]);
    return t;
}

/* Plan with every open dim at a small size: tells what the outputs are, and finds what can never
 * run. Returns false when these sizes do not fit the model. */
static bool probe(struct graph *g, int64_t size, struct plan **plan, struct error *why)
{
    struct array inputs[MODEL_VALUES_MAX];
    for (uint32_t i = 0; i < g->inputs_len; i++) {
        const struct value *v = &g->values[g->inputs[i]];
        inputs[i] = (struct array){.name = v->name, .dtype = v->dtype, .rank = v->rank};
        memcpy(inputs[i].dims, v->dims, sizeof v->dims);
        for (uint32_t k = 0; k < inputs[i].rank; k++)
            if (inputs[i].dims[k] < 0)
                inputs[i].dims[k] = k ? size : 1;
    }
    return plan_make(plan, g, inputs, why) == STATUS_OK;
}

static enum status describe_outputs(struct model *self, bool open, struct error *why)
{
    static const int64_t sizes[] = {64, 16, 224, 1, 512, 1600};
    struct graph *g = self->graph;
    struct plan *plan = NULL;
    for (size_t i = 0; i < (open ? ARRAY_LEN(sizes) : 1) && !plan; i++)
        if (!probe(g, sizes[i], &plan, why) && !open)
            return why->status = STATUS_BAD_MODEL; /* no other input can ever come */
    for (uint32_t i = 0; i < g->outputs_len; i++) {
        struct tensor *t = &self->signature.outputs[i];
        *t = g->declared[i];
        if (plan && !plan_output_late(plan, i)) {
            const struct array *a = plan_output(plan, i);
            bool same = t->dtype == a->dtype && t->rank == a->rank;
            t->dtype = a->dtype;
            t->rank = a->rank;
            for (uint32_t k = 0; k < a->rank; k++)
                if (!open || !same || (t->dims[k] >= 0 && t->dims[k] != a->dims[k]))
                    t->dims[k] = open ? -1 : a->dims[k];
        }
        if (!t->dtype) {
            plan_destroy(&plan);
            return fail(why, STATUS_BAD_MODEL,
                        "output \"%.200s\" declares no type, and none follows from the graph",
                        t->name);
        }
    }
    plan_destroy(&plan);
    return STATUS_OK;
}

static enum status describe(struct model *self, struct error *why)
{
    struct graph *g = self->graph;
    struct signature *s = &self->signature;
    bool open = false;
    if (g->inputs_len > MODEL_VALUES_MAX || g->outputs_len > MODEL_VALUES_MAX)
        return fail(why, STATUS_BAD_MODEL,
                    "%u inputs and %u outputs; at most %d of each are supported", g->inputs_len,
                    g->outputs_len, MODEL_VALUES_MAX);
    s->inputs_len = g->inputs_len;
    s->outputs_len = g->outputs_len;
    for (uint32_t i = 0; i < g->inputs_len; i++) {
        s->inputs[i] = describe_input(g, g->inputs[i]);
        open |= g->values[g->inputs[i]].decides;
        for (uint32_t k = 0; k < s->inputs[i].rank; k++)
            open |= s->inputs[i].dims[k] < 0;
    }
    enum status status = describe_outputs(self, open, why);
    if (status == STATUS_OK)
        s->batchable = graph_rows(g, s->output_batch_axis, &self->rows_reason);
    for (uint32_t i = 0; i < s->inputs_len + s->outputs_len && status == STATUS_OK; i++) {
        const struct tensor *t = i < s->inputs_len ? &s->inputs[i] : &s->outputs[i - s->inputs_len];
        if (t->dtype == DTYPE_BYTES && s->batchable) {
            s->batchable = false;
            fail(&self->rows_reason, STATUS_UNSUPPORTED, "\"%.200s\" holds texts", t->name);
        }
    }
    return status;
}

/* `path`: of the model's file, which `file` maps; NULL: bytes of whoever calls. */
static enum status load(struct model **out, const char *path, struct file_map file,
                        struct error *why)
{
    struct model *m = xcalloc(1, sizeof *m);
    m->magic = MODEL_MAGIC;
    m->external = external_new(path);
    struct error local;
    if (!why)
        why = &local;
    enum status s = onnx_import(&m->graph, file.bytes, file.size, m->external, why);
    if (s == STATUS_OK)
        m->parameters = graph_parameters(m->graph);
    if (path && s == STATUS_OK)
        graph_set_file(m->graph, file);
    m->plans.graph = m->graph;
    m->run.slab = slab_new(LATE_BYTES_MAX);
    if (s == STATUS_OK)
        s = graph_widen_halves(m->graph, why);
    if (s == STATUS_OK) {
        graph_optimise(m->graph);
        s = describe(m, why);
    }
    if (s != STATUS_OK)
        model_destroy(&m);
    *out = m;
    return s;
}

enum status model_load(struct model **out, const void *bytes, size_t size, struct error *why)
{
    return load(out, NULL, (struct file_map){bytes, size}, why);
}

enum status model_load_file(struct model **out, const char *path, struct error *why)
{
    struct file_map file;
    *out = NULL;
    enum status s = file_map(&file, path, why);
    if (s != STATUS_OK)
        return s;
    s = load(out, path, file, why);
    if (s == STATUS_OK) {
        (*out)->file = file;
        return s;
    }
    file_unmap(&file);
    fail_in(why, "%.300s", path);
    return s;
}

const struct signature *model_signature(const struct model *self)
{
    return &self->signature;
}

const char *model_rows_reason(const struct model *self)
{
    return self->signature.batchable ? "" : self->rows_reason.text;
}

uint64_t model_parameters(const struct model *self)
{
    return self->parameters;
}

int model_opset(const struct model *self)
{
    return self->graph->opset;
}

struct operator_list {
    struct operator_count *rows;
    size_t len, max;
};

static void count_operator(struct node *n, void *arg)
{
    struct operator_list *list = arg;
    size_t k = 0;
    while (k < list->len && strcmp(list->rows[k].name, n->label) != 0)
        k++;
    if (k < list->len)
        list->rows[k].count++;
    else if (list->len < list->max)
        list->rows[list->len++] = (struct operator_count){n->label, 1};
}

size_t model_operators(const struct model *self, struct operator_count *rows, size_t rows_max)
{
    struct operator_list list = {rows, 0, rows_max};
    graph_each_node(self->graph, count_operator, &list);
    return list.len;
}

void model_stop_flag(struct model *self, const uint32_t *flag)
{
    self->run.stop = flag;
}

void model_tick_counter(struct model *self, uint64_t *ticks)
{
    self->run.ticks = ticks;
}

size_t model_arena_bytes(const struct model *self)
{
    return self->arena_bytes + pieces_bytes(&self->pieces);
}

static void reset_profile(struct node *n, void *arg)
{
    (void)arg;
    n->calls = n->ns = n->macs = 0;
}

void model_profile(struct model *self, bool on)
{
    if (on) {
        graph_each_node(self->graph, reset_profile, NULL);
        reset_profile(self->graph->reorder, NULL);
        reset_profile(self->graph->copy, NULL);
    }
    self->run.profile = on;
}

void model_destroy(struct model **self_p)
{
    struct model *self = *self_p;
    if (!self)
        return;
    assert(self->magic == MODEL_MAGIC);
    pieces_free(&self->pieces);
    plan_cache_clear(&self->plans);
    graph_destroy(&self->graph);
    slab_destroy(&self->run.slab);
    free(self->arena);
    external_destroy(&self->external);
    file_unmap(&self->file);
    self->magic = 0;
    free(self);
    *self_p = NULL;
}
