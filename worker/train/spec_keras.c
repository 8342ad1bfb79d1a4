/* spec_keras - see spec_keras.h
 *
 * Keras 2 refers to a layer's output as ["name", 0, 0, {arguments}], Keras 3 as an object with
 * "keras_history": ["name", 0, 0]; both may stand inside of lists and arguments. */
#include "worker/train/spec_keras.h"

#include <string.h>

#include "worker/train/spec.h"

bool keras_is_topology(const json_t *root)
{
    return json_object_get(root, "class_name") && json_object_get(root, "config");
}

/* In the order in which attention takes them. */
static const char *const tensors[] = {"query", "value", "key"};

static bool is_tensor(const char *key)
{
    for (size_t i = 0; i < ARRAY_LEN(tensors); i++)
        if (strcmp(key, tensors[i]) == 0)
            return true;
    return false;
}

static void collect(const json_t *value, json_t *names);

/* What attention takes, then the rest. */
static void collect_object(const json_t *object, json_t *names)
{
    const json_t *history = json_object_get(object, "keras_history");
    const char *key;
    json_t *value;
    if (json_is_string(json_array_get(history, 0))) {
        json_array_append(names, json_array_get(history, 0));
        return;
    }
    for (size_t i = 0; i < ARRAY_LEN(tensors); i++)
        collect(json_object_get(object, tensors[i]), names);
    json_object_foreach((json_t *)(uintptr_t)object, key, value)
    {
        if (!is_tensor(key))
            collect(value, names);
    }
}

/* Append the names of all layers that `value` refers to. */
static void collect(const json_t *value, json_t *names)
{
    if (json_is_object(value)) {
        collect_object(value, names);
        return;
    }
    size_t i = 0;
    if (json_is_string(json_array_get(value, 0)) && json_is_integer(json_array_get(value, 1)) &&
        json_is_integer(json_array_get(value, 2))) {
        json_array_append(names, json_array_get(value, 0));
        i = 3;
    }
    for (; i < json_array_size(value); i++)
        if (!json_is_string(json_array_get(value, i)))
            collect(json_array_get(value, i), names);
}

/* A shape with its batch becomes one of a row. */
static json_t *without_batch(const json_t *shape)
{
    json_t *row = json_array();
    for (size_t i = 1; i < json_array_size(shape); i++)
        json_array_append(row, json_array_get(shape, i));
    return row;
}

/* {"class_name": "LSTM", "config": {...}} as {"type": "LSTM", ...}; NULL when it is none. */
static json_t *flat(const json_t *layer)
{
    const json_t *class = json_object_get(layer, "class_name");
    const json_t *config = json_object_get(layer, "config");
    if (!json_is_string(class) || !json_is_object(config))
        return NULL;
    json_t *made = json_copy((json_t *)(uintptr_t)config);
    json_object_set(made, "type", (json_t *)(uintptr_t) class);
    json_object_del(made, "batch_input_shape");
    return made;
}

/* Two directions that differ in nothing but name and direction. */
static bool are_twins(const json_t *forward, const json_t *backward)
{
    json_t *one = json_copy((json_t *)(uintptr_t)forward), *other = flat(backward);
    bool reads_backwards = json_is_true(json_object_get(other, "go_backwards"));
    json_object_del(one, "name");
    json_object_del(other, "name");
    json_object_del(one, "go_backwards");
    json_object_del(other, "go_backwards");
    bool same = reads_backwards && json_equal(one, other);
    json_decref(one);
    json_decref(other);
    return same;
}

static enum status unwrap(json_t *made, struct error *why)
{
    json_t *wrapped = flat(json_object_get(made, "layer"));
    const json_t *backward = json_object_get(made, "backward_layer");
    if (!wrapped)
        return fail(why, STATUS_INVALID, "layer: expected an object with class_name and config");
    json_object_set_new(made, "layer", wrapped);
    if (json_is_object(backward) && !are_twins(wrapped, backward))
        return fail(why, STATUS_INVALID,
                    "backward_layer: expected the same as layer, but backwards");
    json_object_del(made, "backward_layer");
    return STATUS_OK;
}

/* Arguments of a call, besides its inputs, that change the result: masks, training. */
static enum status check_arguments(const json_t *arguments, struct error *why)
{
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)arguments, key, value)
    {
        if (!is_tensor(key) && strcmp(key, "inputs") != 0 && !json_is_null(value) &&
            !json_is_false(value))
            return fail(why, STATUS_INVALID, "it is called with \"%.60s\", which is not supported",
                        key);
    }
    return STATUS_OK;
}

/* What a layer of a Functional model reads, by its one call. */
static enum status take_call(json_t *made, const json_t *call, struct error *why)
{
    enum status s = check_arguments(json_object_get(call, "kwargs"), why);
    for (size_t i = 0; i < json_array_size(call) && s == STATUS_OK; i++) /* of Keras 2 */
        s = check_arguments(json_array_get(json_array_get(call, i), 3), why);
    if (s != STATUS_OK)
        return s;
    json_t *names = json_array();
    collect(call, names);
    json_object_set_new(made, "inputs", names);
    return STATUS_OK;
}

static enum status convert(const json_t *layer, bool first, bool functional, json_t **out,
                           struct error *why)
{
    json_t *made = *out = flat(layer);
    const json_t *config = json_object_get(layer, "config");
    const json_t *nodes = json_object_get(layer, "inbound_nodes");
    if (!made)
        return fail(why, STATUS_INVALID, "expected an object with class_name and config");
    const json_t *shape = json_object_get(config, "batch_shape")
                              ? json_object_get(config, "batch_shape")
                              : json_object_get(config, "batch_input_shape");
    if (strcmp(json_string_value(json_object_get(made, "type")), "InputLayer") == 0) {
        json_object_set_new(made, "type", json_string("Input"));
        json_object_set_new(made, "shape", without_batch(shape));
        json_object_del(made, "batch_shape");
    } else if (shape && first && !functional) {
        json_object_set_new(made, "input_shape", without_batch(shape));
    }
    if (json_object_get(made, "layer")) {
        enum status s = unwrap(made, why);
        if (s != STATUS_OK)
            return s;
    }
    if (json_array_size(nodes) > 1)
        return fail(why, STATUS_INVALID,
                    "it is called %zu times; layers that share parameters are not supported",
                    json_array_size(nodes));
    if (functional && json_array_size(nodes) == 1)
        return take_call(made, json_array_get(nodes, 0), why);
    if (functional && strcmp(json_string_value(json_object_get(made, "type")), "Input") != 0)
        return fail(why, STATUS_INVALID, "inbound_nodes: expected a list with its one call");
    return STATUS_OK;
}

/* One output, which is the last layer. */
static enum status check_outputs(const json_t *config, const json_t *layers, struct error *why)
{
    const json_t *last = json_array_get(layers, json_array_size(layers) - 1);
    const char *end = json_string_value(json_object_get(json_object_get(last, "config"), "name"));
    enum status s = STATUS_OK;
    json_t *outputs = json_array();
    collect(json_object_get(config, "output_layers"), outputs);
    const char *name = json_string_value(json_array_get(outputs, 0));
    if (json_array_size(outputs) > 1)
        s = fail(why, STATUS_INVALID, "the model has %zu outputs; one is supported",
                 json_array_size(outputs));
    else if (name && (!end || strcmp(name, end) != 0))
        s = fail(why, STATUS_INVALID, "output_layers: expected the last layer, got \"%.60s\"",
                 name);
    json_decref(outputs);
    return s;
}

enum status keras_layers(const json_t *root, json_t **layers, struct error *why)
{
    const char *class = json_string_value(json_object_get(root, "class_name"));
    const json_t *config = json_object_get(root, "config");
    const json_t *list = json_is_array(config) ? config : json_object_get(config, "layers");
    bool functional = class && (strcmp(class, "Functional") == 0 || strcmp(class, "Model") == 0);
    *layers = NULL;
    if (!class || (!functional && strcmp(class, "Sequential") != 0))
        return fail(why, STATUS_INVALID,
                    "the model is of class \"%.60s\"; Sequential and Functional are supported",
                    class ? class : "?");
    enum status s = check_outputs(config, list, why);
    if (s != STATUS_OK)
        return s;
    json_t *made = json_array();
    for (size_t i = 0; i < json_array_size(list); i++) {
        json_t *one = NULL;
        s = convert(json_array_get(list, i), i == 0, functional, &one, why);
        if (s != STATUS_OK) {
            json_decref(one);
            json_decref(made);
            return fail_in(why, "layers[%zu]", i);
        }
        json_array_append_new(made, one);
    }
    *layers = made;
    return STATUS_OK;
}
