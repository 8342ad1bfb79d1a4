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

static void collect(const json_t *value, json_t *names);

/* In the order in which attention takes them, then the rest. */
static void collect_object(const json_t *object, json_t *names)
{
    static const char *const first[] = {"query", "value", "key"};
    const json_t *history = json_object_get(object, "keras_history");
    const char *key;
    json_t *value;
    if (json_is_string(json_array_get(history, 0))) {
        json_array_append(names, json_array_get(history, 0));
        return;
    }
    for (size_t i = 0; i < ARRAY_LEN(first); i++)
        collect(json_object_get(object, first[i]), names);
    json_object_foreach((json_t *)(uintptr_t)object, key, value)
    {
        bool done = false;
        for (size_t i = 0; i < ARRAY_LEN(first); i++)
            done = done || strcmp(key, first[i]) == 0;
        if (!done)
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
    if (functional && json_array_size(nodes) == 1) {
        json_t *names = json_array();
        collect(json_array_get(nodes, 0), names);
        json_object_set_new(made, "inputs", names);
    }
    return STATUS_OK;
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
    json_t *outputs = json_array();
    collect(json_object_get(config, "output_layers"), outputs);
    size_t outputs_len = json_array_size(outputs);
    json_decref(outputs);
    if (outputs_len > 1)
        return fail(why, STATUS_INVALID, "the model has %zu outputs; one is supported",
                    outputs_len);
    json_t *made = json_array();
    for (size_t i = 0; i < json_array_size(list); i++) {
        json_t *one = NULL;
        enum status s = convert(json_array_get(list, i), i == 0, functional, &one, why);
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
