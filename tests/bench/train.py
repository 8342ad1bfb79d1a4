#!/usr/bin/env python3
"""make bench-train: one epoch here, in PyTorch and in TensorFlow, with the same data, in turn.

    tests/bench/train.py RUN [--torch PYTHON] [--tensorflow PYTHON] [--works W,W] [--batches N,N] [--threads N,N]
                         [--turns N]

RUN is convoy-run; PYTHON has that package. Trains seed_cnn (tests/data/seed_cnn.json), and an LSTM and
a GRU of 128 units over the rows of an image, on the whole of Fashion-MNIST for one epoch, each system
after the other for every batch and number of threads, and that as often as there are turns. Writes
build/bench/train.json, a list of {"system", "work", "batch", "threads", "rows_s", "accuracy"}: rows a
second of training, accuracy on the test images behind it. PyTorch's convolutions run in both of its
layouts ("layout"). Prints a table and how much faster than the faster of both this is, the least and
the median of all turns; the goal for seed_cnn is 1.5.
"""
import argparse
import gzip
import json
import os
import pathlib
import statistics
import subprocess
import sys

import numpy as np

IMAGES = pathlib.Path("/usr/share/datasets/fashion-mnist")
FOLDER = pathlib.Path("build/bench/train")
GOAL = 1.5
UNITS = 128
# A peer's memory stays its own from step to step: PyTorch is 1.4 times as fast as without.
MALLOC = {"MALLOC_MMAP_THRESHOLD_": str(1 << 30), "MALLOC_TRIM_THRESHOLD_": str(1 << 31), "MALLOC_TOP_PAD_": str(1 << 28)}


def read_idx(name, kind):
    """As dataset-fashion-mnist has it: 16 or 8 octets of header, then a value each."""
    raw = np.frombuffer(gzip.decompress((IMAGES / f"{name}-{kind}.gz").read_bytes()), np.uint8)
    return raw[16:].reshape(-1, 28, 28) if kind.startswith("images") else raw[8:]


def prepare():
    """The data as peers and convoy-run read them, and the networks that are no file yet."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    parts = {"images": read_idx("train", "images-idx3-ubyte"), "labels": read_idx("train", "labels-idx1-ubyte"),
             "test_images": read_idx("t10k", "images-idx3-ubyte"), "test_labels": read_idx("t10k", "labels-idx1-ubyte")}
    np.savez(FOLDER / "data.npz", **parts)
    np.save(FOLDER / "seed_cnn.npy", parts["test_images"][..., None])
    for cell in ("LSTM", "GRU"):
        (FOLDER / f"{cell.lower()}.json").write_text(json.dumps({"name": cell.lower(), "layers": [
            {"type": "Input", "shape": [28, 28], "dtype": "uint8"}, {"type": "Rescaling", "scale": 1 / 255},
            {"type": cell, "units": UNITS}, {"type": "Dense", "units": 10, "activation": "softmax"}]}))
        np.save(FOLDER / f"{cell.lower()}.npy", parts["test_images"])
    return parts


def run_convoy(run, data, work, batch, threads):
    """Trains, then scores the test images with the model that comes out."""
    network = "tests/data/seed_cnn.json" if work == "seed_cnn" else FOLDER / f"{work}.json"
    model = FOLDER / f"{work}.onnx"
    out = subprocess.run(
        [run, "train", network, "--data", IMAGES / "train-images-idx3-ubyte.gz", "--labels",
         IMAGES / "train-labels-idx1-ubyte.gz", "--epochs", "1", "--batch", str(batch), "--threads", str(threads),
         "--seed", "1", "--quiet", "--json", "-o", model], check=True, stdout=subprocess.PIPE, text=True).stdout
    subprocess.run([run, model, "--input", f"input={FOLDER / work}.npy", "-b", "100", "-o", FOLDER / "out"], check=True,
                   stdout=subprocess.DEVNULL)
    said = np.load(FOLDER / "out" / "000.npy").argmax(1)
    return {"rows_s": len(data["labels"]) / json.loads(out)["seconds"],
            "accuracy": float(np.mean(said == data["test_labels"]))}


def run_peer(python, system, work, batch, threads):
    done = subprocess.run([python, "tests/bench/train_peer.py", system, FOLDER / "data.npz", "--work", work, "--batch",
                           str(batch), "--threads", str(threads)], capture_output=True, text=True,
                          env={**os.environ, **MALLOC})
    if done.returncode:
        sys.exit(f"{system}: {done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


def run_all(args, data, work, batch, threads):
    """A row for each system."""
    row = {"work": work, "batch": batch, "threads": threads}
    yield {"system": "convoy", **row, **run_convoy(args.run, data, work, batch, threads)}
    if args.torch:
        layouts = ("pytorch", "pytorch-channels-last") if work == "seed_cnn" else ("pytorch",)
        for layout in layouts:
            yield {"system": "pytorch", **row, **run_peer(args.torch, layout, work, batch, threads),
                   **({"layout": "channels_last"} if layout.endswith("last") else {})}
    if args.tensorflow:
        yield {"system": "tensorflow", **row, **run_peer(args.tensorflow, "tensorflow", work, batch, threads)}


def show(row):
    layout = row.get("layout", "")
    print(f"{row['work']:9} batch {row['batch']:3} threads {row['threads']} {row['system']:11}{layout:14}"
          f"{row['rows_s']:8.0f} rows/s  accuracy {row['accuracy']:.4f}", flush=True)
    return row


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run")
    parser.add_argument("--torch", default="")
    parser.add_argument("--tensorflow", default="")
    parser.add_argument("--works", default="seed_cnn,lstm,gru")
    parser.add_argument("--batches", default="32,128")
    parser.add_argument("--threads", default="1,2")
    parser.add_argument("--turns", type=int, default=1)
    args = parser.parse_args()
    data, rows = prepare(), []
    for work in args.works.split(","):
        for batch in map(int, args.batches.split(",")):
            for threads in map(int, args.threads.split(",")):
                ratios = []
                for _ in range(args.turns):
                    here = [show(row) for row in run_all(args, data, work, batch, threads)]
                    rows += here
                    (FOLDER.parent / "train.json").write_text(json.dumps(rows, indent=1) + "\n")
                    if here[1:]:
                        ratios.append(here[0]["rows_s"] / max(row["rows_s"] for row in here[1:]))
                if ratios:
                    goal = f" (goal {GOAL})" if work == "seed_cnn" else ""
                    print(f"{work:9} batch {batch:3} threads {threads} least {min(ratios):.2f} median "
                          f"{statistics.median(ratios):.2f} times the faster peer{goal}", flush=True)


if __name__ == "__main__":
    main()
