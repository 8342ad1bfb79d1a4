"""A model whose rows are small and take long: for jobs that last."""
import os
import subprocess
import time

import numpy

import onnx_bytes as onnx
from harness import BIN, npy_bytes
from load import Rows
from world import publish

ROWS = 1000    # different ones
WIDTH = 512    # of the layers
PROBE = (40, 2000)  # layers and rows by which this machine is measured
ROW_WIDTH, ANSWER_WIDTH = 16, 4


def model_bytes(layers):
    """y = tanh(... tanh(x A) W ... W) B: [n, 16] to [n, 4]."""
    chance = numpy.random.default_rng(1)
    shapes = {"A": (ROW_WIDTH, WIDTH), "W": (WIDTH, WIDTH), "B": (WIDTH, ANSWER_WIDTH)}
    weights = [onnx.constant(name, (chance.standard_normal(shape) / shape[0] ** 0.5).astype("f4"))
               for name, shape in shapes.items()]
    nodes = [onnx.node("MatMul", ["x", "A"], ["t0"])]
    for i in range(layers):
        nodes += [onnx.node("MatMul", [f"t{i}", "W"], [f"m{i}"]),
                  onnx.node("Tanh", [f"m{i}"], [f"t{i + 1}"])]
    nodes.append(onnx.node("MatMul", [f"t{layers}", "B"], ["y"]))
    return onnx.onnx_model(nodes, [onnx.value("x", "FP32", ["n", ROW_WIDTH])],
                           [onnx.value("y", "FP32", ["n", ANSWER_WIDTH])], weights)


def inputs(rows, seed):
    data = numpy.random.default_rng(seed).standard_normal((rows, ROW_WIDTH)).astype("<f4")
    return npy_bytes("<f4", data.shape, data.tobytes())


def measure_s(folder, layers, rows):
    """Seconds of one core for so many rows, loading aside: the fastest of three."""
    model, source = folder / "probe.onnx", folder / "probe.npy"
    model.write_bytes(model_bytes(layers))
    source.write_bytes(inputs(rows, 1))
    took = []
    for _ in range(3):
        begin = time.monotonic()
        subprocess.run([BIN / "convoy-run", model, "--input", f"x={source}", "--threads", "1",
                        "--output-dir", folder / "probe"], check=True, stdout=subprocess.DEVNULL)
        took.append(time.monotonic() - begin)
    return min(took)


def heavy_model(world, row_ms):
    """Put it into the fleet as "heavy", with as many layers as row_ms of one core need here."""
    layers, rows = PROBE
    busy_s = measure_s(world.folder, layers, rows) - measure_s(world.folder, layers, 1)
    wanted = max(1, round(row_ms / 1000 / (busy_s / rows / layers)))
    publish(f"model heavy: {wanted} layers, {row_ms} ms a row on one of {os.cpu_count()} cores")
    world.add_model_bytes("heavy", model_bytes(wanted))
    with world.here():
        world.post("/v2/repository/models/heavy/load", {})
        world.wait_model("heavy")
    return world.folder / "gateway/models/heavy/1/model.onnx"


def heavy_rows(world, model, seed):
    return Rows(world.folder, "heavy", model, "x", inputs(ROWS, seed))
