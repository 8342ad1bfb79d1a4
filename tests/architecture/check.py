#!/usr/bin/env python3
"""Layers as `convoy-run build` makes them, against Keras 3 and Keras 2 on TensorFlow.

    build/venv-architecture/bin/python tests/architecture/check.py --run build/bin/convoy-run [--write]

For each network of tests/data/layers/cases.json, and tests/data/seed_cnn.json: Keras builds it from
the same names and arguments, takes the parameters that the model was made with, put back into Keras's
layout as worker/TRAINING.md describes it, and must agree on the shape of each layer, the number of
parameters and the outputs, with onnxruntime and with the engine. What Keras writes by to_json(), 3
and 2, must make the same parameters and the same outputs once more. --write stores inputs and
Keras's outputs for `make test`.
"""
import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile

os.environ.update(TF_CPP_MIN_LOG_LEVEL="3", TF_USE_LEGACY_KERAS="0", CUDA_VISIBLE_DEVICES="")
import keras
import numpy as np
import onnx
from onnx import numpy_helper
import onnxruntime
import tf_keras

DATA = pathlib.Path(__file__).resolve().parent.parent / "data"
SEED = 7
ROWS = 3
OPEN_STEPS = 7  # where a shape leaves a size open
LIMIT = 2e-5    # of an output's difference, relative to the greatest output
LSTM_GATES = (0, 3, 1, 2)  # Keras's i, f, c, o as ONNX's i, o, f, c has them


def initializer(library, value):
    if not isinstance(value, dict):
        return value
    config = {key: item for key, item in value.items() if key != "type"}
    return library.initializers.get({"class_name": value["type"], "config": config})


def layer_of(library, description, name):
    """The library's layer with the arguments of ours."""
    args = {key: initializer(library, value) if key.endswith("_initializer") else value
            for key, value in description.items() if key not in ("type", "inputs", "input_shape")}
    if "layer" in args:
        args["layer"] = layer_of(library, args["layer"], None)
    if isinstance(args.get("output_shape"), int):
        args["output_shape"] = (args["output_shape"],)
    args["name"] = name
    return getattr(library.layers, description["type"])(**args)


def model_of(library, spec, names):
    """The functional model, and its layers by name."""
    tensors, layers = {}, {}
    names, last, inputs = list(names), None, []

    def put_in(name, shape, dtype):
        tensors[name] = library.Input(shape=tuple(shape), dtype=dtype, name=name)
        inputs.append(tensors[name])

    for number, description in enumerate(spec["layers"]):
        if number == 0 and "input_shape" in description:
            last = names.pop(0)
            put_in(last, description["input_shape"],
                   "int32" if description["type"] == "Embedding" else "float32")
        name = names.pop(0)
        if description["type"] == "Input":
            put_in(name, description["shape"], description.get("dtype", "float32"))
        else:
            sources = description.get("inputs", [last])
            read = [tensors[s] for s in sources]
            layer = layers[name] = layer_of(library, description, name)
            if description["type"] == "MultiHeadAttention":
                read = (read * 2)[:2] if len(read) == 1 else read
                tensors[name] = layer(*read)
            else:
                tensors[name] = layer(read if len(read) > 1 else read[0])
        last = name
    return library.Model(inputs, tensors[last]), layers, tensors


def keras_weights(entry, tensor, cell):
    """One initializer of the model as the arrays that Keras has, one for each copy."""
    shape, layout = entry["keras_shape"], entry["layout"]
    for copy in np.split(tensor, entry.get("copies", 1)) if layout.startswith("gates") or \
            entry.get("copies") else [tensor]:
        if layout == "kernel":
            copy = np.moveaxis(copy, (0, 1), (-1, -2))
        elif layout == "depthwise":
            copy = np.moveaxis(copy[:, 0], 0, -1)
        elif layout.startswith("gates"):
            gates = {"LSTM": 4, "GRU": 3, "SimpleRNN": 1}[cell]
            copy = copy[0] if layout == "gates" else copy[0, :copy.shape[1] // 2, None]
            blocks = np.split(copy, gates)
            if cell == "LSTM":
                blocks = [blocks[LSTM_GATES.index(g)] for g in range(4)]
            copy = np.concatenate(blocks).T
        yield copy.reshape(shape)


def take_weights(layer, entry, tensors, cell):
    """Keras lists all of one direction, then all of the other."""
    copies = [list(keras_weights(p, tensors[p["name"]], cell)) for p in entry["parameters"]]
    layer.set_weights([one[direction] for direction in range(len(copies[0]) if copies else 0)
                       for one in copies])


def difference(one, other):
    return float(np.abs(one - other).max() / max(1e-6, np.abs(other).max()))


class Check:
    def __init__(self, run, folder):
        self.run_program, self.folder, self.references = run, folder, {}

    def build(self, text, name):
        """The model's path and what its metadata says."""
        spec, model = self.folder / "spec.json", self.folder / name
        spec.write_text(text)
        subprocess.run([self.run_program, "build", spec, "-o", model, "--seed", str(SEED)],
                       check=True, stdout=subprocess.DEVNULL)
        proto = onnx.load(model)
        onnx.checker.check_model(proto, full_check=True)
        about = json.loads({p.key: p.value for p in proto.metadata_props}["convoy.training"])
        tensors = {t.name: numpy_helper.to_array(t) for t in proto.graph.initializer}
        return model, about, tensors

    def engine(self, model, feeds):
        command = [self.run_program, model, "-o", self.folder / "out"]
        for name, value in feeds.items():
            np.save(self.folder / f"{name}.npy", value)
            command += ["-i", f"{name}={self.folder / name}.npy"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        return np.load(self.folder / "out/000.npy")

    def feeds(self, model, spec):
        """Random inputs of the model's types; indices stay inside of the smallest table."""
        rng = np.random.default_rng(SEED)
        made = {}
        for value in onnx.load(model).graph.input:
            dims = [d.dim_value or OPEN_STEPS for d in value.type.tensor_type.shape.dim]
            dims[0] = ROWS
            dtype = onnx.helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)
            top = min([d["input_dim"] for d in spec["layers"] if "input_dim" in d] or [256])
            made[value.name] = rng.standard_normal(dims).astype(np.float32) \
                if dtype == np.float32 else rng.integers(0, top, dims).astype(dtype)
        return made

    def case(self, name, spec):
        model, about, tensors = self.build(json.dumps(spec), "model.onnx")
        names = [entry["name"] for entry in about["layers"]]
        theirs, layers, outputs = model_of(keras, spec, names)
        by_name = {entry["name"]: entry for entry in about["layers"]}
        described = dict(zip(names[len(names) - len(spec["layers"]):], spec["layers"]))
        for key, layer in layers.items():
            cell = described[key].get("layer", described[key])["type"]
            take_weights(layer, by_name[key], tensors, cell)
            shape = list(outputs[key].shape[1:])
            assert shape == by_name[key]["output_shape"], (name, key, shape, by_name[key])
        assert theirs.count_params() == about["parameters"], (theirs.count_params(), about)
        feeds = self.feeds(model, spec)
        expected = np.asarray(theirs([feeds[t.name] for t in theirs.inputs]))
        ort = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"]).run(None, feeds)[0]
        found = {"onnxruntime": difference(ort, expected),
                 "engine": difference(self.engine(model, feeds), expected)}
        for library in (keras, tf_keras):
            text = model_of(library, spec, names)[0].to_json()
            again, _, tensors_again = self.build(text, f"{library.__name__}.onnx")
            for key, value in tensors.items():
                assert np.array_equal(value, tensors_again[key]), (name, library.__name__, key)
            found[f"json of {library.__name__}"] = difference(self.engine(again, feeds), expected)
        worst = max(found.values())
        print(f"{name:24} {about['parameters']:7} parameters, differs by {worst:.1e}")
        assert worst < LIMIT, (name, found)
        self.references[name] = {"inputs": {key: stored(value) for key, value in feeds.items()},
                                 "output": stored(expected)}


def stored(array):
    """As JSON; nine digits give a float32 back exactly."""
    return {"dtype": array.dtype.name, "shape": list(array.shape),
            "data": [float(f"{v:.9g}") for v in array.ravel().tolist()]}


def store(references, spec):
    """Inputs with Keras's outputs; and the residual network as Keras 2 and 3 write it."""
    lines = [f' "{name}": {json.dumps(value)}' for name, value in references.items()]
    (DATA / "layers/references.json").write_text("{\n" + ",\n".join(lines) + "\n}\n")
    names = [layer["name"] for layer in spec["layers"]]
    for library in (keras, tf_keras):
        path = DATA / f"layers/residual.{library.__name__}.json"
        path.write_text(model_of(library, spec, names)[0].to_json() + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--run", type=pathlib.Path, required=True)
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--only", default="")
    args = parser.parse_args()
    cases = json.loads((DATA / "layers/cases.json").read_text())
    failed = []
    with tempfile.TemporaryDirectory() as folder:
        check = Check(args.run.resolve(), pathlib.Path(folder))
        for name, spec in cases.items():
            if args.only in name:
                try:
                    check.case(name, spec)
                except (AssertionError, subprocess.CalledProcessError) as problem:
                    failed.append(name)
                    print(f"{name}: {problem}", file=sys.stderr)
        if args.write:
            store(check.references, cases["residual"])
        if args.only in "seed_cnn":
            check.case("seed_cnn", json.loads((DATA / "seed_cnn.json").read_text()))
    print(f"architecture: {len(cases) + 1} networks, {len(failed)} failed; Keras "
          f"{keras.__version__} and {tf_keras.__version__}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
