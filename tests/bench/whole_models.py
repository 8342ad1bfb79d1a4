"""The whole models that `make bench-models` measures: usual networks with random weights.

Each is what PyTorch or Keras would export for inference, batch normalisation folded into the weights; the same
bytes in every run. CASES says what is measured.
"""
import zlib

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

# goal of goals.def ("none": no goal), model, batch
CASES = (
    ("seed_b1", "seed_cnn", 1),
    ("seed_b32", "seed_cnn", 32),
    ("seed_b256", "seed_cnn", 256),
    ("resnet50", "resnet50", 1),
    ("mobilenetv2", "mobilenetv2", 1),
    ("bilstm", "bilstm_text", 1),
    ("crnn", "crnn", 1),
    ("none", "transformer_encoder", 1),
)


class Graph:
    """Nodes in order; every method adds some and returns the name of what they compute."""

    def __init__(self, name):
        self.name, self.nodes, self.constants = name, [], []
        self.random = np.random.default_rng(zlib.crc32(name.encode()))

    def constant(self, values):
        name = f"w{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(values), name))
        return name

    def weights(self, *shape, sum_of):
        """Normal numbers that keep the size of activations: `sum_of` products are added up."""
        values = self.random.standard_normal(shape) * np.sqrt(2 / sum_of)
        return self.constant(values.astype(np.float32))

    def ints(self, *values):
        return self.constant(np.array(values, np.int64))

    def node(self, op, *inputs, **attributes):
        name = f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, inputs, [name], **attributes))
        return name

    def conv(self, x, c, k, size, stride=1, pad=0, groups=1, act="Relu"):
        y = self.node("Conv", x, self.weights(k, c // groups, size, size,
                                              sum_of=c // groups * size * size),
                      self.weights(k, sum_of=200), kernel_shape=[size, size],
                      strides=[stride, stride], pads=[pad] * 4, group=groups)
        if act == "Relu6":
            limits = (self.constant(np.float32(v)) for v in (0, 6))
            return self.node("Clip", y, *limits)
        return self.node(act, y) if act else y

    def pool(self, x, *size, pad=0, stride=None):
        return self.node("MaxPool", x, kernel_shape=list(size), strides=list(stride or size),
                         pads=[pad] * 4)

    def dense(self, x, inputs, outputs):
        return self.node("Gemm", x, self.weights(outputs, inputs, sum_of=inputs),
                         self.weights(outputs, sum_of=200), transB=1)

    def linear(self, x, inputs, outputs):
        """As PyTorch exports it for more than two dimensions."""
        return self.node("Add", self.weights(outputs, sum_of=200),
                         self.node("MatMul", x, self.weights(inputs, outputs, sum_of=2 * inputs)))

    def bilstm(self, x, inputs, hidden):
        def weights(*shape):
            return self.constant((self.random.uniform(-1, 1, shape) / np.sqrt(hidden))
                                 .astype(np.float32))
        y = self.node("LSTM", x, weights(2, 4 * hidden, inputs), weights(2, 4 * hidden, hidden),
                      weights(2, 8 * hidden), hidden_size=hidden, direction="bidirectional")
        y = self.node("Transpose", y, perm=[0, 2, 1, 3])
        return self.node("Reshape", y, self.ints(0, 0, -1))

    def normalise(self, x, size):
        return self.node("LayerNormalization", x, self.constant(np.ones(size, np.float32)),
                         self.weights(size, sum_of=200))

    def model(self, inputs, last, shape):
        """`last` becomes the output y."""
        self.nodes[-1].output[0] = "y"
        assert last == f"v{len(self.nodes) - 1}"
        graph = helper.make_graph(
            self.nodes, self.name,
            [helper.make_tensor_value_info(name, kind, dims) for name, kind, dims in inputs],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)], self.constants)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
        model.ir_version = 8
        onnx.checker.check_model(model)
        return model


def image(*shape):
    return [("x", TensorProto.FLOAT, ["N", *shape])]


def seed_cnn(g):
    """Keras' example for MNIST, as tf2onnx writes it: maps come and leave with channels last."""
    x = g.node("Transpose", "x", perm=[0, 3, 1, 2])
    x = g.pool(g.conv(x, 1, 32, 3), 2, 2)
    x = g.pool(g.conv(x, 32, 64, 3), 2, 2)
    x = g.node("Transpose", g.conv(x, 64, 64, 3), perm=[0, 2, 3, 1])
    x = g.node("Reshape", x, g.ints(-1, 576))
    x = g.dense(g.node("Relu", g.dense(x, 576, 64)), 64, 10)
    return g.model(image(28, 28, 1), g.node("Softmax", x, axis=-1), ["N", 10])


def resnet50(g):
    """Version 1.5: the 3x3 convolution has the stride."""
    x, c = g.pool(g.conv("x", 3, 64, 7, stride=2, pad=3), 3, 3, pad=1, stride=(2, 2)), 64
    for blocks, middle, first_stride in ((3, 64, 1), (4, 128, 2), (6, 256, 2), (3, 512, 2)):
        for i in range(blocks):
            stride = first_stride if i == 0 else 1
            y = g.conv(g.conv(x, c, middle, 1), middle, middle, 3, stride=stride, pad=1)
            y = g.conv(y, middle, 4 * middle, 1, act=None)
            beside = g.conv(x, c, 4 * middle, 1, stride=stride, act=None) if i == 0 else x
            x, c = g.node("Relu", g.node("Add", y, beside)), 4 * middle
    x = g.node("Flatten", g.node("GlobalAveragePool", x), axis=1)
    return g.model(image(3, 224, 224), g.dense(x, 2048, 1000), ["N", 1000])


def mobilenetv2(g):
    x, c = g.conv("x", 3, 32, 3, stride=2, pad=1, act="Relu6"), 32
    for expand, k, blocks, first_stride in ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2),
                                            (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2),
                                            (6, 320, 1, 1)):
        for i in range(blocks):
            stride, wide = (first_stride if i == 0 else 1), c * expand
            y = g.conv(x, c, wide, 1, act="Relu6") if expand > 1 else x
            y = g.conv(y, wide, wide, 3, stride=stride, pad=1, groups=wide, act="Relu6")
            y = g.conv(y, wide, k, 1, act=None)
            x, c = (g.node("Add", x, y) if stride == 1 and c == k else y), k
    x = g.conv(x, 320, 1280, 1, act="Relu6")
    x = g.node("Flatten", g.node("GlobalAveragePool", x), axis=1)
    return g.model(image(3, 224, 224), g.dense(x, 1280, 1000), ["N", 1000])


def bilstm_text(g, steps=100, words=5000):
    """A text classifier: embedding, two bidirectional LSTMs of 128 units a direction, mean."""
    x = g.node("Gather", g.weights(words, 128, sum_of=200), "ids")
    x = g.node("Transpose", x, perm=[1, 0, 2])
    x = g.bilstm(g.bilstm(x, 128, 128), 256, 128)
    x = g.dense(g.node("ReduceMean", x, axes=[0], keepdims=0), 256, 4)
    return g.model([("ids", TensorProto.INT64, ["N", steps])], g.node("Softmax", x, axis=-1),
                   ["N", 4])


def crnn(g):
    """Reads a line of text: convolutions over 32 x 128 pixels, then 32 steps of LSTMs."""
    x = g.pool(g.conv("x", 1, 32, 3, pad=1), 2, 2)
    x = g.pool(g.conv(x, 32, 64, 3, pad=1), 2, 2)
    x = g.conv(g.conv(x, 64, 128, 3, pad=1), 128, 128, 3, pad=1)
    x = g.pool(g.conv(g.pool(x, 2, 1), 128, 256, 3, pad=1), 4, 1)
    x = g.node("Transpose", g.node("Squeeze", x, g.ints(2)), perm=[2, 0, 1])
    x = g.bilstm(g.bilstm(x, 256, 128), 256, 128)
    x = g.node("MatMul", x, g.weights(256, 37, sum_of=256))
    return g.model(image(1, 32, 128), g.node("Softmax", x, axis=-1), [32, "N", 37])


def encoder_layer(g, x, size, heads, wide):
    """Attention and a wide layer, each normalised after its sum."""
    def split(y, perm):
        return g.node("Transpose", g.node("Reshape", y, g.ints(0, 0, heads, size // heads)),
                      perm=perm)
    q = split(g.linear(x, size, size), [0, 2, 1, 3])
    k = split(g.linear(x, size, size), [0, 2, 3, 1])
    v = split(g.linear(x, size, size), [0, 2, 1, 3])
    scale = g.constant(np.float32(np.sqrt(size // heads)))
    share = g.node("Softmax", g.node("Div", g.node("MatMul", q, k), scale), axis=-1)
    y = g.node("Transpose", g.node("MatMul", share, v), perm=[0, 2, 1, 3])
    y = g.linear(g.node("Reshape", y, g.ints(0, 0, size)), size, size)
    x = g.normalise(g.node("Add", x, y), size)
    y = g.linear(g.node("Relu", g.linear(x, size, wide)), wide, size)
    return g.normalise(g.node("Add", x, y), size)


def transformer_encoder(g, steps=128, words=5000, size=256):
    """A text classifier: four layers, four heads."""
    x = g.node("Add", g.node("Gather", g.weights(words, size, sum_of=2), "ids"),
               g.weights(steps, size, sum_of=200))
    for _ in range(4):
        x = encoder_layer(g, x, size, 4, 4 * size)
    x = g.dense(g.node("ReduceMean", x, axes=[1], keepdims=0), size, 4)
    return g.model([("ids", TensorProto.INT64, ["N", steps])], g.node("Softmax", x, axis=-1),
                   ["N", 4])


def build(name):
    return globals()[name](Graph(name))


def inputs_of(model, batch):
    """Some numbers for each input: ids below 5000, or as of a normalised image."""
    random, found = np.random.default_rng(1), {}
    for value in model.graph.input:
        kind = value.type.tensor_type
        shape = [d.dim_value or batch for d in kind.shape.dim]
        if kind.elem_type == TensorProto.INT64:
            found[value.name] = random.integers(0, 5000, shape)
        else:
            found[value.name] = random.standard_normal(shape).astype(np.float32)
    return found
