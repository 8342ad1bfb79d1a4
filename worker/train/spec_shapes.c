/* spec_shapes - see spec_shapes.h; sizes as Keras and TensorFlow count them */
#include "worker/train/spec_shapes.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "worker/train/spec_infer.h"

char *spec_shape_text(char *into, size_t size, const struct spec_shape *shape)
{
    size_t used = (size_t)snprintf(into, size, "[");
    for (uint32_t i = 0; i < shape->rank && used < size; i++)
        used +=
            (size_t)(shape->dims[i] < 0 ? snprintf(into + used, size - used, "%s?", i ? ", " : "")
                                        : snprintf(into + used, size - used, "%s%" PRId64,
                                                   i ? ", " : "", shape->dims[i]));
    if (used < size)
        snprintf(into + used, size - used, "]");
    return into;
}

uint32_t spec_window_rank(const struct spec_layer *layer)
{
    const char *name = spec_type_name(layer->call.type);
    return strstr(name, "1D") ? 1 : 2;
}

uint32_t spec_gates(enum spec_type cell)
{
    return cell == SPEC_LSTM ? 4 : cell == SPEC_GRU ? 3 : 1;
}

struct spec_param *spec_add_param(struct spec_layer *layer, const struct spec_call *call,
                                  const char *role, const char *initializer, uint32_t rank,
                                  const int64_t *dims)
{
    assert(layer->params_len < SPEC_PARAMS_MAX);
    struct spec_param *p = &layer->params[layer->params_len++];
    snprintf(p->name, sizeof p->name, "%s/%s", layer->name, role);
    p->initializer = json_object_get(call->args, initializer);
    p->trainable = spec_bool(&layer->call, "trainable");
    p->copies = 1;
    p->rank = p->onnx_rank = rank;
    p->elements = 1;
    for (uint32_t i = 0; i < rank; i++) {
        p->dims[i] = p->onnx_dims[i] = dims[i];
        p->elements = MIN(p->elements * (uint64_t)dims[i], UINT64_MAX >> 32);
    }
    return p;
}

enum status spec_expect_rank(const struct spec_shape *in, uint32_t rank, const char *axes,
                             struct error *why)
{
    char text[SHAPE_TEXT_MAX];
    if (in->rank == rank)
        return STATUS_OK;
    return fail(why, STATUS_INVALID, "expected rows of %s, got %s", axes,
                spec_shape_text(text, sizeof text, in));
}

enum status spec_last_axis(const struct spec_shape *in, int64_t *size, struct error *why)
{
    char text[SHAPE_TEXT_MAX];
    *size = in->rank ? in->dims[in->rank - 1] : 1;
    if (*size > 0)
        return STATUS_OK;
    return fail(why, STATUS_INVALID,
                "the last axis of %s must have a size, which shapes parameters",
                spec_shape_text(text, sizeof text, in));
}

static const char *const window_axes[] = {"", "[steps, channels]", "[rows, columns, channels]"};

/* Sizes that a window leaves of the axes in front of the channels. */
static enum status slide(struct spec_layer *layer, const struct spec_shape *in, const char *size,
                         bool dilates, struct error *why)
{
    const struct spec_call *call = &layer->call;
    uint32_t rank = spec_window_rank(layer);
    bool same = strcmp(spec_text(call, "padding"), "same") == 0;
    bool own = !json_is_null(json_object_get(call->args, "strides"));
    enum status s = spec_expect_rank(in, rank + 1, window_axes[rank], why);
    layer->shape = *in;
    for (uint32_t i = 0; i < rank && s == STATUS_OK; i++) {
        int64_t window = spec_int_at(call, size, i), length = in->dims[i];
        int64_t stride = own ? spec_int_at(call, "strides", i) : window;
        int64_t dilation = dilates ? spec_int_at(call, "dilation_rate", i) : 1;
        int64_t reach = (window - 1) * dilation + 1;
        if (stride > 1 && dilation > 1)
            s = fail(why, STATUS_INVALID, "strides and dilation_rate cannot both be above 1");
        else if (length >= 0 && !same && reach > length)
            s = fail(why, STATUS_INVALID,
                     "its window reaches over %" PRId64 " on axis %u, which has %" PRId64
                     "; use a smaller one or padding \"same\"",
                     reach, i, length);
        else if (length >= 0)
            layer->shape.dims[i] =
                same ? (length + stride - 1) / stride : (length - reach) / stride + 1;
    }
    return s;
}

static enum status infer_input(const struct spec *spec, struct spec_layer *layer,
                               const struct spec_shape *in, struct error *why)
{
    const json_t *shape = json_object_get(layer->call.args, "shape");
    (void)spec, (void)in, (void)why;
    layer->shape.rank = (uint32_t)json_array_size(shape);
    for (uint32_t i = 0; i < layer->shape.rank; i++) {
        const json_t *dim = json_array_get(shape, i);
        layer->shape.dims[i] = json_is_null(dim) ? -1 : json_integer_value(dim);
    }
    return STATUS_OK;
}

static enum status infer_depthwise(struct spec_layer *layer, int64_t channels, struct error *why)
{
    const struct spec_call *call = &layer->call;
    int64_t each = spec_int(call, "depth_multiplier"), out = channels * each;
    int64_t dims[] = {spec_int_at(call, "kernel_size", 0), spec_int_at(call, "kernel_size", 1),
                      channels, each};
    if (out > SPEC_DIM_MAX)
        return fail(why, STATUS_INVALID, "%" PRId64 " channels would come out; at most %" PRId64,
                    out, SPEC_DIM_MAX);
    struct spec_param *p = spec_add_param(layer, call, "kernel", "depthwise_initializer", 4, dims);
    p->layout = SPEC_DEPTHWISE;
    memcpy(p->onnx_dims, (int64_t[]){out, 1, dims[0], dims[1]}, 4 * sizeof *dims);
    layer->shape.dims[2] = out;
    return STATUS_OK;
}

static enum status infer_kernel(struct spec_layer *layer, int64_t channels, struct error *why)
{
    const struct spec_call *call = &layer->call;
    uint32_t rank = spec_window_rank(layer);
    int64_t filters = spec_int(call, "filters"), groups = spec_int(call, "groups"), dims[4];
    if (channels % groups || filters % groups)
        return fail(why, STATUS_INVALID,
                    "%" PRId64 " channels and %" PRId64 " filters do not divide into %" PRId64
                    " groups",
                    channels, filters, groups);
    for (uint32_t i = 0; i < rank; i++)
        dims[i] = spec_int_at(call, "kernel_size", i);
    dims[rank] = channels / groups;
    dims[rank + 1] = filters;
    struct spec_param *p =
        spec_add_param(layer, call, "kernel", "kernel_initializer", rank + 2, dims);
    p->layout = SPEC_KERNEL;
    p->onnx_dims[0] = filters;
    p->onnx_dims[1] = dims[rank];
    memcpy(p->onnx_dims + 2, dims, rank * sizeof *dims);
    layer->shape.dims[rank] = filters;
    return STATUS_OK;
}

static enum status infer_conv(const struct spec *spec, struct spec_layer *layer,
                              const struct spec_shape *in, struct error *why)
{
    int64_t channels = 0;
    (void)spec;
    enum status s = slide(layer, in, "kernel_size", true, why);
    if (s == STATUS_OK)
        s = spec_last_axis(in, &channels, why);
    if (s == STATUS_OK)
        s = layer->call.type == SPEC_DepthwiseConv2D ? infer_depthwise(layer, channels, why)
                                                     : infer_kernel(layer, channels, why);
    if (s == STATUS_OK && spec_bool(&layer->call, "use_bias"))
        spec_add_param(layer, &layer->call, "bias", "bias_initializer", 1,
                       &layer->shape.dims[layer->shape.rank - 1]);
    return s;
}

static enum status infer_pool(const struct spec *spec, struct spec_layer *layer,
                              const struct spec_shape *in, struct error *why)
{
    (void)spec;
    return slide(layer, in, "pool_size", false, why);
}

static enum status infer_global(const struct spec *spec, struct spec_layer *layer,
                                const struct spec_shape *in, struct error *why)
{
    uint32_t rank = spec_window_rank(layer), kept = 0;
    (void)spec;
    enum status s = spec_expect_rank(in, rank + 1, window_axes[rank], why);
    for (uint32_t i = 0; i < rank && spec_bool(&layer->call, "keepdims"); i++)
        layer->shape.dims[kept++] = 1;
    if (s == STATUS_OK)
        s = spec_last_axis(in, &layer->shape.dims[kept], why);
    layer->shape.rank = kept + 1;
    return s;
}

static enum status infer_norm(const struct spec *spec, struct spec_layer *layer,
                              const struct spec_shape *in, struct error *why)
{
    const struct spec_call *call = &layer->call;
    const json_t *axis = json_object_get(call->args, "axis");
    int64_t size, number = json_integer_value(json_is_array(axis) ? json_array_get(axis, 0) : axis);
    bool batch = spec_family(call->type) == SPEC_FAMILY_BATCH_NORM;
    (void)spec;
    layer->shape = *in;
    if (number != -1 && number != (int64_t)in->rank)
        return fail(why, STATUS_INVALID, "axis: expected the last one, -1 or %u, got %" PRId64,
                    in->rank, number);
    enum status s = spec_last_axis(in, &size, why);
    if (s != STATUS_OK)
        return s;
    spec_add_param(layer, call, "gamma", "gamma_initializer", 1, &size)->stand_in =
        !spec_bool(call, "scale");
    spec_add_param(layer, call, "beta", "beta_initializer", 1, &size)->stand_in =
        !spec_bool(call, "center");
    if (batch) {
        spec_add_param(layer, call, "moving_mean", "moving_mean_initializer", 1, &size)->trainable =
            false;
        spec_add_param(layer, call, "moving_variance", "moving_variance_initializer", 1, &size)
            ->trainable = false;
    }
    for (uint32_t i = 0; i < layer->params_len; i++)
        layer->params[i].trainable &= !layer->params[i].stand_in;
    return STATUS_OK;
}

static enum status infer_same(const struct spec *spec, struct spec_layer *layer,
                              const struct spec_shape *in, struct error *why)
{
    (void)spec, (void)why;
    layer->shape = *in;
    return STATUS_OK;
}

/* Numbers in a row. */
static enum status row_size(const struct spec_shape *in, int64_t *size, struct error *why)
{
    char text[SHAPE_TEXT_MAX];
    *size = 1;
    for (uint32_t i = 0; i < in->rank; i++) {
        if (in->dims[i] < 0)
            return fail(why, STATUS_INVALID, "every axis of %s must have a size",
                        spec_shape_text(text, sizeof text, in));
        *size *= in->dims[i];
    }
    return STATUS_OK;
}

static enum status infer_flatten(const struct spec *spec, struct spec_layer *layer,
                                 const struct spec_shape *in, struct error *why)
{
    (void)spec;
    layer->shape.rank = 1;
    return row_size(in, &layer->shape.dims[0], why);
}

static enum status infer_reshape(const struct spec *spec, struct spec_layer *layer,
                                 const struct spec_shape *in, struct error *why)
{
    const json_t *target = json_object_get(layer->call.args, "target_shape");
    struct spec_shape *out = &layer->shape;
    int64_t size, open = -1;
    uint64_t product = 1;
    char from[SHAPE_TEXT_MAX], to[SHAPE_TEXT_MAX];
    (void)spec;
    enum status s = row_size(in, &size, why);
    out->rank = (uint32_t)json_array_size(target);
    for (uint32_t i = 0; i < out->rank; i++) {
        out->dims[i] = json_integer_value(json_array_get(target, i));
        if (out->dims[i] < 0 && open >= 0)
            return fail(why, STATUS_INVALID, "target_shape: more than one -1");
        if (out->dims[i] < 0)
            open = i;
        else
            product = MIN(product * (uint64_t)out->dims[i], (uint64_t)1 << 32);
    }
    if (s != STATUS_OK)
        return s;
    spec_shape_text(to, sizeof to, out);
    if (open >= 0 ? size % (int64_t)product : size != (int64_t)product)
        return fail(why, STATUS_INVALID, "%s has %" PRId64 " numbers, which %s cannot hold",
                    spec_shape_text(from, sizeof from, in), size, to);
    if (open >= 0)
        out->dims[open] = size / (int64_t)product;
    return STATUS_OK;
}

static enum status infer_dense(const struct spec *spec, struct spec_layer *layer,
                               const struct spec_shape *in, struct error *why)
{
    int64_t dims[2] = {0, spec_int(&layer->call, "units")};
    (void)spec;
    enum status s = spec_last_axis(in, &dims[0], why);
    if (s != STATUS_OK)
        return s;
    spec_add_param(layer, &layer->call, "kernel", "kernel_initializer", 2, dims);
    if (spec_bool(&layer->call, "use_bias"))
        spec_add_param(layer, &layer->call, "bias", "bias_initializer", 1, &dims[1]);
    layer->shape = *in;
    layer->shape.dims[in->rank - 1] = dims[1];
    return STATUS_OK;
}

static enum status infer_embedding(const struct spec *spec, struct spec_layer *layer,
                                   const struct spec_shape *in, struct error *why)
{
    int64_t dims[2] = {spec_int(&layer->call, "input_dim"), spec_int(&layer->call, "output_dim")};
    (void)spec;
    if (in->rank == SPEC_RANK_MAX)
        return fail(why, STATUS_INVALID, "rows of more than %d axes would come out", SPEC_RANK_MAX);
    spec_add_param(layer, &layer->call, "embeddings", "embeddings_initializer", 2, dims);
    layer->shape = *in;
    layer->shape.dims[layer->shape.rank++] = dims[1];
    return STATUS_OK;
}

static enum status infer_add(const struct spec *spec, struct spec_layer *layer,
                             const struct spec_shape *in, struct error *why)
{
    char one[SHAPE_TEXT_MAX], other[SHAPE_TEXT_MAX];
    for (uint32_t i = 1; i < layer->inputs_len; i++) {
        const struct spec_layer *from = &spec->layers[layer->inputs[i]];
        if (from->shape.rank != in->rank ||
            memcmp(from->shape.dims, in->dims, in->rank * sizeof *in->dims) != 0)
            return fail(why, STATUS_INVALID,
                        "its inputs must have one shape: \"%s\" has %s, \"%s\" %s",
                        spec->layers[layer->inputs[0]].name, spec_shape_text(one, sizeof one, in),
                        from->name, spec_shape_text(other, sizeof other, &from->shape));
    }
    layer->shape = *in;
    return STATUS_OK;
}

/* By family: how, and how many inputs. */
static const struct {
    infer_fn *infer;
    uint32_t min, max;
} families[] = {
    [SPEC_FAMILY_INPUT] = {infer_input, 0, 0},
    [SPEC_FAMILY_CONV] = {infer_conv, 1, 1},
    [SPEC_FAMILY_POOL] = {infer_pool, 1, 1},
    [SPEC_FAMILY_GLOBAL_POOL] = {infer_global, 1, 1},
    [SPEC_FAMILY_BATCH_NORM] = {infer_norm, 1, 1},
    [SPEC_FAMILY_LAYER_NORM] = {infer_norm, 1, 1},
    [SPEC_FAMILY_DROPOUT] = {infer_same, 1, 1},
    [SPEC_FAMILY_FLATTEN] = {infer_flatten, 1, 1},
    [SPEC_FAMILY_RESHAPE] = {infer_reshape, 1, 1},
    [SPEC_FAMILY_RESCALING] = {infer_same, 1, 1},
    [SPEC_FAMILY_DENSE] = {infer_dense, 1, 1},
    [SPEC_FAMILY_ACTIVATION] = {infer_same, 1, 1},
    [SPEC_FAMILY_EMBEDDING] = {infer_embedding, 1, 1},
    [SPEC_FAMILY_RECURRENT] = {spec_infer_recurrent, 1, 1},
    [SPEC_FAMILY_ATTENTION] = {spec_infer_attention, 1, 3},
    [SPEC_FAMILY_ADD] = {infer_add, 2, SPEC_INPUTS_MAX},
};

enum status spec_infer(const struct spec *spec, struct spec_layer *layer, struct error *why)
{
    enum spec_family family = spec_family(layer->call.type);
    uint32_t min = families[family].min, max = families[family].max;
    uint64_t row = 1;
    if (layer->inputs_len < min || layer->inputs_len > max)
        return fail(why, STATUS_INVALID, "it takes %u%s inputs, got %u", min,
                    max == min ? "" : " or more", layer->inputs_len);
    const struct spec_shape *in = min ? &spec->layers[layer->inputs[0]].shape : NULL;
    enum status s = families[family].infer(spec, layer, in, why);
    for (uint32_t i = 0; i < layer->shape.rank && s == STATUS_OK; i++) {
        row *= (uint64_t)MAX(layer->shape.dims[i], 1);
        if (row > SPEC_ROW_MAX)
            s = fail(why, STATUS_INVALID, "a row of more than %" PRIu64 " numbers would come out",
                     SPEC_ROW_MAX);
    }
    return s;
}
