"""Training on a real fleet: a network and data in, a model version out, whatever is killed meanwhile.

Pictures whose class can be seen, and a small network of the same kinds of layers as the founding
document's; the whole of it learns within seconds.
"""
import json
import os
import re
import subprocess
import unittest

import numpy

from harness import BIN, Fleet, until

ROWS, CLASSES = 2000, 4
LAYERS = [{"type": "Input", "shape": [12, 12, 1], "dtype": "uint8"},
          {"type": "Rescaling", "scale": 1 / 255},
          {"type": "Conv2D", "filters": 8, "kernel_size": 3, "activation": "relu"},
          {"type": "MaxPooling2D"}, {"type": "Flatten"}, {"type": "Dropout", "rate": 0.2},
          {"type": "Dense", "units": CLASSES, "activation": "softmax"}]
QUICK = ("--heartbeat-ms", "200", "--lease-ms", "3000")


def rows(seed, count=ROWS):
    random = numpy.random.default_rng(seed)
    labels = random.integers(0, CLASSES, count)
    pictures = random.integers(0, 120, (count, 12, 12))
    for picture, label in zip(pictures, labels):
        picture[6 * (label // 2):6 * (label // 2) + 6, 6 * (label % 2):6 * (label % 2) + 6] += 100
    return pictures.astype(numpy.uint8), labels.astype(numpy.uint8)


class TrainingCase(unittest.TestCase):
    def setUp(self):
        self.fleet = self.enterContext(Fleet(()))
        self.folder = self.fleet.folder / "training"
        self.folder.mkdir()
        for name, seed in (("train", 1), ("validation", 2)):
            for kind, array in zip(("inputs", "labels"), rows(seed)):
                numpy.save(self.folder / f"{name}-{kind}.npy", array)
        self.write("network.json", {"layers": LAYERS})

    def write(self, name, value):
        path = self.folder / name
        if isinstance(value, numpy.ndarray):
            numpy.save(path, value)
        else:
            path.write_text(json.dumps(value))
        return path

    def start(self, *gateway):
        self.fleet.start_broker(*QUICK)
        self.fleet.start_gateway(*gateway)
        self.worker = self.fleet.start_worker()

    def convoy(self, *arguments):
        process = subprocess.Popen(
            [BIN / "convoy", *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            text=True, env={**os.environ, "CONVOY_GATEWAY": f"http://{self.fleet.http}"})
        self.addCleanup(process.kill)
        return process

    def train(self, *more, network="network.json", inputs="train-inputs.npy", labels="train-labels.npy"):
        return self.convoy(
            "train", self.folder / network, "--data", self.folder / inputs, "--labels",
            self.folder / labels, "--validation", self.folder / "validation-inputs.npy",
            "--validation-labels", self.folder / "validation-labels.npy", "--name", "pictures",
            "--seed", 3, "--threads", 1, *more)

    def end(self, process, status=0):
        out, text = process.communicate(timeout=120)
        self.assertEqual(process.returncode, status, text)
        return out, text

    def job(self):
        """The newest."""
        return max(self.fleet.get("/v1/training/jobs")["data"], key=lambda job: job["id"])

    def version(self, number):
        return (self.fleet.folder / f"gateway/models/pictures/{number}/model.onnx").read_bytes()


class Trained(TrainingCase):
    def test_a_network_is_trained_published_and_evaluated(self):
        self.start()
        _, text = self.end(self.train("--epochs", 4))
        self.assertRegex(text, r"epoch 4/4 .* validation loss [0-9.]+ accuracy (0\.9|1\.0)")
        self.assertEqual(self.job()["model_version"], "1")
        out, _ = self.end(self.convoy(
            "evaluate", "pictures", "--data", self.folder / "validation-inputs.npy", "--labels",
            self.folder / "validation-labels.npy", "--json"))
        told = json.loads(out)
        metrics = self.job()["metrics"]
        self.assertAlmostEqual(told["accuracy"], metrics["validation_accuracy"], places=6)
        self.assertAlmostEqual(told["loss"], metrics["validation_loss"], places=4)

    def test_it_is_the_model_that_the_engine_alone_trains(self):
        self.start()
        self.end(self.train("--epochs", 2))
        alone = self.folder / "alone.onnx"
        subprocess.run([
            BIN / "convoy-run", "train", self.folder / "network.json", "--data",
            self.folder / "train-inputs.npy", "--labels", self.folder / "train-labels.npy",
            "--epochs", "2", "--seed", "3", "--threads", "1", "-o", alone, "--quiet"], check=True)
        self.assertEqual(self.version(1), alone.read_bytes())

    def test_a_version_goes_on_learning_with_its_first_layer_frozen(self):
        self.start()
        self.end(self.train("--epochs", 1))
        self.fleet.wait_model("pictures")
        self.end(self.convoy(
            "train", "pictures/1", "--data", self.folder / "train-inputs.npy", "--labels",
            self.folder / "train-labels.npy", "--name", "pictures", "--epochs", 1, "--freeze", "conv2d",
            "--threads", 1))
        one, two = self.version(1), self.version(2)
        at = one.index(b"conv2d/kernel")
        self.assertEqual(len(one), len(two))
        self.assertEqual(one[at - 400:at + 400], two[at - 400:at + 400])
        self.assertNotEqual(one, two)

    def test_a_cancelled_job_ends_and_publishes_nothing(self):
        self.start()
        training = self.train("--epochs", 100000)
        until("some steps", lambda: (jobs := self.fleet.get("/v1/training/jobs")["data"]) and
              (jobs[0]["progress"].get("step") or 0) > 0)
        job = self.job()
        self.end(self.convoy("training", "cancel", job["id"]))
        training.communicate(timeout=60)
        self.assertNotEqual(training.returncode, 0)
        self.assertEqual(self.job()["status"], "cancelled")
        self.assertFalse((self.fleet.folder / "gateway/models/pictures").exists())


class Killed(TrainingCase):
    """kill -9 of the worker three times, of the gateway once and of the broker once."""

    def step(self):
        return self.job()["progress"].get("step") or 0

    def further(self, steps):
        before = self.step()
        until(f"{steps} more steps", lambda: self.step() >= before + steps, 60)

    def test_the_final_weights_are_those_of_an_undisturbed_run(self):
        segments = ("--training-segment-ms", "300")
        self.start(*segments)
        self.end(self.train("--epochs", 300))
        undisturbed = self.version(1)
        training = self.train("--epochs", 300)
        until("the second job", lambda: len(self.fleet.get("/v1/training/jobs")["data"]) == 2)
        for turn in range(3):
            self.further(100)
            self.worker.kill()
            self.worker = self.fleet.start_worker()
        self.further(100)
        self.fleet.gateway.kill()
        self.fleet.start_gateway(*segments)
        self.further(100)
        self.fleet.broker.kill()
        self.fleet.start_broker(*QUICK)
        self.assertNotIn(self.job()["status"], ("completed", "failed"), "it was over before the last kill")
        self.end(training)
        job = self.job()
        self.assertEqual((job["status"], job["model_version"]), ("completed", "2"))
        self.assertEqual(self.version(2), undisturbed)
        folders = os.listdir(self.fleet.folder / "gateway/models/pictures")
        self.assertEqual(sorted(name for name in folders if name.isdigit()), ["1", "2"])


class Refused(TrainingCase):
    def refusal(self, *more, **files):
        _, text = self.end(self.train("--epochs", 1, *more, **files), status=1)
        return text

    def test_mistakes_end_in_an_error_that_names_layer_row_or_step(self):
        self.start()
        self.write("unknown.json", {"layers": [*LAYERS[:5], {"type": "Dens", "units": 3}, *LAYERS[5:]]})
        self.write("unfit.json", {"layers": [*LAYERS[:5], {"type": "Reshape", "target_shape": [7]},
                                             *LAYERS[5:]]})
        floats = [{**LAYERS[0], "dtype": "float32"}, *LAYERS[1:]]
        self.write("floats.json", {"layers": floats})
        labels, infinite = rows(1)[1].copy(), rows(1)[0].astype(numpy.float32)
        labels[123], infinite[450, 3, 3] = 9, numpy.inf
        self.write("labels.npy", labels)
        self.write("infinite.npy", infinite)
        self.write("few.npy", rows(1, 20)[0])
        self.write("few-labels.npy", rows(1, 20)[1])
        for said, more, files in (
                ('layers[5]: unknown layer "Dens"', (), {"network": "unknown.json"}),
                ("layers[5] (Reshape", (), {"network": "unfit.json"}),
                ("row 123 has label 9", (), {"labels": "labels.npy"}),
                ("step 15: the loss of step 15 is", ("--no-shuffle",),
                 {"network": "floats.json", "inputs": "infinite.npy"}),
                ("20 rows are less than one batch of 32", (),
                 {"inputs": "few.npy", "labels": "few-labels.npy"}),
                ('expected one of sgd|adam', ("--optimizer", "adum"), {})):
            text = self.refusal(*more, **files)
            self.assertIn(said, re.sub(r"\s+", " ", text))
        self.assertFalse((self.fleet.folder / "gateway/models/pictures").exists())


if __name__ == "__main__":
    unittest.main()
