/* spec - see spec.h */
#include "worker/train/spec.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/file.h"
#include "worker/train/spec_args.h"
#include "worker/train/spec_keras.h"
#include "worker/train/spec_shapes.h"

/* Keys of a layer that are no arguments of its type. */
static const char *const layer_keys[] = {"type", "inputs", "input_shape"};

static const char *const file_keys[] = {"name", "layers"};

void spec_destroy(struct spec **self_p)
{
    struct spec *self = *self_p;
    if (!self)
        return;
    for (uint32_t i = 0; i < self->layers_len; i++) {
        if (self->layers[i].cell.args != self->layers[i].call.args)
            json_decref(self->layers[i].cell.args);
        json_decref(self->layers[i].call.args);
    }
    free(self->layers);
    free(self);
    *self_p = NULL;
}

/* --- names --------------------------------------------------------------------------------------
 */

static bool is_name(const char *text)
{
    size_t len = strlen(text);
    for (const char *c = text; *c; c++)
        if (!isalnum((unsigned char)*c) && !strchr("_.-", *c))
            return false;
    return len > 0 && len < SPEC_NAME_MAX;
}

static const struct spec_layer *find(const struct spec *self, const char *name)
{
    for (uint32_t i = 0; i < self->layers_len; i++)
        if (strcmp(self->layers[i].name, name) == 0)
            return &self->layers[i];
    return NULL;
}

/* "MaxPooling2D" is max_pooling2d; then max_pooling2d_1, as Keras numbers them. */
static void make_name(const struct spec *self, enum spec_type type, char *name)
{
    const char *given = spec_type_name(type);
    char base[SPEC_NAME_MAX - 8];
    size_t len = 0;
    for (size_t i = 0; given[i] && len + 2 < sizeof base; i++) {
        bool capital = isupper((unsigned char)given[i]);
        bool starts =
            islower((unsigned char)given[i + 1]) || (i > 0 && islower((unsigned char)given[i - 1]));
        if (i > 0 && capital && starts)
            base[len++] = '_';
        base[len++] = (char)tolower((unsigned char)given[i]);
    }
    base[len] = '\0';
    text_copy(name, SPEC_NAME_MAX, base);
    for (uint32_t number = 1; find(self, name); number++)
        snprintf(name, SPEC_NAME_MAX, "%s_%u", base, number);
}

static enum status take_name(const struct spec *self, struct spec_layer *layer, struct error *why)
{
    const char *name = spec_text(&layer->call, "name");
    if (!name) {
        make_name(self, layer->call.type, layer->name);
        return STATUS_OK;
    }
    if (!is_name(name))
        return fail(why, STATUS_INVALID,
                    "name: expected 1 to %d letters, digits, \"_\", \"-\" or \".\"",
                    SPEC_NAME_MAX - 1);
    const struct spec_layer *other = find(self, name);
    if (other)
        return fail(why, STATUS_INVALID, "the name \"%s\" is that of layers[%u] already", name,
                    other->index);
    text_copy(layer->name, sizeof layer->name, name);
    return STATUS_OK;
}

/* --- one layer ----------------------------------------------------------------------------------
 */

static enum status add_input(struct spec *self, struct spec_layer *layer, const json_t *name,
                             struct error *why)
{
    const char *names[SPEC_LAYERS_MAX + 1], *text = json_string_value(name);
    if (!text)
        return fail(why, STATUS_INVALID, "inputs: expected the name of a layer, or a list of them");
    if (layer->inputs_len == SPEC_INPUTS_MAX)
        return fail(why, STATUS_INVALID, "inputs: more than %d", SPEC_INPUTS_MAX);
    const struct spec_layer *from = find(self, text);
    if (from) {
        layer->inputs[layer->inputs_len++] = (uint32_t)(from - self->layers);
        self->layers[from - self->layers].read = true;
        return STATUS_OK;
    }
    for (uint32_t i = 0; i < self->layers_len; i++)
        names[i] = self->layers[i].name;
    const char *near = spec_nearest(text, names, self->layers_len);
    return fail(why, STATUS_INVALID, "inputs: no layer in front of it has the name \"%.60s\"%s%s%s",
                text, near ? "; did you mean \"" : "", near ? near : "", near ? "\"?" : "");
}

static enum status take_inputs(struct spec *self, struct spec_layer *layer, const json_t *given,
                               struct error *why)
{
    const json_t *inputs = json_object_get(given, "inputs");
    enum status s = STATUS_OK;
    if (spec_family(layer->call.type) == SPEC_FAMILY_INPUT && !inputs)
        return STATUS_OK;
    if (inputs && !json_is_array(inputs))
        return add_input(self, layer, inputs, why);
    for (size_t i = 0; i < json_array_size(inputs) && s == STATUS_OK; i++)
        s = add_input(self, layer, json_array_get(inputs, i), why);
    if (inputs || s != STATUS_OK)
        return s;
    if (!self->layers_len)
        return fail(why, STATUS_INVALID,
                    "the first layer must say what goes in: \"input_shape\": [28, 28, 1], or an "
                    "Input in front of it");
    layer->inputs[layer->inputs_len++] = self->layers_len - 1;
    self->layers[self->layers_len - 1].read = true;
    return STATUS_OK;
}

/* What Bidirectional wraps; for the others their own call. */
static enum status take_cell(struct spec_layer *layer, struct error *why)
{
    const json_t *wrapped = json_object_get(layer->call.args, "layer");
    const char *name = json_string_value(json_object_get(wrapped, "type"));
    enum spec_type type;
    layer->cell = layer->call;
    if (layer->call.type != SPEC_Bidirectional)
        return STATUS_OK;
    if (!name || !spec_type_find(name, &type, why) || spec_family(type) != SPEC_FAMILY_RECURRENT ||
        type == SPEC_Bidirectional)
        return fail(why, STATUS_INVALID,
                    "layer: expected the type SimpleRNN, LSTM or GRU, got %.60s",
                    name ? name : "none");
    layer->cell.args = NULL;
    enum status s = spec_args_check(&layer->cell, type, wrapped, layer_keys, 1, why);
    return s == STATUS_OK ? s : fail_in(why, "layer");
}

/* "layers[5] (Dense "dense_1")", for messages. */
static enum status blame(struct error *why, uint32_t index, const char *type, const char *name)
{
    if (!type)
        return fail_in(why, "layers[%u]", index);
    if (!name || !name[0])
        return fail_in(why, "layers[%u] (%.60s)", index, type);
    return fail_in(why, "layers[%u] (%.60s \"%.60s\")", index, type, name);
}

static enum status add_layer(struct spec *self, uint32_t index, const json_t *given,
                             struct error *why)
{
    const char *type = json_string_value(json_object_get(given, "type"));
    struct spec_layer *layer = &self->layers[self->layers_len];
    enum spec_type number;
    layer->index = index;
    if (!type)
        fail(why, STATUS_INVALID, "expected an object with the \"type\" of a layer, such as Dense");
    if (!type || !spec_type_find(type, &number, why))
        return blame(why, index, NULL, NULL);
    enum status s =
        spec_args_check(&layer->call, number, given, layer_keys, ARRAY_LEN(layer_keys), why);
    if (s == STATUS_OK)
        s = take_name(self, layer, why);
    if (s == STATUS_OK)
        s = take_cell(layer, why);
    if (s == STATUS_OK)
        s = take_inputs(self, layer, given, why);
    if (s == STATUS_OK)
        s = spec_infer(self, layer, why);
    if (s == STATUS_OK) {
        self->layers_len++;
        return s;
    }
    blame(why, index, type, layer->name);
    if (layer->cell.args != layer->call.args)
        json_decref(layer->cell.args);
    json_decref(layer->call.args);
    *layer = (struct spec_layer){0};
    return s;
}

/* The first layer's input_shape as an Input of its own; indices are whole numbers. */
static enum status add_implicit(struct spec *self, const json_t *layer, struct error *why)
{
    const char *type = json_string_value(json_object_get(layer, "type"));
    json_t *shape = json_object_get(layer, "input_shape");
    if (!shape)
        return STATUS_OK;
    json_t *input = json_pack("{s:s, s:O, s:s}", "type", "Input", "shape", shape, "dtype",
                              type && strcmp(type, "Embedding") == 0 ? "int32" : "float32");
    enum status s = add_layer(self, 0, input, why);
    json_decref(input);
    return s;
}

/* --- the whole ----------------------------------------------------------------------------------
 */

static enum status add_layers(struct spec *self, const json_t *list, struct error *why)
{
    size_t len = json_array_size(list);
    if (len < 1 || len > SPEC_LAYERS_MAX)
        return fail(why, STATUS_INVALID, "layers: expected a list of 1 to %d layers, got %zu",
                    SPEC_LAYERS_MAX, len);
    self->layers = xcalloc(len + 1, sizeof *self->layers);
    enum status s = add_implicit(self, json_array_get(list, 0), why);
    for (size_t i = 0; i < len && s == STATUS_OK; i++) {
        const json_t *layer = json_array_get(list, i);
        if (i && json_object_get(layer, "input_shape")) {
            fail(why, STATUS_INVALID, "input_shape is for the first layer; use an Input");
            return blame(why, (uint32_t)i, NULL, NULL);
        }
        s = add_layer(self, (uint32_t)i, layer, why);
    }
    return s;
}

/* One layer that nobody reads: the output. */
static enum status find_output(struct spec *self, struct error *why)
{
    uint64_t elements = 0;
    self->output = self->layers_len - 1;
    for (uint32_t i = 0; i < self->layers_len; i++) {
        const struct spec_layer *layer = &self->layers[i];
        if (!layer->read && i != self->output) {
            fail(why, STATUS_INVALID,
                 "no layer reads it, and it is not the last: use it or leave "
                 "it out");
            return blame(why, layer->index, spec_type_name(layer->call.type), layer->name);
        }
        for (uint32_t k = 0; k < layer->params_len; k++)
            elements += layer->params[k].elements;
        if (elements > SPEC_ELEMENTS_MAX) {
            fail(why, STATUS_INVALID,
                 "with its parameters the model has more than %" PRIu64 " of them",
                 SPEC_ELEMENTS_MAX);
            return blame(why, layer->index, spec_type_name(layer->call.type), layer->name);
        }
    }
    if (spec_family(self->layers[self->output].call.type) == SPEC_FAMILY_INPUT)
        return fail(why, STATUS_INVALID, "layers: there is nothing but an Input");
    return STATUS_OK;
}

static enum status check_keys(const json_t *root, struct error *why)
{
    const char *key;
    json_t *value;
    if (!json_is_object(root))
        return fail(why, STATUS_INVALID, "expected an object with \"layers\"");
    json_object_foreach((json_t *)(uintptr_t)root, key, value)
    {
        bool known = false;
        for (size_t i = 0; i < ARRAY_LEN(file_keys); i++)
            known = known || strcmp(key, file_keys[i]) == 0;
        const char *near = spec_nearest(key, file_keys, ARRAY_LEN(file_keys));
        if (!known)
            return fail(why, STATUS_INVALID, "unknown key \"%.60s\"; %s%s%s", key,
                        near ? "did you mean \"" : "expected \"name\" and \"layers",
                        near ? near : "", near ? "\"?" : "\"");
    }
    return STATUS_OK;
}

static enum status read_root(struct spec *self, const json_t *root, struct error *why)
{
    bool keras = keras_is_topology(root);
    const json_t *named = keras ? json_object_get(root, "config") : root;
    const json_t *given = json_object_get(named, "name");
    const char *name = json_string_value(given);
    json_t *layers = NULL;
    enum status s = keras ? keras_layers(root, &layers, why) : check_keys(root, why);
    if (!given || json_is_null(given))
        name = "model";
    if (s == STATUS_OK && (!name || !is_name(name)))
        s = fail(why, STATUS_INVALID,
                 "name: expected 1 to %d letters, digits, \"_\", \"-\" or \".\"",
                 SPEC_NAME_MAX - 1);
    if (s == STATUS_OK) {
        text_copy(self->name, sizeof self->name, name);
        s = add_layers(self, layers ? layers : json_object_get(root, "layers"), why);
    }
    if (s == STATUS_OK)
        s = find_output(self, why);
    json_decref(layers);
    return s;
}

enum status spec_read(struct spec **out, const char *text, size_t size, struct error *why)
{
    json_error_t problem;
    *out = NULL;
    if (size > SPEC_BYTES_MAX)
        return fail(why, STATUS_INVALID, "a specification has at most %zu bytes", SPEC_BYTES_MAX);
    json_t *root = json_loadb(text, size, JSON_REJECT_DUPLICATES, &problem);
    if (!root)
        return fail(why, STATUS_INVALID, "line %d, column %d: no JSON: %s", problem.line,
                    problem.column, problem.text);
    struct spec *self = xcalloc(1, sizeof *self);
    enum status s = read_root(self, root, why);
    if (s == STATUS_OK)
        *out = self;
    else
        spec_destroy(&self);
    json_decref(root);
    return s;
}

enum status spec_load(struct spec **out, const char *path, struct error *why)
{
    char *text;
    size_t size;
    *out = NULL;
    enum status s = file_read(&text, &size, path, SPEC_BYTES_MAX, why);
    if (s != STATUS_OK)
        return s;
    s = spec_read(out, text, size, why);
    free(text);
    return s == STATUS_OK ? s : fail_in(why, "%s", path);
}
