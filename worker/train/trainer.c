/* trainer - see trainer.h */
#include "worker/train/trainer.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "worker/graph/eval.h"
#include "worker/kernels/grad.h"
#include "worker/kernels/par.h"
#include "worker/kernels/vector.h"
#include "worker/ops/late.h"
#include "worker/ops/slab.h"
#include "worker/train/trainer_parts.h"

#define ROUND 16 /* floats: parameters begin on a line of memory */

static void check(const struct trainer *self)
{
    assert(self && self->magic == TRAINER_MAGIC);
}

/* --- parameters --------------------------------------------------------------------------------
 */
enum role { NO_PARAM, LEARNS, FROZEN, STATISTIC };

static bool is_frozen(const struct trainer *t, const char *name)
{
    for (size_t i = 0; i < t->options.frozen_len; i++)
        if (strcmp(t->options.frozen[i], name) == 0)
            return true;
    return false;
}

/* What each constant is for the nodes that read it. */
static enum role *find_roles(const struct trainer *t)
{
    const struct graph *g = t->graph;
    enum role *roles = xcalloc(MAX(1, g->values_len), sizeof *roles);
    for (uint32_t i = 0; i < g->nodes_len; i++) {
        const struct node *n = g->nodes[i];
        const struct grad *grad = n ? grad_find(n->op->name) : NULL;
        for (uint32_t k = 0; grad && k < n->inputs_len && k < 32; k++) {
            uint32_t v = n->inputs[k];
            bool statistic = (grad->flags & GRAD_STATISTICS) && k >= 3;
            if (v == VALUE_NONE || g->values[v].kind != VALUE_CONST ||
                g->values[v].dtype != DTYPE_FP32 || !g->values[v].rank || !g->values[v].bytes)
                continue;
            if (statistic || grad->weights & 1u << k)
                roles[v] = is_frozen(t, g->values[v].name) ? FROZEN
                           : statistic                     ? STATISTIC
                                                           : LEARNS;
        }
    }
    return roles;
}

static void add_param(struct trainer *t, uint32_t number, enum role role)
{
    bool learns = role == LEARNS;
    const struct value *v = &t->graph->values[number];
    struct param *p = &t->params[t->params_len++];
    p->value = number;
    p->frozen = role == FROZEN;
    p->shown = (struct trainer_param){.name = v->name, .rank = v->rank, .learns = learns};
    memcpy(p->shown.dims, v->dims, sizeof p->shown.dims);
    p->shown.count = v->bytes / sizeof(float);
    for (size_t i = 0; i < t->options.columns_len; i++)
        if (strcmp(t->options.columns[i].name, v->name) == 0)
            p->columns = t->options.columns[i].columns;
    t->by_value[number] = p;
    size_t floats = (p->shown.count + ROUND - 1) / ROUND * ROUND;
    t->all += floats;
    t->learning += learns ? floats : 0;
}

/* Constants that are parameters become values of the trainer's; those that learn come first. */
static void take_params(struct trainer *t)
{
    struct graph *g = t->graph;
    enum role *roles = find_roles(t);
    size_t learns = 0, stays;
    t->params = xcalloc(MAX(1, g->values_len), sizeof *t->params);
    t->by_value = xcalloc(MAX(1, g->values_len), sizeof *t->by_value);
    for (uint32_t i = 0; i < g->values_len; i++)
        if (roles[i] != NO_PARAM)
            add_param(t, i, roles[i]);
    free(roles);
    size_t floats = t->all + 2 * t->learning;
    t->state = xaligned(floats * sizeof(float));
    t->grads = xaligned(t->learning * sizeof(float));
    memset(t->state, 0, floats * sizeof(float));
    memset(t->grads, 0, t->learning * sizeof(float));
    t->shown = xcalloc(MAX(1, t->params_len), sizeof *t->shown);
    stays = t->learning;
    for (size_t i = 0; i < t->params_len; i++) {
        struct param *p = &t->params[i];
        size_t *at = p->shown.learns ? &learns : &stays;
        p->shown.data = t->state + *at;
        p->grad = p->shown.learns ? t->grads + *at : NULL;
        p->shown.grad = p->grad;
        *at += (p->shown.count + ROUND - 1) / ROUND * ROUND;
        memcpy(p->shown.data, g->values[p->value].raw, p->shown.count * sizeof(float));
        g->values[p->value].kind = VALUE_INPUT; /* known to no fold: given in each step */
        t->shown[i] = p->shown;
    }
}

/* Softmax or Sigmoid at the end is the loss's: the network then ends in front of it. */
static enum status take_end(struct trainer *t, struct error *why)
{
    struct graph *g = t->graph;
    const char *inside = loss_activation(t->options.loss);
    t->output_axis = INT64_MAX;
    if (g->outputs_len != 1)
        return fail(why, STATUS_BAD_MODEL, "%u outputs; a network that learns has one",
                    g->outputs_len);
    const struct value *v = &g->values[g->outputs[0]];
    if (v->kind != VALUE_MADE || !inside || !g->nodes[v->maker] ||
        strcmp(g->nodes[v->maker]->op->name, inside) != 0)
        return STATUS_OK;
    struct node *n = g->nodes[v->maker];
    if (strcmp(inside, "Softmax") == 0)
        t->output_axis = attr_int(n, "axis", n->opset < 13 ? 1 : -1);
    g->outputs[0] = n->inputs[0];
    return STATUS_OK;
}

enum status trainer_new(struct trainer **out, struct graph **graph_p,
                        const struct trainer_options *options, struct error *why)
{
    struct trainer *t = xcalloc(1, sizeof *t);
    t->magic = TRAINER_MAGIC;
    t->graph = *graph_p;
    t->options = *options;
    *graph_p = NULL;
    t->op_run.slab = slab_new(LATE_BYTES_MAX);
    t->run.seed = options->seed;
    enum status s = take_end(t, why);
    if (s == STATUS_OK) {
        take_params(t);
        graph_fold(t->graph, NULL);
        graph_count_readers(t->graph);
        graph_drop_dead(t->graph);
        graph_count_readers(t->graph);
        if (!t->learning)
            s = fail(why, STATUS_BAD_MODEL, "the network has no parameters that learn");
    }
    if (s != STATUS_OK)
        trainer_destroy(&t);
    *out = t;
    return s;
}

void trainer_destroy(struct trainer **self_p)
{
    struct trainer *self = *self_p;
    if (!self)
        return;
    check(self);
    while (self->plans) {
        struct train_plan *plan = self->plans;
        self->plans = plan->next;
        train_plan_destroy(&plan);
    }
    graph_destroy(&self->graph);
    slab_destroy(&self->op_run.slab);
    free(self->params);
    free(self->shown);
    free(self->by_value);
    free(self->state);
    free(self->grads);
    self->magic = 0;
    free(self);
    *self_p = NULL;
}

const struct trainer_param *trainer_params(const struct trainer *self, size_t *len)
{
    check(self);
    *len = self->params_len;
    return self->shown;
}

float *trainer_state(struct trainer *self, size_t *floats)
{
    check(self);
    *floats = self->all + 2 * self->learning;
    return self->state;
}

size_t trainer_arena_bytes(const struct trainer *self)
{
    size_t most = 0;
    for (const struct train_plan *p = self->plans; p; p = p->next)
        most = MAX(most, p->arena_bytes);
    return most;
}

/* --- steps -------------------------------------------------------------------------------------
 */
struct work {
    struct trainer *trainer;
    struct train_plan *plan;
    const struct tensor *target;
    double rate;
    struct trainer_result *result;
    enum status status;
    struct error *why;
};

static enum status forward(struct work *w)
{
    for (size_t k = 0; k < w->plan->passes_len; k++) {
        struct pass *p = w->plan->passes[k];
        const struct step *step = &p->step;
        bool own = p->grad && p->grad->forward;
        enum status s = own ? p->grad->forward(p, w->why) : step->node->op->run(step, w->why);
        if (s != STATUS_OK)
            return s;
        struct array *y = step->out_len ? step->out[0] : NULL;
        if (p->relu && y && y->layout == LAYOUT_PLAIN)
            vec_unary(ACT_RELU, array_count(y), y->data, y->data);
    }
    return STATUS_OK;
}

static enum status take_loss(struct work *w)
{
    struct slot *out = w->plan->output;
    const struct array *y = &out->array;
    struct loss_shape shape = {.cols = (size_t)y->dims[y->rank - 1]};
    enum loss_kind kind = w->trainer->options.loss;
    shape.rows = array_count(y) / shape.cols; /* not empty: take_output */
    shape.steps = shape.rows / (size_t)y->dims[0];
    w->result->rows = loss_rows(kind, shape);
    float *dy = w->trainer->run.learns ? out->grad.data : NULL;
    enum status s = loss_run(kind, shape, y->data, w->target, dy, &w->result->loss,
                             &w->result->correct, w->why);
    if (s == STATUS_OK && w->trainer->run.learns && !isfinite(w->result->loss))
        return fail(w->why, STATUS_INVALID,
                    "the loss of step %" PRIu64 " is %g: lower the learning rate, or look for "
                    "values in the data that are not finite",
                    w->trainer->run.number, w->result->loss);
    return s;
}

static void backward(struct work *w)
{
    for (size_t k = w->plan->passes_len; k-- > 0;) {
        struct pass *p = w->plan->passes[k];
        if (!p->back)
            continue;
        if (p->relu && !p->masked) {
            struct array *dy = p->dout[0];
            grad_relu(array_stored(dy), p->step.out[0]->data, dy->data, dy->data);
        }
        p->grad->backward(p);
        for (uint32_t i = 0; i < p->step.in_len; i++) {
            if (!p->sums[i])
                continue;
            size_t n = array_stored(p->sums[i]);
            struct operand x = {p->sums[i]->data, n, 1}, y = {p->din[i]->data, n, 1};
            vec_binary(BINARY_ADD, 1, n, x, y, p->sums[i]->data);
        }
    }
}

/* No gradient for columns that do not learn: they stay where they are, whatever the optimiser. */
static void clear_columns(const struct trainer *t)
{
    for (size_t k = 0; k < t->params_len; k++) {
        const struct param *p = &t->params[k];
        size_t all = (size_t)p->shown.dims[p->shown.rank - 1];
        if (!p->grad || !p->columns || p->columns >= all)
            continue;
        for (size_t i = p->columns; i < p->shown.count; i += all)
            memset(p->grad + i, 0, (all - p->columns) * sizeof(float));
    }
}

static enum status move_params(struct work *w)
{
    struct trainer *t = w->trainer;
    struct update u = t->options.optimiser;
    u.t = t->run.number;
    u.rate = (float)w->rate;
    u.scale = 1;
    if (t->options.clip_norm > 0) {
        double norm = w->result->grad_norm = update_norm(t->learning, t->grads);
        if (!isfinite(norm))
            return fail(w->why, STATUS_INVALID, "the gradient of step %" PRIu64 " is not finite",
                        t->run.number);
        if (norm > (double)t->options.clip_norm)
            u.scale = (float)((double)t->options.clip_norm / norm);
    }
    update_run(&u, t->learning, t->state, t->grads, t->state + t->all,
               t->state + t->all + t->learning);
    return STATUS_OK;
}

static void run_all(void *arg)
{
    struct work *w = arg;
    w->status = forward(w);
    if (w->status == STATUS_OK)
        w->status = take_loss(w);
    if (w->status != STATUS_OK || !w->trainer->run.learns)
        return;
    backward(w);
    clear_columns(w->trainer);
    w->status = move_params(w);
}

static enum status check_inputs(const struct trainer *t, const struct tensor *inputs, uint32_t len,
                                struct error *why)
{
    const struct graph *g = t->graph;
    char text[2][128];
    if (len != g->inputs_len)
        return fail(why, STATUS_INVALID, "%u inputs; expected %u", len, g->inputs_len);
    for (uint32_t i = 0; i < len; i++) {
        const struct value *v = &g->values[g->inputs[i]];
        bool same = v->dtype == inputs[i].dtype && v->rank == inputs[i].rank;
        for (uint32_t k = 0; same && k < v->rank; k++)
            same = inputs[i].dims[k] > 0 && (v->dims[k] < 0 || v->dims[k] == inputs[i].dims[k]);
        if (!same)
            return fail(why, STATUS_INVALID, "input \"%.200s\" is %s %s; expected %s %s", v->name,
                        dtype_name(inputs[i].dtype),
                        dims_text(text[0], sizeof text[0], inputs[i].dims, inputs[i].rank),
                        dtype_name(v->dtype), dims_text(text[1], sizeof text[1], v->dims, v->rank));
    }
    return STATUS_OK;
}

static enum status run(struct trainer *self, const struct tensor *inputs, uint32_t inputs_len,
                       struct work *w)
{
    enum status s = check_inputs(self, inputs, inputs_len, w->why);
    if (s == STATUS_OK)
        s = train_plan_for(self, inputs, &w->plan, w->why);
    if (s != STATUS_OK)
        return s;
    for (uint32_t i = 0; i < inputs_len; i++)
        w->plan->by_value[self->graph->inputs[i]]->array.data = inputs[i].data;
    *w->result = (struct trainer_result){0};
    par_region(run_all, w);
    return w->status;
}

enum status trainer_step(struct trainer *self, const struct tensor *inputs, uint32_t inputs_len,
                         const struct tensor *target, uint64_t number, double rate,
                         struct trainer_result *result, struct error *why)
{
    struct error local;
    struct work w = {self, NULL, target, rate, result, STATUS_OK, why ? why : &local};
    check(self);
    assert(number > 0);
    self->run.learns = true;
    self->run.number = number;
    return run(self, inputs, inputs_len, &w);
}

enum status trainer_evaluate(struct trainer *self, const struct tensor *inputs, uint32_t inputs_len,
                             const struct tensor *target, struct trainer_result *result,
                             struct error *why)
{
    struct error local;
    struct work w = {self, NULL, target, 0, result, STATUS_OK, why ? why : &local};
    check(self);
    self->run.learns = false;
    return run(self, inputs, inputs_len, &w);
}
