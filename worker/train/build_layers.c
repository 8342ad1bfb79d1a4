/* build_layers - see build_layers.h */
#include "worker/train/build_layers.h"

#include <string.h>

#include "worker/train/build_params.h"
#include "worker/train/spec_shapes.h"

#define WINDOW_MAX 2 /* axes */

static const struct spec_shape *in_shape(const struct build *b)
{
    return &b->spec->layers[b->layer->inputs[0]].shape;
}

/* The result after the layer's own activation. */
static void give_activated(struct build *b, const char *x, bool first)
{
    const char *name = spec_text(&b->layer->call, "activation");
    bool linear = strcmp(name, "linear") == 0;
    build_give(b, linear ? x : build_activation(b, x, name, first), first);
}

/* Kernel, strides and padding of a window. Where a size is open and its padding depends on it, the
 * operator counts for itself. */
static void add_window(struct build *b, Onnx__NodeProto *node, const char *size, bool dilates)
{
    const struct spec_call *call = &b->layer->call;
    bool same = strcmp(spec_text(call, "padding"), "same") == 0, open = false;
    bool own = !json_is_null(json_object_get(call->args, "strides"));
    uint32_t rank = spec_window_rank(b->layer);
    int64_t windows[WINDOW_MAX], strides[WINDOW_MAX], dilations[WINDOW_MAX];
    int64_t pads[2 * WINDOW_MAX];
    for (uint32_t i = 0; i < rank; i++) {
        int64_t length = in_shape(b)->dims[i];
        windows[i] = spec_int_at(call, size, i);
        strides[i] = own ? spec_int_at(call, "strides", i) : windows[i];
        dilations[i] = dilates ? spec_int_at(call, "dilation_rate", i) : 1;
        int64_t reach = (windows[i] - 1) * dilations[i] + 1;
        int64_t steps = length < 0 ? 0 : (length + strides[i] - 1) / strides[i] - 1;
        int64_t missing = length < 0 ? reach - 1 : steps * strides[i] + reach - length;
        int64_t all = same ? MAX(missing, 0) : 0;
        pads[i] = all / 2; /* TensorFlow puts the odd one behind */
        pads[rank + i] = all - all / 2;
        open = open || (same && length < 0 && strides[i] > 1);
    }
    build_ints(b, node, "kernel_shape", windows, rank);
    build_ints(b, node, "strides", strides, rank);
    if (dilates)
        build_ints(b, node, "dilations", dilations, rank);
    if (open)
        build_string(b, node, "auto_pad", "SAME_UPPER");
    else
        build_ints(b, node, "pads", pads, 2 * (size_t)rank);
}

static void build_conv(struct build *b)
{
    const struct spec_call *call = &b->layer->call;
    const struct spec_shape *in = in_shape(b);
    Onnx__NodeProto *node = BUILD_NODE(b, "Conv", build_first(b, b->layer->inputs[0]),
                                       build_param(b, "kernel"), build_param(b, "bias"));
    add_window(b, node, "kernel_size", true);
    build_int(b, node, "group",
              call->type == SPEC_DepthwiseConv2D ? in->dims[in->rank - 1]
                                                 : spec_int(call, "groups"));
    give_activated(b, node->output[0], true);
}

static void build_pool(struct build *b)
{
    bool max = b->layer->call.type == SPEC_MaxPooling1D || b->layer->call.type == SPEC_MaxPooling2D;
    Onnx__NodeProto *node =
        BUILD_NODE(b, max ? "MaxPool" : "AveragePool", build_first(b, b->layer->inputs[0]));
    add_window(b, node, "pool_size", false);
    build_give(b, node->output[0], true);
}

static void build_global_pool(struct build *b)
{
    const char *x = BUILD_OUT(b, "GlobalAveragePool", build_first(b, b->layer->inputs[0]));
    if (spec_bool(&b->layer->call, "keepdims")) {
        build_give(b, x, true);
        return;
    }
    Onnx__NodeProto *flatten = BUILD_NODE(b, "Flatten", x);
    build_int(b, flatten, "axis", 1);
    build_give(b, flatten->output[0], false);
}

static void build_batch_norm(struct build *b)
{
    Onnx__NodeProto *node = BUILD_NODE(
        b, "BatchNormalization", build_first(b, b->layer->inputs[0]), build_param(b, "gamma"),
        build_param(b, "beta"), build_param(b, "moving_mean"), build_param(b, "moving_variance"));
    build_float(b, node, "epsilon", spec_real(&b->layer->call, "epsilon"));
    build_float(b, node, "momentum", spec_real(&b->layer->call, "momentum"));
    build_give(b, node->output[0], true);
}

static void build_layer_norm(struct build *b)
{
    Onnx__NodeProto *node = BUILD_NODE(b, "LayerNormalization", build_last(b, b->layer->inputs[0]),
                                       build_param(b, "gamma"), build_param(b, "beta"));
    build_float(b, node, "epsilon", spec_real(&b->layer->call, "epsilon"));
    build_int(b, node, "axis", -1);
    build_give(b, node->output[0], false);
}

static void build_dropout(struct build *b)
{
    bool first;
    const char *x = build_any(b, b->layer->inputs[0], &first);
    const char *rate = build_scalar(b, "rate", spec_real(&b->layer->call, "rate"));
    build_give(b, BUILD_OUT(b, "Dropout", x, rate), first);
}

static void build_flatten(struct build *b)
{
    Onnx__NodeProto *node = BUILD_NODE(b, "Flatten", build_last(b, b->layer->inputs[0]));
    build_int(b, node, "axis", 1);
    build_give(b, node->output[0], false);
}

static void build_new_shape(struct build *b)
{
    int64_t dims[SPEC_RANK_MAX + 1] = {0}; /* 0: the batch stays */
    const struct spec_shape *shape = &b->layer->shape;
    memcpy(dims + 1, shape->dims, shape->rank * sizeof *dims);
    build_give(b,
               build_reshape(b, build_last(b, b->layer->inputs[0]), "shape", dims, shape->rank + 1),
               false);
}

static void build_rescaling(struct build *b)
{
    bool first;
    const char *x = build_any(b, b->layer->inputs[0], &first);
    double offset = spec_real(&b->layer->call, "offset");
    x = BUILD_OUT(b, "Mul", x, build_scalar(b, "scale", spec_real(&b->layer->call, "scale")));
    if (offset != 0)
        x = BUILD_OUT(b, "Add", x, build_scalar(b, "offset", offset));
    build_give(b, x, first);
}

static void build_dense(struct build *b)
{
    const char *x = build_last(b, b->layer->inputs[0]), *bias = build_param(b, "bias");
    const char *kernel = build_param(b, "kernel");
    if (b->layer->shape.rank == 1) {
        x = BUILD_OUT(b, "Gemm", x, kernel, bias);
    } else {
        x = BUILD_OUT(b, "MatMul", x, kernel);
        x = bias ? BUILD_OUT(b, "Add", x, bias) : x;
    }
    give_activated(b, x, false);
}

static void build_activation_layer(struct build *b)
{
    bool first;
    const char *x = build_any(b, b->layer->inputs[0], &first);
    build_give(b, build_activation(b, x, spec_text(&b->layer->call, "activation"), first), first);
}

static void build_embedding(struct build *b)
{
    const struct build_value *v = &b->values[b->layer->inputs[0]];
    Onnx__NodeProto *index =
        BUILD_NODE(b, "Cast", v->raw ? v->raw : build_last(b, b->layer->inputs[0]));
    build_int(b, index, "to", ONNX__TENSOR_PROTO__DATA_TYPE__INT32);
    build_give(b, BUILD_OUT(b, "Gather", build_param(b, "embeddings"), index->output[0]), false);
}

/* Channels first when all inputs have them there already. */
static void build_add(struct build *b)
{
    bool first = true;
    const char *sum = NULL;
    for (uint32_t i = 0; i < b->layer->inputs_len; i++)
        first = first && b->values[b->layer->inputs[i]].first;
    for (uint32_t i = 0; i < b->layer->inputs_len; i++) {
        const char *x =
            first ? build_first(b, b->layer->inputs[i]) : build_last(b, b->layer->inputs[i]);
        sum = sum ? BUILD_OUT(b, "Add", sum, x) : x;
    }
    build_give(b, sum, first);
}

void build_layer(struct build *b)
{
    static void (*const families[])(struct build *) = {
        [SPEC_FAMILY_CONV] = build_conv,
        [SPEC_FAMILY_POOL] = build_pool,
        [SPEC_FAMILY_GLOBAL_POOL] = build_global_pool,
        [SPEC_FAMILY_BATCH_NORM] = build_batch_norm,
        [SPEC_FAMILY_LAYER_NORM] = build_layer_norm,
        [SPEC_FAMILY_DROPOUT] = build_dropout,
        [SPEC_FAMILY_FLATTEN] = build_flatten,
        [SPEC_FAMILY_RESHAPE] = build_new_shape,
        [SPEC_FAMILY_RESCALING] = build_rescaling,
        [SPEC_FAMILY_DENSE] = build_dense,
        [SPEC_FAMILY_ACTIVATION] = build_activation_layer,
        [SPEC_FAMILY_EMBEDDING] = build_embedding,
        [SPEC_FAMILY_RECURRENT] = build_recurrent,
        [SPEC_FAMILY_ATTENTION] = build_attention,
        [SPEC_FAMILY_ADD] = build_add,
    };
    enum spec_family family = spec_family(b->layer->call.type);
    if (family != SPEC_FAMILY_INPUT)
        families[family](b);
}
