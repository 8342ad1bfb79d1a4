"""Cases of If, Loop and Scan: what bodies read from around them, changing shapes; see make_op_cases.py."""
import numpy as np
from onnx import TensorProto, helper, numpy_helper

from op_graph import F, Graph, I

FLOAT, INT, BOOL = TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL


def info(name, type_=FLOAT, shape=None):
    return helper.make_tensor_value_info(name, type_, shape)


def body(name, nodes, inputs, outputs, constants=()):
    inits = [numpy_helper.from_array(np.asarray(v), k) for k, v in dict(constants).items()]
    return helper.make_graph(nodes, name, inputs, outputs, inits)


n = helper.make_node


def if_cases():
    for taken in (True, False):
        g = Graph("control", f"If, same shapes, reads an input and a computed value, {taken}")
        g.input("x", g.rand(3, 4), fixed=True)
        g.input("c_", np.array(taken))
        g.node("Relu", ["x"], ["r"])
        then = body("then", [n("Add", ["x", "r"], ["t"]), n("Mul", ["t", "k"], ["t2"])], [], [info("t2")],
                    {"k": np.array(3, F)})
        other = body("else", [n("Sub", ["r", "x"], ["e"]), n("Tanh", ["e"], ["e2"])], [], [info("e2")])
        g.node("If", ["c_"], ["z"], then_branch=then, else_branch=other)
        g.node("Sigmoid", ["z"])
        g.done("y", "z")
        g = Graph("control", f"If, different shapes, then MatMul, {taken}")
        g.input("x", g.rand(4, 6), fixed=True)
        g.input("c_", np.array([taken]))
        g.const("w", g.rand(6, 5))
        then = body("then", [n("Slice", ["x", "zero", "two"], ["t"])], [], [info("t")],
                    {"zero": np.array([0], I), "two": np.array([2], I)})
        other = body("else", [n("Identity", ["x"], ["e"])], [], [info("e")])
        g.node("If", ["c_"], ["z"], then_branch=then, else_branch=other)
        g.node("MatMul", ["z", "w"], ["m"])
        g.node("Relu", ["m"])
        g.done("y", "z")


def nested_if_cases():
    for size in (3, 5):
        g = Graph("control", f"If in If, condition from a shape, reads two levels up, {size}")
        g.input("x", g.rand(size, 4))
        g.input("c_", np.array(True))
        g.const("w", g.rand(4, 4))
        g.node("Shape", ["x"], ["dims"])
        g.node("Gather", ["dims", g.const("first", np.array(0, I))], ["rows"])
        g.node("Greater", ["rows", g.const("four", np.array(4, I))], ["many"])
        inner_then = body("it", [n("MatMul", ["x", "w"], ["p"]), n("Add", ["p", "q"], ["a"])], [], [info("a")])
        inner_else = body("ie", [n("Sub", ["x", "q"], ["b"])], [], [info("b")])
        outer = body("then", [n("Neg", ["x"], ["q"]),
                              n("If", ["many"], ["u"], then_branch=inner_then, else_branch=inner_else)],
                     [], [info("u")])
        other = body("else", [n("Abs", ["x"], ["v"])], [], [info("v")])
        g.node("If", ["c_"], ["y"], then_branch=outer, else_branch=other)
        g.done()


def loop_cases():
    for turns in (0, 1, 4):
        g = Graph("control", f"Loop, {turns} turns, carries and gathers")
        g.input("x", g.rand(3, 2), fixed=True)
        g.input("m_", np.array(turns, I))
        step = body("body", [n("Add", ["s", "x"], ["s2"]), n("Cast", ["i"], ["f"], to=FLOAT),
                             n("Mul", ["s2", "f"], ["g"]), n("Identity", ["go"], ["go2"])],
                    [info("i", INT, []), info("go", BOOL, []), info("s", FLOAT, [3, 2])],
                    [info("go2", BOOL, []), info("s2", FLOAT, [3, 2]), info("g", FLOAT, [3, 2])])
        g.node("Loop", ["m_", "", "x"], ["last", "all"], body=step)
        g.done("last", "all")
    g = Graph("control", "Loop until a condition, carried value grows")
    g.input("x", g.rand(1, 3), fixed=True)
    step = body("body", [n("Concat", ["s", "x"], ["s2"], axis=0), n("Shape", ["s2"], ["d"]),
                         n("Gather", ["d", "zero"], ["rows"]), n("Less", ["rows", "five"], ["go2"])],
                [info("i", INT, []), info("go", BOOL, []), info("s", FLOAT, [None, 3])],
                [info("go2", BOOL, []), info("s2", FLOAT, [None, 3])],
                {"zero": np.array(0, I), "five": np.array(5, I)})
    g.node("Loop", ["", g.const("true", np.array(True)), "x"], ["grown"], body=step)
    g.node("ReduceSum", ["grown"], ["y"], keepdims=0)
    g.done("grown", "y")


def nested_loop_cases():
    g = Graph("control", "Loop in Loop with an If, reads turns of both")
    g.input("x", g.rand(2, 2), fixed=True)
    yes = body("yes", [n("Add", ["t", "fi"], ["a"])], [], [info("a")])
    no = body("no", [n("Sub", ["t", "fj"], ["b"])], [], [info("b")])
    inner = body("inner", [n("Cast", ["j"], ["fj"], to=FLOAT), n("Less", ["j", "i"], ["less"]),
                           n("If", ["less"], ["t2"], then_branch=yes, else_branch=no),
                           n("Identity", ["gj"], ["gj2"])],
                 [info("j", INT, []), info("gj", BOOL, []), info("t", FLOAT, [2, 2])],
                 [info("gj2", BOOL, []), info("t2", FLOAT, [2, 2])])
    outer = body("outer", [n("Cast", ["i"], ["fi"], to=FLOAT), n("Loop", ["three", "", "s"], ["s2"], body=inner),
                           n("Identity", ["gi"], ["gi2"]), n("ReduceMax", ["s2"], ["top"], keepdims=0)],
                 [info("i", INT, []), info("gi", BOOL, []), info("s", FLOAT, [2, 2])],
                 [info("gi2", BOOL, []), info("s2", FLOAT, [2, 2]), info("top", FLOAT, [])],
                 {"three": np.array(3, I)})
    g.node("Loop", [g.const("four", np.array(4, I)), "", "x"], ["y", "tops"], body=outer)
    g.done("y", "tops")


def scan_cases():
    for reverse in (0, 1):
        for axis in (0, 1):
            g = Graph("control", f"Scan, axis {axis}, reverse {reverse}, reads a weight from around")
            g.input("x", g.rand(5, 4) if axis == 0 else g.rand(4, 5), fixed=True)
            g.input("s", g.rand(3), fixed=True)
            g.const("w", g.rand(4, 3))
            step = body("body", [n("MatMul", ["xi", "w"], ["p"]), n("Add", ["p", "h"], ["u"]),
                                 n("Tanh", ["u"], ["h2"]), n("Neg", ["h2"], ["out"])],
                        [info("h", FLOAT, [3]), info("xi", FLOAT, [4])],
                        [info("h2", FLOAT, [3]), info("out", FLOAT, [3])])
            g.node("Scan", ["s", "x"], ["last", "all"], body=step, num_scan_inputs=1, scan_input_axes=[axis],
                   scan_input_directions=[reverse], scan_output_axes=[axis], scan_output_directions=[1 - reverse])
            g.done("last", "all")
    g = Graph("control", "Scan of opset 8, a batch", 8)
    g.input("x", g.rand(2, 3, 2), fixed=True)
    g.input("s", g.rand(2, 2), fixed=True)
    step = body("body", [n("Add", ["h", "xi"], ["h2"]), n("Identity", ["h2"], ["out"])],
                [info("h", FLOAT, [2]), info("xi", FLOAT, [2])], [info("h2", FLOAT, [2]), info("out", FLOAT, [2])])
    g.node("Scan", ["", "s", "x"], ["last", "all"], body=step, num_scan_inputs=1)
    g.done("last", "all")


def make():
    if_cases()
    nested_if_cases()
    loop_cases()
    nested_loop_cases()
    scan_cases()
