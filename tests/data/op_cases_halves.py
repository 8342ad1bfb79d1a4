"""Cases in FP16 and BF16: whole networks stored so, operators that compute between them; see make_op_cases.py."""
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from op_graph import F, Graph, HERE, I

H = np.float16


class Halves(Graph):
    """A graph whose random numbers are FP16."""

    def rand(self, *shape):
        return super().rand(*shape).astype(H)


def stored_as_fp16(model):
    """The same network with all FP32 weights, inputs and outputs in FP16."""
    for tensor in model.graph.initializer:
        if tensor.data_type == TensorProto.FLOAT:
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(H), tensor.name))
    for node in model.graph.node:
        for a in node.attribute:
            if a.type == onnx.AttributeProto.TENSOR and a.t.data_type == TensorProto.FLOAT:
                a.t.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(a.t).astype(H)))
    for info in list(model.graph.input) + list(model.graph.output):
        if info.type.tensor_type.elem_type == TensorProto.FLOAT:
            info.type.tensor_type.elem_type = TensorProto.FLOAT16
    del model.graph.value_info[:]
    return model


class Stored(Graph):
    """A network of tests/data in FP16."""

    def __init__(self, path):
        super().__init__("halves", f"{path.stem} in FP16")
        self.network = stored_as_fp16(onnx.load(path))
        given = {t.name for t in self.network.graph.initializer}
        for info in self.network.graph.input:
            dims = [d.dim_value or 3 for d in info.type.tensor_type.shape.dim]
            if info.name not in given:
                self.input(info.name, self.rand(*dims).astype(H), fixed=True)

    def model(self, outputs):
        return self.network


def network_cases():
    for name in ("gru_lbr1", "lstm_bidirectional"):
        g = Stored(HERE.parent / f"{name}.onnx")
        g.done(*[o.name for o in g.network.graph.output])
    g = Halves("halves", "a convolutional network in FP16")
    g.input("x", g.rand(2, 3, 12, 12))
    g.node("Conv", ["x", g.const("w1", g.rand(8, 3, 3, 3)), g.const("b1", g.rand(8))], ["c1"], pads=[1] * 4)
    g.node("BatchNormalization", ["c1"] + [g.const(k, np.abs(g.rand(8)) + H(0.5)) for k in ("g", "b", "m", "v")], ["n1"])
    g.node("Relu", ["n1"], ["r1"])
    g.node("MaxPool", ["r1"], ["p1"], kernel_shape=[2, 2], strides=[2, 2])
    g.node("Conv", ["p1", g.const("w2", g.rand(6, 8, 3, 3))], ["c2"])
    g.node("Add", ["c2", g.const("a", g.rand(6, 1, 1))], ["a2"])
    g.node("GlobalAveragePool", ["a2"], ["p2"])
    g.node("Flatten", ["p2"], ["f"])
    g.node("Gemm", ["f", g.const("w3", g.rand(6, 4)), g.const("b3", g.rand(4))], ["z"])
    g.node("Softmax", ["z"], ["y"], axis=1)
    g.node("ArgMax", ["z"], ["best"], axis=1, keepdims=0)
    g.done("y", "best")
    g = Halves("halves", "shapes of FP16, a body that reads FP16 around it")
    g.input("x", g.rand(4, 6))
    g.node("Shape", ["x"], ["dims"])
    g.node("Mul", ["dims", g.const("k", np.array([1, 2], I))], ["twice"])
    g.node("Concat", ["x", "x"], ["xx"], axis=1)
    g.node("Reshape", ["xx", "twice"], ["t"])
    g.node("Greater", ["t", g.const("zero", np.array(0, H))], ["up"])
    g.node("Exp", ["t"], ["e"])
    g.node("Where", ["up", "e", "t"], ["s"])
    g.input("c_", np.array(True))
    branch = [helper.make_graph([helper.make_node(op, ["s", "t"], [out])], out, [],
                                [helper.make_tensor_value_info(out, TensorProto.FLOAT16, None)])
              for op, out in (("Add", "o1"), ("Sub", "o2"))]
    g.node("If", ["c_"], ["i"], then_branch=branch[0], else_branch=branch[1])
    g.node("Tanh", ["i"], ["y"])
    g.done("y")


def mover_cases():
    g = Halves("halves", "Pad by attribute", 10)
    g.input("x", g.rand(2, 3, 4))
    g.node("Pad", ["x"], pads=[0, 1, 2, 0, 0, 1], value=0.5)
    g.done()
    g = Halves("halves", "Pad, Slice, Gather, Transpose, LayerNormalization")
    g.input("x", g.rand(2, 3, 4))
    g.node("Pad", ["x", g.const("p", np.array([0, 0, 1, 0, 0, 1], I)), g.const("v", H(0.25))], ["a"])
    g.node("Slice", ["a", g.const("from", np.array([1], I)), g.const("to", np.array([5], I)),
                     g.const("axis", np.array([2], I))], ["b"])
    g.node("Gather", ["b", g.const("i", np.array([2, 0], I))], ["c"], axis=1)
    g.node("Transpose", ["c"], ["d"], perm=[0, 2, 1])
    g.node("LayerNormalization", ["d", g.const("w", g.rand(2)), g.const("bias", g.rand(2))], ["y", "mean"])
    g.done("y", "mean")


def cast_cases():
    g = Graph("halves", "FP32 to FP16 and back, whole range")
    x = np.array([0, -0.0, 1, -1, 65504, 65519.99, 65520, -1e9, 6e-8, 2.9e-8, 3e-8, 6.1e-5, 6.09e-5, 1e-40, np.inf,
                  -np.inf, np.nan, 1 + 2 ** -11, 1 + 3 * 2 ** -11, 2 ** -24, 2 ** -25, 1.5 * 2 ** -24, 2047.5, 2048.5], F)
    g.input("x", np.concatenate([x, g.rand(200) * 300]).astype(F).reshape(-1, 2))
    g.node("Cast", ["x"], ["h"], to=TensorProto.FLOAT16)
    g.node("Cast", ["h"], ["y"], to=TensorProto.FLOAT)
    g.done("h", "y")
    g = Graph("halves", "every FP16")
    g.input("x", np.arange(0, 65536, 7, dtype=np.uint16).view(H))
    g.node("Cast", ["x"], ["y"], to=TensorProto.FLOAT)
    g.done()
    for name, type_ in (("FP16", TensorProto.FLOAT16), ("BF16", TensorProto.BFLOAT16)):
        small = np.random.default_rng(8)

        def whole(*shape):
            """Sums of these are exact in either type, whatever rounds when."""
            return small.integers(-2, 3, shape).astype(F)

        graphs = []
        for stored in (True, False):
            small = np.random.default_rng(8)
            g = Graph("halves", f"MatMul, Add, Relu, Conv between {name}")

            def to(v, type_=type_):
                return g.node("Cast", [v], [v + "_h"], to=type_) if stored else v

            g.input("x", whole(2, 3, 5, 5))
            w, k, b = (g.const(n, whole(*s)) for n, s in (("w", (5, 4)), ("k", (2, 3, 2, 2)), ("b", (4,))))
            g.node("MatMul", [to("x"), to(w)], ["m"])
            g.node("Add", ["m", to(b)], ["a"])
            g.node("Relu", ["a"], ["r"])
            g.node("Conv", ["r", to(k)], ["c"])
            g.node("Cast", ["c"], ["y"], to=TensorProto.FLOAT)
            graphs.append(g)
        graphs[0].done(oracle_graph=graphs[1])


def make():
    network_cases()
    mover_cases()
    cast_cases()
