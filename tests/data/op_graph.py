"""What make_op_cases.py stands on: a model in the making, its oracle, and the file format."""
import io
import pathlib
import struct
import zlib

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

HERE = pathlib.Path(__file__).parent / "ops"
FAMILIES = {}
F = np.float32
I = np.int64


def blob(data):
    return struct.pack("<I", len(data)) + data


def npy(array):
    out = io.BytesIO()
    np.save(out, np.asarray(array))
    return blob(out.getvalue())


def oracle(model, inputs, outputs, reference):
    if reference:
        return ReferenceEvaluator(model).run(outputs, inputs)
    try:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.log_severity_level = 4
        session = onnxruntime.InferenceSession(model.SerializeToString(), options)
        return session.run(outputs, inputs)
    except Exception as error:
        # The last: onnxruntime has no functions called with an input left out.
        if "NOT_IMPLEMENTED" not in str(error) and "it.GetName().empty()" not in str(error) and \
                "NotImplemented" not in type(error).__name__:
            raise
        return ReferenceEvaluator(model).run(outputs, inputs)


class Graph:
    """One case in the making: inputs, constants and nodes by name."""

    reference = False  # True: ask onnx's reference evaluator only

    def __init__(self, family, name, opset=17):
        self.family, self.name, self.opset = family, name, opset
        self.seed = zlib.crc32(f"{family}/{name}".encode())
        self.random = np.random.default_rng(self.seed)
        self.inputs, self.fixed, self.constants, self.nodes = {}, set(), [], []
        self.functions, self.domains = [], {"": opset}

    def rand(self, *shape):
        return self.random.standard_normal(shape).astype(F)

    def input(self, name, value, fixed=False):
        self.inputs[name] = np.asarray(value)
        if fixed or self.inputs[name].ndim == 0:
            self.fixed.add(name)
        return name

    def const(self, name, value):
        self.constants.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def node(self, op, inputs, outputs=("y",), **attributes):
        self.nodes.append(helper.make_node(op, list(inputs), list(outputs), **attributes))
        return outputs[0]

    def model(self, outputs):
        infos = []
        for name, value in self.inputs.items():
            shape = list(value.shape)
            if name not in self.fixed:
                shape[0] = "n"
            infos.append(helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(value.dtype), shape))
        graph = helper.make_graph(self.nodes, "case", infos, [onnx.ValueInfoProto(name=o) for o in outputs],
                                  self.constants)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid(*d) for d in self.domains.items()],
                                  ir_version=10 if self.functions else 8, functions=self.functions)
        try:
            return onnx.shape_inference.infer_shapes(model)
        except Exception:
            return model

    def done(self, *outputs, oracle_graph=None):
        """oracle_graph: the same function of the same inputs and outputs, in nodes that the oracle knows."""
        outputs = outputs or ("y",)
        model = self.model(outputs)
        results = None
        known = oracle_graph.model(outputs) if oracle_graph else model
        for info, value in zip(model.graph.output,
                               oracle_types(known, self.inputs, list(outputs), self.reference)):
            info.CopyFrom(value[0])
            results = (results or []) + [value[1]]
        data = blob(self.name.encode()) + blob(model.SerializeToString())
        data += struct.pack("<II", len(self.inputs), len(outputs))
        data += b"".join(npy(v) for v in self.inputs.values()) + b"".join(npy(v) for v in results)
        FAMILIES.setdefault(self.family, []).append(data)


def oracle_types(model, inputs, outputs, reference):
    """Declared outputs need a type before onnxruntime takes them: every type is tried by inference first."""
    missing = [o for o in model.graph.output if not o.type.HasField("tensor_type")]
    if missing:
        values = ReferenceEvaluator(model).run(outputs, inputs)
        for info, value in zip(model.graph.output, values):
            info.CopyFrom(helper.make_tensor_value_info(
                info.name, helper.np_dtype_to_tensor_dtype(np.asarray(value).dtype), None))
    values = oracle(model, inputs, outputs, reference)
    return [(o, v) for o, v in zip(list(model.graph.output), values)]


def one(family, name, op, inputs, opset=17, consts=(), outputs=("y",), fixed=False, **attributes):
    """A model of one node. inputs: name -> value, or None for one left out; consts: names that are constant."""
    g = Graph(family, name, opset)
    names = []
    for key, value in inputs.items():
        if value is None:
            names.append("")
        elif key in consts:
            names.append(g.const(key, value))
        else:
            names.append(g.input(key, value, fixed or key.endswith("_")))
    g.node(op, names, outputs, **attributes)
    g.done(*[o for o in outputs if o])


R = np.random.default_rng(20)


def rand(*shape):
    return R.standard_normal(shape).astype(F)
