#!/usr/bin/env python3
"""Write an ONNX model for each layer of layers.def, for onnxruntime.

    tests/bench/layer_models.py FOLDER

The numbers are those of work.c, so that all contenders compute the same. A layer that takes about
as long as a call of onnxruntime becomes a chain of eight, where its output fits its input: then the
file is NAME.chain.onnx.
"""
import math
import pathlib
import sys

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

import bench_list

CHAINED = 8
CHAIN_BELOW_FLOPS = 1e6  # a call costs about 1.1 us: more than 5 % of such a layer


def numbers(shape, scale):
    """As work_numbers() in work.c."""
    i = np.arange(np.prod(shape), dtype=np.int64)
    values = (i * 7919 % 201).astype(np.float32) * np.float32(0.01) - np.float32(1)
    return (values * np.float32(scale)).reshape(shape)


def along(size, value):
    return value if size > 1 else 1


class Conv:
    type = TensorProto.FLOAT

    def __init__(self, c, h, w, k, kh, kw, stride, ph, pw, dilation, groups):
        self.shape_in, self.channels_out = (c, h, w), k
        self.weights = (k, c // groups, kh, kw)
        strides = [along(h, stride), along(w, stride)]
        dilations = [along(h, dilation), along(w, dilation)]
        self.attributes = {"kernel_shape": [kh, kw], "strides": strides, "dilations": dilations,
                           "pads": [ph, pw, ph, pw], "group": groups}
        out = [(size + 2 * pad - (d * (kernel - 1) + 1)) // s + 1
               for size, pad, d, kernel, s in zip((h, w), (ph, pw), dilations, (kh, kw), strides)]
        self.shape_out = (k, *out)
        self.flops = 2 * np.prod(self.shape_out) * np.prod(self.weights[1:])

    def model(self, times):
        sum_len = np.prod(self.weights[1:])
        constants = [numpy_helper.from_array(
                         numbers(self.weights, np.float32(1) / np.sqrt(np.float32(sum_len))), "W"),
                     numpy_helper.from_array(numbers((self.channels_out,), 1), "B")]
        nodes, at = [], "x"
        for i in range(times):
            to = "y" if i + 1 == times else f"y{i}"
            nodes += [helper.make_node("Conv", [at, "W", "B"], [f"c{i}"], **self.attributes),
                      helper.make_node("Relu", [f"c{i}"], [to])]
            at = to
        return (nodes, constants, [("x", ("N", *self.shape_in))], [("y", ("N", *self.shape_out))])


class Qconv(Conv):
    """UINT8 by INT8; the numbers are those of qconv_data() in work.c."""
    type = TensorProto.UINT8

    def model(self, times):
        sum_len, k = np.prod(self.weights[1:]), np.arange(self.channels_out)
        i = np.arange(np.prod(self.weights), dtype=np.int64)
        scales = (np.float32(1) / np.sqrt(np.float32(sum_len))) * (
            np.float32(1) + (k % 8).astype(np.float32) * np.float32(0.125))
        constants = {
            "x_scale": np.float32(0.01), "zero": np.uint8(0), "w_scale": scales,
            "W": (i * 7919 % 255 - 127).astype(np.int8).reshape(self.weights),
            "w_zero": np.zeros(self.channels_out, np.int8), "y_scale": np.float32(1),
            "B": (k * 7919 % 2001 - 1000).astype(np.int32)}
        inputs = ["x_scale", "zero", "W", "w_scale", "w_zero", "y_scale", "zero", "B"]
        nodes, at = [], "x"
        for n in range(times):
            to = "y" if n + 1 == times else f"y{n}"
            nodes.append(helper.make_node("QLinearConv", [at, *inputs], [to], **self.attributes))
            at = to
        return (nodes, [numpy_helper.from_array(np.asarray(v), name) for name, v in constants.items()],
                [("x", ("N", *self.shape_in))], [("y", ("N", *self.shape_out))])


class Rnn:
    type = TensorProto.FLOAT

    def __init__(self, cell, steps, input, hidden, **_):
        self.cell, self.steps, self.input, self.hidden = cell, steps, input, hidden
        self.columns = (4 if cell == "LSTM" else 3) * hidden
        self.shape_in, self.shape_out, self.flops = (steps, input), (steps, hidden), math.inf

    def model(self, _):
        scale = np.float32(1) / np.sqrt(np.float32(self.hidden))
        constants = [numpy_helper.from_array(numbers((1, self.columns, self.input), scale), "W"),
                     numpy_helper.from_array(numbers((1, self.columns, self.hidden), scale), "R"),
                     numpy_helper.from_array(numbers((1, 2 * self.columns), scale), "B")]
        more = {"linear_before_reset": 1} if self.cell == "GRU" else {}
        states = ["h", "c"] if self.cell == "LSTM" else ["h"]
        node = helper.make_node(self.cell, ["x", "W", "R", "B", "", *(f"{s}0" for s in states)],
                                ["y", *states], hidden_size=self.hidden, **more)
        state = (1, "N", self.hidden)
        return ([node], constants,
                [("x", (self.steps, "N", self.input)), *((f"{s}0", state) for s in states)],
                [("y", (self.steps, 1, "N", self.hidden)), *((s, state) for s in states)])


class Dense:
    type, flops = TensorProto.FLOAT, math.inf

    def __init__(self, inputs, outputs):
        self.shape_in, self.shape_out = (inputs,), (outputs,)

    def model(self, _):
        scale = np.float32(1) / np.sqrt(np.float32(*self.shape_in))
        constants = [numpy_helper.from_array(numbers((*self.shape_out, *self.shape_in), scale), "W")]
        return ([helper.make_node("Gemm", ["x", "W"], ["y"], transB=1)], constants,
                [("x", ("N", *self.shape_in))], [("y", ("N", *self.shape_out))])


KINDS = {"CONV": Conv, "QCONV": Qconv, "RNN": Rnn, "DENSE": Dense}


def info(type, name, shape):
    return helper.make_tensor_value_info(name, type, [d if d == "N" else int(d) for d in shape])


def write(path, type, nodes, constants, inputs, outputs):
    graph = helper.make_graph(nodes, path.stem, [info(type, *i) for i in inputs],
                              [info(type, *o) for o in outputs], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    onnx.checker.check_model(model)
    onnx.save(model, path)


def main():
    folder = pathlib.Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for name, (macro, columns) in bench_list.layers().items():
        layer = KINDS[macro](**columns)
        chain = layer.flops < CHAIN_BELOW_FLOPS and layer.shape_in == layer.shape_out
        path = folder / (f"{name}.chain.onnx" if chain else f"{name}.onnx")
        if not path.exists():
            write(path, layer.type, *layer.model(CHAINED if chain else 1))


if __name__ == "__main__":
    main()
