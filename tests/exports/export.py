#!/usr/bin/python3
"""Export the networks of models.py with this Python's PyTorch, and write inputs for them.

    tests/exports/export.py FOLDER [--seed N] [--opset N]...

FOLDER gets a sub-folder per network and way of exporting it, with model.onnx, and for each case K
K/INPUT.npy, and K/OUTPUT.npy as PyTorch computed it. The ways: the tracing exporter at each opset asked
for, and, where this PyTorch has it, torch.export's at the opset that it writes by itself.
"""
import argparse
import json
import pathlib
import warnings

import numpy as np
import torch

from models import MODELS

LENGTH = 32  # of the inputs that an export sees
OPSETS = (11, 14, 17)       # of the tracing exporter
OPSETS_LATER = (14, 17, 20)  # where there is torch.export: its attention cannot be traced below 14


def build(network, seed):
    """Weights from the seed; BatchNormalization with a mean, a variance and a scale to fold."""
    torch.manual_seed(seed)
    model = network.build().eval()
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.normal_(module.running_mean, 0.0, 0.1)
            torch.nn.init.uniform_(module.running_var, 0.5, 1.5)
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            torch.nn.init.normal_(module.bias, 0.0, 0.1)
    return model


def export_traced(network, model, example, path, opset):
    options = {"dynamo": False} if has_torch_export() else {}
    torch.onnx.export(model, example, str(path), opset_version=opset, input_names=list(network.inputs),
                      output_names=list(network.outputs), dynamic_axes=network.inputs | network.outputs, **options)


def export_captured(network, model, example, path, _):
    axes = {name: torch.export.Dim(name) for name in ("batch", "time", "height", "width")}
    shapes = tuple({axis: axes[label] for axis, label in open_axes.items()} for open_axes in network.inputs.values())
    torch.onnx.export(model, example, str(path), dynamo=True, input_names=list(network.inputs),
                      output_names=list(network.outputs), dynamic_shapes=shapes, external_data=False)


def has_torch_export():
    return tuple(int(n) for n in torch.__version__.split(".")[:2]) >= (2, 6)


def write_cases(network, model, seed, folder, shapes):
    random = np.random.default_rng(seed)
    for k, (rows, length) in enumerate(shapes):
        arrays = network.case(random, rows, length)
        with torch.no_grad():
            made = model(*map(torch.from_numpy, arrays))
        made = made if isinstance(made, tuple) else (made,)
        place = folder / str(k)
        place.mkdir(exist_ok=True)
        for name, value in [*zip(network.inputs, arrays), *zip(network.outputs, made)]:
            np.save(place / f"{name}.npy", np.asarray(value))
    (folder / "about.json").write_text(json.dumps(
        {"inputs": list(network.inputs), "outputs": list(network.outputs), "cases": len(shapes)}))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--seed", type=int, default=4)
    parser.add_argument("--opset", type=int, action="append")
    args = parser.parse_args()
    default = OPSETS_LATER if has_torch_export() else OPSETS
    ways = [(f"traced{opset}", export_traced, opset) for opset in args.opset or default]
    ways += [("captured", export_captured, None)] if has_torch_export() else []
    warnings.simplefilter("ignore")  # the exporters' own; what counts is what onnxruntime makes of the file
    for name, network in MODELS.items():
        for way, export, opset in ways:
            axes = network.captured if export is export_captured else network.traced if has_torch_export() else "open"
            if axes == "not":
                continue
            folder = args.folder / f"{name}-{way}"
            folder.mkdir(parents=True, exist_ok=True)
            model = build(network, args.seed)
            example = network.case(np.random.default_rng(args.seed), 3, LENGTH)
            export(network, model, tuple(map(torch.from_numpy, example)), folder / "model.onnx", opset)
            shapes = [(rows, LENGTH) for rows, _ in network.shapes] if axes == "fixed" else network.shapes
            write_cases(network, model, args.seed, folder, shapes)
    print(f"PyTorch {torch.__version__}: {len(MODELS)} networks, exported {', '.join(w[0] for w in ways)}")


if __name__ == "__main__":
    main()
