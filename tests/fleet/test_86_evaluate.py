"""convoy evaluate: loss and accuracy of every kind, beside NumPy."""
import json
import os
import subprocess
import unittest

import numpy

from harness import BIN, DATA, Fleet
from onnx_bytes import echo, times

IMAGES = DATA / "fashion_cnn/input.npy"


class Evaluate(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.fleet = cls.enterClassContext(Fleet(("fashion_cnn",)))
        cls.fleet.add_model_bytes("echo", echo())
        cls.fleet.add_model_bytes("double", times(2))
        cls.fleet.start_all()
        for model in ("fashion_cnn", "echo", "double"):
            cls.fleet.wait_model(model)
        cls.scores = numpy.load(DATA / "fashion_cnn/output.npy").astype(float)

    def save(self, name, array):
        path = self.fleet.folder / name
        numpy.save(path, array)
        return path

    def convoy(self, model, data, labels, *more):
        return subprocess.run(
            [BIN / "convoy", "evaluate", model, "--data", data, "--labels", labels, *more], text=True,
            capture_output=True, env={**os.environ, "CONVOY_GATEWAY": f"http://{self.fleet.http}"})

    def evaluate(self, *arguments):
        run = self.convoy(*arguments, "--json")
        self.assertEqual(run.returncode, 0, run.stderr)
        return json.loads(run.stdout)

    def test_classes_by_their_number(self):
        labels = numpy.arange(len(self.scores), dtype=numpy.uint8) % 10
        got = self.evaluate("fashion_cnn", IMAGES, self.save("labels.npy", labels))
        loss = -numpy.log(numpy.maximum(self.scores[numpy.arange(len(labels)), labels], 1e-7)).mean()
        self.assertAlmostEqual(got["loss"], loss, places=3)
        self.assertAlmostEqual(got["accuracy"], (self.scores.argmax(1) == labels).mean())
        self.assertEqual((got["rows"], got["loss_name"]),
                         (len(labels), "sparse_categorical_crossentropy"))
        one_hot = self.save("onehot.npy", numpy.eye(10, dtype=numpy.float32)[labels])
        self.assertEqual(self.evaluate("fashion_cnn/1", IMAGES, one_hot)["loss"], got["loss"])
        left = self.fleet.get("/v1/files")["data"]  # of each job an empty list of errors
        self.assertEqual([file["bytes"] for file in left], [0, 0], "uploads and outputs are left")

    def test_logits_squares_and_two_classes(self):
        rng = numpy.random.default_rng(11)
        print("seed 11")
        x = rng.standard_normal((50, 4), numpy.float32)
        data = self.save("x.npy", x)
        classes = rng.integers(0, 4, 50)
        got = self.evaluate("echo", data, self.save("c.npy", classes))
        z = x.astype(float)
        logs = z - numpy.log(numpy.exp(z).sum(1, keepdims=True))
        self.assertAlmostEqual(got["loss"], -logs[numpy.arange(50), classes].mean(), places=5)
        wanted = rng.standard_normal((50, 4), numpy.float32)
        got = self.evaluate("double", data, self.save("w.npy", wanted))
        self.assertAlmostEqual(got["loss"], ((2 * z - wanted) ** 2).mean(), places=4)
        self.assertIsNone(got["accuracy"])

    def test_labels_that_do_not_belong_are_refused_with_what_was_expected(self):
        n = len(self.scores)
        for labels, words in ((numpy.zeros(n + 1, numpy.uint8), "as many rows"),
                              (numpy.full(n, 10, numpy.uint8), "classes 0 to 9"),
                              (numpy.zeros(n, numpy.float32), "whole numbers")):
            run = self.convoy("fashion_cnn", IMAGES, self.save("bad.npy", labels))
            self.assertEqual(run.returncode, 5, run.stdout)
            self.assertIn(words, run.stderr)


if __name__ == "__main__":
    unittest.main()
