/* build_attention - MultiHeadAttention: softmax(query key^T / sqrt(key_dim)) value, by head
 *
 * Source: Vaswani et al., Attention Is All You Need (2017), 3.2.2; Keras scales the query. */
#include <math.h>

#include "worker/train/build_layers.h"
#include "worker/train/build_params.h"

/* x kernel + bias. */
static const char *project(struct build *b, const char *x, const char *role)
{
    const char *bias = build_param(b, build_text(b, "%s/bias", role));
    x = BUILD_OUT(b, "MatMul", x, build_param(b, build_text(b, "%s/kernel", role)));
    return bias ? BUILD_OUT(b, "Add", x, bias) : x;
}

/* [batch, steps, heads * size] with its axes as `perm` has them after they are four. */
static const char *split(struct build *b, const char *x, const char *role, int64_t size,
                         const int64_t *perm)
{
    int64_t dims[] = {0, 0, spec_int(&b->layer->call, "num_heads"), size};
    const char *name = build_text(b, "%s/shape", role);
    return build_transpose(b, build_reshape(b, project(b, x, role), name, dims, 4), perm, 4);
}

void build_attention(struct build *b)
{
    static const int64_t heads_first[] = {0, 2, 1, 3}, turned[] = {0, 2, 3, 1};
    const struct spec_layer *layer = b->layer;
    const struct spec_call *call = &layer->call;
    int64_t size = spec_int(call, "key_dim"), given = spec_int(call, "value_dim");
    int64_t value_size = given ? given : size;
    int64_t joined[] = {0, 0, spec_int(call, "num_heads") * value_size};
    const char *q = build_last(b, layer->inputs[0]);
    const char *v = build_last(b, layer->inputs[MIN(1, layer->inputs_len - 1)]);
    const char *k = build_last(b, layer->inputs[layer->inputs_len - 1]);
    q = split(b, q, "query", size, heads_first);
    k = split(b, k, "key", size, turned);
    v = split(b, v, "value", value_size, heads_first);
    q = BUILD_OUT(b, "Mul", q, build_scalar(b, "scale", 1 / sqrt((double)size)));
    Onnx__NodeProto *weights = BUILD_NODE(b, "Softmax", BUILD_OUT(b, "MatMul", q, k));
    build_int(b, weights, "axis", -1);
    const char *x = BUILD_OUT(b, "MatMul", weights->output[0], v);
    x = build_reshape(b, build_transpose(b, x, heads_first, 4), "joined", joined, 3);
    build_give(b, project(b, x, "attention_output"), false);
}
