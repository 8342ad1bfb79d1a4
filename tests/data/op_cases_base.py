"""Cases of the operators that nearly every network uses; see make_op_cases.py."""
import numpy as np
from onnx import TensorProto, helper, numpy_helper

from op_graph import FAMILIES, HERE, F, Graph, I, one, rand


def conv_cases():
    def conv(name, x, w, bias=True, dynamic=False, opset=17, **attributes):
        inputs = {"x": rand(*x), "w": rand(*w)}
        if bias:
            inputs["b"] = rand(w[0])
        one("conv", name, "Conv", inputs, opset, () if dynamic else ("w", "b"), fixed=dynamic, **attributes)

    conv("3x3", (2, 3, 9, 7), (5, 3, 3, 3))
    conv("3x3 blocked", (3, 16, 8, 9), (24, 16, 3, 3), pads=[1, 1, 1, 1])
    conv("3x3 stride 2", (2, 8, 9, 11), (8, 8, 3, 3), strides=[2, 2], pads=[1, 0, 1, 2])
    conv("1x1", (2, 32, 5, 5), (16, 32, 1, 1))
    conv("1x1 stride 2 no bias", (2, 9, 6, 6), (7, 9, 1, 1), bias=False, strides=[2, 2])
    conv("5x3 asymmetric pads", (1, 4, 10, 10), (6, 4, 5, 3), pads=[2, 0, 1, 2])
    conv("dilated", (2, 8, 14, 14), (8, 8, 3, 3), dilations=[2, 3], pads=[2, 3, 2, 3])
    conv("grouped", (2, 12, 7, 7), (8, 3, 3, 3), group=4, pads=[1, 1, 1, 1])
    conv("depthwise", (2, 16, 9, 9), (16, 1, 3, 3), group=16, pads=[1, 1, 1, 1])
    conv("depthwise times two", (2, 5, 9, 9), (10, 1, 3, 3), group=5, strides=[2, 2])
    conv("same upper", (2, 3, 7, 8), (4, 3, 4, 3), auto_pad="SAME_UPPER", strides=[2, 2])
    conv("same lower", (2, 3, 7, 8), (4, 3, 4, 3), auto_pad="SAME_LOWER", strides=[2, 3])
    conv("valid", (2, 3, 7, 8), (4, 3, 4, 3), auto_pad="VALID")
    conv("1d", (3, 5, 20), (7, 5, 4), strides=[2], pads=[1, 2])
    conv("1d stft", (2, 1, 64), (18, 1, 16), strides=[8], bias=False)
    conv("1d depthwise dilated", (2, 8, 30), (8, 1, 5), group=8, dilations=[3])
    conv("weights from the model", (2, 3, 6, 6), (4, 3, 3, 3), dynamic=True)
    conv("opset 1", (2, 3, 6, 6), (4, 3, 3, 3), opset=7, kernel_shape=[3, 3])


def conv_fused_cases():
    one("conv", "constant weights, bias from the model", "Conv", {"x_": rand(2, 3, 6, 6), "w": rand(4, 3, 3, 3), "b_": rand(4)}, consts="w")
    for name, op, attributes in [("relu", "Relu", {}), ("sigmoid", "Sigmoid", {}), ("tanh", "Tanh", {}),
                                 ("leaky", "LeakyRelu", {"alpha": 0.3})]:
        g = Graph("conv", f"fused {name}")
        g.node("Conv", [g.input("x", rand(2, 6, 7, 7)), g.const("w", rand(9, 6, 3, 3)), g.const("b", rand(9))], ["c"])
        g.node(op, ["c"], **attributes)
        g.done()
    g = Graph("conv", "fused clip")
    g.node("Conv", [g.input("x", rand(2, 6, 7, 7)), g.const("w", rand(9, 6, 3, 3))], ["c"])
    g.node("Clip", ["c", g.const("lo", F(-0.5)), g.const("hi", F(1.5))])
    g.done()
    for bias in (True, False):
        g = Graph("conv", f"fused batch norm, bias {bias}")
        names = [g.input("x", rand(2, 6, 7, 7)), g.const("w", rand(9, 6, 3, 3))] + ([g.const("b", rand(9))] if bias else [])
        g.node("Conv", names, ["c"])
        g.node("BatchNormalization", ["c", g.const("s", rand(9)), g.const("o", rand(9)), g.const("m", rand(9)),
                                      g.const("v", np.abs(rand(9)) + F(0.1))], ["n"])
        g.node("Relu", ["n"])
        g.done()
    g = Graph("conv", "fused bias as add")
    g.node("Conv", [g.input("x", rand(2, 6, 7, 7)), g.const("w", rand(9, 6, 3, 3))], ["c"])
    g.node("Add", ["c", g.const("b", rand(1, 9, 1, 1))], ["a"])
    g.node("Relu", ["a"])
    g.done()
    g = Graph("conv", "residual block with awkward channels")
    x = g.input("x", rand(2, 10, 8, 8))
    g.node("Conv", [x, g.const("w1", rand(10, 10, 3, 3))], ["c1"], pads=[1, 1, 1, 1])
    g.node("Relu", ["c1"], ["r1"])
    g.node("Conv", ["r1", g.const("w2", rand(10, 10, 3, 3))], ["c2"], pads=[1, 1, 1, 1])
    g.node("Add", ["c2", "r1"], ["s"])
    g.node("Exp", [g.node("Clip", ["s", g.const("lo", F(-2)), g.const("hi", F(2))], ["k"])], ["e"])
    g.node("GlobalAveragePool", ["e"], ["p"])
    g.node("Sigmoid", ["p"], ["gate"])
    g.node("Mul", ["e", "gate"], ["m"])
    g.node("Mul", ["m", g.const("half", F(0.5))], ["h"])
    g.node("MaxPool", ["h"], kernel_shape=[2, 2], strides=[2, 2])
    g.done("y", "gate")
    g = Graph("conv", "two branches, concatenated")
    x = g.input("x", rand(2, 8, 6, 6))
    g.node("Conv", [x, g.const("w1", rand(8, 8, 1, 1))], ["a"])
    g.node("Conv", [x, g.const("w2", rand(16, 8, 3, 3))], ["b"], pads=[1, 1, 1, 1])
    g.node("Concat", ["a", "b"], ["c"], axis=1)
    g.node("Conv", ["c", g.const("w3", rand(5, 24, 3, 3))])
    g.done()
    g = Graph("conv", "channels last around")
    g.node("Transpose", [g.input("x", rand(2, 8, 8, 3))], ["t"], perm=[0, 3, 1, 2])
    g.node("Conv", ["t", g.const("w", rand(12, 3, 3, 3))], ["c"])
    g.node("Transpose", ["c"], perm=[0, 2, 3, 1])
    g.done()


def pool_cases():
    for op in ("MaxPool", "AveragePool"):
        def pool(name, x, opset=17, **attributes):
            one("pool", f"{op} {name}", op, {"x": rand(*x)}, opset, **attributes)

        pool("2x2", (2, 3, 6, 8), kernel_shape=[2, 2], strides=[2, 2])
        pool("3x2 overlapping", (2, 9, 7, 7), kernel_shape=[3, 2])
        pool("pads", (2, 4, 7, 7), kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 0, 1])
        pool("ceil", (2, 4, 7, 8), kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1)
        pool("same upper", (2, 4, 7, 8), kernel_shape=[3, 2], strides=[2, 2], auto_pad="SAME_UPPER")
        pool("same lower", (2, 4, 7, 8), kernel_shape=[3, 2], strides=[2, 2], auto_pad="SAME_LOWER")
        pool("1d", (2, 4, 17), kernel_shape=[4], strides=[3])
    one("pool", "AveragePool with padding counted", "AveragePool", {"x": rand(2, 3, 7, 7)}, kernel_shape=[3, 3],
        pads=[1, 1, 1, 1], count_include_pad=1)
    one("pool", "MaxPool dilated", "MaxPool", {"x": rand(2, 3, 9, 9)}, kernel_shape=[3, 3], dilations=[2, 2])
    for op in ("GlobalAveragePool", "GlobalMaxPool"):
        one("pool", op, op, {"x": rand(3, 10, 5, 7)})
        one("pool", f"{op} 1d", op, {"x": rand(3, 10, 5)})


def matrix_cases():
    def gemm(name, a, b, c=None, constant=True, **attributes):
        inputs = {"a": rand(*a), "b": rand(*b)}
        if c is not None:
            inputs["c"] = rand(*c)
        one("matrix", f"Gemm {name}", "Gemm", inputs, consts=("b", "c") if constant else (), fixed=not constant, **attributes)

    gemm("plain", (3, 5), (5, 7))
    gemm("bias row", (3, 5), (5, 7), (7,))
    gemm("bias column", (3, 5), (5, 7), (3, 1), constant=False)
    gemm("bias scalar", (3, 5), (5, 7), (1,))
    gemm("bias whole", (3, 5), (5, 7), (3, 7), constant=False)
    gemm("scaled", (4, 17), (17, 33), (33,), alpha=0.5, beta=2.0)
    gemm("transB", (4, 17), (33, 17), (33,), transB=1)
    gemm("transA transB", (17, 4), (33, 17), (33,), constant=False, transA=1, transB=1)
    gemm("dynamic", (4, 9), (9, 5), (5,), constant=False)
    g = Graph("matrix", "Gemm with relu")
    g.node("Gemm", [g.input("a", rand(4, 9)), g.const("b", rand(9, 6)), g.const("c", rand(6))], ["g"])
    g.node("Relu", ["g"])
    g.done()

    def matmul(name, a, b, constant=False, fixed=True):
        one("matrix", f"MatMul {name}", "MatMul", {"a": rand(*a), "b": rand(*b)}, consts=("b",) if constant else (), fixed=fixed)

    matmul("constant right", (4, 9), (9, 5), constant=True, fixed=False)
    matmul("tall with constant right", (3, 4, 9), (9, 5), constant=True, fixed=False)
    matmul("4d with constant right", (2, 3, 4, 9), (9, 5), constant=True, fixed=False)
    matmul("both", (4, 9), (9, 5))
    matmul("batched", (3, 4, 9), (3, 9, 5), fixed=False)
    matmul("batched heads", (2, 3, 4, 9), (2, 3, 9, 5), fixed=False)
    matmul("broadcast right", (2, 3, 4, 9), (3, 9, 5))
    matmul("broadcast left", (4, 9), (2, 3, 9, 5))
    matmul("broadcast both", (2, 1, 4, 9), (1, 3, 9, 5))
    matmul("vector left", (9,), (9, 5))
    matmul("vector right", (3, 4, 9), (9,), constant=True, fixed=False)
    matmul("vectors", (9,), (9,))
    matmul("batched with constant right", (3, 4, 9), (3, 9, 5), constant=True)
    matmul("rows with constant right of rank 3", (2, 4, 9), (1, 9, 5), constant=True, fixed=False)
    g = Graph("matrix", "MatMul with bias and tanh")
    g.node("MatMul", [g.input("a", rand(3, 4, 9)), g.const("b", rand(9, 6))], ["m"])
    g.node("Add", [g.const("c", rand(6)), "m"], ["s"])
    g.node("Tanh", ["s"])
    g.done()
    g = Graph("matrix", "attention")
    x = g.input("x", rand(3, 5, 8))
    for name in "qkv":
        g.node("MatMul", [x, g.const("w" + name, rand(8, 8))], [name + "0"])
        g.node("Reshape", [name + "0", g.const("heads" + name, np.array([0, 0, 2, 4], I))], [name + "1"])
        g.node("Transpose", [name + "1"], [name], perm=[0, 2, 3, 1] if name == "k" else [0, 2, 1, 3])
    g.node("MatMul", ["q", "k"], ["qk"])
    g.node("Mul", ["qk", g.const("scale", F(0.5))], ["scores"])
    g.node("Softmax", ["scores"], ["weights"], axis=-1)
    g.node("MatMul", ["weights", "v"], ["mixed"])
    g.node("Transpose", ["mixed"], ["back"], perm=[0, 2, 1, 3])
    g.node("Reshape", ["back", g.const("flat", np.array([0, 0, 8], I))])
    g.done()
    g = Graph("matrix", "attention, heads beside rows, steps first")
    x = g.input("x", rand(3, 5, 8))
    g.node("Transpose", [x], ["t"], perm=[1, 0, 2])
    for name in "qkv":
        g.node("MatMul", ["t", g.const("w" + name, rand(8, 8))], [name + "0"])
        g.node("Reshape", [name + "0", g.const("heads" + name, np.array([5, -1, 4], I))], [name + "1"])
        g.node("Transpose", [name + "1"], [name], perm=[1, 2, 0] if name == "k" else [1, 0, 2])
    g.node("MatMul", ["q", "k"], ["scores"])
    g.node("Softmax", ["scores"], ["weights"], axis=-1)
    g.node("MatMul", ["weights", "v"], ["mixed"])
    g.node("Transpose", ["mixed"], ["back"], perm=[1, 0, 2])
    g.node("Reshape", ["back", g.const("flat", np.array([5, -1, 8], I))])
    g.done()


def elementwise_cases():
    for op in ("Relu", "Sigmoid", "Tanh", "Exp", "Neg", "Abs", "Softsign", "Softplus", "Erf", "Floor", "Ceil", "Round",
               "Sign", "Sin", "Cos", "Atan", "HardSwish", "Reciprocal"):
        one("elementwise", op, op, {"x": np.concatenate([rand(3, 37) * 3, F([[0.0] * 18 + [-0.5, 0.5, 1.5, 2.5] + [60.0, -60.0] * 7 + [1e-3]])])})
    one("elementwise", "Gelu", "Gelu", {"x": rand(3, 9)}, 20)
    one("elementwise", "Gelu tanh", "Gelu", {"x": rand(3, 9)}, 20, approximate="tanh")
    one("elementwise", "Mish", "Mish", {"x": rand(3, 9)}, 18)
    one("elementwise", "nan and infinities through Relu", "Relu", {"x": F([[np.nan, np.inf, -np.inf, -0.0, 1, 2, 3, 4, 5]])})
    one("elementwise", "Log", "Log", {"x": np.abs(rand(3, 19)) + F(1e-3)})
    one("elementwise", "Sqrt", "Sqrt", {"x": np.abs(rand(3, 19))})
    one("elementwise", "LeakyRelu", "LeakyRelu", {"x": rand(3, 19)}, alpha=0.2)
    one("elementwise", "HardSigmoid", "HardSigmoid", {"x": rand(3, 19)}, alpha=0.3, beta=0.4)
    one("elementwise", "Elu", "Elu", {"x": rand(3, 19)}, alpha=0.7)
    one("elementwise", "ThresholdedRelu", "ThresholdedRelu", {"x": rand(3, 19)}, alpha=0.4)
    one("elementwise", "PRelu", "PRelu", {"x": rand(3, 5, 4), "s": rand(5, 1)}, consts=("s",))
    one("elementwise", "Sqrt FP64", "Sqrt", {"x": np.abs(rand(3, 4)).astype("f8")})
    one("elementwise", "Neg INT64", "Neg", {"x": np.array([[1, -2, 0]], I)})
    one("elementwise", "Abs INT32", "Abs", {"x": np.array([[1, -2, 0]], np.int32)})
    for name, opset, limits in [("both", 11, (F(-0.5), F(0.7))), ("low only", 13, (F(-0.1), None)), ("high only", 13, (None, F(0.2)))]:
        inputs = {"x": rand(3, 19), "lo": limits[0]}
        if limits[1] is not None:
            inputs["hi"] = limits[1]
        one("elementwise", f"Clip {name}", "Clip", inputs, opset, consts=("lo", "hi"))
    one("elementwise", "Clip by inputs", "Clip", {"x": rand(3, 19), "lo": F(-0.5), "hi": F(0.5)})
    one("elementwise", "Clip INT64", "Clip", {"x": np.arange(-4, 4, dtype=I).reshape(2, 4), "lo": I(-2), "hi": I(1)}, consts=("lo", "hi"))
    one("elementwise", "Clip by attributes", "Clip", {"x": rand(3, 19)}, 6, min=-0.3, max=0.4)
    for op in ("Add", "Sub", "Mul", "Div"):
        for name, a, b in [("same", (3, 4, 5), (3, 4, 5)), ("row", (3, 4, 5), (5,)), ("column", (3, 4, 5), (4, 1)),
                           ("both ways", (3, 1, 5), (4, 1)), ("scalar", (3, 4, 5), ()), ("scalar left", (), (2, 3)),
                           ("middle", (2, 3, 4, 5), (3, 1, 5))]:
            one("elementwise", f"{op} {name}", op, {"a": rand(*a), "b": rand(*b)}, consts=("b",) if name in ("row", "column", "middle") else (), fixed=name == "both ways")
    one("elementwise", "Add of one channel number after a pool", "Add", {"a": rand(2, 8, 3, 3), "b": rand(2, 8, 1, 1)})
    one("elementwise", "Div INT64 truncates", "Div", {"a": np.array([[7, -7, 7, -7]], I), "b": np.array([[2, 2, -2, -2]], I)})
    one("elementwise", "Mul INT32", "Mul", {"a": np.arange(6, dtype=np.int32).reshape(2, 3), "b": np.array([3], np.int32)}, consts=("b",))
    one("elementwise", "Add FP64", "Add", {"a": rand(2, 3).astype("f8"), "b": rand(3).astype("f8")}, consts=("b",))
    one("elementwise", "Pow", "Pow", {"a": np.abs(rand(3, 4)), "b": rand(3, 4)})
    one("elementwise", "Pow 2", "Pow", {"a": rand(3, 4), "b": F(2)}, consts=("b",))
    one("elementwise", "Pow FP32 by INT64", "Pow", {"a": rand(3, 4), "b": I(3)}, consts=("b",))
    one("elementwise", "Pow INT64", "Pow", {"a": np.array([[2, -3, 1]], I), "b": np.array([[5, 3, 0]], I)})
    for op in ("Min", "Max", "Sum"):
        one("elementwise", f"{op} of three", op, {"a": rand(3, 4), "b": rand(3, 4), "c": rand(1, 4)}, consts=("c",))
        one("elementwise", f"{op} of one", op, {"a": rand(3, 4)})
    one("elementwise", "Max INT64", "Max", {"a": np.array([[1, 5]], I), "b": np.array([[3, 2]], I)})
    types = {"FP32": F, "INT64": I, "INT32": np.int32, "UINT8": np.uint8, "INT8": np.int8, "BOOL": np.bool_, "FP64": np.float64, "FP16": np.float16}
    for a, source in types.items():
        for b, target in types.items():
            value = (np.abs(rand(2, 9)) * 5).astype(source) if "FP" in a else np.arange(18).reshape(2, 9).astype(source)
            one("cast", f"{a} to {b}", "Cast", {"x": value}, to=helper.np_dtype_to_tensor_dtype(np.dtype(target)))
    one("cast", "FP32 to FP16 rounds", "Cast", {"x": F([[65504, 65519, 65520, 1e-8, 6e-8, 2.9802322e-08, 1.0009765, 1.00048828125, -0.0]])}, to=TensorProto.FLOAT16)
    for op in ("Equal", "Less", "Greater", "LessOrEqual", "GreaterOrEqual"):
        one("compare", op, op, {"a": F([[1, 2, 3, np.nan]]), "b": F([[1, 3, 2, np.nan]])})
        one("compare", f"{op} INT64 stretched", op, {"a": np.arange(6, dtype=I).reshape(2, 3), "b": np.array([[1], [4]], I)})
    for op in ("And", "Or", "Xor"):
        one("compare", op, op, {"a": np.array([[True, True, False, False]]), "b": np.array([[True, False, True, False]])})
    one("compare", "Not", "Not", {"a": np.array([[True, False]])})
    one("compare", "Where", "Where", {"c": np.array([[True], [False]]), "a": rand(2, 3), "b": rand(2, 3)})
    one("compare", "Where INT64 stretched", "Where", {"c": np.array([[True, False, True]]), "a": I(7), "b": np.arange(6, dtype=I).reshape(2, 3)}, fixed=True)


def axis_cases():
    for op in ("Softmax", "LogSoftmax"):
        for opset in (9, 11, 13):
            for axis in (0, 1, 2, -1):
                if opset == 9 and axis < 0:
                    continue
                one("softmax", f"{op} opset {opset} axis {axis}", op, {"x": rand(3, 4, 5) * 4}, opset, axis=axis)
            one("softmax", f"{op} opset {opset} default axis", op, {"x": rand(3, 4, 5)}, opset)
        one("softmax", f"{op} of large numbers", op, {"x": F([[1000, 999, -1000], [-2000, -2000, -2001]])})
    for op in ("ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin"):
        for axes in ([1], [0], [-1], [0, 2], [1, 2], [0, 1, 2, 3], [1, 3]):
            for keep in (0, 1):
                x = {"x": rand(3, 4, 5, 2)}
                one("reduce", f"{op} {axes} keep {keep}", op, x, 11, axes=axes, keepdims=keep)
        one("reduce", f"{op} all", op, {"x": rand(3, 4, 5)}, 11)
        one("reduce", f"{op} axes as input", op, {"x": rand(3, 4, 5), "axes": np.array([1], I)}, 18, consts=("axes",), keepdims=0)
        one("reduce", f"{op} no axes, no operation", op, {"x": rand(3, 4)}, 18, noop_with_empty_axes=1)
    one("reduce", "ReduceSum INT64", "ReduceSum", {"x": np.arange(12, dtype=I).reshape(3, 4), "axes": np.array([0], I)}, 13, consts=("axes",))
    one("reduce", "ReduceMax INT32", "ReduceMax", {"x": np.arange(12, dtype=np.int32).reshape(3, 4)}, 13, axes=[1])
    for op in ("ArgMax", "ArgMin"):
        one("reduce", f"{op} last axis", op, {"x": rand(3, 4, 5)}, axis=-1, keepdims=0)
        one("reduce", f"{op} first axis", op, {"x": rand(3, 4, 5)}, axis=0)
        one("reduce", f"{op} of equal ones, the last", op, {"x": F([[1, 2, 2, 1], [3, 3, 3, 3]])}, axis=1, select_last_index=1)
        one("reduce", f"{op} of equal ones", op, {"x": F([[1, 2, 2, 1], [3, 3, 3, 3]])}, axis=1)
    for shape in ((3, 5), (3, 5, 7), (3, 5, 4, 4)):
        x = {"x": rand(*shape), "s": rand(5), "b": rand(5), "m": rand(5), "v": np.abs(rand(5)) + F(0.1)}
        one("normalise", f"BatchNormalization rank {len(shape)}", "BatchNormalization", x, 15, consts="sbmv", epsilon=1e-3)
    one("normalise", "BatchNormalization opset 9", "BatchNormalization", x, 9, consts="sbmv", momentum=0.8)
    one("normalise", "LayerNormalization", "LayerNormalization", {"x": rand(3, 4, 9), "s": rand(9), "b": rand(9)}, 17, consts="sb")
    one("normalise", "LayerNormalization two axes", "LayerNormalization", {"x": rand(3, 4, 9), "s": rand(4, 9)}, 17, consts="s", axis=1)
    one("normalise", "Dropout", "Dropout", {"x": rand(3, 4)}, 12)
    one("normalise", "Dropout with mask", "Dropout", {"x": rand(3, 4)}, 13, outputs=("y", "mask"))
    one("normalise", "Dropout opset 7", "Dropout", {"x": rand(3, 4)}, 7, ratio=0.3)


def i(*values):
    return np.array(values, I)


def shape_cases():
    def shaped(name, op, value, opset=17, **more):
        attributes = {k: v for k, v in more.items() if not isinstance(v, np.ndarray)}
        consts = {k: v for k, v in more.items() if isinstance(v, np.ndarray)}
        one("shape", f"{op} {name}", op, {"x": value, **consts}, opset, consts=tuple(consts), **attributes)

    shaped("plain", "Reshape", rand(3, 4, 5), s=i(3, 20))
    shaped("copy and rest", "Reshape", rand(3, 4, 5), s=i(0, -1))
    shaped("rest in front", "Reshape", rand(3, 4, 5), s=i(-1, 5))
    shaped("rank up", "Reshape", rand(3, 4, 5), s=i(-1, 1, 2, 2, 5))
    shaped("flat", "Reshape", rand(3, 4), s=i(-1))
    shaped("default", "Flatten", rand(3, 4, 5))
    for axis in (0, 2, 3, -1):
        shaped(f"axis {axis}", "Flatten", rand(3, 4, 5), axis=axis)
    shaped("attribute", "Squeeze", rand(3, 1, 5, 1), 11, axes=[1, -1])
    shaped("input", "Squeeze", rand(3, 1, 5, 1), a=i(1))
    shaped("all", "Squeeze", rand(3, 1, 5, 1))
    shaped("attribute", "Unsqueeze", rand(3, 5), 11, axes=[0, 3])
    shaped("input", "Unsqueeze", rand(3, 5), a=i(-1, 1))
    shaped("plain", "Identity", rand(3, 5))
    shaped("default", "Transpose", rand(3, 4, 5))
    for perm in ([0, 2, 1], [1, 0, 2], [2, 0, 1]):
        shaped(f"{perm}", "Transpose", rand(3, 4, 5), perm=perm)
    shaped("UINT8", "Transpose", np.arange(24, dtype=np.uint8).reshape(2, 3, 4), perm=[1, 2, 0])
    shaped("INT64", "Transpose", np.arange(24, dtype=I).reshape(2, 3, 4), perm=[2, 1, 0])
    for axis in (0, 1, -1):
        one("shape", f"Concat {axis}", "Concat", {"a": rand(2, 3, 4), "b": rand(2, 3, 4)}, axis=axis)
        one("shape", f"Split in two, axis {axis}", "Split", {"x": rand(2, 6, 4)}, 13, outputs=("a", "b"), axis=axis)
    one("shape", "Split by sizes", "Split", {"x": rand(2, 6, 4), "s": i(1, 2, 3)}, 13, consts="s", outputs=("a", "b", "c"), axis=1)
    one("shape", "Split by attribute", "Split", {"x": rand(2, 6, 4)}, 11, outputs=("a", "b"), axis=1, split=[4, 2])
    one("shape", "Split unequal", "Split", {"x": rand(2, 7)}, 18, outputs=("a", "b", "c"), axis=1, num_outputs=3)
    one("shape", "Concat one, stretched rows", "Concat", {"a": rand(2, 3)}, axis=1)
    for axis in (0, 1, -1):
        one("shape", f"Gather axis {axis}", "Gather", {"x": rand(3, 4, 5), "i": i(0, 2, -1)}, consts="i", axis=axis)
        one("shape", f"Gather axis {axis} scalar", "Gather", {"x": rand(3, 4, 5), "i": I(1)}, consts="i", axis=axis)
    one("shape", "Gather from a table", "Gather", {"t": rand(10, 4), "i": np.array([[1, 9], [0, -10], [3, 3]], I)}, consts="t")
    one("shape", "Gather from a table, INT32", "Gather", {"t": rand(10, 4), "i": np.array([[1, 9], [0, 3]], np.int32)}, consts="t")


def part_cases():
    big = np.iinfo(I).max
    for name, s, e, a, st in [("plain", [1], [3], [1], None), ("negative", [-3], [-1], [1], None), ("to the end", [1], [big], [2], None),
                              ("steps", [0, 4], [4, 0], [1, 2], [2, -2]), ("reverse all", [-1], [-big], [2], [-1]),
                              ("empty", [3], [1], [1], None), ("no axes", [0, 1, 2], [2, 3, 4], None, None),
                              ("huge step", [0], [big], [1], [big]), ("rows", [1], [big], [0], None)]:
        inputs = {"x": rand(3, 4, 5), "s": i(*s), "e": i(*e), "a": None if a is None else i(*a)}
        if st:
            inputs["t"] = i(*st)
        if inputs["a"] is None and not st:
            inputs.pop("a")
        one("shape", f"Slice {name}", "Slice", inputs, consts=("s", "e", "a", "t"))
    one("shape", "Slice by attributes", "Slice", {"x": rand(3, 4, 5)}, 9, starts=[1, -2], ends=[big, big], axes=[1, 2])
    for mode in ("constant", "reflect", "edge"):
        one("shape", f"Pad {mode}", "Pad", {"x": rand(2, 3, 5), "p": i(0, 1, 2, 0, 2, 1)}, 13, consts="p", mode=mode)
        one("shape", f"Pad {mode} by attribute", "Pad", {"x": rand(2, 3, 5)}, 9, mode=mode, pads=[0, 1, 2, 0, 2, 1])
    one("shape", "Pad with a value", "Pad", {"x": rand(2, 3), "p": i(1, 0, 0, 2), "v": F(7)}, 13, consts="pv")
    one("shape", "Pad negative", "Pad", {"x": rand(2, 5), "p": i(0, -1, 0, -2)}, 13, consts="p")
    one("shape", "Pad by axes", "Pad", {"x": rand(2, 3, 5), "p": i(1, 2), "v": F(0), "a": i(-1)}, 18, consts="pva")
    one("shape", "Expand", "Expand", {"x": rand(3, 1), "s": i(2, 1, 4)}, consts="s")
    one("shape", "Shape", "Shape", {"x": rand(3, 4, 5)}, fixed=True)
    one("shape", "Shape part", "Shape", {"x": rand(3, 4, 5)}, fixed=True, start=-2, end=3)
    one("shape", "Size", "Size", {"x": rand(3, 4, 5)}, fixed=True)


def shape_graph_cases():
    g = Graph("shape", "ConstantOfShape from rows")
    x = g.input("x", rand(3, 4))
    g.node("Shape", [x], ["s"])
    g.node("ConstantOfShape", ["s"], ["c"], value=numpy_helper.from_array(F([2.5])))
    g.node("Add", ["c", x])
    g.done()
    g = Graph("shape", "Reshape by computed shape")
    x = g.input("x", rand(3, 4, 5))
    g.node("Shape", [x], ["s"])
    g.node("Gather", ["s", g.const("zero", I(0))], ["n"], axis=0)
    g.node("Unsqueeze", ["n", g.const("axis", i(0))], ["n1"])
    g.node("Concat", ["n1", g.const("rest", i(-1))], ["to"], axis=0)
    g.node("Reshape", [x, "to"])
    g.done()
    g = Graph("shape", "rows that mix")
    x = g.input("x", rand(3, 4))
    g.node("ReduceMax", [x], ["m"], axes=[0], keepdims=1)
    g.node("Sub", [x, "m"])
    g.done()
    g = Graph("shape", "scaled bytes")
    g.node("Cast", [g.input("x", np.arange(96, dtype=np.uint8).reshape(2, 6, 8))], ["f"], to=TensorProto.FLOAT)
    g.node("Mul", ["f", g.const("scale", F([1 / 255]))], ["m"])
    g.node("Unsqueeze", ["m", g.const("one", i(1))])
    g.done()
    g = Graph("shape", "an initializer as output, an input as output")
    g.node("Relu", [g.input("x", rand(2, 3))])
    g.const("c", rand(4))
    g.node("Identity", ["x"], ["same"])
    g.done("y", "same")


def recurrent_cases():
    gates = {"LSTM": 4, "GRU": 3, "RNN": 1}
    hidden, features, steps, rows = 5, 3, 4, 3

    def rnn(op, name, direction="forward", bias=True, lens=None, initial=False, peephole=False, outputs=None,
            opset=17, constant=True, **attributes):
        d, g = 2 if direction == "bidirectional" else 1, gates[op]
        inputs = {"x_": rand(steps, rows, features), "w": rand(d, g * hidden, features) * F(0.5),
                  "r": rand(d, g * hidden, hidden) * F(0.5)}
        inputs["b"] = rand(d, 2 * g * hidden) * F(0.3) if bias else None
        inputs["lens_"] = None if lens is None else np.array(lens, np.int32)
        inputs["h_"] = rand(d, rows, hidden) if initial else None
        if op == "LSTM":
            inputs["c_"] = rand(d, rows, hidden) if initial else None
            inputs["p"] = rand(d, 3 * hidden) if peephole else None
        while list(inputs.values())[-1] is None:
            inputs.popitem()
        names = outputs or (("y", "yh", "yc") if op == "LSTM" else ("y", "yh"))
        one("recurrent", f"{op} {name}", op, inputs, opset, ("w", "r", "b", "p") if constant else (), names,
            hidden_size=hidden, direction=direction, fixed=not constant, **attributes)

    for op in gates:
        for direction in ("forward", "reverse", "bidirectional"):
            rnn(op, direction, direction)
            rnn(op, f"{direction}, initial state, lengths", direction, lens=[4, 2, 3], initial=True)
        rnn(op, "no bias", bias=False)
        rnn(op, "clip", clip=0.4)
        rnn(op, "last state only", outputs=("", "yh"))
        rnn(op, "all states only", outputs=("y",))
        rnn(op, "opset 7", opset=7)
        rnn(op, "weights from the model", constant=False)
    one("recurrent", "RNN constant weights, bias from the model", "RNN",
        {"x_": rand(4, 3, 2), "w": rand(1, 5, 2), "r": rand(1, 5, 5), "b_": rand(1, 10)}, consts="wr", outputs=("y", "yh"), hidden_size=5)
    rnn("GRU", "linear before reset", linear_before_reset=1)
    rnn("GRU", "linear before reset, both ways", "bidirectional", linear_before_reset=1, initial=True)
    rnn("GRU", "activations", activations=["HardSigmoid", "Softsign"])
    rnn("LSTM", "peepholes", peephole=True, initial=True)
    rnn("LSTM", "peepholes both ways", "bidirectional", peephole=True)
    rnn("LSTM", "activations", activations=["Sigmoid", "Relu", "Tanh"])
    rnn("LSTM", "activations with parameters", activations=["HardSigmoid", "LeakyRelu", "ScaledTanh"],
        activation_alpha=[0.3, 0.1, 0.9], activation_beta=[0.4, 1.1])
    rnn("RNN", "relu", activations=["Relu"])
    rnn("RNN", "affine both ways", "bidirectional", activations=["Affine", "Tanh"], activation_alpha=[0.5], activation_beta=[0.1])

    g = Graph("recurrent", "LSTM with state by shape, rows second")
    x = g.input("x", rand(3, 6, 4))
    g.node("Transpose", [x], ["t"], perm=[1, 0, 2])
    g.node("Shape", ["t"], ["s"])
    g.node("Slice", ["s", g.const("one", np.array([1], I)), g.const("two", np.array([2], I))], ["n"])
    g.node("Concat", [g.const("dirs", np.array([2], I)), "n", g.const("h", np.array([5], I))], ["state"], axis=0)
    g.node("ConstantOfShape", ["state"], ["zeros"])
    g.node("LSTM", ["t", g.const("w", rand(2, 20, 4)), g.const("r", rand(2, 20, 5)), g.const("b", rand(2, 40)), "", "zeros", "zeros"],
           ["y0"], hidden_size=5, direction="bidirectional")
    g.node("Transpose", ["y0"], ["y1"], perm=[0, 2, 1, 3])
    g.node("Reshape", ["y1", g.const("flat", np.array([0, 0, -1], I))], ["y2"])
    g.node("MatMul", ["y2", g.const("k", rand(10, 3))], ["y3"])
    g.node("LogSoftmax", ["y3"], axis=2)
    g.done()


def make():
    for cases in (conv_cases, conv_fused_cases, pool_cases, matrix_cases, elementwise_cases, axis_cases,
                  shape_cases, part_cases, shape_graph_cases, recurrent_cases):
        cases()
