"""Small ONNX models made in the tests themselves, octet by octet from the format's description.

    onnx_model([node("Identity", ["x"], ["y"])], [value("x", "FP32", ["n", 4])],
               [value("y", "FP32", ["n", 4])])

Field numbers are those of onnx.proto (ONNX IR version 8). `value` dims are sizes, or names for
open ones.
"""
import struct

import numpy

TYPES = {"FP32": 1, "UINT8": 2, "INT32": 6, "INT64": 7, "BYTES": 8, "BOOL": 9, "FP64": 11}
TYPES_OF_ARRAYS = {"float32": 1, "uint8": 2, "int32": 6, "int64": 7, "bool": 9, "float64": 11}
VARINT, LENGTH, FIXED32 = 0, 2, 5


def varint(number):
    number &= (1 << 64) - 1
    out = bytearray()
    while number > 0x7f:
        out.append(number & 0x7f | 0x80)
        number >>= 7
    return bytes(out + bytes([number]))


def field(number, payload):
    """One field: an int as varint, a float as fixed32, text and octets with their length."""
    if isinstance(payload, bool) or isinstance(payload, int):
        return varint(number << 3 | VARINT) + varint(payload)
    if isinstance(payload, float):
        return varint(number << 3 | FIXED32) + struct.pack("<f", payload)
    data = payload.encode() if isinstance(payload, str) else payload
    return varint(number << 3 | LENGTH) + varint(len(data)) + data


def attribute(name, given):
    """AttributeProto of an int, a float, a text, a graph, or a list of ints."""
    if isinstance(given, bytes):
        return field(1, name) + field(6, given) + field(20, 5)
    if isinstance(given, int):
        return field(1, name) + field(3, given) + field(20, 2)
    if isinstance(given, float):
        return field(1, name) + field(2, given) + field(20, 1)
    if isinstance(given, str):
        return field(1, name) + field(4, given) + field(20, 3)
    return field(1, name) + b"".join(field(8, i) for i in given) + field(20, 7)


def node(operator, inputs, outputs, domain="", **attributes):
    return (b"".join(field(1, name) for name in inputs) + b"".join(field(2, name) for name in outputs)
            + field(4, operator) + b"".join(field(5, attribute(*item)) for item in attributes.items())
            + (field(7, domain) if domain else b""))


def value(name, dtype, dims):
    shape = b"".join(field(1, field(1 if isinstance(dim, int) else 2, dim)) for dim in dims)
    tensor = field(1, TYPES[dtype]) + field(2, shape)
    return field(1, name) + field(2, field(1, tensor))


def constant(name, array):
    """An initializer."""
    array = numpy.ascontiguousarray(array)
    return (b"".join(field(1, dim) for dim in array.shape)
            + field(2, TYPES_OF_ARRAYS[array.dtype.name]) + field(8, name)
            + field(9, array.tobytes()))


def typed_constant(name, array):
    """An initializer that has its numbers in float_data, as onnx.helper.make_tensor writes them."""
    array = numpy.ascontiguousarray(array, numpy.float32)
    return (b"".join(field(1, dim) for dim in array.shape) + field(2, TYPES["FP32"])
            + field(4, array.tobytes()) + field(8, name))


def graph(nodes, inputs, outputs, constants=()):
    """GraphProto: a model's, or the body of a Loop."""
    return (b"".join(field(1, n) for n in nodes) + field(2, "test")
            + b"".join(field(5, c) for c in constants) + b"".join(field(11, v) for v in inputs)
            + b"".join(field(12, v) for v in outputs))


def onnx_model(nodes, inputs, outputs, constants=(), opset=17, domains=()):
    sets = field(8, field(1, "") + field(2, opset)) if opset else b""
    sets += b"".join(field(8, field(1, domain) + field(2, 1)) for domain in domains)
    return (field(1, 8) + field(2, "convoy tests") + field(7, graph(nodes, inputs, outputs, constants))
            + sets)


def echo(dtype="FP32", width=4):
    """y = x, [n, width]."""
    return onnx_model([node("Identity", ["x"], ["y"])], [value("x", dtype, ["n", width])],
                      [value("y", dtype, ["n", width])])


def times(factor, width=4):
    """y = factor * x, [n, width]; the factor tells one version from another."""
    return onnx_model([node("Mul", ["x", "factor"], ["y"])], [value("x", "FP32", ["n", width])],
                      [value("y", "FP32", ["n", width])],
                      [constant("factor", numpy.float32([factor]))])


def sum_and_difference():
    """Two inputs, two outputs: sum = a + b, difference = a - b, [n, 3]."""
    ends = [value(name, "FP32", ["n", 3]) for name in ("a", "b", "sum", "difference")]
    return onnx_model([node("Add", ["a", "b"], ["sum"]), node("Sub", ["a", "b"], ["difference"])],
                      ends[:2], ends[2:])


def column_softmax():
    """Softmax over the first axis: rows depend on each other, so nothing may be batched."""
    return onnx_model([node("Softmax", ["x"], ["y"], axis=0)], [value("x", "FP32", ["n", 4])],
                      [value("y", "FP32", ["n", 4])])


def slow(layers, width=512, seed=1):
    """`layers` times y = tanh(W y), [n, 512]: some 0.1 ms a row and layer on one core."""
    rng = numpy.random.default_rng(seed)
    weights = constant("W", rng.standard_normal((width, width), numpy.float32) / width ** 0.5)
    nodes, last = [], "x"
    for i in range(layers):
        nodes.append(node("MatMul", [last, "W"], [f"m{i}"]))
        last = "y" if i + 1 == layers else f"t{i}"
        nodes.append(node("Tanh", [f"m{i}"], [last]))
    return onnx_model(nodes, [value("x", "FP32", ["n", width])],
                      [value("y", "FP32", ["n", width])], [weights])


def loop(width=512, seed=1):
    """`count` times x = tanh(W x), in a Loop: some 0.1 ms each, and as many as the request says."""
    rng = numpy.random.default_rng(seed)
    weights = constant("W", rng.standard_normal((width, width), numpy.float32) / width ** 0.5)
    body = graph([node("Identity", ["go"], ["go_on"]), node("MatMul", ["h", "W"], ["m"]),
                  node("Tanh", ["m"], ["next"])],
                 [value("i", "INT64", []), value("go", "BOOL", []), value("h", "FP32", [1, width])],
                 [value("go_on", "BOOL", []), value("next", "FP32", [1, width])])
    return onnx_model([node("Loop", ["count", "", "x"], ["y"], body=body)],
                      [value("count", "INT64", []), value("x", "FP32", [1, width])],
                      [value("y", "FP32", [1, width])], [weights])
