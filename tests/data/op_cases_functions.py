"""Functions that a model defines itself, and how names travel through them and through sub-graphs."""
import onnx
from onnx import TensorProto, helper

from op_graph import Graph, I

DOMAIN = "convoy.test"


def reference(node, name, refers_to, kind):
    node.attribute.append(onnx.AttributeProto(name=name, ref_attr_name=refers_to, type=kind))
    return node


def function(g, name, inputs, outputs, nodes, attributes=(), defaults=(), opset=17):
    g.domains[DOMAIN] = 1
    imports = [helper.make_opsetid("", opset), helper.make_opsetid(DOMAIN, 1)]
    g.functions.append(helper.make_function(DOMAIN, name, list(inputs), list(outputs), nodes, imports,
                                            list(attributes), list(defaults)))


def call(g, name, inputs, outputs, **attributes):
    g.node(name, inputs, outputs, domain=DOMAIN, **attributes)


def leaky(g):
    """alpha is handed on; beta has a default; x + beta + (bias when it is given)."""
    nodes = [
        reference(helper.make_node("LeakyRelu", ["x"], ["t"]), "alpha", "slope", onnx.AttributeProto.FLOAT),
        reference(helper.make_node("Constant", [], ["b"]), "value_float", "beta", onnx.AttributeProto.FLOAT),
        helper.make_node("Add", ["t", "b"], ["y"], name="same"),
    ]
    function(g, "Leaky", ["x"], ["y"], nodes, ["slope"], [helper.make_attribute("beta", 0.5)])


def cases():
    g = Graph("functions", "attributes_given_and_defaults")
    leaky(g)
    g.input("x", g.rand(3, 4))
    call(g, "Leaky", ["x"], ["t"], slope=0.25)
    call(g, "Leaky", ["t"], ["y"], slope=0.75, beta=-2.0)
    g.done()

    g = Graph("functions", "attribute_left_to_the_operator")
    leaky(g)
    g.input("x", g.rand(2, 5))
    call(g, "Leaky", ["x"], ["y"])
    g.done()

    g = Graph("functions", "calls_inside_calls_hand_attributes_on")
    leaky(g)
    inner = helper.make_node("Leaky", ["x"], ["y"], domain=DOMAIN)
    reference(inner, "slope", "outer", onnx.AttributeProto.FLOAT)
    function(g, "Twice", ["x"], ["z"], [inner, helper.make_node("Mul", ["y", "x"], ["z"])], ["outer"])
    g.input("x", g.rand(3, 4))
    call(g, "Twice", ["x"], ["t"], outer=0.125)
    call(g, "Twice", ["t"], ["y"], outer=2.0)
    g.done()

    g = Graph("functions", "inputs_left_out_and_outputs_not_read")
    nodes = [helper.make_node("Clip", ["x", "low", "high"], ["a"]), helper.make_node("Neg", ["x"], ["b"])]
    function(g, "Bounds", ["x", "low", "high"], ["a", "b"], nodes)
    g.input("x", g.rand(3, 4))
    g.const("half", g.rand(1)[0])
    call(g, "Bounds", ["x", "", "half"], ["p", "unread"])
    call(g, "Bounds", ["p", "half", ""], ["clipped", "q"])
    g.node("Sub", ["p", "q"])
    g.done()

    g = Graph("functions", "output_is_an_input")
    function(g, "Pass", ["a", "b"], ["b", "c"], [helper.make_node("Add", ["a", "b"], ["c"])])
    g.input("x", g.rand(3, 4))
    g.input("w", g.rand(3, 4))
    call(g, "Pass", ["x", "w"], ["t", "u"])
    g.node("Mul", ["t", "u"])
    g.done("y", "u")

    g = Graph("functions", "branches_read_inputs_of_the_function")
    then = helper.make_graph([helper.make_node("Add", ["x", "k"], ["r"])], "then", [],
                             [helper.make_tensor_value_info("r", TensorProto.FLOAT, None)])
    other = helper.make_graph([helper.make_node("Identity", ["x"], ["r"])], "else", [],
                              [helper.make_tensor_value_info("r", TensorProto.FLOAT, None)])
    nodes = [helper.make_node("Exp", ["x"], ["k"]),
             helper.make_node("If", ["cond"], ["y"], then_branch=then, else_branch=other)]
    function(g, "Choose", ["cond", "x"], ["y"], nodes)
    g.input("x", g.rand(3, 4))
    g.node("ReduceSum", ["x"], ["s"], keepdims=0)
    g.const("zero", g.rand(1)[0] * 0)
    g.node("Greater", ["s", "zero"], ["c"])
    g.node("Not", ["c"], ["n"])
    call(g, "Choose", ["c", "x"], ["t"])
    call(g, "Choose", ["n", "t"], ["y"])
    g.done()


def inside_a_body():
    g = Graph("functions", "called_in_a_body_with_names_from_around")
    leaky(g)
    body = helper.make_graph(
        [helper.make_node("Leaky", ["state"], ["t"], domain=DOMAIN, slope=0.5),
         helper.make_node("Add", ["t", "x"], ["next"]), helper.make_node("Identity", ["go"], ["on"])],
        "body", [helper.make_tensor_value_info("i", TensorProto.INT64, []),
                 helper.make_tensor_value_info("go", TensorProto.BOOL, []),
                 helper.make_tensor_value_info("state", TensorProto.FLOAT, None)],
        [helper.make_tensor_value_info("on", TensorProto.BOOL, []),
         helper.make_tensor_value_info("next", TensorProto.FLOAT, None)])
    g.input("x", g.rand(2, 3))
    g.const("trips", I(3))
    g.node("Loop", ["trips", "", "x"], body=body)
    g.done()

    g = Graph("functions", "names_of_every_kind")
    odd = ['a:0', 'layer/b', '{"json": [1]}', 'with space', 'ünïcode', '%s%n', "'", '\\']
    g.input(odd[0], g.rand(2, 3))
    for before, after in zip(odd, odd[1:]):
        g.node("Neg", [before], [after])
    g.done(odd[-1], odd[2])


def make():
    cases()
    inside_a_body()
