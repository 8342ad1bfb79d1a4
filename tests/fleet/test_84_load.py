"""Where a model's weights come from: the file, Constant nodes, files beside it; and what loading takes."""
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

import numpy

from harness import BIN
from onnx_bytes import attribute, constant, field, node, onnx_model, typed_constant, value

MIB = 1 << 20
WEIGHTS = numpy.float32([[1, 20, 300]])
X, Y = value("x", "FP32", ["n", 3]), value("y", "FP32", ["n", 3])
ADD = node("Add", ["x", "w"], ["y"])

MEASURE = """import resource, subprocess, sys
subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, check=True)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"""


def external(location, count=3, **more):
    """An initializer w [1, count] whose data lies in another file."""
    entries = {"location": location} | {key: str(number) for key, number in more.items()}
    return (field(1, 1) + field(1, count) + field(2, 1) + field(8, "w")
            + b"".join(field(13, field(1, key) + field(2, text)) for key, text in entries.items())
            + field(14, 1))


def constant_node(array):
    value_of = field(1, "value") + field(5, constant("w", array)) + field(20, 4)
    return field(2, "w") + field(4, "Constant") + field(5, value_of)


class Load(unittest.TestCase):
    def setUp(self):
        self.folder = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory()))
        self.model = self.folder / "model" / "model.onnx"
        self.model.parent.mkdir()
        numpy.save(self.folder / "x.npy", numpy.float32([[1, 2, 3], [4, 5, 6]]))

    def run_model(self, model):
        self.model.write_bytes(model)
        return subprocess.run([BIN / "convoy-run", "--output-dir", self.folder, self.model, "--input",
                               f"x={self.folder}/x.npy"], capture_output=True, text=True, check=False)

    def assert_runs(self, model):
        done = self.run_model(model)
        self.assertEqual(done.returncode, 0, done.stderr)
        numpy.testing.assert_array_equal(numpy.load(self.folder / "000.npy"),
                                         numpy.load(self.folder / "x.npy") + WEIGHTS)

    def assert_refused(self, model, *parts):
        done = self.run_model(model)
        self.assertNotEqual(done.returncode, 0)
        for part in parts:
            self.assertIn(part, done.stderr)

    def test_weights_in_an_initializer_in_a_constant_node_and_in_an_initializer_that_is_also_an_input(self):
        self.assert_runs(onnx_model([ADD], [X], [Y], [constant("w", WEIGHTS)]))
        self.assert_runs(onnx_model([constant_node(WEIGHTS), ADD], [X], [Y]))
        self.assert_runs(onnx_model([ADD], [X, value("w", "FP32", [1, 3])], [Y], [constant("w", WEIGHTS)]))
        self.assert_runs(onnx_model([ADD], [X], [Y], [typed_constant("w", WEIGHTS)]))

    def test_numbers_of_another_type_than_the_tensor_are_refused(self):
        doubles = field(1, 1) + field(1, 1000) + field(2, 11) + field(4, bytes(8000)) + field(8, "w")
        self.assert_refused(onnx_model([ADD], [X], [Y], [doubles]), '"w" is FP64', "another type")

    def test_weights_in_a_file_beside_the_model_whole_or_a_part_of_it(self):
        (self.model.parent / "w.bin").write_bytes(WEIGHTS.tobytes())
        self.assert_runs(onnx_model([ADD], [X], [Y], [external("w.bin")]))
        (self.model.parent / "parts").mkdir()
        (self.model.parent / "parts/w.bin").write_bytes(b"1234" + WEIGHTS.tobytes() + b"5")
        self.assert_runs(onnx_model([ADD], [X], [Y], [external("parts/w.bin", offset=4, length=12)]))

    def test_paths_out_of_the_folder_are_refused(self):
        (self.folder / "w.bin").write_bytes(WEIGHTS.tobytes())
        os.symlink(self.folder / "w.bin", self.model.parent / "link.bin")
        for location in ("../w.bin", "a/../../w.bin", str(self.folder / "w.bin"), "/etc/passwd", ""):
            with self.subTest(location):
                self.assert_refused(onnx_model([ADD], [X], [Y], [external(location)]), '"w"')
        self.assert_refused(onnx_model([ADD], [X], [Y], [external("link.bin")]), "link that leaves")

    def test_files_that_are_missing_or_too_short_are_refused(self):
        (self.model.parent / "w.bin").write_bytes(WEIGHTS.tobytes()[:-1])
        self.assert_refused(onnx_model([ADD], [X], [Y], [external("none.bin")]), "none.bin", "not beside")
        self.assert_refused(onnx_model([ADD], [X], [Y], [external("w.bin")]), "w.bin", "11")
        self.assert_refused(onnx_model([ADD], [X], [Y], [external("w.bin", offset=1000)]), "w.bin")
        self.assert_refused(onnx_model([ADD], [X], [Y], [external("w.bin", offset="-1")]), "offset")
        self.assert_refused(onnx_model([ADD], [X], [Y], [external("w.bin", length=8)]), "8 bytes", "12")

    def peak_bytes(self, model):
        self.model.write_bytes(model)
        # from a small process: what a child took at most counts from its fork on
        done = subprocess.run([sys.executable, "-c", MEASURE, BIN / "convoy-run", "--inspect", self.model],
                              capture_output=True, text=True, check=True)
        return int(done.stdout) * 1024

    def test_loading_takes_at_most_1_3_times_the_weights(self):
        """Beyond what a model of no weights takes; no kernel packs what is only added."""
        large = numpy.ones((1, 12 * MIB), numpy.float32)
        ends = [value(name, "FP32", ["n", large.size]) for name in ("x", "y")]
        small = self.peak_bytes(onnx_model([ADD], [X], [Y], [constant("w", WEIGHTS)]))
        (self.model.parent / "w.bin").write_bytes(large.tobytes())
        for where, model in {
            "an initializer": onnx_model([ADD], ends[:1], ends[1:], [constant("w", large)]),
            "numbers of an initializer": onnx_model([ADD], ends[:1], ends[1:], [typed_constant("w", large)]),
            "a Constant node": onnx_model([constant_node(large), ADD], ends[:1], ends[1:]),
            "another file": onnx_model([ADD], ends[:1], ends[1:], [external("w.bin", large.size)]),
        }.items():
            with self.subTest(where):
                self.assertLess(self.peak_bytes(model) - small, 1.3 * large.nbytes)


if __name__ == "__main__":
    unittest.main()
