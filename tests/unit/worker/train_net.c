/* train_net - see train_net.h */
#include "tests/unit/worker/train_net.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/common/testing.h"

#define OPSET      20
#define INPUTS_MAX 8

struct parser {
    struct graph *g;
    const char *at;
    uint64_t state;
};

static void blanks(struct parser *p)
{
    while (*p->at == ' ' || *p->at == ';')
        p->at++;
}

static char *word(struct parser *p)
{
    size_t n = 0;
    while (isalnum((unsigned char)p->at[n]) || p->at[n] == '_')
        n++;
    if (!n)
        fail_msg("a name is missing at \"%s\"", p->at);
    char *text = region_text(p->g->region, p->at, n);
    p->at += n;
    return text;
}

static size_t numbers(struct parser *p, double *into, size_t max)
{
    size_t n = 0;
    char *end;
    do {
        assert_true(n < max);
        into[n++] = strtod(p->at, &end);
        p->at = end;
    } while (*p->at == ',' && p->at++);
    return n;
}

static uint32_t find(const struct graph *g, const char *name)
{
    for (uint32_t i = g->values_len; i-- > 0;)
        if (strcmp(g->values[i].name, name) == 0)
            return i;
    fail_msg("no value \"%s\"", name);
    return 0;
}

static uint32_t constant(struct parser *p, const char *name, const int64_t *dims, uint32_t rank)
{
    size_t count = 1;
    for (uint32_t i = 0; i < rank; i++)
        count *= (size_t)dims[i];
    float *data = region_take(p->g->region, count * sizeof(float));
    for (size_t i = 0; i < count; i++)
        data[i] = (float)(int32_t)(uint32_t)test_random(&p->state) * 0x1p-31f;
    uint32_t v = graph_value(p->g, name, VALUE_CONST);
    graph_set_const(p->g, v, DTYPE_FP32, dims, rank, data, count * sizeof(float));
    return v;
}

static struct node *node_new(struct graph *g, const char *op, uint32_t inputs, uint32_t outputs)
{
    struct node *n = region_take(g->region, sizeof *n);
    n->op = op_find(op, OPSET);
    if (!n->op)
        fail_msg("no operator %s", op);
    n->name = n->label = op;
    n->opset = OPSET;
    n->region = g->region;
    n->inputs_len = inputs;
    n->outputs_len = outputs;
    n->inputs = region_array(g->region, inputs, sizeof(uint32_t));
    n->outputs = region_array(g->region, outputs, sizeof(uint32_t));
    n->attrs = region_array(g->region, 8, sizeof(struct attr));
    return n;
}

static void put(struct graph *g, struct node *n, char *const *outputs)
{
    for (uint32_t i = 0; i < n->outputs_len; i++) {
        n->outputs[i] = graph_value(g, outputs[i], VALUE_MADE);
        g->values[n->outputs[i]].maker = g->nodes_len;
    }
    graph_node(g, n);
}

static void tensor(struct parser *p)
{
    struct graph *g = p->g;
    char *name = word(p);
    double read[TENSOR_RANK_MAX];
    int64_t dims[TENSOR_RANK_MAX];
    if (*p->at == '=') {
        p->at += 2;
        size_t n = numbers(p, read, TENSOR_RANK_MAX);
        int64_t *data = region_take(g->region, n * sizeof *data), len = (int64_t)n;
        for (size_t i = 0; i < n; i++)
            data[i] = (int64_t)read[i];
        assert_int_equal(*p->at++, '}');
        graph_set_const(g, graph_value(g, name, VALUE_CONST), DTYPE_INT64, &len, 1, data,
                        n * sizeof *data);
        return;
    }
    assert_int_equal(*p->at++, '[');
    uint32_t rank = (uint32_t)numbers(p, read, TENSOR_RANK_MAX);
    assert_int_equal(*p->at++, ']');
    for (uint32_t i = 0; i < rank; i++)
        dims[i] = (int64_t)read[i];
    if (isupper((unsigned char)*name)) {
        constant(p, name, dims, rank);
        return;
    }
    char text[64];
    struct node *add = node_new(g, "Add", 2, 1);
    snprintf(text, sizeof text, "%s_value", name);
    add->inputs[0] = constant(p, region_text(g->region, text, strlen(text)), dims, rank);
    snprintf(text, sizeof text, "%s_shift", name);
    add->inputs[1] = constant(p, region_text(g->region, text, strlen(text)), &dims[rank - 1], 1);
    put(g, add, &name);
}

static void attribute(struct parser *p, struct node *n)
{
    struct attr *a = &n->attrs[n->attrs_len++];
    double read[16];
    a->name = word(p);
    assert_int_equal(*p->at++, '=');
    if (strcmp(a->name, "activations") == 0) {
        const char **texts = region_array(n->region, INPUTS_MAX, sizeof *texts);
        a->kind = ATTR_TEXTS;
        a->texts = texts;
        do {
            assert_true(a->len < INPUTS_MAX);
            texts[a->len++] = word(p);
        } while (*p->at == ',' && p->at++);
        return;
    }
    if (isalpha((unsigned char)*p->at)) {
        a->kind = ATTR_TEXT;
        a->text = word(p);
        return;
    }
    const char *from = p->at;
    a->len = numbers(p, read, 16);
    bool point = memchr(from, '.', (size_t)(p->at - from)) != NULL;
    bool list = strstr(" strides pads dilations kernel_shape perm ", a->name) != NULL;
    int64_t *ints = region_take(n->region, a->len * sizeof *ints);
    for (size_t i = 0; i < a->len; i++)
        ints[i] = (int64_t)read[i];
    a->kind = list ? ATTR_INTS : point ? ATTR_FLOAT : ATTR_INT;
    a->ints = ints;
    a->i = ints[0];
    a->f = (float)read[0];
}

static void operation(struct parser *p)
{
    char *outputs[INPUTS_MAX], *inputs[INPUTS_MAX];
    uint32_t out = 0, in = 0;
    do {
        assert_true(out < INPUTS_MAX);
        outputs[out++] = word(p);
    } while (*p->at == ',' && p->at++);
    assert_int_equal(*p->at++, '=');
    char *op = word(p);
    assert_int_equal(*p->at++, '(');
    do {
        assert_true(in < INPUTS_MAX);
        inputs[in++] = *p->at == ',' || *p->at == ')' ? NULL : word(p);
    } while (*p->at == ',' && p->at++);
    assert_int_equal(*p->at++, ')');
    struct node *n = node_new(p->g, op, in, out);
    for (uint32_t i = 0; i < in; i++)
        n->inputs[i] = inputs[i] ? find(p->g, inputs[i]) : VALUE_NONE;
    put(p->g, n, outputs);
    while (*p->at == ' ') {
        p->at++;
        attribute(p, n);
    }
}

struct graph *net_graph(const char *text, uint64_t seed)
{
    struct parser p = {graph_new(), text, seed};
    struct error why = {0};
    p.g->opset = OPSET;
    for (blanks(&p); *p.at; blanks(&p)) {
        const char *end = p.at + strcspn(p.at, "[(");
        const char *constant_at = strstr(p.at, "={");
        if (*end == '[' || (constant_at && constant_at < end))
            tensor(&p);
        else
            operation(&p);
    }
    p.g->outputs = region_take(p.g->region, sizeof(uint32_t));
    p.g->outputs[0] = p.g->nodes[p.g->nodes_len - 1]->outputs[0];
    p.g->outputs_len = 1;
    graph_count_readers(p.g);
    if (graph_check(p.g, &why) != STATUS_OK)
        fail_msg("%s: %s", text, why.text);
    return p.g;
}

const struct array *net_shape(const struct net *self, uint32_t value)
{
    return plan_value(self->plan, value);
}

static double number_at(enum dtype dtype, const void *data, size_t i)
{
    switch (dtype) {
    case DTYPE_FP32:
        return (double)((const float *)data)[i];
    case DTYPE_INT64:
        return (double)((const int64_t *)data)[i];
    case DTYPE_INT32:
        return (double)((const int32_t *)data)[i];
    default:
        assert_int_equal(dtype, DTYPE_UINT8);
        return (double)((const uint8_t *)data)[i];
    }
}

struct net *net_of(const char *text, struct graph *graph, const struct tensor *inputs)
{
    struct net *n = xcalloc(1, sizeof *n);
    struct array arrays[INPUTS_MAX];
    struct error why = {STATUS_OK, ""};
    memset(arrays, 0, sizeof arrays);
    for (uint32_t i = 0; inputs && i < graph->inputs_len; i++) {
        arrays[i].dtype = inputs[i].dtype;
        arrays[i].rank = inputs[i].rank;
        memcpy(arrays[i].dims, inputs[i].dims, sizeof arrays[i].dims);
    }
    n->text = text;
    n->graph = graph;
    if (plan_make(&n->plan, n->graph, arrays, &why) != STATUS_OK)
        fail_msg("%s: %s", text, why.text);
    n->values = xcalloc(n->graph->values_len, sizeof *n->values);
    for (uint32_t i = 0; i < n->graph->values_len; i++) {
        const struct array *a = net_shape(n, i);
        const void *data = NULL;
        n->values[i] = xcalloc(MAX(1, array_count(a)), sizeof(double));
        for (uint32_t k = 0; inputs && k < graph->inputs_len; k++)
            data = graph->inputs[k] == i ? inputs[k].data : data;
        if (n->graph->values[i].kind == VALUE_CONST)
            data = graph_const_data(n->graph, i);
        for (size_t k = 0; data && k < array_count(a); k++)
            n->values[i][k] = number_at(a->dtype, data, k);
    }
    n->output = n->graph->outputs[0];
    const struct array *out = net_shape(n, n->output);
    n->cols = (size_t)out->dims[out->rank - 1];
    n->rows = array_count(out) / n->cols;
    return n;
}

struct net *net_new(const char *text, uint64_t seed)
{
    return net_of(text, net_graph(text, seed), NULL);
}

void net_free(struct net **self_p)
{
    struct net *n = *self_p;
    for (uint32_t i = 0; i < n->graph->values_len; i++)
        free(n->values[i]);
    free(n->values);
    plan_destroy(&n->plan);
    graph_destroy(&n->graph);
    free(n);
    *self_p = NULL;
}

double *net_const(struct net *self, const char *name, size_t *count)
{
    uint32_t v = find(self->graph, name);
    *count = array_count(net_shape(self, v));
    return self->values[v];
}

const double *net_run(struct net *self)
{
    for (uint32_t i = 0; i < self->graph->nodes_len; i++)
        if (self->graph->nodes[i])
            reference_run(self, self->graph->nodes[i]);
    return self->values[self->output];
}
