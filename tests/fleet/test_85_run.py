"""convoy-run by itself: what a model takes; how one is built."""
import json
import os
import pathlib
import signal
import subprocess
import tempfile
import unittest

import numpy
from harness import BIN, ROOT
from onnx_bytes import slow

FEW, MANY = 4, 200


class Memory(unittest.TestCase):
    def peak_bytes(self, layers):
        """Of a network whose layers all have the same weights, 1 MiB."""
        folder = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory()))
        (folder / "model.onnx").write_bytes(slow(layers))
        numpy.save(folder / "x.npy", numpy.ones((1, 512), numpy.float32))
        child = subprocess.Popen([BIN / "convoy-run", folder / "model.onnx", "--input",
                                  f"x={folder / 'x.npy'}", "--output-dir", folder / "out"],
                                 stdout=subprocess.DEVNULL)
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        self.assertEqual(child.returncode, 0)
        return usage.ru_maxrss * 1024

    def test_weights_that_many_nodes_share_are_packed_once(self):
        more = self.peak_bytes(MANY) - self.peak_bytes(FEW)
        print(f"{MANY - FEW} layers more take {more / 2**20:.1f} MiB more")
        self.assertLess(more, (MANY - FEW) * 2**20 / 4)


class Build(unittest.TestCase):
    def setUp(self):
        self.folder = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory()))

    def build(self, *args):
        return subprocess.run([BIN / "convoy-run", "build", *args], capture_output=True, text=True)

    def test_a_list_of_layers_becomes_a_model_that_runs(self):
        model = self.folder / "seed_cnn.onnx"
        built = self.build(ROOT / "tests/data/seed_cnn.json", "-o", model, "--seed", "3")
        self.assertEqual(built.returncode, 0, built.stderr)
        self.assertRegex(built.stdout, r"conv2d_1 \(Conv2D\) +\[11, 11, 64\] +18,496\n")
        self.assertIn("Parameters: 93,322 (93,322 trainable, 0 not)", built.stdout)
        numpy.save(self.folder / "x.npy", numpy.random.default_rng(3).integers(0, 256, (4, 28, 28, 1), numpy.uint8))
        subprocess.run([BIN / "convoy-run", model, "-i", f"input={self.folder / 'x.npy'}", "-o",
                        self.folder / "out"], check=True, capture_output=True)
        scores = numpy.load(self.folder / "out/000.npy")
        self.assertEqual(scores.shape, (4, 10))
        numpy.testing.assert_allclose(scores.sum(axis=1), 1, atol=1e-5)

    def test_a_summary_writes_nothing_and_is_there_as_json(self):
        told = self.build(ROOT / "tests/data/seed_cnn.json", "--summary", "--json")
        self.assertEqual(told.returncode, 0, told.stderr)
        self.assertEqual(json.loads(told.stdout)["parameters"], 93322)

    def test_a_mistake_is_named_and_leaves_no_file(self):
        spec, model = self.folder / "spec.json", self.folder / "model.onnx"
        spec.write_text('{"layers": [{"type": "Dense", "units": 3, "input_shape": [2]}, {"type": "Dens"}]}')
        built = self.build(spec, "-o", model)
        self.assertEqual((built.returncode, built.stdout, model.exists()), (5, "", False))
        self.assertEqual(built.stderr, f'convoy-run build: {spec}: layers[1]: unknown layer "Dens"; did you mean "Dense"?\n')

    def test_a_wrong_command_line_is_a_usage_error(self):
        for args in ((), (ROOT / "tests/data/seed_cnn.json",), (ROOT / "tests/data/seed_cnn.json", "-o", "x", "--seed", "-1")):
            self.assertEqual(self.build(*args).returncode, 2, args)
        self.assertEqual(self.build(self.folder / "none.json", "--summary").returncode, 5)


class Train(unittest.TestCase):
    def setUp(self):
        self.folder = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory()))
        random = numpy.random.default_rng(3)
        labels = random.integers(0, 3, 200)
        numpy.save(self.folder / "x.npy", (numpy.eye(3)[labels] + random.random((200, 3))).astype(numpy.float32))
        numpy.save(self.folder / "y.npy", labels)
        (self.folder / "net.json").write_text(json.dumps({"layers": [
            {"type": "Dense", "units": 3, "activation": "softmax", "input_shape": [3]}]}))

    def arguments(self, *more):
        return [BIN / "convoy-run", "train", self.folder / "net.json", "--data", self.folder / "x.npy", "--labels",
                self.folder / "y.npy", "--threads", "1", *map(str, more)]

    def train(self, *more):
        return subprocess.run(self.arguments(*more), capture_output=True, text=True)

    def test_a_signal_ends_it_and_leaves_nothing_behind(self):
        temp = self.folder / ("a-folder-with-a-long-name-" * 4)
        temp.mkdir()
        state = self.folder / "state"
        for number in (signal.SIGINT, signal.SIGTERM):
            run = subprocess.Popen(self.arguments("--epochs", 1000000, "--checkpoint", state, "--json"), text=True,
                                   env={**os.environ, "TMPDIR": str(temp)}, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            run.stdout.readline()  # an epoch is over
            self.assertEqual(len(list(temp.iterdir())), 1)
            run.send_signal(number)
            self.assertRegex(run.communicate()[1], rf"train: the next run goes on from {state}: cancelled before step \d+\n$")
            self.assertEqual(run.returncode, -number)
            self.assertEqual(list(temp.iterdir()), [])

    def test_what_cannot_work_is_told_before_the_first_step(self):
        os.mkfifo(self.folder / "pipe")
        for more, said in ((("-o", self.folder / "none/model.onnx"), "none/model.onnx: cannot create"),
                           (("--checkpoint", self.folder / "none/state"), "none/state: cannot create"),
                           (("--data", self.folder / "pipe"), "pipe: expected a regular file"),
                           (("--data", self.folder), "expected a regular file")):
            run = self.train(*more)
            self.assertEqual(run.returncode, 5, run.stderr)
            self.assertIn(said, run.stderr)
            self.assertNotIn("epoch 1", run.stderr)

    def test_a_second_run_goes_on_from_the_checkpoint(self):
        state, models = self.folder / "state", [self.folder / "a.onnx", self.folder / "b.onnx"]
        for model in models:
            run = self.train("--epochs", 2, "--checkpoint", state, "-o", model)
            self.assertEqual(run.returncode, 0, run.stderr)
        self.assertEqual(run.stderr, "")  # nothing was left to do
        self.assertEqual(models[0].read_bytes(), models[1].read_bytes())
        state.write_bytes(b"no state")
        run = self.train("--epochs", 2, "--checkpoint", state)
        self.assertEqual(run.returncode, 5)
        self.assertIn(f"{state}: the checkpoint has 8 octets", run.stderr)


if __name__ == "__main__":
    unittest.main()
