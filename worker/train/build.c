/* build - see build.h */
#include "worker/train/build.h"

#include <stdlib.h>
#include <string.h>

#include "worker/train/build_layers.h"
#include "worker/train/build_params.h"

#define OPSET      17
#define IR_VERSION 8

/* --- inputs and outputs -------------------------------------------------------------------------
 */

static Onnx__TensorShapeProto__Dimension *make_dim(struct build *b, int64_t size, const char *name)
{
    Onnx__TensorShapeProto__Dimension *d = region_take(b->region, sizeof *d);
    onnx__tensor_shape_proto__dimension__init(d);
    if (size >= 0) {
        d->value_case = ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_VALUE;
        d->dim_value = size;
    } else {
        d->value_case = ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_PARAM;
        d->dim_param = build_text(b, "%s", name);
    }
    return d;
}

/* Rows of a layer's shape under its name; open sizes are called name_axis. */
static Onnx__ValueInfoProto *make_value(struct build *b, const struct spec_layer *layer, int type)
{
    Onnx__ValueInfoProto *v = region_take(b->region, sizeof *v);
    Onnx__TypeProto *t = region_take(b->region, sizeof *t);
    Onnx__TypeProto__Tensor *tensor = region_take(b->region, sizeof *tensor);
    Onnx__TensorShapeProto *shape = region_take(b->region, sizeof *shape);
    onnx__value_info_proto__init(v);
    onnx__type_proto__init(t);
    onnx__type_proto__tensor__init(tensor);
    onnx__tensor_shape_proto__init(shape);
    shape->n_dim = layer->shape.rank + 1;
    shape->dim = region_array(b->region, shape->n_dim, sizeof(*shape->dim));
    shape->dim[0] = make_dim(b, -1, "batch");
    for (uint32_t i = 0; i < layer->shape.rank; i++)
        shape->dim[i + 1] =
            make_dim(b, layer->shape.dims[i], build_text(b, "%s_axis_%u", layer->name, i + 1));
    tensor->has_elem_type = 1;
    tensor->elem_type = type;
    tensor->shape = shape;
    t->value_case = ONNX__TYPE_PROTO__VALUE_TENSOR_TYPE;
    t->tensor_type = tensor;
    v->name = build_text(b, "%s", layer->name);
    v->type = t;
    return v;
}

static int input_type(const struct spec_layer *layer)
{
    const char *name = spec_text(&layer->call, "dtype");
    return strcmp(name, "uint8") == 0   ? ONNX__TENSOR_PROTO__DATA_TYPE__UINT8
           : strcmp(name, "int32") == 0 ? ONNX__TENSOR_PROTO__DATA_TYPE__INT32
           : strcmp(name, "int64") == 0 ? ONNX__TENSOR_PROTO__DATA_TYPE__INT64
                                        : ONNX__TENSOR_PROTO__DATA_TYPE__FLOAT;
}

static void add_inputs(struct build *b, Onnx__GraphProto *graph)
{
    graph->input = region_array(b->region, b->spec->layers_len, sizeof(*graph->input));
    for (uint32_t i = 0; i < b->spec->layers_len; i++) {
        const struct spec_layer *layer = &b->spec->layers[i];
        if (spec_family(layer->call.type) != SPEC_FAMILY_INPUT)
            continue;
        int type = input_type(layer);
        if (type == ONNX__TENSOR_PROTO__DATA_TYPE__FLOAT)
            b->values[i].last = layer->name;
        else
            b->values[i].raw = layer->name;
        graph->input[graph->n_input++] = make_value(b, layer, type);
    }
}

/* The last layer's result, channels last, gets the layer's name. */
static void add_output(struct build *b, Onnx__GraphProto *graph)
{
    const struct spec_layer *layer = &b->spec->layers[b->spec->output];
    const char *made = build_last(b, b->spec->output);
    char *name = build_text(b, "%s", layer->name), *old = build_text(b, "%s", made);
    for (size_t i = 0; i < b->nodes_len; i++) {
        for (size_t k = 0; k < b->nodes[i]->n_input; k++)
            if (strcmp(b->nodes[i]->input[k], old) == 0)
                b->nodes[i]->input[k] = name;
        for (size_t k = 0; k < b->nodes[i]->n_output; k++)
            if (strcmp(b->nodes[i]->output[k], old) == 0)
                b->nodes[i]->output[k] = name;
    }
    graph->n_output = 1;
    graph->output = region_take(b->region, sizeof(*graph->output));
    graph->output[0] = make_value(b, layer, ONNX__TENSOR_PROTO__DATA_TYPE__FLOAT);
}

/* --- metadata -----------------------------------------------------------------------------------
 */

static json_t *dims_json(const int64_t *dims, uint32_t rank)
{
    json_t *list = json_array();
    for (uint32_t i = 0; i < rank; i++)
        json_array_append_new(list, dims[i] < 0 ? json_null() : json_integer(dims[i]));
    return list;
}

static json_t *param_json(const struct spec_param *p)
{
    json_t *j = json_pack("{s:s, s:o, s:b, s:o, s:s, s:O}", "name", p->name, "shape",
                          dims_json(p->onnx_dims, p->onnx_rank), "trainable", (int)p->trainable,
                          "keras_shape", dims_json(p->dims, p->rank), "layout",
                          build_layout_name(p->layout), "initializer", p->initializer);
    if (p->copies > 1)
        json_object_set_new(j, "copies", json_integer(p->copies));
    if (p->layout == SPEC_GATES_BIAS) /* of the last axis: what is behind stays zero */
        json_object_set_new(j, "trained_columns", json_integer(p->onnx_dims[p->onnx_rank - 1] / 2));
    return j;
}

static json_t *layer_json(const struct spec_layer *layer)
{
    json_t *params = json_array();
    json_t *j = json_pack("{s:i, s:s, s:s, s:o, s:b, s:o}", "index", (int)layer->index, "name",
                          layer->name, "type", spec_type_name(layer->call.type), "output_shape",
                          dims_json(layer->shape.dims, layer->shape.rank), "trainable",
                          (int)spec_bool(&layer->call, "trainable"), "parameters", params);
    for (uint32_t i = 0; i < layer->params_len; i++)
        if (!layer->params[i].stand_in)
            json_array_append_new(params, param_json(&layer->params[i]));
    if (layer->call.type == SPEC_Dropout)
        json_object_set_new(j, "rate", json_real(spec_real(&layer->call, "rate")));
    if (layer->call.type == SPEC_BatchNormalization)
        json_object_set_new(j, "momentum", json_real(spec_real(&layer->call, "momentum")));
    return j;
}

json_t *build_summary_json(const struct spec *spec)
{
    json_t *layers = json_array();
    uint64_t all = 0, trained = 0;
    for (uint32_t i = 0; i < spec->layers_len; i++) {
        json_array_append_new(layers, layer_json(&spec->layers[i]));
        for (uint32_t k = 0; k < spec->layers[i].params_len; k++) {
            const struct spec_param *p = &spec->layers[i].params[k];
            all += p->stand_in ? 0 : p->elements;
            trained += p->trainable ? p->elements : 0;
        }
    }
    return json_pack("{s:i, s:s, s:o, s:I, s:I}", "format", 1, "name", spec->name, "layers", layers,
                     "parameters", (json_int_t)all, "trainable_parameters", (json_int_t)trained);
}

static void add_metadata(struct build *b, Onnx__ModelProto *model, uint64_t seed)
{
    Onnx__StringStringEntryProto *entry = region_take(b->region, sizeof *entry);
    json_t *j = build_summary_json(b->spec);
    json_object_set_new(j, "seed", json_integer((json_int_t)seed));
    char *text = json_dumps(j, JSON_COMPACT);
    onnx__string_string_entry_proto__init(entry);
    entry->key = build_text(b, "%s", BUILD_METADATA);
    entry->value = build_text(b, "%s", text);
    model->n_metadata_props = 1;
    model->metadata_props = region_take(b->region, sizeof(*model->metadata_props));
    model->metadata_props[0] = entry;
    free(text);
    json_decref(j);
}

/* --- the whole ----------------------------------------------------------------------------------
 */

static void pack(struct build *b, Onnx__GraphProto *graph, uint64_t seed, uint8_t **bytes,
                 size_t *size)
{
    Onnx__ModelProto model = ONNX__MODEL_PROTO__INIT;
    Onnx__OperatorSetIdProto opset = ONNX__OPERATOR_SET_ID_PROTO__INIT;
    Onnx__OperatorSetIdProto *opsets[] = {&opset};
    opset.domain = build_text(b, "%s", "");
    opset.has_version = 1;
    opset.version = OPSET;
    model.has_ir_version = 1;
    model.ir_version = IR_VERSION;
    model.producer_name = build_text(b, "convoy");
    model.producer_version = build_text(b, "%s", CONVOY_VERSION);
    model.n_opset_import = 1;
    model.opset_import = opsets;
    model.graph = graph;
    add_metadata(b, &model, seed);
    *size = onnx__model_proto__get_packed_size(&model);
    *bytes = xmalloc(*size);
    onnx__model_proto__pack(&model, *bytes);
}

void build_model(const struct spec *spec, uint64_t seed, uint8_t **bytes, size_t *size)
{
    struct build b = {.region = region_new(), .spec = spec};
    Onnx__GraphProto graph = ONNX__GRAPH_PROTO__INIT;
    b.values = region_array(b.region, spec->layers_len, sizeof *b.values);
    graph.name = build_text(&b, "%s", spec->name);
    add_inputs(&b, &graph);
    for (uint32_t i = 0; i < spec->layers_len; i++) {
        b.layer = &spec->layers[i];
        b.layer_nodes = b.nodes_len;
        build_params(&b, seed);
        build_layer(&b);
    }
    add_output(&b, &graph);
    graph.n_node = b.nodes_len;
    graph.node = b.nodes;
    graph.n_initializer = b.tensors_len;
    graph.initializer = b.tensors;
    pack(&b, &graph, seed, bytes, size);
    region_destroy(&b.region);
}
