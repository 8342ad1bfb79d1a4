"""Cases of sequences, optional values and SequenceMap inside a model; see make_op_cases.py."""
import numpy as np
from onnx import TensorProto, helper

from op_graph import F, Graph, I

n = helper.make_node


def info(name, type_=TensorProto.FLOAT, shape=None):
    return helper.make_tensor_value_info(name, type_, shape)


def three(g):
    """A sequence of three tensors of different first dims."""
    for i, rows in enumerate((2, 3, 1)):
        g.input(f"x{i}", g.rand(rows, 4), fixed=True)
    g.node("SequenceConstruct", ["x0", "x1", "x2"], ["s"])
    return "s"


def change_cases():
    for at in (-3, -1, 0, 2):
        g = Graph("sequence", f"SequenceAt {at}")
        g.node("SequenceAt", [three(g), g.const("at", np.array(at, I))])
        g.done()
        g = Graph("sequence", f"SequenceErase {at}, SequenceLength, ConcatFromSequence")
        g.node("SequenceErase", [three(g), g.const("at", np.array(at, np.int32))], ["t"])
        g.node("SequenceLength", ["t"], ["len"])
        g.node("ConcatFromSequence", ["t"], ["y"], axis=0)
        g.done("y", "len")
    for at in (-3, -1, 0, 1, 3, None):
        g = Graph("sequence", f"SequenceInsert at {at}")
        g.input("new", g.rand(2, 4), fixed=True)
        names = [three(g), "new"] + ([] if at is None else [g.const("at", np.array(at, I))])
        g.node("SequenceInsert", names, ["t"])
        g.node("ConcatFromSequence", ["t"], ["y"], axis=-2)
        g.done()
    g = Graph("sequence", "SequenceErase without position, SequenceAt that is an input")
    g.input("at_", np.array(1, I))
    g.node("SequenceErase", [three(g)], ["t"])
    g.node("SequenceAt", ["t", "at_"])
    g.node("SequenceLength", ["s"], ["len"])
    g.done("y", "len")
    g = Graph("sequence", "SequenceEmpty of INT64, inserted twice, on a new axis")
    g.input("x", np.arange(6).reshape(2, 3).astype(I), fixed=True)
    g.node("SequenceEmpty", [], ["e"], dtype=TensorProto.INT64)
    g.node("SequenceLength", ["e"], ["len"])
    g.node("SequenceInsert", ["e", "x"], ["e1"])
    g.node("SequenceInsert", ["e1", "x"], ["e2"])
    g.node("ConcatFromSequence", ["e2"], ["y"], axis=1, new_axis=1)
    g.done("y", "len")


def split_cases():
    for name, split, more in (
            ("by default", None, {}), ("keepdims 0", None, {"keepdims": 0}),
            ("keepdims 0, last axis", None, {"keepdims": 0, "axis": -1}),
            ("by 2", np.array(2, I), {}), ("by 3 on axis 1", np.array(3, np.int32), {"axis": 1}),
            ("into 1, 0 and 4", np.array([1, 0, 4], I), {})):
        g = Graph("sequence", f"SplitToSequence {name}")
        g.input("x", g.rand(5, 4), fixed=True)
        names = ["x"] + ([] if split is None else [g.const("split", split)])
        g.node("SplitToSequence", names, ["s"], **more)
        g.node("SequenceLength", ["s"], ["len"])
        g.node("SequenceAt", ["s", g.const("last", np.array(-1, I))], ["y"])
        g.node("SequenceAt", ["s", g.const("first", np.array(0, I))], ["z"])
        g.node("Relu", ["z"], ["r"])
        g.done("y", "r", "len")


def map_cases():
    g = Graph("sequence", "SequenceMap over two sequences and a tensor, reads a value from around it")
    s = three(g)
    g.input("w", g.rand(4, 4), fixed=True)
    g.node("Tanh", ["w"], ["tw"])
    body = helper.make_graph([n("Add", ["a", "b"], ["c"]), n("MatMul", ["c", "tw"], ["d"]),
                              n("Shape", ["a"], ["e"]), n("Add", ["d", "v"], ["f"])],
                             "body", [info("a"), info("b"), info("v")], [info("f"), info("e", TensorProto.INT64)])
    g.input("v", g.rand(4), fixed=True)
    g.node("SequenceMap", [s, s, "v"], ["m", "dims"], body=body)
    g.node("ConcatFromSequence", ["m"], ["y"], axis=0)
    g.node("ConcatFromSequence", ["dims"], ["z"], axis=0, new_axis=1)
    g.done("y", "z")
    g = Graph("sequence", "Loop that carries a sequence")
    g.input("x", g.rand(3, 4), fixed=True)
    g.node("SequenceEmpty", [], ["e"])
    carried = [helper.make_tensor_sequence_value_info(k, TensorProto.FLOAT, None) for k in ("s_in", "s_out")]
    body = helper.make_graph([n("Identity", ["c"], ["c_out"]), n("Gather", ["x", "i"], ["row"]),
                              n("SequenceInsert", ["s_in", "row"], ["s_mid"]), n("Identity", ["s_mid"], ["s_out"])],
                             "body", [info("i", TensorProto.INT64, []), info("c", TensorProto.BOOL, []), carried[0]],
                             [info("c_out", TensorProto.BOOL), carried[1]])
    g.node("Loop", [g.const("turns", np.array(3, I)), "", "e"], ["s"], body=body)
    g.node("ConcatFromSequence", ["s"], ["y"], axis=0)
    g.done()


def optional_cases():
    for opset in (15, 18):
        g = Graph("sequence", f"Optional around a tensor, opset {opset}", opset)
        g.input("x", g.rand(3, 4), fixed=True)
        g.node("Optional", ["x"], ["o"])
        g.node("OptionalHasElement", ["o"], ["has"])
        g.node("OptionalGetElement", ["o"], ["t"])
        g.node("Relu", ["t"])
        g.done("y", "has")
    g = Graph("sequence", "Optional around a sequence, and one with nothing", 18)
    g.node("Optional", [three(g)], ["o"])
    g.node("OptionalGetElement", ["o"], ["t"])
    g.node("SequenceLength", ["t"], ["len"])
    g.node("Optional", [], ["empty"], type=helper.make_tensor_type_proto(TensorProto.FLOAT, None))
    g.node("OptionalHasElement", ["empty"], ["has"])
    g.node("OptionalHasElement", [""], ["no"])
    g.done("len", "has", "no")


def make():
    change_cases()
    split_cases()
    map_cases()
    optional_cases()
