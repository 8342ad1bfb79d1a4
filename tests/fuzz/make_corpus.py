#!/usr/bin/env python3
"""Write the seeds of the model fuzzer: tests/fuzz/corpus/model/*.onnx.

    build/venv-models/bin/python tests/fuzz/make_corpus.py

One small model for each thing that the loader reads in its own way, and one operator case of each
family of tests/data/ops. See tests/data/requirements.txt for what has to be installed first.
"""
import pathlib
import struct

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

HERE = pathlib.Path(__file__).resolve().parent
OUT = HERE / "corpus" / "model"
OPS = HERE.parent / "data" / "ops"
CASE_BYTES_MAX = 3000  # of an operator case's model
CASES_PER_FAMILY = 3
DOMAIN = "convoy.test"


def tensor(name, *values, dtype=np.float32):
    return numpy_helper.from_array(np.asarray(values, dtype), name)


def value(name, shape=("n", 3), kind=TensorProto.FLOAT):
    return helper.make_tensor_value_info(name, kind, shape)


def model(name, nodes, constants=(), functions=(), sparse=(), inputs=None, outputs=None, opset=17, **more):
    graph = helper.make_graph(nodes, name, inputs or [value("x")], outputs or [value("y")], list(constants),
                              sparse_initializer=list(sparse))
    imports = [helper.make_opsetid("", opset), helper.make_opsetid(DOMAIN, 1)]
    m = helper.make_model(graph, opset_imports=imports, functions=list(functions), **{"ir_version": 10, **more})
    (OUT / f"{name}.onnx").write_bytes(m.SerializeToString())


def external(name, location, **more):
    """y = x + w, where w[3] lies in another file."""
    w = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[3], data_location=TensorProto.EXTERNAL)
    for key, text in {"location": location, **more}.items():
        w.external_data.add(key=key, value=str(text))
    model(name, [helper.make_node("Add", ["x", "w"], ["y"])], [w])


def sparse(name, indices, dims=(2, 3)):
    values = tensor(name, *[float(i + 1) for i in range(len(indices))])
    return helper.make_sparse_tensor(values, tensor(name + "_at", *indices, dtype=np.int64), list(dims))


def function(name, nodes, inputs=("x",), outputs=("y",), attributes=(), defaults=()):
    imports = [helper.make_opsetid("", 17), helper.make_opsetid(DOMAIN, 1)]
    return helper.make_function(DOMAIN, name, list(inputs), list(outputs), nodes, imports, list(attributes),
                                list(defaults))


def constants():
    add = [helper.make_node("Add", ["x", "w"], ["y"])]
    model("initializer_raw", add, [tensor("w", 1, 2, 3)])
    model("initializer_typed", add, [helper.make_tensor("w", TensorProto.FLOAT, [3], [1, 2, 3])])
    model("initializer_is_input", add, [tensor("w", 1, 2, 3)], inputs=[value("x"), value("w", [3])], ir_version=3)
    model("initializer_sparse", add, sparse=[sparse("w", [0, 4])])
    model("initializer_sparse_pairs", add, sparse=[sparse("w", [[0, 1], [1, 2]])])
    model("initializer_sparse_outside", add, sparse=[sparse("w", [0, 6])])
    model("initializer_sparse_huge", add, sparse=[sparse("w", [0], dims=(1 << 20, 1 << 10))])
    for key, given in {"value": tensor("w", 1, 2, 3), "value_float": 2.0, "value_floats": [1.0, 2.0, 3.0],
                       "sparse_value": sparse("w", [2], dims=(3,))}.items():
        model(f"constant_{key}", [helper.make_node("Constant", [], ["w"], **{key: given}), *add])
    model("constant_value_ints", [helper.make_node("Constant", [], ["w"], value_ints=[-1, 3]),
                                  helper.make_node("Reshape", ["x", "w"], ["y"])])
    external("external", "weights.bin", offset=4, length=12)
    external("external_all", "./weights.bin")
    external("external_up", "a/../../weights.bin")
    external("external_absolute", "/etc/passwd")
    external("external_link", "link.bin")
    external("external_beyond", "weights.bin", offset=8)
    external("external_short", "weights.bin", length=8)
    external("external_offset_is_no_number", "weights.bin", offset="-4")


def bodies():
    then = helper.make_graph([helper.make_node("Add", ["x", "w"], ["r"])], "then", [], [value("r")])
    other = helper.make_graph([], "else", [], [value("x")])
    choose = helper.make_node("If", ["c"], ["y"], then_branch=then, else_branch=other)
    shape = [value("x"), value("c", [], TensorProto.BOOL)]
    model("if_reads_from_around", [choose], [tensor("w", 1, 2, 3)], inputs=shape)
    nested = helper.make_graph([choose], "nested", [], [value("y")])
    model("if_in_if", [helper.make_node("If", ["c"], ["y"], then_branch=nested, else_branch=other)],
          [tensor("w", 1, 2, 3)], inputs=shape)
    turn = helper.make_graph(
        [helper.make_node("Mul", ["s", "w"], ["s2"]), helper.make_node("Identity", ["go"], ["go2"])], "turn",
        [value("i", [], TensorProto.INT64), value("go", [], TensorProto.BOOL), value("s")],
        [value("go2", [], TensorProto.BOOL), value("s2"), value("s2")])
    trips = numpy_helper.from_array(np.int64(3), "trips")
    model("loop", [helper.make_node("Loop", ["trips", "", "x"], ["y", "all"], body=turn)],
          [tensor("w", 1, 2, 3), trips], outputs=[value("y"), value("all", [3, "n", 3])])
    step = helper.make_graph(
        [helper.make_node("Add", ["s", "x_t"], ["s2"]), helper.make_node("Identity", ["s2"], ["o"])], "step",
        [value("s", [3]), value("x_t", [3])], [value("s2", [3]), value("o", [3])])
    model("scan", [helper.make_node("Scan", ["w", "x"], ["last", "y"], body=step, num_scan_inputs=1)],
          [tensor("w", 0, 0, 0)])


def functions():
    leaky = helper.make_node("LeakyRelu", ["x"], ["t"])
    leaky.attribute.append(onnx.AttributeProto(name="alpha", ref_attr_name="slope", type=onnx.AttributeProto.FLOAT))
    default = helper.make_node("Constant", [], ["b"])
    default.attribute.append(onnx.AttributeProto(name="value_float", ref_attr_name="beta",
                                                 type=onnx.AttributeProto.FLOAT))
    f = function("Leaky", [leaky, default, helper.make_node("Add", ["t", "b"], ["y"])], attributes=["slope"],
                 defaults=[helper.make_attribute("beta", 0.5)])

    def call(name, x="x", y="y", **more):
        return helper.make_node(name, [x], [y], domain=DOMAIN, **more)
    model("function", [call("Leaky", "x", "t", slope=0.5), call("Leaky", "t", "y", beta=2.0)], functions=[f])
    model("function_in_function", [call("Outer")],
          functions=[f, function("Outer", [call("Leaky", slope=0.1)])])
    model("function_recursive", [call("Self")], functions=[function("Self", [call("Self")])])
    bomb = [function(f"F{i}", [call(f"F{i + 1}", "x", "t"), call(f"F{i + 1}", "t", "y")]) for i in range(24)]
    model("function_doubling", [call("F0")],
          functions=[*bomb, function("F24", [helper.make_node("Neg", ["x"], ["y"])])])
    model("function_missing_inside", [call("Outer")],
          functions=[function("Outer", [helper.make_node("Frobnicate", ["x"], ["y"])])])
    model("reference_outside_of_functions", [leaky, helper.make_node("Neg", ["t"], ["y"])])


def texts():
    """Elements of type string, from constants in each form, through what takes them."""
    def text(name, *dims):
        return value(name, dims, TensorProto.STRING)

    words = helper.make_tensor("w", TensorProto.STRING, [3], [b"a", b"", b"\xc3\xbc"])
    one = [helper.make_node("Constant", [], ["c"], value_string="1")]
    model("text_constants", [*one, helper.make_node("Constant", [], ["d"], value_strings=["p", "q"]),
                             helper.make_node("Concat", ["x", "w", "d"], ["e"], axis=0),
                             helper.make_node("StringConcat", ["e", "c"], ["y"])],
          [words], inputs=[text("x", "n")], outputs=[text("y", "m")], opset=20)
    model("text_numbers", [helper.make_node("Cast", ["x"], ["s"], to=TensorProto.STRING),
                           helper.make_node("StringConcat", ["s", "c"], ["t"]),
                           helper.make_node("Cast", ["t"], ["y"], to=TensorProto.FLOAT)],
          inputs=[value("x", ("n",), TensorProto.INT64)], outputs=[value("y", ("n",))],
          constants=[helper.make_tensor("c", TensorProto.STRING, [], [b".5"])], opset=20)
    model("text_normalizer", [helper.make_node("StringNormalizer", ["x"], ["y"], case_change_action="UPPER",
                                               stopwords=["A", "\u00fc"])],
          inputs=[text("x", "n")], outputs=[text("y", "m")])
    model("text_split", [helper.make_node("StringSplit", ["x"], ["y", "z"], delimiter=",", maxsplit=2)],
          inputs=[text("x", "n", 2)], outputs=[text("y", "n", 2, "m"), value("z", ("n", 2), TensorProto.INT64)], opset=20)
    model("text_grams", [helper.make_node("TfIdfVectorizer", ["x"], ["y"], mode="TF", min_gram_length=1, max_gram_length=2,
                                          max_skip_count=1, ngram_counts=[0, 2], ngram_indexes=[0, 1, 2],
                                          pool_strings=["a", "b", "a", "b"])],
          inputs=[text("x", 4)], outputs=[value("y", (3,))])
    model("text_choice", [*one, helper.make_node("Equal", ["x", "c"], ["e"]), helper.make_node("Where", ["e", "w", "x"], ["f"]),
                          helper.make_node("Transpose", ["f"], ["g"]), helper.make_node("Reshape", ["g", "s"], ["y"])],
          [words, tensor("s", -1, dtype=np.int64)], inputs=[text("x", "n", 3)], outputs=[text("y", "m")])


def chains():
    """Many nodes whose work at load time must stay bounded."""
    nodes = [helper.make_node("Concat", [f"v{i}", f"v{i}"], [f"v{i + 1}"], axis=0) for i in range(40)]
    model("constant_doubling", [*nodes, helper.make_node("Add", ["x", "v40"], ["y"])], [tensor("v0", 1, 2, 3)])
    forever = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["go2"]), helper.make_node("Add", ["s", "s"], ["s2"])], "turn",
        [value("i", [], TensorProto.INT64), value("go", [], TensorProto.BOOL), value("s", [3])],
        [value("go2", [], TensorProto.BOOL), value("s2", [3])])
    on = numpy_helper.from_array(np.bool_(True), "on")
    trips = numpy_helper.from_array(np.int64(2**62), "trips")
    model("resize_millions", [helper.make_node("Resize", ["x", "", "", "sizes"], ["y"], mode="cubic")],
          [tensor("sizes", 2, 3, 3, 1 << 24, dtype=np.int64)], inputs=[value("x", ("n", 3, 5, 6))],
          outputs=[value("y", (2, 3, 3, 1 << 24))])
    model("loop_for_ever_over_constants", [helper.make_node("Loop", ["trips", "on", "w"], ["v"], body=forever),
                                           helper.make_node("Add", ["x", "v"], ["y"])],
          [tensor("w", 1, 2, 3), on, trips])


def operators():
    for path in sorted(OPS.glob("*.cases")):
        data, at, taken = path.read_bytes(), 0, 0

        def blob():
            nonlocal at
            (size,) = struct.unpack_from("<I", data, at)
            at += 4 + size
            return data[at - size:at]
        while at < len(data):
            blob()
            bytes_of_model = blob()
            values = sum(struct.unpack_from("<II", data, at))
            at += 8
            for _ in range(values):
                blob()
            if len(bytes_of_model) <= CASE_BYTES_MAX and taken < CASES_PER_FAMILY:
                (OUT / f"op_{path.stem}_{taken}.onnx").write_bytes(bytes_of_model)
                taken += 1


def main():
    OUT.mkdir(parents=True, exist_ok=True)
    for old in OUT.glob("*.onnx"):
        old.unlink()
    for part in (constants, bodies, functions, texts, chains, operators):
        part()
    for path in (HERE.parent / "data").glob("*.onnx"):
        if path.stat().st_size < 10000:
            (OUT / path.name).write_bytes(path.read_bytes())
    print(f"{sum(1 for _ in OUT.iterdir())} models, {sum(p.stat().st_size for p in OUT.iterdir())} bytes")


if __name__ == "__main__":
    main()
