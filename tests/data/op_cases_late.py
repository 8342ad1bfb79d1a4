"""Cases whose shapes depend on the data: nodes that are shaped while running; see make_op_cases.py."""
import numpy as np
from onnx import TensorProto

from op_graph import F, Graph, I


def numbers(g, name, axis_values):
    """int64 vector that no planner can know: rounded sums of a float input of rank 2."""
    g.input(name, np.array([[v / 2, v / 2] for v in axis_values], F), fixed=True)
    g.node("ReduceSum", [name, g.const(name + "_axes", np.array([1], I))], [name + "_sum"], keepdims=0)
    return g.node("Cast", [name + "_sum"], [name + "_ints"], to=TensorProto.INT64)


def reshape_cases():
    g = Graph("late", "Reshape to dims that were computed")
    g.input("x", g.rand(4, 6), fixed=True)
    g.node("Reshape", ["x", numbers(g, "n", [3, 8])])
    g.done()
    g = Graph("late", "Slice to ends that were computed, then MatMul and Relu")
    g.input("x", g.rand(5, 7), fixed=True)
    g.node("Slice", ["x", g.const("starts", np.array([1, 0], I)), numbers(g, "n", [4, 6])], ["part"])
    g.node("MatMul", ["part", g.const("w", g.rand(6, 3))], ["product"])
    g.node("Relu", ["product"])
    g.done()
    g = Graph("late", "Expand to dims that were computed, shape of it read again")
    g.input("x", g.rand(1, 4), fixed=True)
    g.node("Expand", ["x", numbers(g, "n", [3, 4])], ["y"])
    g.node("Shape", ["y"], ["dims"])
    g.done("y", "dims")


def network_cases():
    g = Graph("late", "convolutions behind a Reshape that was computed")
    g.input("x", g.rand(2, 16, 36), fixed=True)
    g.node("Reshape", ["x", numbers(g, "n", [2, 16, 6, 6])], ["maps"])
    g.node("Conv", ["maps", g.const("w1", g.rand(16, 16, 3, 3)), g.const("b1", g.rand(16))], ["c1"],
           pads=[1, 1, 1, 1])
    g.node("Relu", ["c1"], ["r1"])
    g.node("Conv", ["r1", g.const("w2", g.rand(9, 16, 3, 3))], ["c2"])
    g.node("MaxPool", ["c2"], ["p"], kernel_shape=[2, 2])
    g.node("Flatten", ["p"], ["f"])
    g.node("Gemm", ["f", g.const("w3", g.rand(81, 4))])
    g.done("c2", "y")
    g = Graph("late", "a static branch and a late one meet")
    g.input("x", g.rand(3, 8), fixed=True)
    g.node("Sigmoid", ["x"], ["s"])
    g.node("Reshape", ["x", numbers(g, "n", [3, 8])], ["t"])
    g.node("Concat", ["s", "t"], ["both"], axis=1)
    g.node("Split", ["both"], ["first", "second"], axis=1)
    g.node("Mul", ["first", "second"])
    g.done("y", "s")


def make():
    reshape_cases()
    network_cases()
