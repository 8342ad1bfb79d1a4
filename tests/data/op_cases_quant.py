"""Cases of quantised values: to them, from them, and products of them; see make_op_cases.py."""
import numpy as np
from onnx import TensorProto

from op_graph import F, Graph

TYPES = {"INT8": np.int8, "UINT8": np.uint8, "INT16": np.int16, "UINT16": np.uint16, "INT32": np.int32}


def ints(g, type_, *shape):
    low, high = (np.iinfo(type_).min, np.iinfo(type_).max) if np.iinfo(type_).bits < 32 else (-99999, 99999)
    return g.random.integers(low, high + 1, shape).astype(type_)


def scales(g, *shape):
    return (g.random.random(shape) / 8 + 0.01).astype(F)


def pair(g, op, x, scale, zero, **attributes):
    names = [g.input("x", x), g.const("scale", np.asarray(scale))]
    if zero is not None:
        names.append(g.const("zero", zero))
    g.node(op, names, **attributes)


def linear_cases():
    """Ties, what is out of range, each granularity."""
    for name, type_ in TYPES.items():
        for opset in (10, 13, 19, 21):
            if opset < 21 and type_ in (np.int16, np.uint16):
                continue
            if type_ is not np.int32:
                g = Graph("quant", f"QuantizeLinear {name}, opset {opset}", opset)
                x = np.concatenate([np.arange(-20, 20) / 4, [1e9, -1e9, np.inf, -np.inf], g.rand(4) * 1e4])
                pair(g, "QuantizeLinear", x.astype(F).reshape(4, -1), F(0.5), ints(g, type_))
                g.done()
            g = Graph("quant", f"DequantizeLinear {name}, opset {opset}", opset)
            pair(g, "DequantizeLinear", ints(g, type_, 3, 5), F(0.3), None if type_ is np.int32 else ints(g, type_))
            g.done()
    for axis in (0, 1, -1):
        for opset in (13, 21):
            g = Graph("quant", f"QuantizeLinear along axis {axis}, opset {opset}", opset)
            x = g.rand(3, 4, 5)
            pair(g, "QuantizeLinear", x, scales(g, x.shape[axis]), ints(g, np.int8, x.shape[axis]), axis=axis)
            g.done()
            g = Graph("quant", f"DequantizeLinear along axis {axis}, opset {opset}", opset)
            x = ints(g, np.uint8, 3, 4, 5)
            pair(g, "DequantizeLinear", x, scales(g, x.shape[axis]), ints(g, np.uint8, x.shape[axis]), axis=axis)
            g.done()
    for name, type_ in list(TYPES.items())[:4]:
        for axis, block in ((1, 2), (0, 2), (2, 5)):
            g = Graph("quant", f"blocks of {block} along axis {axis}, {name}", 21)
            g.reference = True
            shape = [4, 4, 5]
            x = g.rand(*shape)
            shape[axis] //= block
            scale, zero = scales(g, *shape), ints(g, type_, *shape)
            g.input("x", x, fixed=True)
            g.node("QuantizeLinear", ["x", g.const("scale", scale), g.const("zero", zero)], ["q"], axis=axis,
                   block_size=block)
            g.node("DequantizeLinear", ["q", "scale", "zero"], ["y"], axis=axis, block_size=block)
            g.done("q", "y")
    g = Graph("quant", "QuantizeLinear without zero point, output_dtype", 21)
    pair(g, "QuantizeLinear", g.rand(3, 4) * 100, F(0.01), None, output_dtype=TensorProto.INT16)
    g.done()
    g = Graph("quant", "QuantizeLinear without zero point", 13)
    pair(g, "QuantizeLinear", g.rand(3, 4) * 20, F(0.1), None)
    g.done()
    for op in ("QuantizeLinear", "DequantizeLinear"):
        g = Graph("quant", f"{op}, scale in FP16", 21)
        x = g.rand(3, 4).astype(np.float16) if op[0] == "Q" else ints(g, np.int8, 3, 4)
        pair(g, op, x, np.float16(0.05), np.int8(3))
        g.done()


def dynamic_cases():
    for name, x in (("both signs", [-3, 0.5, 4.2]), ("positive", [1, 2, 3.5]), ("negative", [-1, -7, -2.2]),
                    ("zeros", [0, 0, 0]), ("ties", np.arange(-255, 256) / 2)):
        g = Graph("quant", f"DynamicQuantizeLinear {name}", 11)
        g.input("x", np.asarray(x, F).reshape(1, -1), fixed=True)
        g.node("DynamicQuantizeLinear", ["x"], ["y", "s", "z"])
        g.done("y", "s", "z")


def product_cases():
    shapes = (((3, 5), (5, 4)), ((5,), (5, 4)), ((3, 5), (5,)), ((2, 3, 5), (5, 4)), ((2, 3, 5), (2, 5, 4)),
              ((2, 1, 3, 5), (4, 5, 2)), ((1, 70), (70, 33)))
    for a, b in shapes:
        for ta, tb in ((np.uint8, np.int8), (np.int8, np.uint8), (np.uint8, np.uint8)):
            g = Graph("quant", f"MatMulInteger {a} {b} {ta.__name__} {tb.__name__}", 10)
            g.reference = ta is np.int8  # onnxruntime has UINT8 on the left only
            g.input("a", ints(g, ta, *a))
            g.node("MatMulInteger", ["a", g.const("b", ints(g, tb, *b)), g.const("az", ints(g, ta)),
                                     g.const("bz", ints(g, tb))])
            g.done()
    for name, a, b, az, bz in (("per column", (3, 5), (5, 4), (), (4,)), ("per row", (3, 5), (5, 4), (3,), ()),
                               ("per row and column", (3, 5), (5, 4), (3,), (4,)),
                               ("per row of a batch", (2, 3, 5), (5, 4), (2, 3, 1), ()),
                               ("per column of a batch", (3, 5), (2, 5, 4), (), (2, 1, 4))):
        g = Graph("quant", f"MatMulInteger, zero points {name}", 10)
        g.input("a", ints(g, np.uint8, *a), fixed=len(az) > 0)
        g.input("b", ints(g, np.int8, *b), fixed=True)
        names = ["a", "b", g.const("az", ints(g, np.uint8, *az)), g.const("bz", ints(g, np.int8, *bz))]
        g.node("MatMulInteger", names)
        known = Graph("quant", g.name, 13)  # in sums that every oracle has
        known.inputs, known.fixed, known.constants = g.inputs, g.fixed, g.constants
        for k in range(4):
            known.node("Cast", [names[k]], [f"f{k}"], to=TensorProto.FLOAT)
        if len(az) == 1:
            known.node("Unsqueeze", ["f2", known.const("one", np.array([1], np.int64))], ["f2u"])
        known.node("Sub", ["f0", "f2u" if len(az) == 1 else "f2"], ["fa"])
        known.node("Sub", ["f1", "f3"], ["fb"])
        known.node("MatMul", ["fa", "fb"], ["fy"])
        known.node("Cast", ["fy"], ["y"], to=TensorProto.INT32)
        g.constants = g.constants[:2]
        g.done(oracle_graph=known)
    for a, b in shapes[:6]:
        for type_ in (np.uint8, np.int8):
            g = Graph("quant", f"QLinearMatMul {a} {b} {type_.__name__}", 10)
            put = (("a", ints(g, type_, *a)), ("as", F(0.02)), ("az", ints(g, type_)), ("b", ints(g, type_, *b)),
                   ("bs", F(0.03)), ("bz", ints(g, type_)), ("ys", F(0.4)), ("yz", ints(g, type_)))
            g.node("QLinearMatMul", [(g.const if k else g.input)(n, v) for k, (n, v) in enumerate(put)])
            g.done()


def conv_of_bytes(g, x, w, groups=1, w_zero=0, bias=True, **attributes):
    """QLinearConv with a scale for each output, whose bytes spread over their range."""
    k, each = w.shape[0], np.prod(w.shape[1:])
    names = [g.input("x", x), g.const("xs", F(0.02)), g.const("xz", ints(g, x.dtype))]
    names += [g.const("w", w), g.const("ws", (g.random.random(k) / 40 + 0.01).astype(F)),
              g.const("wz", w_zero * np.ones(k, w.dtype) if np.isscalar(w_zero) else w_zero)]
    names += [g.const("ys", F(0.02 * np.sqrt(each))), g.const("yz", ints(g, x.dtype))]
    names += [g.const("b", ints(g, np.int32, k) // 100)] if bias else []
    g.node("QLinearConv", names, group=groups, **attributes)
    g.done()


def conv_cases():
    pads = {"pads": [1, 1, 1, 1]}
    for tx, tw in ((np.uint8, np.int8), (np.uint8, np.uint8), (np.int8, np.int8)):
        name = f"{tx.__name__} {tw.__name__}"
        middle = 128 if tw is np.uint8 else 0
        shapes = (("pointwise", (2, 20, 5, 7), (70, 20, 1, 1), {}), ("padded", (2, 8, 6, 5), (9, 8, 3, 3), pads),
                  ("first layer", (2, 3, 11, 9), (16, 3, 3, 3), dict(pads, strides=[2, 2])),
                  ("depthwise", (2, 18, 6, 6), (18, 1, 3, 3), dict(pads, groups=18)),
                  ("grouped", (2, 8, 5, 5), (12, 4, 2, 2), {"groups": 2, "dilations": [2, 1]}),
                  ("one axis", (2, 6, 30), (10, 6, 5), {"strides": [3], "pads": [4, 2]}),
                  ("three axes", (2, 3, 4, 5, 4), (4, 3, 2, 3, 2), {"pads": [1, 1, 0, 0, 1, 1]}))
        for shape, x, w, attributes in shapes:
            g = Graph("quant", f"QLinearConv {shape} {name}", 10)
            conv_of_bytes(g, ints(g, tx, *x), ints(g, tw, *w), w_zero=middle, bias=shape != "padded", **attributes)
    g = Graph("quant", "QLinearConv, weights with zero points", 10)
    conv_of_bytes(g, ints(g, np.uint8, 2, 9, 6, 6), ints(g, np.uint8, 5, 9, 3, 3), w_zero=np.uint8(77), **pads)
    g = Graph("quant", "ConvInteger", 10)
    g.input("x", ints(g, np.uint8, 2, 9, 6, 6))
    g.node("ConvInteger", ["x", g.const("w", ints(g, np.uint8, 5, 9, 3, 3)), g.const("xz", np.uint8(5)),
                           g.const("wz", np.uint8(120))], pads=[0, 1, 1, 0])
    g.done()


def chain_cases():
    """What lies between two layers of bytes stays as they like it; a reader of another kind, too."""
    g = Graph("quant", "QLinearConv twice, and one that reads between", 13)
    g.input("x", ints(g, np.uint8, 2, 3, 9, 9))
    g.const("s", F(0.1))
    g.const("z", np.uint8(3))
    g.const("ws", F(0.02))
    g.const("wz", np.int8(0))
    at = "x"
    for i, shape in enumerate(((16, 3, 3, 3), (70, 16, 3, 3), (5, 70, 1, 1))):
        g.const(f"w{i}", ints(g, np.int8, *shape))
        at = g.node("QLinearConv", [at, "s", "z", f"w{i}", "ws", "wz", "s", "z"], [f"y{i}"],
                    pads=[shape[2] // 2] * 4)
    g.node("DequantizeLinear", ["y1", "s", "z"], ["f"])
    g.node("ReduceMean", ["f"], ["m"], axes=[2, 3])
    g.done("y2", "m")


def network_cases():
    """As quantising tools write it: each value goes to bytes and back."""
    g = Graph("quant", "a network between QuantizeLinear and DequantizeLinear", 13)
    g.input("x", g.rand(3, 2, 6, 6))

    def bytes_of(v, out):
        g.node("QuantizeLinear", [v, "s", "z"], [out + "_q"])
        return g.node("DequantizeLinear", [out + "_q", "s", "z"], [out])

    g.const("s", F(0.05))
    g.const("z", np.uint8(120))
    g.node("DequantizeLinear", [g.const("w", ints(g, np.int8, 4, 2, 3, 3)), g.const("ws", scales(g, 4) / 40),
                                g.const("wz", np.zeros(4, np.int8))], ["wf"], axis=0)
    g.node("Conv", [bytes_of("x", "xf"), "wf"], ["c"])
    g.node("Relu", [bytes_of("c", "cf")], ["r"])
    g.node("Flatten", [bytes_of("r", "rf")], ["f"])
    g.done("f")


def make():
    linear_cases()
    dynamic_cases()
    product_cases()
    conv_cases()
    chain_cases()
    network_cases()
