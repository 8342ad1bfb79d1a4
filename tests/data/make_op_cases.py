#!/usr/bin/env python3
"""Make tests/data/ops/*.cases: tiny models with inputs and the outputs that they must give.

    python3 -m venv build/venv-ops && build/venv-ops/bin/pip install onnx onnxruntime numpy
    build/venv-ops/bin/python tests/data/make_op_cases.py [AREA...]

AREA names one file op_cases_AREA.py, whose make() describes cases; without any, all are run.

The oracle is onnxruntime on one CPU thread; where it has no implementation, onnx's own reference
evaluator. Seeds are fixed: the same versions give the same files.

A file is a row of blobs, each a little-endian uint32 size and that many bytes. A case is: its name, the
model, two uint32 (numbers of inputs and outputs), then every input and output in the graph's order as
the bytes of a .npy file. The first dimension of every input is open unless a case says otherwise, so
that the tests can also run each row alone where the engine says that rows are independent.
"""
import importlib
import pathlib
import sys

from op_graph import FAMILIES, HERE


def main():
    areas = sys.argv[1:] or sorted(p.stem[9:] for p in pathlib.Path(__file__).parent.glob("op_cases_*.py"))
    for area in areas:
        importlib.import_module(f"op_cases_{area}").make()
    HERE.mkdir(exist_ok=True)
    for family, cases in FAMILIES.items():
        (HERE / f"{family}.cases").write_bytes(b"".join(cases))
        print(f"{family}: {len(cases)} cases, {sum(map(len, cases))} bytes")


if __name__ == "__main__":
    main()
