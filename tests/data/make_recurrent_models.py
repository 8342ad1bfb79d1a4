#!/usr/bin/env python3
"""Write small recurrent models with reference cases, and inputs that must be refused.

    build/venv-models/bin/python tests/data/make_recurrent_models.py

Each model NAME.onnx has random weights from a fixed seed and a case NAME/{input,output}.npy; the
outputs are onnxruntime's. bad/ holds broken files, each made from a good one.
See requirements.txt for what has to be installed first.
"""
import io
import json
import pathlib

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
import onnxruntime

HERE = pathlib.Path(__file__).resolve().parent
BAD = HERE / "bad"
SEED = 20232
OPSET = 13
BAD_ROW = 3  # the line of one_bad_row.jsonl (the first is 0) whose data is one number short


class Graph:
    """A graph in the making: nodes in order, constants drawn from one random stream."""

    def __init__(self, name, rng):
        self.name, self.rng = name, rng
        self.nodes, self.constants = [], []

    def node(self, operator, inputs, output, **attributes):
        outputs = [output] if isinstance(output, str) else output
        self.nodes.append(helper.make_node(operator, inputs, outputs,
                                           name=f"{operator.lower()}_{len(self.nodes)}",
                                           **attributes))
        return outputs[-1]

    def constant(self, name, value):
        self.constants.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def weight(self, name, *shape):
        """Scaled so that activations stay in the range where their shape matters."""
        value = self.rng.standard_normal(shape) / np.sqrt(shape[-1])
        return self.constant(name, value.astype(np.float32))

    def recurrent(self, operator, gates, x, features, hidden, outputs, initial="", **attributes):
        """RNN, LSTM or GRU over x [t,n,features]; outputs names Y and Y_h, "" where unused."""
        directions = 2 if attributes.get("direction") == "bidirectional" else 1
        inputs = [x, self.weight("W", directions, gates * hidden, features),
                  self.weight("R", directions, gates * hidden, hidden),
                  self.weight("B", directions, 2 * gates * hidden)]
        if initial:
            inputs += ["", initial]
        return self.node(operator, inputs, outputs, hidden_size=hidden, **attributes)

    def classify(self, state, hidden, classes, output):
        """state [1,n,hidden] -> probabilities [n,classes]."""
        rows = self.node("Squeeze", [state, self.constant("axis0", np.int64([0]))], "rows")
        logits = self.node("Gemm", [rows, self.weight("dense_weight", hidden, classes),
                                    self.weight("dense_bias", classes)], "logits")
        return self.node("Softmax", [logits], output, axis=1)

    def model(self, element, input_shape, output_shape, domains=()):
        name_in, name_out = self.nodes[0].input[0], self.nodes[-1].output[0]
        graph = helper.make_graph(
            self.nodes, self.name,
            [helper.make_tensor_value_info(name_in, element, input_shape)],
            [helper.make_tensor_value_info(name_out, TensorProto.FLOAT, output_shape)],
            self.constants)
        opsets = [helper.make_opsetid("", OPSET)] + [helper.make_opsetid(d, 1) for d in domains]
        return helper.make_model(graph, producer_name="make_recurrent_models.py", ir_version=8,
                                 opset_imports=opsets)


def rnn_plain(rng):
    """Plain RNN: features over time [n,t,4] -> 3 classes."""
    g = Graph("rnn_plain", rng)
    x = g.node("Transpose", ["features"], "x", perm=[1, 0, 2])
    state = g.recurrent("RNN", 1, x, 4, 12, ["", "last"])
    g.classify(state, 12, 3, "probabilities")
    return (g.model(TensorProto.FLOAT, ["n", "t", 4], ["n", 3]),
            rng.standard_normal((3, 9, 4)).astype(np.float32))


def lstm_bidirectional(rng):
    """Both directions, a score for each step: [n,t,6] -> [t,n,5], the batch axis second."""
    g = Graph("lstm_bidirectional", rng)
    x = g.node("Transpose", ["features"], "x", perm=[1, 0, 2])
    g.recurrent("LSTM", 4, x, 6, 8, ["steps"], direction="bidirectional")
    rows = g.node("Transpose", ["steps"], "by_step", perm=[0, 2, 1, 3])
    rows = g.node("Reshape", [rows, g.constant("joined", np.int64([0, 0, 16]))], "both")
    rows = g.node("MatMul", [rows, g.weight("dense_weight", 16, 5)], "products")
    rows = g.node("Add", [rows, g.weight("dense_bias", 5)], "logits")
    g.node("LogSoftmax", [rows], "log_probabilities", axis=2)
    return (g.model(TensorProto.FLOAT, ["n", "t", 6], ["t", "n", 5]),
            rng.standard_normal((3, 7, 6)).astype(np.float32))


def gru_lbr1(rng):
    """GRU with linear_before_reset=1 and a learned initial state, spread over the batch."""
    g = Graph("gru_lbr1", rng)
    x = g.node("Transpose", ["features"], "x", perm=[1, 0, 2])
    shape = g.node("Shape", ["features"], "sizes")
    n = g.node("Slice", [shape, g.constant("zero", np.int64([0])),
                         g.constant("one", np.int64([1]))], "n_rows")
    spread = g.node("Concat", ["one", n, "one"], "spread", axis=0)
    initial = g.node("Expand", [g.weight("initial_state", 1, 1, 7), spread], "initial")
    state = g.recurrent("GRU", 3, x, 5, 7, ["", "last"], initial, linear_before_reset=1)
    g.classify(state, 7, 4, "probabilities")
    return (g.model(TensorProto.FLOAT, ["n", "t", 5], ["n", 4]),
            rng.standard_normal((4, 6, 5)).astype(np.float32))


def embedding_gru(rng):
    """int64 tokens [n,t] -> Gather from a table of 30 rows -> GRU read backwards -> 3 classes."""
    g = Graph("embedding_gru", rng)
    steps = g.node("Transpose", ["tokens"], "by_step", perm=[1, 0])
    x = g.node("Gather", [g.weight("table", 30, 6), steps], "x", axis=0)
    state = g.recurrent("GRU", 3, x, 6, 10, ["", "last"], direction="reverse")
    g.classify(state, 10, 3, "probabilities")
    return (g.model(TensorProto.INT64, ["n", "t"], ["n", 3]),
            rng.integers(0, 30, (5, 8)).astype(np.int64))


def unsupported(rng):
    """Well-formed, but two of its operators are no one's: both must be named at load."""
    g = Graph("unsupported", rng)
    y = g.node("Relu", ["x"], "positive")
    y = g.node("Frobnicate", [y], "frobnicated", domain="com.example")
    y = g.node("Unravel", [y], "unravelled", domain="com.example")
    g.node("Identity", [y], "y")
    return g.model(TensorProto.FLOAT, ["n", 4], ["n", 4], ["com.example"])


def write_good(build, rng):
    model, case_input = build(rng)
    onnx.checker.check_model(model, full_check=True)
    path = HERE / f"{build.__name__}.onnx"
    path.write_bytes(model.SerializeToString())
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    outputs = session.run(None, {session.get_inputs()[0].name: case_input})
    case = HERE / build.__name__
    case.mkdir(exist_ok=True)
    np.save(case / "input.npy", case_input)
    np.save(case / "output.npy", outputs[0])
    print(f"{path.name}: {path.stat().st_size} bytes, {case_input.shape} -> {outputs[0].shape}")


def write_bad(rng):
    BAD.mkdir(exist_ok=True)
    good = (HERE / "rnn_plain.onnx").read_bytes()
    (BAD / "half.onnx").write_bytes(good[:len(good) // 2])
    (BAD / "unsupported.onnx").write_bytes(unsupported(rng).SerializeToString())

    npy = io.BytesIO()
    np.save(npy, rng.standard_normal((6, 9, 4)).astype(np.float32))
    (BAD / "truncated.npy").write_bytes(npy.getvalue()[:-100])

    rows = []
    for i in range(6):
        data = [round(float(v), 3) for v in rng.standard_normal(9 * 4)]
        rows.append(np.reshape(data, (9, 4)).tolist())
        if i == BAD_ROW:
            rows[i][-1].pop()
    (BAD / "one_bad_row.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def main():
    rng = np.random.default_rng(SEED)
    for build in (rnn_plain, lstm_bidirectional, gru_lbr1, embedding_gru):
        write_good(build, rng)
    write_bad(rng)


if __name__ == "__main__":
    main()
