#!/usr/bin/python3
"""Run the conformance tests of Debian's package libonnx-testdata through convoy-run.

    tests/conformance/run.py [--run build/bin/convoy-run] [--verbose] [NAME...]

A test is a folder with model.onnx and test_data_set_N/{input,output}_M.pb. Those files are read, and
outputs compared, by Debian's onnx and NumPy: nothing of the engine takes part in the verdict. NAME
keeps the tests whose name contains it.

Prints a table of operator families, then every test of conformance-940.txt that does not pass with the
reason (what expected.txt says of it, and what convoy-run said), then a line for the tests outside of
that list, and last `conformance passed P failed F unsupported U of N` over the list. Unsupported are
models that convoy-run refuses for an operator that it does not have; a test that is not understood, a
crash and a timeout are failures. Exit status 1 when a test of the list does not pass and expected.txt
does not say why.
"""
import argparse
import collections
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import onnx
from onnx import numpy_helper

HERE = pathlib.Path(__file__).parent
DATA = pathlib.Path("/usr/lib/python3/dist-packages/onnx/backend/test/data")
ATOL, RTOL = 1e-7, 1e-3  # as onnx's own backend runner has them
TIMEOUT_S = 60
VERDICTS = ("passed", "failed", "unsupported")
# Names that hold an operator's in another form; others hold it as it is.
FAMILY_OF_NAME = {"nllloss": "NegativeLogLikelihoodLoss", "sce": "SoftmaxCrossEntropyLoss",
                  "simplernn": "RNN", "batchnorm": "BatchNormalization", "averagepool": "AveragePool",
                  "logsoftmax": "LogSoftmax", "training_dropout": "Dropout", "basicconv": "Conv",
                  "edge_pad": "Pad", "reflect_pad": "Pad", "constant_pad": "Pad", "tfidf": "TfIdfVectorizer"}
COMMON = {"Constant", "Identity"}  # no test's subject while another operator is there

Test = collections.namedtuple("Test", "name folder model names family")
Result = collections.namedtuple("Result", "verdict reason")


def tensor(path, info):
    """A .pb file as an array; only tensors are tensors."""
    if info.type.WhichOneof("value") != "tensor_type":
        raise ValueError(f"\"{info.name}\" is a {info.type.WhichOneof('value')[:-5]}, which convoy-run does not take")
    t = onnx.TensorProto()
    t.ParseFromString(path.read_bytes())
    return numpy_helper.to_array(t)


def write(value, path):
    """The file that convoy-run reads: .npy, or .json for texts."""
    if value.dtype.kind != "O":
        np.save(path + ".npy", value)
        return path + ".npy"
    texts = np.vectorize(lambda t: t.decode() if isinstance(t, bytes) else t, otypes="O")(value)
    pathlib.Path(path + ".json").write_text(json.dumps(texts.tolist()))
    return path + ".json"


def read(path, shape):
    if not path.endswith(".json"):
        return np.load(path)
    return np.array(json.loads(pathlib.Path(path).read_text()), dtype="O").reshape(shape)


def same(want, got):
    if want.shape != got.shape or want.dtype != got.dtype:
        return f"{got.dtype} {got.shape}, expected {want.dtype} {want.shape}"
    if want.dtype.kind in "fc":
        if not np.allclose(got, want, rtol=RTOL, atol=ATOL, equal_nan=True):
            return f"differs by up to {np.nanmax(np.abs(got.astype('f8') - want.astype('f8'))):.3g}"
    elif want.dtype.kind == "O":
        want = np.vectorize(lambda t: t.decode() if isinstance(t, bytes) else t, otypes="O")(want)
        if not (want == got).all():
            return f"{got.tolist()}, expected {want.tolist()}"[:300]
    elif not (want == got).all():
        return f"{int((want != got).sum())} of {want.size} elements differ"
    return None


def run_set(run, test, folder, temp):
    command = [run, str(test.folder / "model.onnx"), "--output-dir", temp, "--threads", "1"]
    for i, info in enumerate(test.names):
        path = folder / f"input_{i}.pb"
        if not path.exists():
            break
        command += ["--input", f"{info.name}={write(tensor(path, info), f'{temp}/in{i}')}"]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=TIMEOUT_S)
    if done.returncode:
        said = done.stderr.strip().removeprefix("convoy-run: ").replace(f"{test.folder}/model.onnx: ", "")
        return f"status {done.returncode}: {said}"
    outputs = json.loads((pathlib.Path(temp) / "outputs.json").read_text())["outputs"]
    wanted = len(list(folder.glob("output_*.pb")))
    if len(outputs) < wanted or not wanted:
        return f"{len(outputs)} outputs, expected {wanted}"
    for i in range(wanted):
        want = tensor(folder / f"output_{i}.pb", test.model.graph.output[i])
        problem = same(want, read(f"{temp}/{outputs[i]['file']}", outputs[i]["shape"]))
        if problem:
            return f"output {i}: {problem}"
    return None


def run_test(run, test):
    sets = sorted(test.folder.glob("test_data_set_*"))
    if not sets:
        return Result("failed", "no data")
    try:
        for one in sets:
            with tempfile.TemporaryDirectory() as temp:
                problem = run_set(run, test, one, temp)
            if problem:
                lacks = "operators that this engine does not have" in problem
                return Result("unsupported" if lacks else "failed", problem)
        return Result("passed", None)
    except Exception as error:
        return Result("failed", f"not understood: {type(error).__name__}: {error}")


def operators(graph):
    for node in graph.node:
        yield node.op_type
        for attribute in node.attribute:
            for inner in [attribute.g, *attribute.graphs]:
                yield from operators(inner)


def families(models):
    """The operator under test of each model: the one that the name holds, or else the rarest in it."""
    used = {name: set(operators(m.graph)) for name, m in models.items()}
    tests_with = collections.Counter(op for ops in used.values() for op in ops)
    known = {s.name.lower(): s.name for s in onnx.defs.get_all_schemas()}

    def family(name):
        ops = used[name] - COMMON or used[name]
        plain = re.sub(r"^test_(operator_)?", "", name.split("/")[1]).lower()
        for part, op in FAMILY_OF_NAME.items():
            if plain.startswith(part) or plain.replace("_", "").startswith(part):
                return op
        if len(ops) == 1:
            return next(iter(ops))
        joined = plain.replace("_", "")
        held = [known[k] for k in known if joined.startswith(k)]
        if held:
            return max(held, key=len)
        return min(ops, key=lambda op: (tests_with[op], op)) if ops else "(none)"

    return {name: family(name) for name in models}


def collect(names):
    models = {}
    for path in sorted(DATA.glob("*/*/model.onnx")):
        name = f"{path.parent.parent.name}/{path.parent.name}"
        models[name] = onnx.load(str(path), load_external_data=False)
    family_of = families(models)
    tests = []
    for name, model in models.items():
        if names and not any(n in name for n in names):
            continue
        made = {t.name for t in model.graph.initializer}
        given = [i for i in model.graph.input if i.name not in made]
        tests.append(Test(name, DATA / name, model, given, family_of[name]))
    return tests


def rows(path):
    """NAME and the rest of each line; empty lines and those after # are left out."""
    lines = [line.strip() for line in path.read_text().splitlines()]
    return {line.split()[0]: " ".join(line.split()[1:]) for line in lines if line and line[0] != "#"}


def count(results):
    counts = collections.Counter(r.verdict for r in results)
    return " ".join(f"{v} {counts[v]}" for v in VERDICTS)


def print_table(results):
    table = collections.defaultdict(collections.Counter)
    for test, result in results:
        table[test.family][result.verdict] += 1
    print(f"{'operator family':28} {'passed':>7} {'failed':>7} {'unsupported':>12}")
    for family in sorted(table, key=str.lower):
        cells = [table[family][v] or "" for v in VERDICTS]
        print(f"{family:28} {cells[0]:>7} {cells[1]:>7} {cells[2]:>12}")
    print()


def print_bad(results, expected):
    """Returns how many of them expected.txt does not explain."""
    unexplained = 0
    for test, result in results:
        if result.verdict == "passed":
            continue
        reason = expected.get(test.name)
        unexplained += reason is None
        print(f"{result.verdict:12} {test.name}: {result.reason[:300]}")
        if reason:
            print(f"{'':12} expected: {reason}")
    return unexplained


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--run", default="build/bin/convoy-run")
    parser.add_argument("--list", type=pathlib.Path, default=HERE / "conformance-940.txt")
    parser.add_argument("--verbose", action="store_true", help="name what does not pass outside of the list, too")
    parser.add_argument("names", nargs="*")
    args = parser.parse_args()
    wanted, expected = rows(args.list), rows(HERE / "expected.txt")
    tests = collect(args.names)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        results = list(zip(tests, pool.map(lambda t: run_test(args.run, t), tests)))
    print_table(results)
    listed = [(t, r) for t, r in results if t.name in wanted]
    others = [(t, r) for t, r in results if t.name not in wanted]
    unexplained = print_bad(listed, expected)
    if args.verbose:
        print_bad(others, expected)
    for name in sorted(expected.keys() & {t.name for t, r in listed if r.verdict == "passed"}):
        print(f"passes       {name}, though expected.txt says why it does not: take its line out")
        unexplained += 1
    missing = wanted.keys() - {t.name for t, _ in listed} if not args.names else ()
    for name in sorted(missing):
        print(f"failed       {name}: the package does not hold it")
    verdicts = [r for _, r in listed] + [Result("failed", "absent")] * len(missing)
    print(f"others of the package: {count(r for _, r in others)} of {len(others)}")
    print(f"conformance {count(verdicts)} of {len(verdicts)}")
    return 1 if unexplained or missing else 0


if __name__ == "__main__":
    sys.exit(main())
