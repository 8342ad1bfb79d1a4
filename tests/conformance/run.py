#!/usr/bin/env python3
"""Run the conformance tests of Debian's package libonnx-testdata through convoy-run.

    tests/conformance/run.py [--run build/bin/convoy-run] [--list FILE] [--verbose] [NAME...]

A test is a folder with model.onnx and test_data_set_N/{input,output}_M.pb. NAME keeps those whose name
contains it; --list keeps those named at the start of a line of FILE. Prints what failed and why, and
last `conformance passed P failed F unsupported U of N`; unsupported are models that convoy-run refuses
for an operator that it does not have. A test that is not understood counts as failed.
"""
import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import onnx
from onnx import numpy_helper

DATA = pathlib.Path("/usr/lib/python3/dist-packages/onnx/backend/test/data")
ATOL, RTOL = 1e-5, 1e-3  # onnx's own backend tests use 1e-7 and 1e-3, on their own outputs


def tensor(path):
    t = onnx.TensorProto()
    t.ParseFromString(path.read_bytes())
    return numpy_helper.to_array(t)


def same(want, got):
    if want.shape != got.shape or want.dtype != got.dtype:
        return f"{got.dtype} {got.shape}, expected {want.dtype} {want.shape}"
    if want.dtype.kind in "fc":
        if not np.allclose(got, want, rtol=RTOL, atol=ATOL, equal_nan=True):
            return f"differs by up to {np.nanmax(np.abs(got.astype('f8') - want.astype('f8'))):.3g}"
    elif not (want == got).all():
        return "differs"
    return None


def run_set(run, model, names, folder, temp):
    command = [run, str(model), "--output-dir", temp, "--threads", "1"]
    for i, name in enumerate(names):
        path = folder / f"input_{i}.pb"
        if not path.exists():
            break
        np.save(f"{temp}/in{i}.npy", tensor(path))
        command += ["--input", f"{name}={temp}/in{i}.npy"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    if done.returncode:
        return f"status {done.returncode}: {done.stderr.strip()}"
    outputs = json.loads((pathlib.Path(temp) / "outputs.json").read_text())["outputs"]
    for i, output in enumerate(outputs):
        problem = same(tensor(folder / f"output_{i}.pb"), np.load(f"{temp}/{output['file']}"))
        if problem:
            return f"output {i}: {problem}"
    return None


def run_test(run, folder):
    """None when it passes, else why not."""
    try:
        model = onnx.load(str(folder / "model.onnx"), load_external_data=False)
        made = {t.name for t in model.graph.initializer}
        names = [i.name for i in model.graph.input if i.name not in made]
        sets = sorted(folder.glob("test_data_set_*"))
        if not sets:
            return "no data"
        for one in sets:
            with tempfile.TemporaryDirectory() as temp:
                problem = run_set(run, folder / "model.onnx", names, one, temp)
                if problem:
                    return problem
        return None
    except Exception as error:
        return f"not understood: {type(error).__name__}: {error}"


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--run", default="build/bin/convoy-run")
    parser.add_argument("--list", type=pathlib.Path)
    parser.add_argument("--verbose", action="store_true")
    parser.add_argument("names", nargs="*")
    args = parser.parse_args()
    tests = sorted(p.parent for p in DATA.glob("*/*/model.onnx"))
    if args.list:
        wanted = {line.split()[0] for line in args.list.read_text().splitlines() if line and line[0] != "#"}
        tests = [t for t in tests if f"{t.parent.name}/{t.name}" in wanted]
    tests = [t for t in tests if not args.names or any(n in t.name for n in args.names)]
    counts = {"passed": 0, "failed": 0, "unsupported": 0}
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for test, problem in zip(tests, pool.map(lambda t: run_test(args.run, t), tests)):
            verdict = "passed" if problem is None else "unsupported" if "does not have" in problem else "failed"
            counts[verdict] += 1
            if verdict == "failed" or (verdict == "unsupported" and args.verbose):
                print(f"{verdict}  {test.parent.name}/{test.name}: {problem[:300]}")
    print("conformance " + " ".join(f"{k} {v}" for k, v in counts.items()) + f" of {len(tests)}")
    return 1 if counts["failed"] else 0


if __name__ == "__main__":
    sys.exit(main())
