#!/usr/bin/env python3
"""Train the example network on Fashion-MNIST and write it, with a small case, as ONNX.

    build/venv-models/bin/python tests/data/train_fashion_cnn.py [--epochs N]

The network (Keras notation): Conv2D 32 3x3 relu on 28x28x1, MaxPool 2, Conv2D 64 3x3 relu,
MaxPool 2, Conv2D 64 3x3 relu, Flatten, Dense 64 relu, Dense 10 softmax; Adam and sparse
categorical cross-entropy. The images come from Debian's package dataset-fashion-mnist. The
file takes the bytes of the images as they are: Cast, scaling by 1/255 and Reshape are in it.

Writes fashion_cnn.onnx and fashion_cnn/{input,output}.npy beside this script; the outputs are
onnxruntime's. Refuses to write a model that scores below 0.90 on the test images.
See requirements.txt for what has to be installed first.
"""
import argparse
import gzip
import pathlib
import sys

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
import onnxruntime
import torch
from torch import nn

HERE = pathlib.Path(__file__).resolve().parent
IMAGES = pathlib.Path("/usr/share/datasets/fashion-mnist")
SEED = 20231
BATCH = 64
LEARNING_RATE = 1.5e-3  # at the start; falls to zero along a cosine
ACCURACY_MIN = 0.90
CASE_ROWS = 8


def read_idx(name):
    """The uint8 tensor in an idx.gz file: 4-byte magic whose last byte is the rank, then sizes."""
    raw = gzip.decompress((IMAGES / name).read_bytes())
    rank = raw[3]
    shape = np.frombuffer(raw, ">u4", rank, 4)
    return np.frombuffer(raw, np.uint8, offset=4 + 4 * rank).reshape(shape)


def network():
    """The layers; softmax is left to the loss while training."""
    return nn.Sequential(
        nn.Conv2d(1, 32, 3), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 3), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(64, 64, 3), nn.ReLU(),
        nn.Flatten(), nn.Linear(576, 64), nn.ReLU(), nn.Linear(64, 10))


def scaled(images):
    return torch.from_numpy(images.astype(np.float32) / 255.0).unsqueeze(1)


def train(model, images, labels, epochs):
    optimiser = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE)
    steps = epochs * (len(images) // BATCH)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    loss_of = nn.CrossEntropyLoss()
    for epoch in range(epochs):
        model.train()
        order = torch.randperm(len(images))
        total = 0.0
        for first in range(0, len(images) - BATCH + 1, BATCH):
            rows = order[first:first + BATCH]
            loss = loss_of(model(images[rows]), labels[rows])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
            total += loss.item()
        print(f"epoch {epoch + 1}/{epochs} loss {total / (len(images) // BATCH):.4f}", flush=True)


def accuracy(model, images, labels):
    model.eval()
    with torch.no_grad():
        right = sum((model(images[i:i + 500]).argmax(1) == labels[i:i + 500]).sum().item()
                    for i in range(0, len(images), 500))
    return right / len(images)


def export(model, path):
    """Write the graph node by node, so that its names are ours and stay the same."""
    weights = {}

    def constant(name, value):
        weights[name] = numpy_helper.from_array(np.ascontiguousarray(value), name)
        return name

    def parameters(layer, name):
        return [constant(f"{name}_weight", model[layer].weight.detach().numpy()),
                constant(f"{name}_bias", model[layer].bias.detach().numpy())]

    node = helper.make_node
    pool = {"kernel_shape": [2, 2], "strides": [2, 2]}
    nodes = [
        node("Cast", ["images"], ["pixels"], "cast", to=TensorProto.FLOAT),
        node("Mul", ["pixels", constant("scale", np.float32(1 / 255))], ["scaled"], "scale_pixels"),
        node("Reshape", ["scaled", constant("nchw", np.int64([-1, 1, 28, 28]))], ["x0"], "to_nchw"),
        node("Conv", ["x0", *parameters(0, "conv1")], ["c1"], "conv1", kernel_shape=[3, 3]),
        node("Relu", ["c1"], ["r1"], "relu1"),
        node("MaxPool", ["r1"], ["p1"], "pool1", **pool),
        node("Conv", ["p1", *parameters(3, "conv2")], ["c2"], "conv2", kernel_shape=[3, 3]),
        node("Relu", ["c2"], ["r2"], "relu2"),
        node("MaxPool", ["r2"], ["p2"], "pool2", **pool),
        node("Conv", ["p2", *parameters(6, "conv3")], ["c3"], "conv3", kernel_shape=[3, 3]),
        node("Relu", ["c3"], ["r3"], "relu3"),
        node("Flatten", ["r3"], ["flat"], "flatten", axis=1),
        node("Gemm", ["flat", *parameters(9, "dense1")], ["d1"], "dense1", transB=1),
        node("Relu", ["d1"], ["r4"], "relu4"),
        node("Gemm", ["r4", *parameters(11, "dense2")], ["logits"], "dense2", transB=1),
        node("Softmax", ["logits"], ["probabilities"], "softmax", axis=1),
    ]
    graph = helper.make_graph(
        nodes, "fashion_cnn",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, ["n", 28, 28])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["n", 10])],
        list(weights.values()))
    proto = helper.make_model(graph, producer_name="train_fashion_cnn.py", ir_version=8,
                              opset_imports=[helper.make_opsetid("", 13)])
    onnx.checker.check_model(proto, full_check=True)
    path.write_bytes(proto.SerializeToString())


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=10)
    epochs = parser.parse_args().epochs
    torch.manual_seed(SEED)
    torch.set_num_threads(1)  # one order of sums, so that the same machine repeats the result

    test_images = read_idx("t10k-images-idx3-ubyte.gz")
    test_labels = read_idx("t10k-labels-idx1-ubyte.gz")
    model = network()
    train(model, scaled(read_idx("train-images-idx3-ubyte.gz")),
          torch.from_numpy(read_idx("train-labels-idx1-ubyte.gz").astype(np.int64)), epochs)
    reached = accuracy(model, scaled(test_images), torch.from_numpy(test_labels.astype(np.int64)))
    print(f"test accuracy in torch {reached:.4f}")
    if reached < ACCURACY_MIN:
        sys.exit(f"train_fashion_cnn: {reached:.4f} is below {ACCURACY_MIN}; nothing written")

    path = HERE / "fashion_cnn.onnx"
    export(model, path)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    scores = session.run(None, {"images": test_images})[0]
    print(f"test accuracy in onnxruntime {(scores.argmax(1) == test_labels).mean():.4f}")
    case = HERE / "fashion_cnn"
    case.mkdir(exist_ok=True)
    np.save(case / "input.npy", test_images[:CASE_ROWS])
    np.save(case / "output.npy", session.run(None, {"images": test_images[:CASE_ROWS]})[0])
    print(f"wrote {path} ({path.stat().st_size} bytes) and a case of {CASE_ROWS} rows")


if __name__ == "__main__":
    main()
