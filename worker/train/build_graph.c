/* build_graph - see build_graph.h */
#include "worker/train/build_graph.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FLOAT ONNX__TENSOR_PROTO__DATA_TYPE__FLOAT

char *build_text(struct build *b, const char *format, ...)
{
    char *made;
    va_list args;
    va_start(args, format);
    if (vasprintf(&made, format, args) < 0)
        panic("out of memory");
    va_end(args);
    char *text = region_text(b->region, made, strlen(made));
    free(made);
    return text;
}

/* One place more in a list of pointers. */
static void **grow(struct region *region, void **list, size_t len, size_t *room)
{
    if (len < *room)
        return list;
    *room = *room ? 2 * *room : 64;
    void **more = region_array(region, *room, sizeof *more);
    if (len)
        memcpy(more, list, len * sizeof *more);
    return more;
}

/* --- nodes --------------------------------------------------------------------------------------
 */

Onnx__NodeProto *build_node(struct build *b, const char *op, const char *const *inputs, size_t len)
{
    Onnx__NodeProto *node = region_take(b->region, sizeof *node);
    size_t same = 0;
    onnx__node_proto__init(node);
    for (size_t i = b->layer_nodes; i < b->nodes_len; i++)
        same += strcmp(b->nodes[i]->op_type, op) == 0;
    node->name = same ? build_text(b, "%s/%s_%zu", b->layer->name, op, same)
                      : build_text(b, "%s/%s", b->layer->name, op);
    node->op_type = build_text(b, "%s", op);
    while (len && !inputs[len - 1])
        len--;
    node->n_input = len;
    node->input = region_array(b->region, len, sizeof *node->input);
    for (size_t i = 0; i < len; i++)
        node->input[i] = build_text(b, "%s", inputs[i] ? inputs[i] : "");
    build_more(b, node, node->name);
    b->nodes = (Onnx__NodeProto **)grow(b->region, (void **)b->nodes, b->nodes_len, &b->nodes_room);
    b->nodes[b->nodes_len++] = node;
    return node;
}

const char *build_more(struct build *b, Onnx__NodeProto *node, const char *name)
{
    char **more = region_array(b->region, node->n_output + 1, sizeof *more);
    if (node->n_output)
        memcpy(more, node->output, node->n_output * sizeof *more);
    node->output = more;
    return more[node->n_output++] = build_text(b, "%s", name);
}

static Onnx__AttributeProto *add_attribute(struct build *b, Onnx__NodeProto *node, const char *name,
                                           Onnx__AttributeProto__AttributeType type)
{
    Onnx__AttributeProto **more = region_array(b->region, node->n_attribute + 1, sizeof *more);
    Onnx__AttributeProto *a = region_take(b->region, sizeof *a);
    onnx__attribute_proto__init(a);
    a->name = build_text(b, "%s", name);
    a->has_type = 1;
    a->type = type;
    if (node->n_attribute)
        memcpy(more, node->attribute, node->n_attribute * sizeof(*more));
    node->attribute = more;
    return more[node->n_attribute++] = a;
}

void build_int(struct build *b, Onnx__NodeProto *node, const char *name, int64_t value)
{
    Onnx__AttributeProto *a =
        add_attribute(b, node, name, ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__INT);
    a->has_i = 1;
    a->i = value;
}

void build_ints(struct build *b, Onnx__NodeProto *node, const char *name, const int64_t *values,
                size_t len)
{
    Onnx__AttributeProto *a =
        add_attribute(b, node, name, ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__INTS);
    a->n_ints = len;
    a->ints = region_array(b->region, len, sizeof *a->ints);
    memcpy(a->ints, values, len * sizeof *values);
}

void build_float(struct build *b, Onnx__NodeProto *node, const char *name, double value)
{
    Onnx__AttributeProto *a =
        add_attribute(b, node, name, ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__FLOAT);
    a->has_f = 1;
    a->f = (float)value;
}

void build_floats(struct build *b, Onnx__NodeProto *node, const char *name, double value,
                  size_t len)
{
    Onnx__AttributeProto *a =
        add_attribute(b, node, name, ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__FLOATS);
    a->n_floats = len;
    a->floats = region_array(b->region, len, sizeof *a->floats);
    for (size_t i = 0; i < len; i++)
        a->floats[i] = (float)value;
}

void build_string(struct build *b, Onnx__NodeProto *node, const char *name, const char *value)
{
    Onnx__AttributeProto *a =
        add_attribute(b, node, name, ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__STRING);
    a->has_s = 1;
    a->s = (ProtobufCBinaryData){strlen(value), (uint8_t *)build_text(b, "%s", value)};
}

void build_strings(struct build *b, Onnx__NodeProto *node, const char *name,
                   const char *const *values, size_t len)
{
    Onnx__AttributeProto *a =
        add_attribute(b, node, name, ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__STRINGS);
    a->n_strings = len;
    a->strings = region_array(b->region, len, sizeof *a->strings);
    for (size_t i = 0; i < len; i++)
        a->strings[i] =
            (ProtobufCBinaryData){strlen(values[i]), (uint8_t *)build_text(b, "%s", values[i])};
}

/* --- constants ----------------------------------------------------------------------------------
 */

const char *build_tensor(struct build *b, const char *name, int onnx_type, const int64_t *dims,
                         uint32_t rank, void *data, size_t bytes)
{
    Onnx__TensorProto *t = region_take(b->region, sizeof *t);
    onnx__tensor_proto__init(t);
    t->name = build_text(b, "%s", name);
    t->has_data_type = 1;
    t->data_type = onnx_type;
    t->n_dims = rank;
    t->dims = region_array(b->region, rank, sizeof *t->dims);
    if (rank)
        memcpy(t->dims, dims, rank * sizeof *dims);
    t->has_raw_data = 1;
    t->raw_data = (ProtobufCBinaryData){bytes, data};
    b->tensors = (Onnx__TensorProto **)grow(b->region, (void **)b->tensors, b->tensors_len,
                                            &b->tensors_room);
    b->tensors[b->tensors_len++] = t;
    return t->name;
}

const char *build_int64s(struct build *b, const char *name, const int64_t *values, size_t len)
{
    int64_t dim = (int64_t)len, *copy = region_array(b->region, len, sizeof *copy);
    memcpy(copy, values, len * sizeof *values);
    return build_tensor(b, build_text(b, "%s/%s", b->layer->name, name),
                        ONNX__TENSOR_PROTO__DATA_TYPE__INT64, &dim, 1, copy, len * sizeof *copy);
}

const char *build_scalar(struct build *b, const char *name, double value)
{
    float *copy = region_take(b->region, sizeof *copy);
    *copy = (float)value;
    return build_tensor(b, build_text(b, "%s/%s", b->layer->name, name), FLOAT, NULL, 0, copy,
                        sizeof *copy);
}

const char *build_transpose(struct build *b, const char *x, const int64_t *perm, uint32_t rank)
{
    Onnx__NodeProto *node = BUILD_NODE(b, "Transpose", x);
    build_ints(b, node, "perm", perm, rank);
    return node->output[0];
}

const char *build_reshape(struct build *b, const char *x, const char *name, const int64_t *dims,
                          uint32_t rank)
{
    return BUILD_OUT(b, "Reshape", x, build_int64s(b, name, dims, rank));
}

/* --- what layers give ---------------------------------------------------------------------------
 */

/* Move the channels of a layer's rows to the front or to the back; one channel moves for nothing.
 */
static const char *move_channels(struct build *b, uint32_t number, const char *x, bool to_first)
{
    const struct spec_shape *shape = &b->spec->layers[number].shape;
    uint32_t rank = shape->rank + 1;
    int64_t perm[SPEC_RANK_MAX + 1] = {0}, dims[SPEC_RANK_MAX + 1] = {0};
    bool view = shape->dims[shape->rank - 1] == 1;
    for (uint32_t i = 1; i < rank; i++) {
        uint32_t from = to_first ? (i == 1 ? rank - 1 : i - 1) : (i == rank - 1 ? 1 : i + 1);
        perm[i] = from;
        dims[i] = shape->dims[to_first ? from - 1 : i - 1];
        view = view && shape->dims[i - 1] >= 0;
    }
    if (!view)
        return build_transpose(b, x, perm, rank);
    const char *name =
        build_text(b, "%s_channels_%s", b->spec->layers[number].name, to_first ? "first" : "last");
    return build_reshape(b, x, name, dims, rank);
}

const char *build_last(struct build *b, uint32_t number)
{
    struct build_value *v = &b->values[number];
    if (!v->last && v->first)
        v->last = move_channels(b, number, v->first, false);
    if (!v->last) {
        Onnx__NodeProto *cast = BUILD_NODE(b, "Cast", v->raw);
        build_int(b, cast, "to", FLOAT);
        v->last = cast->output[0];
    }
    return v->last;
}

const char *build_first(struct build *b, uint32_t number)
{
    struct build_value *v = &b->values[number];
    if (b->spec->layers[number].shape.rank < 2)
        return build_last(b, number);
    if (!v->first)
        v->first = move_channels(b, number, build_last(b, number), true);
    return v->first;
}

const char *build_any(struct build *b, uint32_t number, bool *first)
{
    *first = b->values[number].first != NULL;
    return *first ? b->values[number].first : build_last(b, number);
}

void build_give(struct build *b, const char *x, bool first)
{
    struct build_value *v = &b->values[b->layer - b->spec->layers];
    if (first && b->layer->shape.rank >= 2)
        v->first = x;
    else
        v->last = x;
}
