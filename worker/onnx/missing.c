/* missing - which operators of a model this engine lacks, found before anything is built; see
 * nodes.h
 */
#include <stdio.h>
#include <string.h>

#include "worker/onnx/nodes.h"

#define MISSING_MAX 64 /* different operators that one message names */

/* One operator that is not there, with how often the model uses it. */
struct missing {
    const Onnx__NodeProto *node;
    int opset; /* of ai.onnx where it stands */
    size_t count;
};

static const char *type_of(const Onnx__NodeProto *n)
{
    return n->op_type ? n->op_type : "";
}

static const char *domain_of(const Onnx__NodeProto *n)
{
    return onnx_domain_is_ours(n->domain) ? "ai.onnx" : n->domain;
}

static bool have(const Onnx__NodeProto *n, int opset)
{
    if (!onnx_domain_is_ours(n->domain))
        return false;
    return strcmp(type_of(n), "Constant") == 0 || op_find(type_of(n), opset);
}

static enum status name_missing(const struct import *self, const struct missing *list, size_t len,
                                bool more)
{
    char text[ERROR_TEXT_MAX - 128];
    size_t used = 0;
    for (size_t i = 0; i < len && used < sizeof text; i++) {
        const Onnx__NodeProto *n = list[i].node;
        bool other_opset = onnx_domain_is_ours(n->domain) && op_known(type_of(n));
        char opset[64] = "";
        if (other_opset && list[i].opset)
            snprintf(opset, sizeof opset, " at opset %d", list[i].opset);
        else if (other_opset)
            snprintf(opset, sizeof opset, ", of whose domain the model imports no opset");
        int w =
            snprintf(text + used, sizeof text - used, "%s%s.%.60s%s (%zu node%s)", i ? ", " : "",
                     domain_of(n), type_of(n), opset, list[i].count, list[i].count == 1 ? "" : "s");
        used += (size_t)w;
    }
    return fail(self->why, STATUS_BAD_MODEL, "operators that this engine does not have: %s%s", text,
                more ? " and more" : "");
}

/* The operators that are missing, each once. */
struct missing_list {
    struct missing list[MISSING_MAX];
    size_t len;
    bool more;
};

static void note_missing(struct missing_list *m, const Onnx__NodeProto *n, int opset)
{
    size_t k = 0;
    while (k < m->len && (strcmp(type_of(m->list[k].node), type_of(n)) != 0 ||
                          strcmp(domain_of(m->list[k].node), domain_of(n)) != 0))
        k++;
    if (k < m->len)
        m->list[k].count++;
    else if (m->len < MISSING_MAX)
        m->list[m->len++] = (struct missing){n, opset, 1};
    else
        m->more = true;
}

/* Sub-graphs too, whose nesting the strip before has bounded, and functions, each once. */
static void find_missing(const struct import *self, Onnx__NodeProto *const *nodes, size_t len,
                         int opset, unsigned depth, struct missing_list *m)
{
    for (size_t i = 0; i < len; i++) {
        const Onnx__NodeProto *n = nodes[i];
        struct function *f = functions_find(self->functions, n);
        if (f && !f->checked && depth < FUNCTION_DEPTH_MAX) {
            f->checked = true;
            find_missing(self, f->proto->node, f->proto->n_node, f->opset ? f->opset : opset,
                         depth + 1, m);
        }
        if (!f && !have(n, opset))
            note_missing(m, n, opset);
        for (size_t k = 0; k < n->n_attribute; k++)
            if (n->attribute[k]->g)
                find_missing(self, n->attribute[k]->g->node, n->attribute[k]->g->n_node, opset,
                             depth, m);
    }
}

enum status import_check_operators(struct import *self, const Onnx__GraphProto *graph)
{
    struct missing_list m = {.len = 0};
    find_missing(self, graph->node, graph->n_node, self->opset, 0, &m);
    return m.len ? name_missing(self, m.list, m.len, m.more) : STATUS_OK;
}
