/* functions - a table over "domain, name, overload"; see functions.h
 *
 * The description of ONNX that this is built with may be older than a model. What newer ones have
 * added, overloads and defaults of attributes, stands in the decoder's unknown fields. */
#include "worker/onnx/functions.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "worker/onnx/names.h"
#include "worker/ops/op.h"

#define FUNCTION_DEFAULTS 11 /* FunctionProto.attribute_proto */
#define FUNCTION_OVERLOAD 13 /* FunctionProto.overload */
#define NODE_OVERLOAD     8  /* NodeProto.overload */

struct functions {
    struct function *list;
    size_t len;
    struct names *names; /* keys to places in the list */
    struct region *region;
};

bool onnx_domain_is_ours(const char *domain)
{
    return !domain || !domain[0] || strcmp(domain, "ai.onnx") == 0;
}

enum status onnx_opset(Onnx__OperatorSetIdProto *const *list, size_t len, int *opset,
                       struct error *why)
{
    *opset = 0;
    for (size_t i = 0; i < len; i++) {
        if (!onnx_domain_is_ours(list[i]->domain))
            continue; /* named in vain by many exporters; a node that uses it is refused by name */
        if (!list[i]->has_version || list[i]->version < 1 || list[i]->version > OPSET_NEWEST)
            return fail(why, STATUS_BAD_MODEL,
                        "the model imports opset %" PRId64 " of ai.onnx; this engine knows 1 to %d",
                        list[i]->has_version ? list[i]->version : 0, OPSET_NEWEST);
        *opset = (int)list[i]->version;
    }
    return STATUS_OK;
}

/* The content of unknown field `u`, which has its length in front. */
static bool content(const ProtobufCMessageUnknownField *u, const uint8_t **bytes, size_t *size)
{
    size_t at = 0, length = 0;
    if (u->wire_type != PROTOBUF_C_WIRE_TYPE_LENGTH_PREFIXED)
        return false;
    for (unsigned shift = 0; at < u->len && shift < 35; shift += 7) {
        length |= (size_t)(u->data[at] & 0x7f) << shift;
        if (!(u->data[at++] & 0x80))
            break;
    }
    if (length != u->len - at)
        return false;
    *bytes = u->data + at;
    *size = length;
    return true;
}

/* "domain\nname\noverload"; free() it. */
static char *key_of(const char *domain, const char *name, const ProtobufCMessage *message,
                    uint32_t overload_tag)
{
    const uint8_t *overload = (const uint8_t *)"";
    size_t size = 0;
    for (unsigned i = 0; i < message->n_unknown_fields; i++)
        if (message->unknown_fields[i].tag == overload_tag &&
            !content(&message->unknown_fields[i], &overload, &size))
            size = 0;
    return xasprintf("%s\n%s\n%.*s", onnx_domain_is_ours(domain) ? "" : domain, name ? name : "",
                     (int)size, (const char *)overload);
}

static enum status read_defaults(struct functions *self, struct function *f, struct error *why)
{
    const ProtobufCMessage *m = &f->proto->base;
    const uint8_t *bytes;
    size_t size;
    f->defaults = region_array(self->region, m->n_unknown_fields, sizeof *f->defaults);
    for (unsigned i = 0; i < m->n_unknown_fields; i++) {
        if (m->unknown_fields[i].tag != FUNCTION_DEFAULTS)
            continue;
        Onnx__AttributeProto *a = NULL;
        if (content(&m->unknown_fields[i], &bytes, &size))
            a = onnx__attribute_proto__unpack(NULL, size, bytes);
        if (!a)
            return fail(why, STATUS_BAD_MODEL,
                        "function \"%.200s\" has a default that is no attribute",
                        f->proto->name ? f->proto->name : "");
        f->defaults[f->defaults_len++] = a;
    }
    return STATUS_OK;
}

static enum status add(struct functions *self, const Onnx__FunctionProto *p, struct error *why)
{
    struct function *f = &self->list[self->len];
    char *key = key_of(p->domain, p->name, &p->base, FUNCTION_OVERLOAD);
    bool is_new =
        names_add(self->names, region_text(self->region, key, strlen(key)), (uint32_t)self->len);
    free(key);
    if (!is_new)
        return fail(why, STATUS_BAD_MODEL, "the model defines function \"%.200s\" twice",
                    p->name ? p->name : "");
    self->len++;
    f->proto = p;
    enum status s = onnx_opset(p->opset_import, p->n_opset_import, &f->opset, why);
    if (s != STATUS_OK)
        return s;
    return read_defaults(self, f, why);
}

enum status functions_new(struct functions **out, const Onnx__ModelProto *model, struct error *why)
{
    struct functions *self = *out = xcalloc(1, sizeof *self);
    self->names = names_new();
    self->region = region_new();
    if (model->n_functions > FUNCTIONS_MAX)
        return fail(why, STATUS_BAD_MODEL, "the model defines %zu functions; at most %d are read",
                    model->n_functions, FUNCTIONS_MAX);
    self->list = xcalloc(model->n_functions, sizeof *self->list);
    enum status s = STATUS_OK;
    for (size_t i = 0; i < model->n_functions && s == STATUS_OK; i++)
        s = add(self, model->functions[i], why);
    return s;
}

struct function *functions_find(const struct functions *self, const Onnx__NodeProto *node)
{
    if (!self->len)
        return NULL;
    char *key = key_of(node->domain, node->op_type, &node->base, NODE_OVERLOAD);
    uint32_t number = names_find(self->names, key);
    free(key);
    return number == UINT32_MAX ? NULL : &self->list[number];
}

const Onnx__AttributeProto *function_default(const struct function *self, const char *name)
{
    for (size_t i = 0; i < self->defaults_len; i++)
        if (self->defaults[i]->name && strcmp(self->defaults[i]->name, name) == 0)
            return self->defaults[i];
    return NULL;
}

void functions_destroy(struct functions **self_p)
{
    struct functions *self = *self_p;
    if (!self)
        return;
    for (size_t i = 0; i < self->len; i++)
        for (size_t k = 0; k < self->list[i].defaults_len; k++)
            onnx__attribute_proto__free_unpacked(self->list[i].defaults[k], NULL);
    free(self->list);
    names_destroy(&self->names);
    region_destroy(&self->region);
    free(self);
    *self_p = NULL;
}
