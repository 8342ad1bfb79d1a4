"""Cases of elementwise operators as opset 1 had them, of AffineGrid, of FP64 and integers; see make_op_cases.py."""
import numpy as np

from op_graph import F, Graph, I


class Given(Graph):
    """A case whose answer NumPy gives: no oracle here runs these versions."""

    def done_as(self, op, inputs, equal, **attributes):
        """equal(new): adds nodes of today's opset for the same function to `new`."""
        new = Graph(self.family, self.name, 17)
        for name in inputs:
            new.input(name, self.inputs[name], fixed=True)
        equal(new)
        self.node(op, inputs, **attributes)
        self.done(oracle_graph=new)


def behind(new, op):
    """y = op(a, b) with b's axes moved to axis 1 of a rank 4."""
    new.node("Unsqueeze", ["b", new.const("axes", np.array([2], I))], ["wide"])
    new.node(op, ["a", "wide"])


def pair(g, kind, *b_dims):
    make = {"bool": lambda *d: g.rand(*d) > 0, "float": lambda *d: np.round(g.rand(*d)),
            "int": lambda *d: np.round(g.rand(*d)).astype(np.int32)}[kind]
    g.input("a", make(2, 3, 2, 4), fixed=True)
    g.input("b", make(*b_dims), fixed=True)


def logic_cases():
    for op, kind in (("And", "bool"), ("Or", "bool"), ("Xor", "bool"), ("Equal", "int"), ("Less", "float"),
                     ("Greater", "float")):
        g = Given("legacy", f"{op} of opset 1, axis 1", 1)
        pair(g, kind, 3, 2)
        g.done_as(op, ["a", "b"], lambda new, op=op: behind(new, op), broadcast=1, axis=1)
        g = Given("legacy", f"{op} of opset 1, right-aligned", 1)
        pair(g, kind, 2, 4)
        g.done_as(op, ["a", "b"], lambda new, op=op: new.node(op, ["a", "b"]), broadcast=1)


def cast_cases():
    for name, code in (("FLOAT", 1), ("INT32", 6), ("INT64", 7), ("UINT8", 2), ("BOOL", 9), ("DOUBLE", 11),
                       ("FLOAT16", 10)):
        g = Given("legacy", f"Cast of opset 1 to {name}", 1)
        g.input("a", np.abs(g.rand(3, 4)) * F(3), fixed=True)
        g.done_as("Cast", ["a"], lambda new, code=code: new.node("Cast", ["a"], to=code), to=name)


def affine_cases():
    for corners in (0, 1):
        for size in ((2, 1, 3, 4), (2, 1, 2, 3, 4)):
            axes = len(size) - 2
            g = Graph("legacy", f"AffineGrid {axes}D, align_corners {corners}", 20)
            g.input("theta", g.rand(2, axes, axes + 1), fixed=True)
            g.node("AffineGrid", ["theta", g.const("size", np.array(size, I))], align_corners=corners)
            g.done()


def double_cases():
    for op in ("Softmax", "LogSoftmax"):
        for opset in (12, 13):
            g = Graph("legacy", f"{op} of opset {opset} in FP64", opset)
            g.input("x", g.rand(2, 3, 4).astype(np.float64))
            g.node(op, ["x"], axis=1)
            g.done()


def product_cases():
    for kind in (np.float64, np.int32, np.int64, np.uint32, np.uint64):
        def some(g, *dims):
            return np.abs(g.rand(*dims) * 9).astype(kind)
        name = np.dtype(kind).name
        g = Graph("legacy", f"MatMul in {name}, a batch of products", 13)
        g.input("a", some(g, 2, 3, 4), fixed=True)
        g.node("MatMul", ["a", g.const("b", some(g, 2, 4, 2))])
        g.done()
        g = Graph("legacy", f"MatMul in {name}, constant right side", 13)
        g.input("a", some(g, 3, 4))
        g.node("MatMul", ["a", g.const("b", some(g, 4, 2))], ["p"])
        g.node("Abs" if kind != np.float64 else "Relu", ["p"])
        g.done()
        g = Graph("legacy", f"Gemm in {name}", 13)
        g.input("a", some(g, 3, 4))
        g.node("Gemm", ["a", g.const("b", some(g, 2, 4)), g.const("c", some(g, 2))], transB=1, alpha=2.0, beta=3.0)
        g.done()


def make():
    product_cases()
    double_cases()
    logic_cases()
    cast_cases()
    affine_cases()
