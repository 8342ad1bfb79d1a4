#!/usr/bin/env python3
"""Compare convoy-run with the reference cases of a folder of models.

    tests/check_assets.py FOLDER [--run build/bin/convoy-run] [--only NAME] [-- convoy-run options]

FOLDER has one sub-folder per model: model.onnx and case.json, which lists cases of inputs and outputs
as raw little-endian files, and per output atol and rtol: |got - want| <= atol + rtol * |want|.
Models without a model.onnx are named and passed over. Exit status 1 when a case fails.
"""
import argparse
import json
import pathlib
import subprocess
import sys
import tempfile

import numpy as np


def load(folder, entry):
    return np.fromfile(folder / entry["file"], dtype=entry["dtype"]).reshape(entry["shape"])


def run_case(run, model, folder, case, options):
    """None when the case passes, else why not."""
    with tempfile.TemporaryDirectory() as temp:
        command = [run, str(model), "--output-dir", temp + "/out", *options]
        for i, entry in enumerate(case["inputs"]):
            np.save(f"{temp}/{i}.npy", load(folder, entry))
            command += ["--input", f"{entry['name']}={temp}/{i}.npy"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=600)
        if done.returncode:
            return f"status {done.returncode}: {done.stderr.strip()[:500]}"
        outputs = {o["name"]: o["file"] for o in json.load(open(temp + "/out/outputs.json"))["outputs"]}
        for entry in case["outputs"]:
            want = load(folder, entry)
            got = np.load(f"{temp}/out/{outputs[entry['name']]}")
            if got.shape != want.shape or got.dtype != want.dtype:
                return f"{entry['name']}: {got.dtype} {got.shape}, expected {want.dtype} {want.shape}"
            bound = entry["atol"] + entry["rtol"] * np.abs(want.astype("f8"))
            over = np.abs(got.astype("f8") - want.astype("f8")) - bound
            if not (over <= 0).all():
                return f"{entry['name']}: {int((over > 0).sum())} of {want.size} differ, by up to {over.max():.3g} too much"
    return None


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--run", default="build/bin/convoy-run")
    parser.add_argument("--only")
    parser.add_argument("options", nargs="*")
    args = parser.parse_args()
    failed = 0
    for description in sorted(args.folder.glob("*/case.json")):
        folder = description.parent
        about = json.load(open(description))
        if args.only and folder.name != args.only:
            continue
        model = folder / (about.get("model") or "model.onnx")
        if not model.exists():
            print(f"absent  {folder.name}: no {model.name} here")
            continue
        for number, case in enumerate(about["cases"]):
            problem = run_case(args.run, model, folder, case, args.options)
            failed += problem is not None
            print(f"{'FAILED' if problem else 'passed'}  {folder.name} case {number}{': ' + problem if problem else ''}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
