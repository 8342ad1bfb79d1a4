/* signature - reading what INSPECT returned; see signature.h */
#include "gateway/repository/signature.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

void signature_free(struct signature *self)
{
    free(self->names);
    memset(self, 0, sizeof *self);
}

static enum status read_shape(struct tensor *out, const json_t *shape, struct error *why)
{
    size_t i;
    const json_t *dim;
    if (!json_is_array(shape) || json_array_size(shape) > TENSOR_RANK_MAX)
        return fail(why, STATUS_MALFORMED, "\"shape\" of %s is no list of at most %d numbers",
                    out->name, TENSOR_RANK_MAX);
    out->rank = (uint32_t)json_array_size(shape);
    json_array_foreach(shape, i, dim)
    {
        if (!json_is_integer(dim) || json_integer_value(dim) < -1)
            return fail(why, STATUS_MALFORMED, "\"shape\" of %s: a dim is a number or -1",
                        out->name);
        out->dims[i] = json_integer_value(dim);
    }
    return STATUS_OK;
}

static enum status read_values(const json_t *root, const char *key, struct tensor *out,
                               uint32_t *len, uint32_t *axes, char **names, struct error *why)
{
    size_t i;
    const json_t *row;
    const json_t *list = json_object_get(root, key);
    if (!json_is_array(list) || json_array_size(list) > SIGNATURE_VALUES_MAX)
        return fail(why, STATUS_MALFORMED, "\"%s\" is no list of at most %d values", key,
                    SIGNATURE_VALUES_MAX);
    json_array_foreach(list, i, row)
    {
        const char *name = json_string_value(json_object_get(row, "name"));
        const char *type = json_string_value(json_object_get(row, "datatype"));
        if (!name || !type || dtype_by_name(type) == DTYPE_NONE)
            return fail(why, STATUS_MALFORMED, "\"%s\"[%zu] lacks a name or a known datatype", key,
                        i);
        out[i].name = *names;
        memcpy(*names, name, strlen(name) + 1);
        *names += strlen(name) + 1;
        out[i].dtype = dtype_by_name(type);
        enum status s = read_shape(&out[i], json_object_get(row, "shape"), why);
        if (s != STATUS_OK)
            return s;
        json_int_t axis = json_integer_value(json_object_get(row, "batch_axis"));
        if (axes)
            axes[i] = axis >= 0 && axis < TENSOR_RANK_MAX ? (uint32_t)axis : 0;
    }
    *len = (uint32_t)json_array_size(list);
    return STATUS_OK;
}

enum status signature_parse(struct signature *out, const char *json, size_t size, struct error *why)
{
    json_error_t at;
    json_t *root = json_loadb(json, size, 0, &at);
    memset(out, 0, sizeof *out);
    if (!root)
        return fail(why, STATUS_MALFORMED, "a signature is no JSON: line %d: %s", at.line, at.text);
    /* Each name is in the text with two quotes, so all of them with their NULs take less. */
    char *names = out->names = xmalloc(size + 1);
    enum status s = read_values(root, "inputs", out->inputs, &out->inputs_len, NULL, &names, why);
    if (s == STATUS_OK)
        s = read_values(root, "outputs", out->outputs, &out->outputs_len, out->output_batch_axis,
                        &names, why);
    out->batchable = json_is_true(json_object_get(root, "batchable"));
    json_decref(root);
    if (s != STATUS_OK)
        signature_free(out);
    return s;
}
