#!/usr/bin/env python3
"""One epoch of one network in PyTorch or TensorFlow, for train.py.

    tests/bench/train_peer.py SYSTEM DATA.npz --work W --batch N --threads N [--seed N]

SYSTEM is pytorch, pytorch-channels-last or tensorflow. DATA.npz holds images, labels, test_images and
test_labels. The networks are Keras's seed_cnn, and an LSTM and a GRU of 128 units that read an image
row by row; Adam, sparse categorical cross-entropy, Keras's initial values. Prints a line of JSON:
rows a second, and accuracy on the test rows behind it.
"""
import argparse
import json
import os
import time

import numpy as np

UNITS = 128
PART = 1000  # test rows at once


def run_torch(data, args):
    """Images are converted once, in front of the clock."""
    import torch
    from torch import nn

    class Rows(nn.Module):
        def __init__(self, cell):
            super().__init__()
            self.cell = getattr(nn, cell)(28, UNITS, batch_first=True)
            self.dense = nn.Linear(UNITS, 10)

        def forward(self, x):
            return self.dense(self.cell(x)[0][:, -1])

    def reset(module):
        for name, value in module.named_parameters(recurse=False):
            if "bias" in name:
                nn.init.zeros_(value)
            elif "hh" in name:
                nn.init.orthogonal_(value)
            else:
                nn.init.xavier_uniform_(value)

    torch.manual_seed(args.seed)
    torch.set_num_threads(args.threads)
    cnn = args.work == "seed_cnn"
    model = nn.Sequential(
        nn.Conv2d(1, 32, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(32, 64, 3), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(64, 64, 3), nn.ReLU(), nn.Flatten(), nn.Linear(576, 64), nn.ReLU(), nn.Linear(64, 10),
    ) if cnn else Rows(args.work.upper())
    model.apply(reset)

    def rows(images):
        x = torch.from_numpy(images.astype(np.float32) / 255)
        return x[:, None] if cnn else x

    x, y = rows(data["images"]), torch.from_numpy(data["labels"].astype(np.int64))
    if args.system.endswith("last"):
        model, x = model.to(memory_format=torch.channels_last), x.to(memory_format=torch.channels_last)
    optimiser = torch.optim.Adam(model.parameters(), lr=0.001, eps=1e-7)
    begun = time.monotonic()
    order = torch.randperm(len(y))
    for i in range(0, len(y), args.batch):
        at = order[i:i + args.batch]
        optimiser.zero_grad(set_to_none=True)
        nn.functional.cross_entropy(model(x[at]), y[at]).backward()
        optimiser.step()
    seconds = time.monotonic() - begun
    test, labels = rows(data["test_images"]), data["test_labels"]
    with torch.no_grad():
        said = [model(test[i:i + PART]).argmax(1).numpy() for i in range(0, len(labels), PART)]
    return len(y) / seconds, float(np.mean(np.concatenate(said) == labels))


def run_tensorflow(data, args):
    """Two batches in front of the clock, in which the graph is compiled."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(args.threads)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    tf.keras.utils.set_random_seed(args.seed)
    layers = tf.keras.layers
    if args.work == "seed_cnn":
        model = tf.keras.Sequential([
            layers.Input((28, 28, 1)), layers.Conv2D(32, 3, activation="relu"), layers.MaxPooling2D(),
            layers.Conv2D(64, 3, activation="relu"), layers.MaxPooling2D(), layers.Conv2D(64, 3, activation="relu"),
            layers.Flatten(), layers.Dense(64, activation="relu"), layers.Dense(10, activation="softmax")])
    else:
        model = tf.keras.Sequential([layers.Input((28, 28)), getattr(layers, args.work.upper())(UNITS),
                                     layers.Dense(10, activation="softmax")])
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])

    def rows(images):
        x = images.astype(np.float32) / 255
        return x[..., None] if args.work == "seed_cnn" else x

    x, y = rows(data["images"]), data["labels"].astype(np.int32)
    model.fit(x[:2 * args.batch], y[:2 * args.batch], batch_size=args.batch, verbose=0)
    begun = time.monotonic()
    model.fit(x, y, batch_size=args.batch, epochs=1, verbose=0)
    seconds = time.monotonic() - begun
    said = model.predict(rows(data["test_images"]), batch_size=PART, verbose=0).argmax(1)
    return len(y) / seconds, float(np.mean(said == data["test_labels"]))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("system", choices=("pytorch", "pytorch-channels-last", "tensorflow"))
    parser.add_argument("data")
    parser.add_argument("--work", choices=("seed_cnn", "lstm", "gru"), required=True)
    parser.add_argument("--batch", type=int, required=True)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    data = np.load(args.data)
    data = {name: data[name] for name in data.files}
    rows_s, accuracy = (run_tensorflow if args.system == "tensorflow" else run_torch)(data, args)
    print(json.dumps({"rows_s": rows_s, "accuracy": accuracy}))


if __name__ == "__main__":
    main()
