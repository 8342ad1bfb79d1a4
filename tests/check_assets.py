#!/usr/bin/python3
"""Compare convoy-run with the reference cases and streams of a folder of models.

    tests/check_assets.py FOLDER [--run build/bin/convoy-run] [--packages DIR] [NAME...]

FOLDER has one sub-folder per model: model.onnx and case.json, which lists cases of inputs and outputs
as raw little-endian files, and per output atol and rtol: |got - want| <= atol + rtol * |want|.
stream/stream.json, where present, is a run of many steps in which state outputs become the next step's
state inputs. A model that is not there is taken from the npm package that case.json's `source` names,
installed under --packages; its SHA-256 must be the one that case.json has.

Each case must also give the same bytes with 1 and 2 threads; and where convoy-run says that rows are
independent, each row must have the same bytes alone, in a batch of 7 and among all rows.

Prints one line per model, its problems under it, and last `assets passed P failed F`.
"""
import argparse
import hashlib
import json
import pathlib
import re
import subprocess
import sys
import tempfile

import numpy as np

TIMEOUT_S = 600
NEIGHBOURS = 7
NEVER_BATCHED = {"oww_melspec"}  # it has a ReduceMax over the batch


class Problem(Exception):
    pass


def load(folder, entry):
    return np.fromfile(folder / entry["file"], dtype=entry["dtype"]).reshape(entry["shape"])


class Model:
    """One model through convoy-run."""

    def __init__(self, run, path):
        self.run, self.path = run, path
        self.about = json.loads(self.call("--inspect", "--json"))

    def call(self, *options):
        done = subprocess.run([self.run, str(self.path), *options], capture_output=True, text=True, timeout=TIMEOUT_S)
        if done.returncode:
            raise Problem(f"status {done.returncode}: {done.stderr.strip()[:500]}")
        return done.stdout

    def __call__(self, inputs, *options):
        """Outputs by name, all rows at once."""
        with tempfile.TemporaryDirectory() as temp:
            given = []
            for i, (name, value) in enumerate(inputs.items()):
                np.save(f"{temp}/{i}.npy", value)
                given += ["--input", f"{name}={temp}/{i}.npy"]
            self.call("--output-dir", temp + "/out", "--batch", "0", *given, *options)
            outputs = json.load(open(temp + "/out/outputs.json"))["outputs"]
            return {o["name"]: np.load(f"{temp}/out/{o['file']}") for o in outputs}


def close_to(got, want, atol, rtol, what):
    if got.shape != want.shape or got.dtype != want.dtype:
        raise Problem(f"{what}: {got.dtype} {got.shape}, expected {want.dtype} {want.shape}")
    over = np.abs(got.astype("f8") - want.astype("f8")) - (atol + rtol * np.abs(want.astype("f8")))
    if not (over <= 0).all():
        raise Problem(f"{what}: {int((~(over <= 0)).sum())} of {want.size} differ, by up to {over.max():.3g} too much")


def same_bytes(got, want, what):
    for name, value in want.items():
        if got[name].tobytes() != value.tobytes():
            raise Problem(f"{what}: other bytes in output \"{name}\"")


def rows_of(values, axes, rows):
    return {name: np.ascontiguousarray(np.take(value, rows, axes[name])) for name, value in values.items()}


def seven_rows(model, inputs):
    """Inputs of at least NEIGHBOURS rows, or None where the model's batch is fixed: a single row gets others
    beside it, of the same numbers in another order."""
    if any(i["shape"] and i["shape"][0] >= 0 for i in model.about["inputs"]):
        return None
    random = np.random.default_rng(7)
    rows = next(iter(inputs.values())).shape[0]
    for name, value in inputs.items():
        more = [random.permuted(value[:1], axis=-1) for _ in range(NEIGHBOURS - rows)]
        inputs = inputs | {name: np.concatenate([value, *more])}
    return inputs


def check_rows(model, inputs):
    """How many rows were compared."""
    inputs = seven_rows(model, inputs)
    if inputs is None:
        return 0
    axes = {o["name"]: o["batch_axis"] for o in model.about["outputs"]}
    first = dict.fromkeys(inputs, 0)
    whole = model(inputs)
    rows = next(iter(inputs.values())).shape[0]
    batch = list(range(rows - NEIGHBOURS, rows))
    same_bytes(model(rows_of(inputs, first, batch)), rows_of(whole, axes, batch), f"a batch of {NEIGHBOURS}")
    for row in range(rows):
        same_bytes(model(rows_of(inputs, first, [row])), rows_of(whole, axes, [row]), f"row {row} alone")
    return rows


def check_case(model, folder, case):
    inputs = {entry["name"]: load(folder, entry) for entry in case["inputs"]}
    got = model(inputs, "--threads", "1")
    for entry in case["outputs"]:
        close_to(got[entry["name"]], load(folder, entry), entry["atol"], entry["rtol"], entry["name"])
    same_bytes(model(inputs, "--threads", "2"), got, "2 threads")
    return check_rows(model, inputs) if model.about["batchable"] else 0


def check_stream(model, folder):
    """How many steps were run."""
    about = json.load(open(folder / "stream.json"))
    step, steps = about["step"], about["steps"]
    data = np.fromfile(folder / step["file"], dtype=step["dtype"]).reshape(steps, *step["shape"])
    inputs = {entry["name"]: load(folder, entry) for entry in about["fixed"]}
    inputs |= {s["in"]: np.zeros(s["shape"], "f4") for s in about["state"]}
    kept = {name: [] for name in about["keep"]}
    for i in range(steps):
        got = model(inputs | {step["name"]: data[i]}, "--threads", "1")
        inputs |= {s["in"]: got[s["out"]] for s in about["state"]}
        for name, values in kept.items():
            values.append(got[name].ravel())
    for entry in about["outputs"]:
        want = np.fromfile(folder / entry["file"], dtype=entry["dtype"])
        made = got[entry["name"]].ravel() if entry.get("final_state") else np.concatenate(kept[entry["name"]])
        close_to(made, want, about["atol"], about["rtol"], f"stream, {entry['name']}")
    return steps


def find_model(folder, about, packages):
    here = folder / (about.get("model") or "model.onnx")
    if here.exists():
        return here
    source = re.match(r"npm (\S+)", about["source"])
    if not source:
        raise Problem(f"no {here.name}, and its source is no npm package: {about['source']}")
    place = packages / re.sub(r"\W+", "-", source[1])
    if not list(place.glob(f"**/{about['model_file_name']}")):
        place.mkdir(parents=True, exist_ok=True)
        done = subprocess.run(["npm", "install", "--silent", "--no-audit", "--no-fund", "--ignore-scripts",
                               "--prefix", str(place), source[1]], capture_output=True, text=True)
        if done.returncode:
            raise Problem(f"npm install {source[1]}: {(done.stderr or done.stdout).strip()[-300:]}")
    for path in place.glob(f"**/{about['model_file_name']}"):
        if hashlib.sha256(path.read_bytes()).hexdigest() == about["model_sha256"]:
            return path
    raise Problem(f"{source[1]} holds no {about['model_file_name']} with the SHA-256 of case.json")


def check_asset(run, folder, packages):
    """Returns what was compared, and what was wrong."""
    done, problems = [], []

    def attempt(what, function, *args):
        try:
            return function(*args)
        except Problem as problem:
            problems.append(f"{what}: {problem}")
        return None

    about = json.load(open(folder / "case.json"))
    path = attempt("model", find_model, folder, about, packages)
    model = path and attempt("model", Model, run, path)
    if not model:
        return done, problems
    rows = [attempt(f"case {i}", check_case, model, folder, case) for i, case in enumerate(about["cases"])]
    done.append(f"{len(rows)} case{'s' if len(rows) > 1 else ''}")
    if (folder / "stream/stream.json").exists():
        done.append(f"a stream of {attempt('stream', check_stream, model, folder / 'stream')} steps")
    batchable = model.about["batchable"]
    done.append(f"{sum(r or 0 for r in rows)} rows alone and beside others" if batchable else "not batchable")
    if batchable and folder.name in NEVER_BATCHED:
        problems.append("said to be batchable, though its rows depend on each other")
    return done, problems


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--run", default="build/bin/convoy-run")
    parser.add_argument("--packages", type=pathlib.Path, default=pathlib.Path("build/assets"))
    parser.add_argument("names", nargs="*")
    args = parser.parse_intermixed_args()
    counts = {"passed": 0, "failed": 0}
    for description in sorted(args.folder.glob("*/case.json")):
        folder = description.parent
        if args.names and folder.name not in args.names:
            continue
        done, problems = check_asset(args.run, folder, args.packages)
        verdict = "failed" if problems else "passed"
        counts[verdict] += 1
        print(f"{verdict}  {folder.name}: {', '.join(done) or 'nothing could be compared'}", flush=True)
        for problem in problems:
            print(f"        {problem}")
    print("assets " + " ".join(f"{k} {v}" for k, v in counts.items()))
    return 0 if counts["passed"] and not counts["failed"] else 1


if __name__ == "__main__":
    sys.exit(main())
