#!/usr/bin/env python3
"""Compare convoy-run with onnxruntime on the models that export.py wrote.

    tests/exports/check.py FOLDER [--run build/bin/convoy-run] [NAME...]

Every output of every case must agree with onnxruntime's to 1e-4 of its largest magnitude, have the same
bytes with 1 and 2 threads, and where convoy-run says that rows are independent, the same bytes for each
row alone, in a batch of 7 and among all rows.

Prints one line per model, its problems under it, and last `exports passed P failed F`.
"""
import argparse
import json
import pathlib
import sys

import numpy as np
import onnxruntime

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from check_assets import Model, Problem, check_rows, close_to, same_bytes  # noqa: E402

OF_LARGEST = 1e-4


def reference(path):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def difference(got, want):
    """Largest difference, as a part of the largest magnitude."""
    return float(np.abs(got - want).max() / np.abs(want).max())


def check_case(oracle, model, folder, about):
    """The largest difference, and how many rows were also compared alone and beside others."""
    inputs = {name: np.load(folder / f"{name}.npy") for name in about["inputs"]}
    got = model(inputs, "--threads", "1")
    worst = 0.0
    for name, want in zip(about["outputs"], oracle.run(about["outputs"], inputs)):
        close_to(got[name], want, OF_LARGEST * np.abs(want).max(), 0, f"case {folder.name}, {name}")
        worst = max(worst, difference(got[name], want))
        if difference(np.load(folder / f"{name}.npy"), want) > OF_LARGEST:
            raise Problem(f"case {folder.name}, {name}: onnxruntime and PyTorch disagree; a wrong export")
    same_bytes(model(inputs, "--threads", "2"), got, "2 threads")
    return worst, check_rows(model, inputs) if model.about["batchable"] else 0


def check_model(run, folder):
    """One line about what was compared; raises Problem."""
    about = json.load(open(folder / "about.json"))
    model = Model(run, folder / "model.onnx")
    oracle = reference(folder / "model.onnx")
    done = [check_case(oracle, model, folder / str(k), about) for k in range(about["cases"])]
    rows = sum(r for _, r in done)
    return (f"{len(done)} cases, within {max(d for d, _ in done):.1e} of the largest magnitude, "
            + (f"{rows} rows alone and beside others" if model.about["batchable"] else "not batchable"))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--run", default="build/bin/convoy-run")
    parser.add_argument("names", nargs="*")
    args = parser.parse_intermixed_args()
    counts = {"passed": 0, "failed": 0}
    for description in sorted(args.folder.glob("*/about.json")):
        folder = description.parent
        if args.names and not folder.name.startswith(tuple(args.names)):
            continue
        try:
            verdict, text = "passed", check_model(args.run, folder)
        except Problem as problem:
            verdict, text = "failed", str(problem)
        counts[verdict] += 1
        print(f"{verdict}  {folder.name}: {text}", flush=True)
    print("exports " + " ".join(f"{k} {v}" for k, v in counts.items()))
    return 0 if counts["passed"] and not counts["failed"] else 1


if __name__ == "__main__":
    sys.exit(main())
