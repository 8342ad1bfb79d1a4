/* build_activation - Keras's activations in ONNX's operators */
#include <math.h>
#include <string.h>

#include "worker/train/build_layers.h"
#include "worker/train/spec_activation.h"

/* min(max(x, 0), 6) */
static const char *relu6(struct build *b, const char *x)
{
    return BUILD_OUT(b, "Clip", x, build_scalar(b, "relu6_min", 0),
                     build_scalar(b, "relu6_max", 6));
}

/* x * sigmoid(x) */
static const char *silu(struct build *b, const char *x)
{
    return BUILD_OUT(b, "Mul", x, BUILD_OUT(b, "Sigmoid", x));
}

/* x / 2 * (1 + erf(x / sqrt(2))) */
static const char *gelu(struct build *b, const char *x)
{
    const char *scaled = BUILD_OUT(b, "Mul", x, build_scalar(b, "gelu_scale", M_SQRT1_2));
    const char *erf = BUILD_OUT(b, "Erf", scaled);
    const char *sum = BUILD_OUT(b, "Add", erf, build_scalar(b, "gelu_one", 1));
    const char *product = BUILD_OUT(b, "Mul", x, sum);
    return BUILD_OUT(b, "Mul", product, build_scalar(b, "gelu_half", 0.5));
}

const char *build_activation(struct build *b, const char *x, const char *name, bool first)
{
    static const struct {
        const char *name;
        const char *(*make)(struct build *, const char *);
    } several[] = {{"relu6", relu6}, {"silu", silu}, {"swish", silu}, {"gelu", gelu}};
    const struct activation *a = activation_find(name, NULL);
    assert(a);
    for (size_t i = 0; i < ARRAY_LEN(several); i++)
        if (strcmp(several[i].name, name) == 0)
            return several[i].make(b, x);
    Onnx__NodeProto *node = BUILD_NODE(b, a->operator, x);
    if (a->attribute[0])
        build_float(b, node, a->attribute, a->value);
    if (strcmp(a->operator, "Softmax") == 0)
        build_int(b, node, "axis", first ? 1 : -1);
    return node->output[0];
}
