#!/usr/bin/env python3
"""make bench-models: whole models by our engine and by onnxruntime, in one run, with 1 and 2 threads.

    tests/bench/models.py BENCH_MODELS [--filter TEXT] [--assets FOLDER] [--isa NAME] [--threads 1,2]

BENCH_MODELS is the C program. A row's time is one run in microseconds, minimum and median of samples
that alternate between both; their outputs are compared first. FOLDER may hold silero_v4 and silero_v5
(case.json and model.onnx, as in make assets-check): one streaming step of each. Prints a table, then
each goal beside what was reached, and writes build/bench/models.json and models.svg: models-part
with a filter.
"""
import argparse
import json
import pathlib
import sys

import numpy as np
import onnx

import report
import whole_models

FOLDER = pathlib.Path("build/bench")


def our_models():
    """(goal, name, batch, path, inputs) of each case; the files are made once."""
    for goal, name, batch in whole_models.CASES:
        path = FOLDER / "models" / f"{name}.onnx"
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            onnx.save(whole_models.build(name), path)
        yield goal, name, batch, path, whole_models.inputs_of(onnx.load(path), batch)


def one_row(values, rank):
    """The first row of a batch, which states have on axis 1; of a single number no axis at all."""
    if rank == 0:
        return values.reshape(())
    return values[:, :1] if rank == 3 else values[:1]


def streaming_models(assets):
    for name in ("silero_v4", "silero_v5"):
        folder = assets / name
        if not (folder / "model.onnx").exists():
            continue
        case = json.load(open(folder / "case.json"))["cases"][0]
        ranks = {value.name: len(value.type.tensor_type.shape.dim)
                 for value in onnx.load(folder / "model.onnx").graph.input}
        inputs = {entry["name"]: one_row(np.fromfile(folder / entry["file"], entry["dtype"])
                                         .reshape(entry["shape"]), ranks[entry["name"]])
                  for entry in case["inputs"]}
        yield "none", f"{name}_step", 1, folder / "model.onnx", inputs


def command(options, goal, name, batch, path, inputs):
    """What runs one case, its inputs in files."""
    words = [options.bench, "--isa", options.isa, "--onnxruntime", report.onnxruntime_library(),
             goal, name, str(batch), str(path)]
    for key, values in inputs.items():
        file = FOLDER / "models" / f"{name}_b{batch}_{key}.npy"
        np.save(file, np.asarray(values, order="C"))
        words.append(f"{key}={file}")
    return words


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("bench")
    parser.add_argument("--filter", default="")
    parser.add_argument("--assets", type=pathlib.Path)
    parser.add_argument("--isa", default="auto")
    parser.add_argument("--threads", default="1,2")
    options = parser.parse_args()
    cases = [*our_models(), *(streaming_models(options.assets) if options.assets else ())]
    rows = []
    report.print_head()
    for threads in options.threads.split(","):
        for case in cases:
            if options.filter in f"{case[1]} {case[0]} b{case[2]}":
                rows += report.run([*command(options, *case), "--threads", threads])
    report.finish(FOLDER, "models-part" if options.filter else "models", rows, "Models")


if __name__ == "__main__":
    try:
        main()
    except report.BenchFailed as problem:
        sys.exit(f"models.py: {problem}")
