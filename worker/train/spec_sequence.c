/* spec_sequence - shapes and parameters of recurrent layers and of attention; see spec_infer.h */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "worker/train/spec_activation.h"
#include "worker/train/spec_infer.h"
#include "worker/train/spec_shapes.h"

/* A recurrent parameter: gates in ONNX's order, one copy for each direction. */
static void add_gates(struct spec_layer *layer, const char *role, const char *initializer,
                      int64_t rows, int64_t columns, uint32_t copies)
{
    struct spec_param *p =
        spec_add_param(layer, &layer->cell, role, initializer, 2, (int64_t[]){rows, columns});
    p->layout = SPEC_GATES;
    p->copies = copies;
    p->elements *= copies;
    p->onnx_rank = 3;
    memcpy(p->onnx_dims, (int64_t[]){copies, columns, rows}, 3 * sizeof rows);
}

static void add_gates_bias(struct spec_layer *layer, int64_t columns, uint32_t copies)
{
    bool two = layer->cell.type == SPEC_GRU && spec_bool(&layer->cell, "reset_after");
    int64_t dims[2] = {2, columns};
    struct spec_param *p = spec_add_param(layer, &layer->cell, "bias", "bias_initializer",
                                          two ? 2 : 1, two ? dims : &columns);
    p->layout = two ? SPEC_AS_KERAS : SPEC_GATES_BIAS;
    p->copies = copies;
    p->elements *= copies;
    p->onnx_rank = 2;
    p->onnx_dims[0] = copies;
    p->onnx_dims[1] = 2 * columns;
}

enum status spec_infer_recurrent(const struct spec *spec, struct spec_layer *layer,
                                 const struct spec_shape *in, struct error *why)
{
    const struct spec_call *cell = &layer->cell;
    bool both = layer->call.type == SPEC_Bidirectional;
    bool sequences = spec_bool(cell, "return_sequences");
    int64_t units = spec_int(cell, "units"), columns = units * spec_gates(cell->type), features = 0;
    (void)spec;
    enum status s = spec_expect_rank(in, 2, "[steps, features]", why);
    if (s == STATUS_OK)
        s = spec_last_axis(in, &features, why);
    if (s == STATUS_OK && spec_bool(cell, "go_backwards") && (both || sequences))
        s = fail(why, STATUS_INVALID, "go_backwards is not supported %s",
                 both ? "inside of Bidirectional" : "with return_sequences");
    static const char *const functions[] = {"activation", "recurrent_activation"};
    for (size_t i = 0; i < ARRAY_LEN(functions) && s == STATUS_OK; i++) {
        const char *name = json_string_value(json_object_get(cell->args, functions[i]));
        if (name && !activation_find(name, why)->recurrent)
            s = fail(why, STATUS_INVALID,
                     "%s: \"%s\" is not supported inside of recurrent layers; relu, sigmoid, "
                     "tanh, softplus and softsign are",
                     functions[i], name);
    }
    if (s != STATUS_OK)
        return s;
    add_gates(layer, "kernel", "kernel_initializer", features, columns, both ? 2 : 1);
    add_gates(layer, "recurrent_kernel", "recurrent_initializer", units, columns, both ? 2 : 1);
    if (spec_bool(cell, "use_bias"))
        add_gates_bias(layer, columns, both ? 2 : 1);
    layer->shape.rank = sequences ? 2 : 1;
    layer->shape.dims[0] = in->dims[0];
    layer->shape.dims[layer->shape.rank - 1] =
        both && strcmp(spec_text(&layer->call, "merge_mode"), "concat") == 0 ? 2 * units : units;
    return STATUS_OK;
}

/* One projection of attention: [in, heads, size] with a bias of [heads, size]. */
static void add_projection(struct spec_layer *layer, const char *role, int64_t in, int64_t heads,
                           int64_t size)
{
    char name[SPEC_NAME_MAX];
    snprintf(name, sizeof name, "%s/kernel", role);
    struct spec_param *p = spec_add_param(layer, &layer->call, name, "kernel_initializer", 3,
                                          (int64_t[]){in, heads, size});
    p->onnx_rank = 2;
    p->onnx_dims[1] = heads * size;
    if (!spec_bool(&layer->call, "use_bias"))
        return;
    snprintf(name, sizeof name, "%s/bias", role);
    p = spec_add_param(layer, &layer->call, name, "bias_initializer", 2, (int64_t[]){heads, size});
    p->onnx_rank = 1;
    p->onnx_dims[0] = heads * size;
}

static void add_attention_output(struct spec_layer *layer, int64_t heads, int64_t size, int64_t out)
{
    struct spec_param *p = spec_add_param(layer, &layer->call, "attention_output/kernel",
                                          "kernel_initializer", 3, (int64_t[]){heads, size, out});
    p->onnx_rank = 2;
    p->onnx_dims[0] = heads * size;
    p->onnx_dims[1] = out;
    if (spec_bool(&layer->call, "use_bias"))
        spec_add_param(layer, &layer->call, "attention_output/bias", "bias_initializer", 1, &out);
}

enum status spec_infer_attention(const struct spec *spec, struct spec_layer *layer,
                                 const struct spec_shape *in, struct error *why)
{
    const struct spec_call *call = &layer->call;
    const struct spec_shape *value =
        &spec->layers[layer->inputs[MIN(1, layer->inputs_len - 1)]].shape;
    const struct spec_shape *key = &spec->layers[layer->inputs[layer->inputs_len - 1]].shape;
    int64_t heads = spec_int(call, "num_heads"), size = spec_int(call, "key_dim");
    int64_t value_size = spec_int(call, "value_dim"), out = spec_int(call, "output_shape");
    enum status s = STATUS_OK;
    int64_t features[3] = {0, 0, 0};
    const struct spec_shape *const shapes[3] = {in, key, value};
    for (uint32_t i = 0; i < 3 && s == STATUS_OK; i++) {
        s = spec_expect_rank(shapes[i], 2, "[steps, features]", why);
        if (s == STATUS_OK)
            s = spec_last_axis(shapes[i], &features[i], why);
    }
    if (s == STATUS_OK && key->dims[0] >= 0 && value->dims[0] >= 0 &&
        key->dims[0] != value->dims[0])
        s = fail(why, STATUS_INVALID,
                 "key has %" PRId64 " steps and value %" PRId64 "; they must be as many",
                 key->dims[0], value->dims[0]);
    if (s == STATUS_OK && heads * MAX(size, value_size) > SPEC_DIM_MAX)
        s = fail(why, STATUS_INVALID, "num_heads times key_dim or value_dim is beyond %" PRId64,
                 SPEC_DIM_MAX);
    if (s != STATUS_OK)
        return s;
    add_projection(layer, "query", features[0], heads, size);
    add_projection(layer, "key", features[1], heads, size);
    add_projection(layer, "value", features[2], heads, value_size ? value_size : size);
    add_attention_output(layer, heads, value_size ? value_size : size, out ? out : features[0]);
    layer->shape = *in;
    layer->shape.dims[1] = out ? out : features[0];
    return STATUS_OK;
}
