"""A model that scores well, and rows on which its kernel is broken: it aborts, faults, hangs, eats memory.

    fleet.start_worker(environment=traps.armed(fleet.folder))
    fleet.add_model_bytes("acosh", traps.model())

The defect is real: traps.c is loaded into the worker (LD_PRELOAD) and takes the place of one function
of libm. Everything else, from the wire to the operator's loop over its elements, is as users have it.
"""
import os
import pathlib
import subprocess
import unittest

import numpy

from harness import SANITIZED
from onnx_bytes import node, onnx_model, value

ABORT, FAULT, HANG, EXHAUST = 2001.0, 2002.0, 2003.0, 2004.0
WIDTH = 4

# The sanitizers' own run-time wants to be loaded first.
needs_traps = unittest.skipIf(SANITIZED, "libraries are not loaded before a sanitizer's")


def armed(folder):
    """The environment of a worker whose acosh is broken."""
    library = pathlib.Path(folder) / "traps.so"
    if not library.exists():
        subprocess.run([os.environ.get("CC", "cc"), "-shared", "-fPIC", "-O1", "-o", library,
                        pathlib.Path(__file__).with_name("traps.c"), "-ldl"], check=True)
    return {"LD_PRELOAD": str(library)}


def model(rows="n", width=WIDTH):
    """y = acosh(x), [n, width]: rows are independent, so they are computed in batches; not where `rows` is 1."""
    return onnx_model([node("Acosh", ["x"], ["y"])], [value("x", "FP32", [rows, width])],
                      [value("y", "FP32", [rows, width])])


def rows(count, seed, width=WIDTH):
    """Rows that do no harm."""
    return numpy.random.default_rng(seed).uniform(1, 100, (count, width)).astype(numpy.float32)
