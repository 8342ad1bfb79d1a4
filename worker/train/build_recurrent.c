/* build_recurrent - SimpleRNN, LSTM, GRU and Bidirectional as ONNX's fused operators
 *
 * Those take [steps, batch, features] and give [steps, directions, batch, units], or the last state
 * as [directions, batch, units]; Keras has the batch in front and the directions side by side. */
#include <string.h>

#include "worker/train/build_layers.h"
#include "worker/train/build_params.h"
#include "worker/train/spec_activation.h"

/* Gates first, as ONNX lists them: f, g, h; once for each direction. */
static void add_activations(struct build *b, Onnx__NodeProto *node, uint32_t directions)
{
    const struct spec_call *cell = &b->layer->cell;
    const char *names[6];
    size_t len = 0;
    for (uint32_t d = 0; d < directions; d++) {
        const char *state = activation_find(spec_text(cell, "activation"), NULL)->recurrent;
        if (cell->type != SPEC_SimpleRNN)
            names[len++] =
                activation_find(spec_text(cell, "recurrent_activation"), NULL)->recurrent;
        names[len++] = state;
        if (cell->type == SPEC_LSTM)
            names[len++] = state;
    }
    build_strings(b, node, "activations", names, len);
}

/* One direction of x, whose axis `axis` has two. */
static const char *direction(struct build *b, const char *x, int64_t axis, int64_t which)
{
    int64_t *index = region_take(b->region, sizeof *index);
    *index = which;
    const char *name = build_text(b, "%s/%s", b->layer->name, which ? "backward" : "forward");
    build_tensor(b, name, ONNX__TENSOR_PROTO__DATA_TYPE__INT64, NULL, 0, index, sizeof *index);
    Onnx__NodeProto *node = BUILD_NODE(b, "Gather", x, name);
    build_int(b, node, "axis", axis);
    return node->output[0];
}

/* [batch, (steps,) directions, units] as the layer's rows. */
static const char *merge(struct build *b, const char *x, const char *mode)
{
    uint32_t rank = b->layer->shape.rank;
    int64_t dims[3] = {0, 0, 0};
    dims[rank] = b->layer->shape.dims[rank - 1];
    if (strcmp(mode, "concat") == 0)
        return build_reshape(b, x, "shape", dims, rank + 1);
    const char *forward = direction(b, x, rank, 0), *backward = direction(b, x, rank, 1);
    if (strcmp(mode, "mul") == 0)
        return BUILD_OUT(b, "Mul", forward, backward);
    const char *sum = BUILD_OUT(b, "Add", forward, backward);
    return strcmp(mode, "sum") == 0 ? sum : BUILD_OUT(b, "Mul", sum, build_scalar(b, "half", 0.5));
}

void build_recurrent(struct build *b)
{
    static const int64_t swap[] = {1, 0, 2}, batch_first[] = {2, 0, 1, 3};
    const struct spec_call *cell = &b->layer->cell;
    bool both = b->layer->call.type == SPEC_Bidirectional;
    bool sequences = spec_bool(cell, "return_sequences");
    const char *op = cell->type == SPEC_LSTM ? "LSTM" : cell->type == SPEC_GRU ? "GRU" : "RNN";
    const char *x = build_transpose(b, build_last(b, b->layer->inputs[0]), swap, 3);
    Onnx__NodeProto *node = BUILD_NODE(b, op, x, build_param(b, "kernel"),
                                       build_param(b, "recurrent_kernel"), build_param(b, "bias"));
    build_int(b, node, "hidden_size", spec_int(cell, "units"));
    build_string(b, node, "direction",
                 both                              ? "bidirectional"
                 : spec_bool(cell, "go_backwards") ? "reverse"
                                                   : "forward");
    add_activations(b, node, both ? 2 : 1);
    if (cell->type == SPEC_GRU)
        build_int(b, node, "linear_before_reset", spec_bool(cell, "reset_after"));
    if (sequences) {
        x = build_transpose(b, node->output[0], batch_first, 4);
    } else {
        node->output[0] = build_text(b, "%s", ""); /* all steps: not asked for */
        x = build_transpose(b, build_more(b, node, build_text(b, "%s/state", b->layer->name)), swap,
                            3);
    }
    build_give(b, merge(b, x, both ? spec_text(&b->layer->call, "merge_mode") : "concat"), false);
}
