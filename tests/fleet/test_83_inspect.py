"""convoy models inspect, convoy run --profile: what a person sees of a model file, without a fleet."""
import json
import pathlib
import subprocess
import tempfile
import unittest

import numpy

from harness import BIN, DATA
from onnx_bytes import constant, node, onnx_model, value

CNN = DATA / "fashion_cnn.onnx"


def convoy(*arguments):
    return subprocess.run([BIN / "convoy", *map(str, arguments)], capture_output=True, text=True, timeout=60)


class Inspect(unittest.TestCase):
    def write(self, model):
        path = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory())) / "model.onnx"
        path.write_bytes(model)
        return path

    def inspect(self, *arguments):
        done = convoy("models", "inspect", *arguments, "--json")
        self.assertEqual(done.returncode, 0, done.stderr)
        return json.loads(done.stdout)

    def test_signature_operators_fusions_and_cost(self):
        about = self.inspect(CNN)
        self.assertEqual([i["name"] for i in about["inputs"]], ["images"])
        self.assertTrue(about["runs"] and about["batchable"])
        self.assertTrue(all(op["supported"] for op in about["file_operators"]))
        self.assertIn("Conv+Relu", {f["operator"] for f in about["fusions"]})
        self.assertGreater(about["cost"]["macs"], 0)

    def test_macs_grow_with_the_rows_of_the_given_shape(self):
        one, five = (self.inspect(CNN, "--shape", f"images={rows},28,28")["cost"] for rows in (1, 5))
        self.assertEqual(five["inputs"][0]["shape"], [5, 28, 28])
        self.assertEqual(five["macs"], 5 * one["macs"])

    def test_text_has_the_same_and_a_wrong_shape_is_named(self):
        done = convoy("models", "inspect", CNN)
        self.assertEqual(done.returncode, 0, done.stderr)
        for words in ("images", "Conv+Relu", "parameters", "batchable   yes", "multiply-accumulates"):
            self.assertIn(words, done.stdout)
        done = convoy("models", "inspect", CNN, "--shape", "images=1,28")
        self.assertEqual(done.returncode, 5)
        self.assertIn('input "images" takes shapes [-1,28,28]', done.stderr)

    def test_what_cannot_run_is_described_all_the_same(self):
        path = DATA / "bad/unsupported.onnx"
        done = convoy("models", "inspect", path, "--json")
        self.assertEqual(done.returncode, 3)
        about = json.loads(done.stdout)
        missing = [op["operator"] for op in about["file_operators"] if not op["supported"]]
        self.assertFalse(about["runs"])
        self.assertTrue(missing)
        for operator in missing:
            self.assertIn(operator, done.stderr)
        done = convoy("models", "inspect", path)
        self.assertEqual((done.returncode, done.stdout.count("<- not supported at opset 1\n")), (3, len(missing)))

    def test_parameters_are_those_of_the_file_whatever_is_fused(self):
        x, y = value("x", "FP32", ["n", 2, 4, 4]), value("y", "FP32", ["n", 3, 4, 4])
        norm = [constant(name, numpy.float32([1, 2, 3])) for name in ("scale", "shift", "mean", "var")]
        model = onnx_model([node("Conv", ["x", "w"], ["c"]), node("BatchNormalization", ["c", "scale", "shift", "mean", "var"], ["y"])],
                           [x], [y], [constant("w", numpy.ones((3, 2, 1, 1), numpy.float32)), *norm])
        about = self.inspect(self.write(model))
        self.assertEqual([f["operator"] for f in about["fusions"]], ["Conv+BatchNormalization"])
        self.assertEqual(about["parameters"], 3 * 2 + 4 * 3)

    def test_a_model_of_another_domain_alone_is_told_what_is_missing(self):
        ends = [value(name, "FP32", ["n", 2]) for name in ("x", "y")]
        other = onnx_model([node("Frobnicate", ["x"], ["y"], "com.example")], ends[:1], ends[1:], opset=None,
                           domains=["com.example"])
        done = convoy("models", "inspect", self.write(other))
        self.assertEqual(done.returncode, 3)
        self.assertIn("com.example.Frobnicate (1 node)", done.stderr)
        ours = onnx_model([node("Relu", ["x"], ["y"])], ends[:1], ends[1:], opset=None, domains=["com.example"])
        done = convoy("models", "inspect", self.write(ours))
        self.assertEqual(done.returncode, 3)
        self.assertIn("ai.onnx.Relu, of whose domain the model imports no opset", done.stderr)

    def test_what_is_no_model_is_refused(self):
        done = convoy("models", "inspect", __file__)
        self.assertEqual((done.returncode, done.stdout), (3, ""))


class Profile(unittest.TestCase):
    def test_macs_and_speed_per_node(self):
        with tempfile.TemporaryDirectory() as temp:
            numpy.save(f"{temp}/in.npy", numpy.zeros((2, 28, 28), numpy.uint8))
            arguments = (CNN, "--input", f"images={temp}/in.npy", "--output-dir", temp, "--profile")
            rows = json.loads(convoy("run", *arguments, "--json").stdout)["profile"]
            text = convoy("run", *arguments).stdout
        self.assertEqual([r["us"] for r in rows], sorted((r["us"] for r in rows), reverse=True))
        products = [r for r in rows if r["macs"]]
        self.assertTrue(any(r["operator"].startswith("Conv") for r in products))
        for row in products:
            self.assertAlmostEqual(row["gflops"], 2 * row["macs"] / row["us"] / 1e3, delta=0.01 * row["gflops"] + 0.01)
        about = json.loads(convoy("models", "inspect", CNN, "--shape", "images=2,28,28", "--json").stdout)
        self.assertEqual(sum(r["macs"] for r in rows), about["cost"]["macs"])
        self.assertIn("GFLOP/s", text)


if __name__ == "__main__":
    unittest.main()
